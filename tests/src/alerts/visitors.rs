//! Clients that take what comes: refusals, broken connections and silence are what happens to them in an outage, and no
//! failure of the test.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A request that is not answered for so long is given up.
const HUNG: Duration = Duration::from_secs(20);

/// An answer, as it came.
#[derive(Clone, Debug)]
pub struct Answer(Vec<u8>);

impl Answer {
    /// The status; 0 when the answer has none.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.get(9..12).and_then(|status| std::str::from_utf8(status).ok()?.parse().ok()).unwrap_or(0)
    }

    /// What follows the head.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        let end = self.0.windows(4).position(|window| window == b"\r\n\r\n");
        end.map_or(&[], |end| &self.0[end + 4..])
    }

    /// The first cookie that it sets, as a client sends it back.
    #[must_use]
    pub fn cookie(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.0);
        let line = text.lines().find(|line| line.to_ascii_lowercase().starts_with("set-cookie:"))?;
        Some(line.split_once(':')?.1.split(';').next()?.trim().to_owned())
    }
}

/// Sends a request on a connection of its own and reads until the server closes it; `None` when nothing came.
pub async fn exchange(address: SocketAddr, request: &[u8]) -> Option<Answer> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await.ok()?;
        stream.write_all(request).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        (!answer.is_empty()).then_some(Answer(answer))
    };
    timeout(HUNG, ask).await.ok().flatten()
}

/// A request without a body, after which the connection ends. `more` are further lines of the head.
#[must_use]
pub fn request(method: &str, path: &str, more: &[&str]) -> Vec<u8> {
    let more = more.iter().map(|line| [line, "\r\n"].concat()).collect::<String>();
    format!(
        "{method} {path} HTTP/1.1\r\nhost: app.test\r\ncontent-length: 0\r\nconnection: close\r\n{more}\r\n"
    )
    .into_bytes()
}

/// Clients that ask again and again; they stop with this value.
#[derive(Debug, Default)]
pub struct Visitors(JoinSet<()>);

impl Visitors {
    /// One more that sends this request, and pauses after each answer.
    #[must_use]
    pub fn asking(mut self, address: SocketAddr, request: Vec<u8>, pause: Duration) -> Self {
        self.0.spawn(async move {
            loop {
                let _ = exchange(address, &request).await;
                tokio::time::sleep(pause).await;
            }
        });
        self
    }
}
