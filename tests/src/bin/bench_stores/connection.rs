//! One HTTP/1.1 connection that costs next to nothing: a request written, an answer with a length read.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use e2e::proxy::COOKIE;

use crate::Failure;

/// A connection that stays open.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn to(address: SocketAddr) -> Result<Self, Failure> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: vec![0; 16 * 1024] })
    }

    /// The status that somebody with this token gets.
    pub(crate) async fn get(&mut self, path: &str, token: &str) -> Result<u16, Failure> {
        self.send("GET", path, token, "").await
    }

    /// The status of a directive.
    pub(crate) async fn direct(&mut self, token: &str, directive: &str) -> Result<u16, Failure> {
        self.send("POST", "/auth/do", token, &format!("load-directive: {directive}\r\ncontent-length: 0\r\n"))
            .await
    }

    async fn send(&mut self, method: &str, path: &str, token: &str, more: &str) -> Result<u16, Failure> {
        let request =
            format!("{method} {path} HTTP/1.1\r\nhost: bench.test\r\ncookie: {COOKIE}={token}\r\n{more}\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err("the proxy closed the connection".into());
            }
            filled += read;
            let head = self.buffer[..filled].windows(4).position(|end| end == b"\r\n\r\n");
            let Some(head) = head else { continue };
            let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(Ok(0), |length| length.trim().parse())?;
            if filled >= head + 4 + length {
                return Ok(text.get(9..12).ok_or("no status")?.parse()?);
            }
        }
    }
}
