//! What capacity is planned with, of one proxy: bytes to the application and to the log, descriptors and memory of
//! connections, the size of a scrape.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use e2e::client::Client;
use e2e::eventually::until;
use e2e::fixture::ANA;
use e2e::proxy::{COOKIE, Proxy};
use e2e::raw::RawUpstream;
use e2e::stores::Stores;
use e2e::upstream::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::Failure;

const CONNECTIONS: usize = 1000;
/// So many of them are opened at the same time.
const TOGETHER: usize = 50;
/// After which closed connections are closed on both sides.
const SETTLED: Duration = Duration::from_secs(3);
/// Requests that wait for the application at the same time.
const SLOW: usize = 64;
const REQUESTS: usize = 200;

pub(crate) async fn run() -> Result<(), Failure> {
    let (stores, app, bytes) = (Stores::embedded(), Upstream::start().await, RawUpstream::start().await);
    let both = "sign = [\"http-message-signature\", \"jwt\"]";
    let proxy = Proxy::builder()
        .upstream("app", app.address(), "")
        .upstream("signature", bytes.address(), "sign = [\"http-message-signature\"]")
        .upstream("both", bytes.address(), both)
        .route("/auth/", "app", "\"nothing\"", "session_authority = true")
        .route("/public/", "app", "\"nothing\"", "")
        .route("/open/", "signature", "\"nothing\"", "")
        .route("/one/", "signature", "\"platform\"", "")
        .route("/both/", "both", "\"platform\"", "")
        .start(&stores)
        .await;
    app.direct("/auth/do", &format!("create;user=\"{ANA}\""));
    let ana = proxy.client();
    ana.post("/auth/do", "").send().await.expect(200);
    let cookie = format!("{COOKIE}={}", ana.cookie(COOKIE).ok_or("no cookie")?);

    println!("| request | bytes from the client | bytes to the application | bytes of its line in the log |");
    println!("| --- | --- | --- | --- |");
    for (what, path, cookie) in [
        ("a route that asks for nothing", "/open/x", ""),
        ("a route that asks for a platform, signature", "/one/x", cookie.as_str()),
        ("the same, signature and JWT", "/both/x", cookie.as_str()),
    ] {
        on_the_wire(&proxy, &bytes, what, path, cookie).await?;
    }
    println!("\n| the process | |\n| --- | --- |");
    connections(&proxy).await?;
    let slow: Vec<_> = (0..SLOW).map(|_| proxy.client()).collect();
    let before = descriptors(&proxy)?;
    let mut calls: Vec<_> =
        slow.iter().map(|client| Box::pin(client.get("/public/sleep/1500").send())).collect();
    let all = futures_util::future::join_all(&mut calls);
    let look = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        descriptors(&proxy)
    };
    let (answers, during) = tokio::join!(all, look);
    let failed = answers.iter().filter(|answer| answer.status != 200).count();
    if failed > 0 {
        return Err(format!("{failed} slow requests failed").into());
    }
    println!(
        "| descriptors for {SLOW} requests under way on connections of their own | {} |",
        during?.saturating_sub(before)
    );
    scrape(&proxy.admin()).await;
    println!();
    Ok(())
}

/// One kind of request, again and again on one connection, as a command line sends it.
async fn on_the_wire(
    proxy: &Proxy,
    app: &RawUpstream,
    what: &str,
    path: &str,
    cookie: &str,
) -> Result<(), Failure> {
    let cookie = if cookie.is_empty() { String::new() } else { format!("cookie: {cookie}\r\n") };
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: app.test\r\nuser-agent: plan\r\naccept: */*\r\n{cookie}\r\n");
    let mut stream = TcpStream::connect(proxy.addresses().http1).await?;
    let before = log_length(proxy);
    let _ = app.take();
    for _ in 0..REQUESTS {
        stream.write_all(request.as_bytes()).await?;
        answer(&mut stream).await?;
    }
    let sent = app.take().len();
    let lines = async || proxy.request_lines().iter().filter(|line| line["path"] == path).count() == REQUESTS;
    until("all lines are written", lines).await;
    let logged = log_length(proxy) - before;
    println!("| {what} | {} | {} | {} |", request.len(), sent / REQUESTS, logged / REQUESTS);
    Ok(())
}

/// Reads one answer with a body of two bytes.
async fn answer(stream: &mut TcpStream) -> Result<(), Failure> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece).await?;
        if length == 0 {
            return Err("the proxy closed the connection".into());
        }
        all.extend_from_slice(&piece[..length]);
        if all.ends_with(b"\r\n\r\nok") {
            return Ok(());
        }
    }
}

async fn connections(proxy: &Proxy) -> Result<(), Failure> {
    println!(
        "| descriptors of a proxy with four listeners and stores in its own file | {} |",
        descriptors(proxy)?
    );
    let at = proxy.addresses().http1;
    // The kept connections to the application are there, and counted, before.
    drop(served(at, TOGETHER).await?);
    tokio::time::sleep(SETTLED).await;
    let (memory, before) = (proxy.memory(), descriptors(proxy)?);
    let idle = served(at, CONNECTIONS).await?;
    let more = descriptors(proxy)?.saturating_sub(before);
    println!("| descriptors for {CONNECTIONS} idle connections | {more} |");
    let grown = proxy.memory().saturating_sub(memory);
    println!(
        "| memory for an idle connection that has served a request, bytes | {} |",
        grown / CONNECTIONS as u64
    );
    drop(idle);
    tokio::time::sleep(SETTLED).await;
    Ok(())
}

/// Connections on each of which a request was answered by the application.
async fn served(at: SocketAddr, count: usize) -> Result<Vec<TcpStream>, Failure> {
    let mut all = Vec::new();
    while all.len() < count {
        let some = (0..TOGETHER).map(|_| async {
            let mut stream = TcpStream::connect(at).await?;
            stream.write_all(b"GET /open/ HTTP/1.1\r\nhost: app.test\r\n\r\n").await?;
            answer(&mut stream).await?;
            Ok::<_, Failure>(stream)
        });
        all.extend(futures_util::future::try_join_all(some).await?);
    }
    Ok(all)
}

fn descriptors(proxy: &Proxy) -> Result<usize, Failure> {
    Ok(fs::read_dir(format!("/proc/{}/fd", proxy.process()))?.count())
}

fn log_length(proxy: &Proxy) -> usize {
    fs::metadata(proxy.directory().join("stdout")).map_or(0, |file| usize::try_from(file.len()).unwrap_or(0))
}

async fn scrape(admin: &Client) {
    let text = admin.get("/metrics").send().await.expect(200).text();
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    println!("| series of a scrape with five routes and three upstreams | {series} |");
    println!("| bytes of it | {} |", text.len());
}
