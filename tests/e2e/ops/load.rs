//! Clients that never stop asking. They keep their connections as HTTP allows: a connection that an answer ends is not
//! used again, any other is. Whatever else goes wrong with a request is a failure.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Requests under way, until they are told to stop.
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    failures: Arc<Mutex<Vec<String>>>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    /// Some clients that ask for `path`; every other one makes a connection for each request.
    pub(super) fn start(clients: usize, address: SocketAddr, path: &str, cookie: &str) -> Self {
        let (stop, answered, failures): (Arc<AtomicBool>, Arc<AtomicUsize>, Arc<Mutex<Vec<String>>>) =
            (Arc::default(), Arc::default(), Arc::default());
        let clients = (0..clients)
            .map(|number| {
                let close = if number % 2 == 0 { "" } else { "connection: close\r\n" };
                let request =
                    format!("GET {path} HTTP/1.1\r\nhost: app.test\r\ncookie: {cookie}\r\n{close}\r\n");
                let (stop, answered, failures) = (stop.clone(), answered.clone(), failures.clone());
                tokio::spawn(async move {
                    let mut connection = None;
                    while !stop.load(Ordering::Relaxed) {
                        match ask(&mut connection, address, request.as_bytes()).await {
                            Ok(200) => _ = answered.fetch_add(1, Ordering::Relaxed),
                            Ok(status) => failures.lock().unwrap().push(format!("status {status}")),
                            Err(error) => {
                                failures.lock().unwrap().push(error.to_string());
                                connection = None;
                            }
                        }
                    }
                })
            })
            .collect();
        Self { stop, answered, failures, clients }
    }

    /// How many requests were answered so far.
    pub(super) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    /// Waits until some more requests were answered.
    pub(super) async fn answers(&self, more: usize) {
        let goal = self.answered() + more;
        e2e::eventually::until("requests are answered", async || self.answered() >= goal).await;
    }

    /// Stops and answers how many requests were answered and what went wrong with the others.
    pub(super) async fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        (self.answered.load(Ordering::Relaxed), std::mem::take(&mut self.failures.lock().unwrap()))
    }
}

async fn ask(connection: &mut Option<TcpStream>, address: SocketAddr, request: &[u8]) -> io::Result<u16> {
    let mut stream = match connection.take() {
        Some(stream) => stream,
        None => TcpStream::connect(address).await?,
    };
    stream.write_all(request).await?;
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut stream, &mut bytes).await?;
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if field("transfer-encoding:") == Some("chunked") {
        while !bytes.ends_with(b"0\r\n\r\n") {
            more(&mut stream, &mut bytes).await?;
        }
    } else {
        let length: usize = field("content-length:").and_then(|length| length.parse().ok()).unwrap_or(0);
        while bytes.len() < end + length {
            more(&mut stream, &mut bytes).await?;
        }
    }
    if field("connection:") != Some("close") {
        *connection = Some(stream);
    }
    head.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| io::Error::other("no status"))
}

async fn more(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(bytes).await? {
        0 => Err(io::Error::other(format!("closed after {} bytes of an answer", bytes.len()))),
        _ => Ok(()),
    }
}
