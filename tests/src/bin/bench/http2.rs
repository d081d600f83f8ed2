//! Load over HTTP/2 without TLS: few connections with many streams, as fast as the proxy answers.

use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::Failure;
use super::load::somewhere;
use super::setup::{COOKIE, Contender};

/// Connections, and streams on each at the same time; together as many as with HTTP/1.1.
const CONNECTIONS: usize = 4;
const STREAMS: usize = 8;

type Sender = SendRequest<Empty<Bytes>>;

/// As many requests as are answered until `end`, at least one for every session. Answers how many.
pub(super) async fn closed_loop(
    contender: &Contender,
    end: Instant,
    everyone: bool,
) -> Result<usize, Failure> {
    let mut streams = Vec::new();
    for connection in 0..CONNECTIONS {
        let sender = connect(contender.address).await?;
        for stream in 0..STREAMS {
            let (skip, all) = (connection * STREAMS + stream, CONNECTIONS * STREAMS);
            let cookies: Vec<String> = contender
                .tokens
                .iter()
                .skip(skip)
                .step_by(all)
                .map(|token| format!("theme=dark; {COOKIE}={token}"))
                .collect();
            let cookies = if cookies.is_empty() { vec!["theme=dark".to_owned()] } else { cookies };
            streams.push(tokio::spawn(ask(sender.clone(), contender.path, cookies, end, everyone)));
        }
    }
    let mut served = 0;
    for stream in streams {
        served += stream.await??;
    }
    Ok(served)
}

async fn connect(address: SocketAddr) -> Result<Sender, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn ask(
    mut sender: Sender,
    path: &'static str,
    cookies: Vec<String>,
    end: Instant,
    everyone: bool,
) -> Result<usize, Failure> {
    let mut served = 0;
    let start = somewhere() % cookies.len();
    for cookie in cookies.iter().cycle().skip(start) {
        let request = http::Request::get(format!("http://bench.test{path}"))
            .header("user-agent", "bench")
            .header("cookie", cookie)
            .body(Empty::new())?;
        sender.ready().await?;
        let answer = sender.send_request(request).await?;
        if answer.status() != 200 {
            return Err(format!("unexpected answer: {}", answer.status()).into());
        }
        answer.into_body().collect().await?;
        served += 1;
        if Instant::now() > end && !(everyone && served < cookies.len()) {
            break;
        }
    }
    Ok(served)
}
