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

    /// The anti-forgery token of a session, with which a page may use the proxy's own endpoints.
    pub(crate) async fn forgery(&mut self, token: &str) -> Result<String, Failure> {
        let (_, body) = self.exchange("GET", "/.countersign/session", token, "").await?;
        let state: serde_json::Value = serde_json::from_slice(&body)?;
        Ok(state["csrf_token"].as_str().ok_or("a session without an anti-forgery token")?.to_owned())
    }

    /// Logs out at the proxy's own endpoint. Unlike an application's answer its own says whether the end is durable (200)
    /// or only accepted, Postgres not having confirmed it (202).
    pub(crate) async fn log_out(&mut self, token: &str, forgery: &str) -> Result<u16, Failure> {
        let more = format!("sec-fetch-site: same-origin\r\nx-csrf-token: {forgery}\r\ncontent-length: 0\r\n");
        self.send("POST", "/.countersign/logout", token, &more).await
    }

    /// The status of a directive.
    pub(crate) async fn direct(&mut self, token: &str, directive: &str) -> Result<u16, Failure> {
        self.send("POST", "/auth/do", token, &format!("load-directive: {directive}\r\ncontent-length: 0\r\n"))
            .await
    }

    async fn send(&mut self, method: &str, path: &str, token: &str, more: &str) -> Result<u16, Failure> {
        self.exchange(method, path, token, more).await.map(|(status, _)| status)
    }

    async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        token: &str,
        more: &str,
    ) -> Result<(u16, Vec<u8>), Failure> {
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
                let status = text.get(9..12).ok_or("no status")?.parse()?;
                return Ok((status, self.buffer[head + 4..head + 4 + length].to_vec()));
            }
        }
    }
}
