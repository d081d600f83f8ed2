//! HTTP/2 frames as no client of good will sends them, byte for byte (THREATS T3, T10, R7, H5).

use std::time::Duration;

use e2e::proxy::Proxy;
use e2e::raw::{self, RawUpstream};
use e2e::stores::Stores;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::start;

/// Kinds of frames and their flags (RFC 9113, section 6).
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// Fields as literals that are not indexed (RFC 7541, section 6.2.2).
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

pub(super) fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "http"), (":authority", "app.test"), (":path", path)])
}

/// A connection that has sent frames on its first stream.
pub(super) async fn sent(address: std::net::SocketAddr, frames: &[Vec<u8>]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let preface = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")].concat();
    stream.write_all(&[preface, frames.concat()].concat()).await.unwrap();
    stream
}

/// Kind and payload of the next frame; `None` when there are no more.
pub(super) async fn next(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}

/// Sends frames on the first stream; whether a 200 came, and not a refusal of any kind.
pub(super) async fn is_served(address: std::net::SocketAddr, frames: &[Vec<u8>]) -> bool {
    let mut stream = sent(address, frames).await;
    while let Some((kind, payload)) = next(&mut stream).await {
        match kind {
            // `:status: 200` stands at 8 in the static table.
            HEADERS => return payload.first() == Some(&0x88),
            RST_STREAM | GOAWAY => return false,
            _ => {}
        }
    }
    false
}

/// A proxy that waits a second for either side.
pub(super) async fn impatient(app: &RawUpstream) -> Proxy {
    Proxy::builder()
        .upstream("app", app.address(), "read_timeout = \"1s\"")
        .route("/public/", "app", "\"nothing\"", "")
        .more("[limits]\npatience = \"1s\"\n")
        .start(&Stores::embedded())
        .await
}

/// The application would take a second end for another request (THREATS F14).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_ends_with_an_empty_frame_ends_once_for_the_application() {
    let (app, proxy) = start().await;
    for pieces in [&[b"body".as_slice(), b""][..], &[b""], &[b"body"]] {
        let mut frames = vec![frame(HEADERS, END_HEADERS, 1, &request("POST", "/public/x"))];
        frames.extend(pieces.iter().map(|piece| frame(DATA, 0, 1, piece)));
        *frames.last_mut().unwrap() = frame(DATA, END_STREAM, 1, pieces[pieces.len() - 1]);
        assert!(is_served(proxy.addresses().http2, &frames).await);
        let arrived = app.take();
        let text = String::from_utf8_lossy(&arrived);
        let body = pieces.concat();
        assert!(text.contains("\r\n\r\n4\r\nbody\r\n") || body.is_empty(), "{text}");
        assert_eq!(raw::count(&arrived, b"0\r\n\r\n"), 1, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rest_of_a_body_is_not_waited_for_once_its_request_was_answered() {
    let app = RawUpstream::start().await;
    let proxy = impatient(&app).await;
    let begun = [frame(HEADERS, END_HEADERS, 1, &request("POST", "/public/x")), frame(0, 0, 1, b"some")];
    let mut stream = sent(proxy.addresses().http2, &begun).await;
    let mut kinds = Vec::new();
    while !kinds.contains(&RST_STREAM) {
        let frame = tokio::time::timeout(Duration::from_mins(1), next(&mut stream)).await;
        kinds.push(frame.expect("an end").expect("the connection goes on").0);
    }
    // The answer came before.
    assert!(kinds.contains(&HEADERS), "{kinds:?}");
    assert!(proxy.metric("countersign_requests_total", &["dropped"]).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_end_its_body_is_too_slow_and_the_application_is_not_to_blame() {
    let app = RawUpstream::answering(b"").await;
    let proxy = impatient(&app).await;
    let begun = b"POST /public/x HTTP/1.1\r\nHost: app.test\r\nContent-Length: 100\r\n\r\nab";
    for _ in 0..4 {
        let exchange = raw::exchange(proxy.addresses().http1, begun, Duration::from_secs(20)).await;
        assert_eq!(exchange.status(), 408, "{}", exchange.text());
    }
    let begun = [frame(HEADERS, END_HEADERS, 1, &request("POST", "/public/x")), frame(0, 0, 1, b"ab")];
    for _ in 0..4 {
        assert!(!is_served(proxy.addresses().http2, &begun).await);
    }
    assert!(proxy.metric("countersign_refusals_total", &["client_too_slow"]).await >= 8.0);
    assert!(proxy.metric("countersign_upstream_errors_total", &[]).await < 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_short_head_where_http2_could_come_is_answered_at_once() {
    let (_app, proxy) = start().await;
    let exchange = raw::exchange(proxy.addresses().http2, b"GET /x\r\n\r\n", Duration::from_secs(5)).await;
    assert_eq!((exchange.status(), exchange.closed), (400, true), "{}", exchange.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fragment_in_a_path_is_judged_and_forwarded_without_it_or_not_at_all() {
    let (app, proxy) = start().await;
    for (path, may_arrive) in [("/public/#x", true), ("/session/#/../public/", false), ("#/public/", false)] {
        let head = frame(HEADERS, END_STREAM | END_HEADERS, 1, &request("GET", path));
        let served = is_served(proxy.addresses().http2, &[head]).await;
        let arrived = app.take();
        assert!(
            may_arrive || (!served && arrived.is_empty()),
            "{path}: {:?}",
            String::from_utf8_lossy(&arrived)
        );
        assert_eq!(raw::count(&arrived, b"#"), 0, "{path}");
        assert!(arrived.is_empty() || arrived.starts_with(b"GET /public/ HTTP/1.1\r\n"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_trailer_says_of_another_request_changes_nothing() {
    let (app, proxy) = start().await;
    for fields in [
        &[(":path", "/session/"), (":method", "DELETE")][..],
        &[("x-context-user-id", "1"), ("cookie", "a=b")],
        &[("content-length", "99"), ("transfer-encoding", "chunked")],
    ] {
        let frames = [
            frame(HEADERS, END_HEADERS, 1, &request("POST", "/public/x")),
            frame(0, 0, 1, b"body"),
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(fields)),
        ];
        let _ = is_served(proxy.addresses().http2, &frames).await;
        let arrived = app.take();
        let text = String::from_utf8_lossy(&arrived).to_lowercase();
        assert!(raw::count(&arrived, b" HTTP/1.1\r\n") <= 1, "{fields:?}: {text}");
        assert!(arrived.is_empty() || text.starts_with("post /public/x http/1.1\r\n"), "{fields:?}: {text}");
        for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with("transfer")) {
            assert!(!text.contains(&format!("{name}: {value}")), "{fields:?}: {text}");
        }
        for word in ["delete", "/session/"] {
            assert!(!text.contains(word), "{fields:?}: {text}");
        }
    }
}
