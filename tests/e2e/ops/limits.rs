//! What a process refuses to wait for, and how it starts and ends where others are already, or nobody is.

use std::process::Stdio;
use std::time::Duration;

use e2e::client::Wire;
use e2e::environment::binary;
use e2e::eventually::{eventually, until};
use e2e::proxy::{Proxy, run_to_end};
use e2e::stores::Stores;
use e2e::upstream::Upstream;
use hyper::body::Frame;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::setup::{Site, routes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_comes_byte_by_byte_is_not_waited_for() {
    let site = Site::start(Stores::embedded()).await;
    let mut stream = TcpStream::connect(site.proxy.addresses().http1).await.unwrap();
    stream.write_all(b"GET /public/slow HTTP/1.1\r\nhost: app.test\r\nx-slow: ").await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    // Every byte would set a time-out anew that counts from the last one.
    let dribble = async {
        while writing.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    let mut answer = Vec::new();
    let closed = async { reading.read_to_end(&mut answer).await };
    let ends = async {
        tokio::select! {
            () = dribble => {}
            _ = closed => {}
        }
    };
    tokio::time::timeout(Duration::from_mins(2), ends).await.expect("the connection ends");
    assert!(site.app.recorded().is_empty());
    site.browser().get("/public/").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_agrees_on_http_2_and_says_no_more_is_not_waited_for() {
    let site = Site::start(Stores::embedded()).await;
    // The preface but for its end (RFC 9113, section 3.4), and nothing at all.
    for said in [&b"PRI * HTTP/2.0\r\n\r\n"[..], b""].map(<[u8]>::to_vec).map(|said| {
        let client = site.proxy.client_over(Wire::Tls2);
        tokio::spawn(async move {
            let mut stream = client.connect_in_tls("h2").await;
            stream.write_all(&said).await.unwrap();
            let mut answer = Vec::new();
            let closed = tokio::time::timeout(Duration::from_mins(2), stream.read_to_end(&mut answer)).await;
            closed.expect("the connection ends").map_or(0, |_| answer.len())
        })
    }) {
        said.await.unwrap();
    }
    site.proxy.client_over(Wire::Tls2).get("/public/").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_stops_or_dribbles_is_not_waited_for_and_a_steady_one_is() {
    let site = Site::with(Stores::embedded(), |builder| builder.more("[limits]\npatience = \"1s\"\n")).await;
    // Pieces of so many bytes, every tenth of a second; nothing at all, less than 64 bytes a second, more than that.
    for (path, piece, reason) in [
        ("/public/silent", 0, Some("client_too_slow")),
        ("/public/dribbling", 1, Some("client_too_slow")),
        ("/public/steady", 100, None),
    ] {
        let mut stream = TcpStream::connect(site.proxy.addresses().http1).await.unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: app.test\r\ncontent-length: 4000\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let (mut reading, mut writing) = stream.into_split();
        let sends = async {
            let mut left = 4000_usize;
            while left > 0 && writing.write_all(&vec![b'a'; piece.min(left)]).await.is_ok() {
                left -= piece.min(left);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            std::future::pending::<()>().await;
        };
        let answered = async {
            let mut answer = vec![0; 12];
            let _ = reading.read_exact(&mut answer).await;
            String::from_utf8_lossy(&answer).into_owned()
        };
        let ends = async {
            tokio::select! {
                () = sends => unreachable!(),
                answer = answered => answer,
            }
        };
        let answer = tokio::time::timeout(Duration::from_mins(1), ends).await.expect("an answer, or the end");
        let line = site.proxy.request_line(path).await;
        assert_eq!(line["reason"].as_str(), reason, "{line}");
        assert_eq!(answer, if reason.is_some() { "HTTP/1.1 408" } else { "HTTP/1.1 200" }, "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_http_2_that_stops_is_not_waited_for_either() {
    let app = Upstream::start().await;
    let stores = Stores::embedded();
    let builder = Proxy::builder().upstream("app", app.address(), "read_timeout = \"1s\"");
    let proxy = routes(builder).start(&stores).await;
    let (sender, body) = e2e::body::channel();
    sender.send(Frame::data("some".into())).await.unwrap();
    let call = proxy.client_over(Wire::Http2).call(http::Method::POST, "/public/stops").body(body);
    let answer = tokio::time::timeout(Duration::from_mins(1), call.send()).await.expect("an answer");
    assert!(matches!(answer.status.as_u16(), 408 | 504), "{}", answer.text());
    drop(sender);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_without_a_request_is_closed() {
    let site = Site::with(Stores::embedded(), |builder| builder.more("[limits]\npatience = \"1s\"\n")).await;
    let mut stream = TcpStream::connect(site.proxy.addresses().http1).await.unwrap();
    stream.write_all(b"GET /public/ HTTP/1.1\r\nhost: app.test\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(Duration::from_mins(1), stream.read_to_end(&mut answer)).await;
    closed.expect("it is closed").unwrap();
    let answer = String::from_utf8_lossy(&answer).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200") && !answer.contains("connection: close"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_is_told_how_many_streams_it_may_open() {
    let site = Site::with(Stores::embedded(), |builder| builder.more("[limits]\nstreams = 7\n")).await;
    let mut stream = TcpStream::connect(site.proxy.addresses().http2).await.unwrap();
    // The preface and an empty SETTINGS frame (RFC 9113, sections 3.4 and 6.5).
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
    let mut settings = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut settings).await.unwrap();
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).expect("MAX_CONCURRENT_STREAMS");
    assert_eq!(streams[2..], [0, 0, 0, 7]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_address_is_told_and_ends_the_process_at_once() {
    let site = Site::start(Stores::embedded()).await;
    let config = site.proxy.config().to_str().unwrap().to_owned();
    let second = tokio::task::spawn_blocking(move || run_to_end(&["run", &config])).await.unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains(&site.proxy.addresses().http1.to_string()), "{said}");
    site.browser().get("/public/").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_variable_that_leads_nowhere_is_told_instead_of_a_panic() {
    let mut site = Site::start(Stores::embedded()).await;
    site.proxy.stop().await;
    let mut command = Command::new(binary());
    command.arg("run").arg(site.proxy.config()).env("SSL_CERT_FILE", "/nowhere/at-all.pem");
    let output = e2e::environment::run(&mut command, b"").await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("SSL_CERT_FILE") && !said.contains("panicked"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_process_1_it_serves_refuses_to_hand_over_and_ends_well() {
    let mut site = Site::start(Stores::embedded()).await;
    site.proxy.stop().await;
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--pid", "--fork", "--kill-child"]).arg(binary()).arg("run");
    command.arg(site.proxy.config()).stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    let outside = command.spawn().unwrap();
    let id = outside.id().unwrap();
    let inside = eventually("the process has begun", async || {
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok().and_then(Pid::from_raw)
    })
    .await;
    let admin = site.proxy.admin();
    until("it is ready", async || {
        TcpStream::connect(site.proxy.addresses().admin).await.is_ok()
            && admin.get("/ready").send().await.status == 200
    })
    .await;
    kill_process(inside, Signal::USR2).unwrap();
    site.browser().get("/public/").send().await.expect(200);
    kill_process(inside, Signal::TERM).unwrap();
    let output = tokio::time::timeout(Duration::from_mins(1), outside.wait_with_output()).await;
    let output = output.expect("it ends").unwrap();
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("cannot hand over as process 1") && said.contains("draining"), "{said}");
}
