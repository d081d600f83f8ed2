//! Messages whose end two parsers could see in different places: refused, and never a second request behind them.

use std::time::Duration;

use e2e::proxy::Proxy;
use e2e::raw::{self, RawUpstream};
use e2e::stores::Stores;

const SILENCE: Duration = Duration::from_millis(300);
/// Longer than an answer takes that is given at once, and shorter than the deadline of a head.
const GENEROUS: Duration = Duration::from_secs(10);
/// What every attack tries to slip past.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: app.test\r\n\r\n";

/// Header lines of a POST, and the body that follows. Each must be answered 400 and the connection closed.
const AMBIGUOUS: &[(&str, &str)] = &[
    ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: identity, chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding:\r\n chunked\r\n", "0\r\n\r\n"),
    ("Transfer-Encoding:\r\n", ""),
    ("Transfer_Encoding: chunked\r\nContent-Length: 0\r\n", ""),
    ("Transfer.Encoding: chunked\r\nContent-Length: 0\r\n", ""),
    ("Content_Length: 5\r\nContent-Length: 0\r\n", ""),
    ("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
    ("Content-Length: 5\r\nContent-Length: 6\r\n", "hello"),
    ("Content-Length: 5, 5\r\n", "hello"),
    ("Content-Length: +5\r\n", "hello"),
    ("Content-Length: -5\r\n", "hello"),
    ("Content-Length: 0x5\r\n", "hello"),
    ("Content-Length: 5 5\r\n", "hello"),
    ("Content-Length: 5.0\r\n", "hello"),
    ("Content-Length: \r\n", ""),
    ("Content-Length: 18446744073709551617\r\n", "h"),
    ("Content-Length : 5\r\n", "hello"),
    (" Content-Length: 5\r\n", "hello"),
    ("Content-Length: 5\r\n folded\r\n", "hello"),
    ("No-Colon\r\nContent-Length: 0\r\n", ""),
    (": empty name\r\nContent-Length: 0\r\n", ""),
    ("X-Nul: a\0b\r\nContent-Length: 0\r\n", ""),
    ("X-Return: a\rb\r\nContent-Length: 0\r\n", ""),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ambiguous_framing_is_refused_and_nothing_behind_it_is_served() {
    let (app, proxy) = start().await;
    for (lines, body) in AMBIGUOUS {
        let request = format!("POST /public/ HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n{body}{SMUGGLED}");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert!([400, 501].contains(&exchange.status()), "{lines:?}: {}", exchange.text());
        assert_eq!(exchange.answers(), 1, "{lines:?}: {}", exchange.text());
        assert!(exchange.closed, "{lines:?}: the connection was left open");
        let arrived = app.take();
        assert!(arrived.is_empty(), "{lines:?} arrived as {:?}", String::from_utf8_lossy(&arrived));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_chunks_never_become_a_second_request() {
    let (app, proxy) = start().await;
    for (number, body) in [
        "zz\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let lines = "Transfer-Encoding: chunked\r\n";
        let request =
            format!("POST /public/{number} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n{body}{SMUGGLED}");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        let arrived = app.received().concat();
        // The head may already be on its way; what counts is that nothing behind it is taken for a request.
        assert!(
            raw::count(&arrived, format!("POST /public/{number} ").as_bytes()) <= 1,
            "{body:?}: {:?}",
            String::from_utf8_lossy(&arrived)
        );
        assert_eq!(raw::count(&arrived, b"GET /smuggled"), 0, "{body:?}");
        assert!(exchange.answers() <= 1 && exchange.closed, "{body:?}: {}", exchange.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_line_that_is_not_one_is_refused() {
    let (app, proxy) = start().await;
    for line in [
        "GET  /public/ HTTP/1.1",
        "GET /public/  HTTP/1.1",
        "GET\t/public/\tHTTP/1.1",
        " GET /public/ HTTP/1.1",
        "GET /public/ HTTP/1.1 ",
        // The HTTP library mends a blank before policy sees the target, so policy sees `/pub%20lic/`.
        "GET /pub lic/ HTTP/1.1",
        "GET /public/\0 HTTP/1.1",
        "GET /public/\u{e4} HTTP/1.1",
        "GET /public/#x HTTP/1.1",
        "GET /public/ HTTP/0.9",
        "GET /public/ HTTP/1.2",
        "GET /public/ HTTP/2.0",
        "GET /public/ http/1.1",
        "GET /public/",
        "PRI * HTTP/2.0",
        "G@T /public/ HTTP/1.1",
        "garbage",
    ] {
        let request = format!("{line}\r\nHost: app.test\r\n\r\n");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert!(
            [400, 404, 405, 501, 505].contains(&exchange.status()) || exchange.answer.is_empty(),
            "{line:?}: {}",
            exchange.text()
        );
        // A target that was judged has an end that both sides see; anything else has not.
        let judged = ["ambiguous_path", "no_route"].iter().any(|code| exchange.text().contains(code));
        assert!(exchange.closed || judged, "{line:?}: the connection was left open");
        assert!(app.take().is_empty(), "{line:?} was forwarded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_become_no_head_is_refused_without_waiting_for_its_end() {
    let (app, proxy) = start().await;
    let hello = b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03 a TLS client";
    for begun in [&b"GET /public/ HTTP/1.1\nHost: app.test\n\n"[..], b"no head \x00\x01", b"@", hello] {
        let exchange = raw::exchange(proxy.addresses().http1, begun, GENEROUS).await;
        assert!(exchange.closed && exchange.status() == 400, "{begun:?}: {}", exchange.text());
    }
    assert!(app.take().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_0_cannot_bring_a_transfer_coding() {
    let (app, proxy) = start().await;
    let request = format!(
        "POST /public/ HTTP/1.0\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
    );
    let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
    assert_eq!(exchange.status(), 400, "{}", exchange.text());
    assert!(exchange.closed && app.take().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_1_0_cannot_bring_a_body_that_ends_with_its_connection() {
    let (app, proxy) = start().await;
    for (method, fields) in [("POST", ""), ("POST", "Connection: keep-alive\r\n"), ("PUT", ""), ("PATCH", "")]
    {
        let request = format!("{method} /public/ HTTP/1.0\r\nHost: app.test\r\n{fields}\r\n{SMUGGLED}");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert_eq!((exchange.status(), exchange.answers()), (400, 1), "{method}: {}", exchange.text());
        assert!(exchange.closed && app.take().is_empty(), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_field_that_could_be_read_as_one_of_framing_is_refused() {
    let (app, proxy) = start().await;
    for name in
        ["Transfer--Encoding", "_Transfer-Encoding", "Content--Length", "-Content-Length", "Content.Length"]
    {
        let request =
            format!("POST /public/ HTTP/1.1\r\nHost: app.test\r\nContent-Length: 0\r\n{name}: 5\r\n\r\n");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert_eq!(exchange.status(), 400, "{name}: {}", exchange.text());
        assert!(exchange.closed && app.take().is_empty(), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_body_of_a_refused_request_is_never_read_as_a_request() {
    let (app, proxy) = start().await;
    for lines in [
        format!("Content-Length: {}\r\n\r\n{SMUGGLED}", SMUGGLED.len()),
        format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()),
    ] {
        let request = format!("POST /session/ HTTP/1.1\r\nHost: app.test\r\n{lines}");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert_eq!((exchange.status(), exchange.answers()), (401, 1), "{}", exchange.text());
        assert!(app.take().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_behind_an_upgrade_are_not_tunnelled_before_the_switch() {
    let (app, proxy) = start().await;
    for upgrade in [
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://app.test\r\n",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: anything\r\n",
    ] {
        let request = format!("GET /public/ HTTP/1.1\r\nHost: app.test\r\n{upgrade}\r\n{SMUGGLED}");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        let arrived = String::from_utf8(app.take()).unwrap();
        assert!(!arrived.contains("GET /smuggled"), "{upgrade}: {arrived}");
        assert!(
            !arrived.to_lowercase().contains("h2c") && !arrived.to_lowercase().contains("http2-settings"),
            "{arrived}"
        );
        assert!(exchange.status() < 500, "{upgrade}: {}", exchange.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_answer_of_the_application_is_a_502_and_no_second_answer() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"[..],
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"not http\r\n\r\n",
        b"SSH-2.0-server\r\n",
    ] {
        let app = RawUpstream::answering(answer).await;
        let proxy = proxy_of(&app).await;
        let request = "GET /public/ HTTP/1.1\r\nHost: app.test\r\n\r\n";
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert_eq!(exchange.status(), 502, "{:?}: {}", String::from_utf8_lossy(answer), exchange.text());
        assert_eq!(exchange.answers(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_application_says_too_much_becomes_nobodys_answer() {
    let app = RawUpstream::answering(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    )
    .await;
    let proxy = proxy_of(&app).await;
    for _ in 0..5 {
        let request = "GET /public/ HTTP/1.1\r\nHost: app.test\r\n\r\n";
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert!(!exchange.text().contains("poison"), "{}", exchange.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_passed_on_as_they_came_and_all_others_are_told_apart_by_nobody() {
    let long = "a".repeat(20_000);
    for (fields, body) in [
        ("Content-Length: 2".to_owned(), "ok".to_owned()),
        ("Content-Length: 2\r\nSet-Cookie: a=b".to_owned(), "ok".to_owned()),
        ("Transfer-Encoding: chunked".to_owned(), "2\r\nok\r\n0\r\n\r\n".to_owned()),
        (format!("Content-Length: {}", long.len()), long),
    ] {
        let head = format!(
            "HTTP/1.1 299 Why not\r\nX-One: 1\r\nKeep-Alive: timeout=5\r\nConnection: keep-alive\r\n{fields}\r\n\r\n"
        );
        let app = RawUpstream::answering(format!("{head}{body}").as_bytes()).await;
        let proxy = proxy_of(&app).await;
        for _ in 0..3 {
            let request = "GET /public/ HTTP/1.1\r\nHost: app.test\r\n\r\n";
            let text = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await.text();
            let (start, end) = ("HTTP/1.1 299 Why not\r\n", format!("\r\n\r\n{body}"));
            assert!(text.starts_with(start) && text.ends_with(&end), "{text}");
            for line in fields.split("\r\n").chain(["X-One: 1"]) {
                assert_eq!(text.matches(&format!("\r\n{line}\r\n")).count(), 1, "{line}: {text}");
            }
            assert_eq!(text.matches("\r\nConnection: ").count(), 1, "{text}");
            assert_eq!(text.matches("\r\nDate: ").count(), 1, "{text}");
            assert!(!text.contains("timeout=5"), "{text}");
        }
        assert_eq!(app.received().len(), 1, "the connection is used again: {fields}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_beyond_the_limits_are_refused_with_a_client_error() {
    let (app, proxy) = start().await;
    for (target, lines) in [
        (format!("/public/{}", "a".repeat(20_000)), String::new()),
        ("/public/".to_owned(), format!("X-Large: {}\r\n", "a".repeat(200_000))),
        ("/public/".to_owned(), "X-Many: a\r\n".repeat(250)),
        ("/public/".to_owned(), format!("Cookie: {}\r\n", "a=b; ".repeat(40_000))),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{lines}\r\n");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        assert!([400, 414, 431].contains(&exchange.status()), "{}: {}", lines.len(), exchange.text());
        assert!(app.take().is_empty());
    }
}

async fn start() -> (RawUpstream, Proxy) {
    let app = RawUpstream::start().await;
    let proxy = proxy_of(&app).await;
    (app, proxy)
}

async fn proxy_of(app: &RawUpstream) -> Proxy {
    let builder = Proxy::builder().upstream("app", app.address(), "");
    let builder =
        builder.route("/public/", "app", "\"nothing\"", "").route("/session/", "app", "\"session\"", "");
    builder.route("/smuggled", "app", "\"nothing\"", "").start(&Stores::embedded()).await
}
