//! Load over HTTP/1.1 with keep-alive: as fast as the proxy answers, or at a fixed rate.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Failure;
use super::setup::{COOKIE, Contender};

/// Connections that ask at the same time.
pub(super) const CONNECTIONS: usize = 32;

/// The requests that connection `number` of `all` repeats.
pub(super) fn requests(contender: &Contender, number: usize, all: usize) -> Vec<Vec<u8>> {
    let request = |session: &str| {
        let path = contender.path;
        format!(
            "GET {path} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\nCookie: theme=dark{session}\r\n\r\n"
        )
        .into_bytes()
    };
    if contender.tokens.is_empty() {
        return vec![request("")];
    }
    let mine = contender.tokens.iter().skip(number).step_by(all);
    mine.map(|token| request(&format!("; {COOKIE}={token}"))).collect()
}

/// As many requests as are answered until `end`, at least one for every session. Answers how many.
pub(super) async fn closed_loop(
    contender: &Contender,
    end: Instant,
    everyone: bool,
) -> Result<usize, Failure> {
    let clients = (0..CONNECTIONS).map(|number| {
        let requests = requests(contender, number, CONNECTIONS);
        tokio::spawn(ask(contender.address, requests, end, everyone))
    });
    let mut served = 0;
    for client in clients.collect::<Vec<_>>() {
        served += client.await??;
    }
    Ok(served)
}

/// Where the next one begins among its requests: each time elsewhere, so that rounds are not all about the first ones.
pub(super) fn somewhere() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(7919, Ordering::Relaxed)
}

async fn ask(
    address: SocketAddr,
    requests: Vec<Vec<u8>>,
    end: Instant,
    everyone: bool,
) -> Result<usize, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    let mut served = 0;
    let start = somewhere() % requests.len();
    for request in requests.iter().cycle().skip(start) {
        stream.write_all(request).await?;
        let mut filled = 0;
        while !is_whole(&buffer[..filled])? {
            let read = stream.read(&mut buffer[filled..]).await?;
            if read == 0 {
                return Err("the proxy closed the connection".into());
            }
            filled += read;
        }
        served += 1;
        if Instant::now() > end && !(everyone && served < requests.len()) {
            break;
        }
    }
    Ok(served)
}

/// Whether an answer with a `Content-Length` is here whole.
///
/// # Errors
/// When it is not 200.
fn is_whole(answer: &[u8]) -> Result<bool, Failure> {
    let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(false) };
    if !answer.starts_with(b"HTTP/1.1 200") {
        return Err(format!("unexpected answer: {}", String::from_utf8_lossy(answer)).into());
    }
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    let length: usize = length.map_or(Ok(0), |length| length.trim().parse())?;
    Ok(answer.len() >= head + 4 + length)
}

/// Asks once and waits for the answer.
pub(super) fn ask_once(stream: &mut std::net::TcpStream, request: &[u8]) -> Result<(), Failure> {
    stream.write_all(request)?;
    let mut buffer = [0; 16 * 1024];
    let mut filled = 0;
    while !is_whole(&buffer[..filled])? {
        match stream.read(&mut buffer[filled..])? {
            0 => return Err("the proxy closed the connection".into()),
            read => filled += read,
        }
    }
    Ok(())
}

/// One connection that asks every `interval` from `start` on, whatever the answers take. A latency counts from the
/// moment at which the request was due: a request that waits for the one before it has waited (coordinated omission).
pub(super) fn open_loop(
    address: SocketAddr,
    requests: &[Vec<u8>],
    start: Instant,
    interval: Duration,
    count: u32,
) -> Result<Vec<Duration>, Failure> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut latencies = Vec::with_capacity(usize::try_from(count)?);
    for (number, request) in (0..count).zip(requests.iter().cycle()) {
        let due = start + interval * number;
        if let Some(wait) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(wait);
        }
        ask_once(&mut stream, request)?;
        latencies.push(due.elapsed());
    }
    Ok(latencies)
}
