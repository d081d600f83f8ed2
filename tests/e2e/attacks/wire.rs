//! Chunks, heads and request lines that the HTTP layer would mend or take leniently (THREATS F5, F6, F13, P6).

use std::time::Duration;

use e2e::raw;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{SILENCE, ask, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_chunk_that_comes_with_the_head_reaches_nobody() {
    let (app, proxy) = start().await;
    for body in [
        "\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "5\t;x\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\n folded: x\r\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "ffffffffffffffff0\r\nhello",
    ] {
        let exchange = ask(&proxy, "POST /public/", "Transfer-Encoding: chunked\r\n", body).await;
        assert_eq!((exchange.status(), exchange.answers()), (400, 1), "{body:?}: {}", exchange.text());
        assert!(exchange.closed, "{body:?}: the connection was left open");
        assert!(app.take().is_empty(), "{body:?} was forwarded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_chunk_that_comes_later_ends_the_request_without_completing_it() {
    let (app, proxy) = start().await;
    let mut stream = TcpStream::connect(proxy.addresses().http1).await.unwrap();
    let head = "POST /public/ HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    tokio::time::sleep(SILENCE / 10).await;
    stream
        .write_all(b"5;a\nb\r\nworld\r\n0\r\n\r\nGET /public/second HTTP/1.1\r\nHost: app.test\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    let arrived = app.take();
    assert_eq!(raw::count(&arrived, b"\r\n0\r\n"), 0, "{:?}", String::from_utf8_lossy(&arrived));
    assert_eq!(raw::count(&arrived, b"second"), 0);
    // The recording application answers heads after a pause; either its answer or the refusal was first.
    assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chunk_extensions_and_trailers_have_limits() {
    let (app, proxy) = start().await;
    for body in [
        format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(5000)),
        format!("{}0\r\n\r\n", "1;an-extension-of-thirty-bytes\r\na\r\n".repeat(3000)),
        format!("5\r\nhello\r\n0\r\n{}\r\n", "Name: value\r\n".repeat(5000)),
        // Little in each chunk, and much of them.
        format!("{}0\r\n\r\n", "1;aaaaaaaa\r\na\r\n".repeat(5000)),
        format!("{}0\r\n\r\n", "1\r\na\r\n".repeat(20_000)),
    ] {
        let exchange = ask(&proxy, "POST /public/", "Transfer-Encoding: chunked\r\n", &body).await;
        assert!([400, 413].contains(&exchange.status()), "{}: {}", &body[..40], exchange.text());
        assert!(exchange.closed);
        let arrived = app.take();
        assert_eq!(raw::count(&arrived, b"\r\n0\r\n\r\n"), 0, "the request was completed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blanks_and_controls_in_the_request_line_are_refused_wherever_they_are() {
    let (app, proxy) = start().await;
    for line in [
        "GET /public/?a b",
        "GET /public/?a\tb",
        "GET /public/?\0",
        "GET /public/?\x1b[31m",
        "GET /public/a b",
    ] {
        let exchange = ask(&proxy, line, "", "").await;
        assert_eq!((exchange.status(), exchange.closed), (400, true), "{line:?}: {}", exchange.text());
        assert!(app.take().is_empty(), "{line:?} was forwarded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_became_a_request_is_refused_in_our_words_and_the_connection_closed() {
    let (app, proxy) = start().await;
    let host = "Host: app.test\r\n";
    for (head, status, code) in [
        (format!("GET /public/ HTTP/1.2\r\n{host}"), 505, "unsupported_version"),
        (format!("GET /public/ HTTP/2.0\r\n{host}"), 505, "unsupported_version"),
        (format!("GET /public/ HTTP/0.9\r\n{host}"), 505, "unsupported_version"),
        (format!("GET /public/ http/1.1\r\n{host}"), 400, "malformed_request"),
        (format!("GET /public/ HTTP/1.1\r\n{host}{host}"), 400, "malformed_request"),
        (format!("GET /public/ HTTP/1.1\r\n{host}X : y\r\n"), 400, "malformed_request"),
        (format!("GET /public/ HTTP/1.1\r\n{host}X: a\r\n folded\r\n"), 400, "malformed_request"),
        (format!("GET /public/ HTTP/1.1\r\n{host}X: a\0b\r\n"), 400, "malformed_request"),
        (format!("POST /public/ HTTP/1.1\r\n{host}Transfer-Encoding: br\r\n"), 400, "ambiguous_framing"),
        ("garbage\r\n".to_owned(), 400, "malformed_request"),
    ] {
        let smuggled = format!("GET /public/smuggled HTTP/1.1\r\n{host}\r\n");
        let bytes = format!("{head}\r\n{smuggled}");
        let exchange = raw::exchange(proxy.addresses().http1, bytes.as_bytes(), SILENCE).await;
        let text = exchange.text();
        assert_eq!(
            (exchange.status(), exchange.answers(), exchange.closed),
            (status, 1, true),
            "{head}: {text}"
        );
        assert!(text.contains(&format!("countersign-answer: {code}\r\n")), "{head}: {text}");
        for part in ["cache-control: no-store", "Date: ", "close\r\n"] {
            assert!(text.contains(part), "{head}: {part} is not in {text}");
        }
        assert!(!text.contains("Pingora") && !text.contains("request_id"), "{text}");
        assert!(app.take().is_empty(), "{head} was forwarded");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_asks_for_a_tunnel_has_none_and_no_connection_either() {
    let (app, proxy) = start().await;
    let bytes = b"CONNECT app.test:443 HTTP/1.1\r\nHost: app.test:443\r\n\r\nGET /public/ HTTP/1.1\r\nHost: app.test\r\n\r\n";
    let exchange = raw::exchange(proxy.addresses().http1, bytes, SILENCE).await;
    assert_eq!(
        (exchange.status(), exchange.answers(), exchange.closed),
        (405, 1, true),
        "{}",
        exchange.text()
    );
    assert!(app.take().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_of_any_size_are_refused_by_the_limit_they_pass() {
    let (app, proxy) = start().await;
    for (line, lines, status) in [
        (format!("GET /public/?{}", "a".repeat(9_000)), String::new(), 414),
        (format!("GET /public/?{}", "a".repeat(70_000)), String::new(), 414),
        (format!("GET /public/?{}", "a".repeat(2_000_000)), String::new(), 414),
        ("GET /public/".to_owned(), format!("X: {}\r\n", "a".repeat(40_000)), 431),
        ("GET /public/".to_owned(), format!("X: {}\r\n", "a".repeat(2_000_000)), 431),
        ("GET /public/".to_owned(), "X: a\r\n".repeat(120), 431),
        ("GET /public/".to_owned(), "X: a\r\n".repeat(300), 431),
        ("GET /public/".to_owned(), "X: a\r\n".repeat(30_000), 431),
    ] {
        let exchange = ask(&proxy, &line, &lines, "").await;
        assert_eq!(exchange.status(), status, "{} and {}: {}", line.len(), lines.len(), exchange.text());
        assert!(exchange.closed && app.take().is_empty());
    }
    let whole = ask(&proxy, "GET /public/", &"X: a\r\n".repeat(90), "").await;
    assert_eq!(whole.status(), 200, "{}", whole.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_comes_byte_by_byte_is_read_like_any_other() {
    let (app, proxy) = start().await;
    let mut stream = TcpStream::connect(proxy.addresses().http1).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = "\r\nPOST /public/x HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\n\r\n";
    for byte in request.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut answer = [0; 15];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    let arrived = app.take();
    assert!(raw::count(&arrived, b"POST /public/x HTTP/1.1\r\n") == 1 && raw::count(&arrived, b"2;x") == 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_waits_for_it_is_told_to_continue() {
    let (app, proxy) = start().await;
    let expecting = "Expect: 100-continue\r\n";
    let with_body = ask(&proxy, "POST /public/", &format!("{expecting}Content-Length: 2\r\n"), "hi").await;
    assert_eq!((with_body.status(), with_body.answers()), (100, 2), "{}", with_body.text());
    let without = ask(&proxy, "GET /public/", expecting, "").await;
    assert_eq!((without.status(), without.answers()), (200, 1), "{}", without.text());
    let old = format!("POST /public/ HTTP/1.0\r\nHost: app.test\r\n{expecting}Content-Length: 2\r\n\r\nhi");
    let old = raw::exchange(proxy.addresses().http1, old.as_bytes(), SILENCE).await;
    assert_eq!((old.status(), old.answers()), (200, 1), "{}", old.text());
    assert_eq!(raw::count(&app.take().to_ascii_lowercase(), b"expect"), 0);
}
