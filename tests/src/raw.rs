//! Bytes as they are on the wire: a client that sends anything, and an upstream that keeps exactly what it received.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::eventually::PATIENCE;

/// The silence after which the recording upstream answers.
const PAUSE: Duration = Duration::from_millis(30);

/// What a server did with the bytes of one connection.
#[derive(Debug)]
pub struct Exchange {
    /// Everything it answered.
    pub answer: Vec<u8>,
    /// Whether it closed the connection.
    pub closed: bool,
}

impl Exchange {
    /// The status of the first answer, or 0 when there is none.
    #[must_use]
    pub fn status(&self) -> u16 {
        let line = self.answer.strip_prefix(b"HTTP/1.1 ").or_else(|| self.answer.strip_prefix(b"HTTP/1.0 "));
        line.and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()).unwrap_or(0)
    }

    /// How many answers it gave.
    #[must_use]
    pub fn answers(&self) -> usize {
        count(&self.answer, b"HTTP/1.1 ") + count(&self.answer, b"HTTP/1.0 ")
    }

    /// The answer as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.answer).into_owned()
    }
}

/// Sends `bytes` on a new connection, leaves it open, and reads until the server closes it or is silent for `silence`.
///
/// # Panics
/// When the server cannot be reached.
pub async fn exchange(address: SocketAddr, bytes: &[u8], silence: Duration) -> Exchange {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    // A server that refuses early may close while we still send: its answer is read all the same.
    let _ = stream.write_all(bytes).await;
    let mut exchange = Exchange { answer: Vec::new(), closed: false };
    let mut piece = vec![0; 16 * 1024];
    let mut patience = PATIENCE;
    loop {
        match tokio::time::timeout(patience, stream.read(&mut piece)).await {
            Err(_) => return exchange,
            Ok(Ok(0) | Err(_)) => {
                exchange.closed = true;
                return exchange;
            }
            Ok(Ok(length)) => exchange.answer.extend_from_slice(&piece[..length]),
        }
        patience = silence;
    }
}

/// How often `part` occurs in `bytes`.
#[must_use]
pub fn count(bytes: &[u8], part: &[u8]) -> usize {
    bytes.windows(part.len()).filter(|window| *window == part).count()
}

/// An upstream that keeps every byte of every connection and gives each request the same answer.
#[derive(Debug)]
pub struct RawUpstream {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Vec<u8>>>>,
    task: JoinHandle<()>,
}

impl RawUpstream {
    /// One that answers `200 ok`.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        Self::answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await
    }

    /// One that answers every request with these bytes.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn answering(answer: &[u8]) -> Self {
        Self::running(answer, false).await
    }

    /// One that answers a request with these bytes, and closes.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn answering_once(answer: &[u8]) -> Self {
        Self::running(answer, true).await
    }

    async fn running(answer: &[u8], closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let received: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
        let (all, answer) = (received.clone(), answer.to_vec());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let place = {
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.push(Vec::new());
                    all.len() - 1
                };
                tokio::spawn(keep(stream, all.clone(), place, answer.clone(), closes));
            }
        });
        Self { address, received, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bytes of each connection, in the order of the connections.
    #[must_use]
    pub fn received(&self) -> Vec<Vec<u8>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The bytes of all connections, one after the other, and forgets them.
    #[must_use]
    pub fn take(&self) -> Vec<u8> {
        let mut all = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter_mut().flat_map(std::mem::take).collect()
    }
}

impl Drop for RawUpstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers once the client has nothing more to say for the moment: where a body ends is what is being tested, so it
/// is not asked here.
async fn keep(
    mut stream: TcpStream,
    all: Arc<Mutex<Vec<Vec<u8>>>>,
    place: usize,
    answer: Vec<u8>,
    closes: bool,
) {
    let mut piece = vec![0; 16 * 1024];
    let mut seen = Vec::new();
    let mut answered = 0;
    loop {
        let unanswered = count(&seen, b" HTTP/1.1\r\n") - answered;
        let patience = if unanswered == 0 { Duration::MAX } else { PAUSE };
        match tokio::time::timeout(patience, stream.read(&mut piece)).await {
            Ok(Ok(length @ 1..)) => {
                seen.extend_from_slice(&piece[..length]);
                all.lock().unwrap_or_else(PoisonError::into_inner)[place].extend_from_slice(&piece[..length]);
            }
            Ok(_) => return,
            Err(_) => {
                answered += unanswered;
                if stream.write_all(&answer.repeat(unanswered)).await.is_err() || closes {
                    return;
                }
            }
        }
    }
}
