//! A page in the operator's browser whose name was pointed at this machine reads nothing (THREATS O2).

use std::time::Duration;

use e2e::eventually::until;
use e2e::raw;

use super::{SILENCE, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_of_this_machine_answers_to_no_other_name() {
    let (_app, proxy) = start().await;
    for (host, status) in [("127.0.0.1", 200), ("localhost:9901", 200), ("rebound.example", 421), ("", 421)] {
        for path in ["/metrics", "/live", "/jwks.json"] {
            let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
            let exchange = raw::exchange(proxy.addresses().admin, request.as_bytes(), SILENCE).await;
            assert_eq!(exchange.status(), status, "{host:?} {path}: {}", exchange.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_of_another_site_reads_anything_of_the_admin_listener() {
    let (_app, proxy) = start().await;
    let at = proxy.addresses().admin;
    for (origin, status) in
        [("http://evil.example", 403), ("null", 403), ("https://localhost", 403), ("http://localhost", 200)]
    {
        for path in ["/metrics", "/live", "/ready", "/jwks.json"] {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\nConnection: close\r\n\r\n"
            );
            let exchange = raw::exchange(at, request.as_bytes(), SILENCE).await;
            assert_eq!(exchange.status(), status, "{origin} {path}: {}", exchange.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_never_ends_is_not_waited_for_on_the_admin_listener() {
    let (_app, proxy) = start().await;
    let head = b"GET /live HTTP/1.1\r\nHost: localhost\r\nX: ";
    let exchange = raw::exchange(proxy.addresses().admin, head, Duration::from_secs(25)).await;
    assert!(exchange.closed && exchange.text().is_empty(), "{}", exchange.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_admin_listener_cannot_read_is_answered_and_the_connection_closed() {
    let (_app, proxy) = start().await;
    for head in [
        "GET /live HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n",
        "GET /live HTTP/1.1\r\nHost: a@localhost\r\n",
        "GET http://evil.example/live HTTP/1.1\r\nHost: localhost\r\n",
        "GET /live HTTP/1.1\r\nHost : localhost\r\n",
        "GET /live HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: br\r\n",
        "GET /live HTTP/2.0\r\nHost: localhost\r\n",
        "garbage\r\n",
    ] {
        let exchange =
            raw::exchange(proxy.addresses().admin, format!("{head}\r\n").as_bytes(), SILENCE).await;
        assert_eq!((exchange.status(), exchange.closed), (400, true), "{head}: {}", exchange.text());
        assert!(exchange.text().contains("malformed_request"), "{head}: {}", exchange.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_are_bounded_on_the_admin_listener_too_and_what_is_asked_of_all_of_it_is_refused() {
    let (_app, proxy) = start().await;
    let admin = proxy.addresses().admin;
    let padding = |bytes: usize| format!("x: {}\r\n", "a".repeat(bytes));
    let fields = |count: usize| "x: a\r\n".repeat(count);
    for (what, line, lines, status, code) in [
        ("all that may be", format!("GET /live?{}", "a".repeat(8000)), fields(99), 200, ""),
        ("a long field", "GET /live".to_owned(), padding(31 * 1024), 200, ""),
        ("a long target", format!("GET /live?{}", "a".repeat(8200)), String::new(), 414, "target_too_long"),
        (
            "a line without end",
            format!("GET /{}", "a".repeat(200_000)),
            String::new(),
            414,
            "target_too_long",
        ),
        ("many fields", "GET /live".to_owned(), fields(200), 431, "head_too_large"),
        ("200 KB of fields", "GET /live".to_owned(), padding(1000).repeat(200), 431, "head_too_large"),
        ("a field of 200 KB", "GET /live".to_owned(), padding(200_000), 431, "head_too_large"),
        ("all of it", "OPTIONS *".to_owned(), String::new(), 405, "method_not_allowed"),
        ("no path", "GET live".to_owned(), String::new(), 400, "malformed_request"),
        ("a star", "GET *".to_owned(), String::new(), 400, "malformed_request"),
        ("a blank", "GET  /live".to_owned(), String::new(), 400, "malformed_request"),
        ("a tunnel", "CONNECT /live".to_owned(), String::new(), 405, "method_not_allowed"),
    ] {
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n");
        let exchange = raw::exchange(admin, request.as_bytes(), SILENCE).await;
        let text = exchange.text();
        assert_eq!((exchange.status(), exchange.closed), (status, status != 200), "{what}: {text}");
        assert!(text.contains(code), "{what}: {text}");
        assert!(status != 405 || text.to_ascii_lowercase().contains("allow: get, head"), "{what}: {text}");
    }
    // What follows a request on the same connection is another request, and is answered.
    let twice = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    let exchange = raw::exchange(admin, twice.as_bytes(), SILENCE).await;
    assert_eq!((exchange.answers(), exchange.closed), (2, false), "{}", exchange.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_to_the_admin_api_are_json_or_say_nothing_of_their_type() {
    let (_app, proxy) = start().await;
    let token = proxy.secret("admin-token");
    for (kind, status) in [
        ("", 200),
        ("Content-Type: application/json\r\n", 200),
        ("Content-Type: text/plain\r\n", 415),
        ("Content-Type: application/x-www-form-urlencoded\r\n", 415),
        ("Content-Type: application/json\r\nContent-Type: text/plain\r\n", 415),
    ] {
        for path in ["/v1/users/1/invalidate", "/v1/reload"] {
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{kind}Content-Length: 0\r\n\r\n"
            );
            let exchange = raw::exchange(proxy.addresses().admin, request.as_bytes(), SILENCE).await;
            assert_eq!(exchange.status(), status, "{kind:?} {path}: {}", exchange.text());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_request_to_the_admin_listener_does_not_put_its_token_into_the_log() {
    let (app, proxy) = start().await;
    let token = proxy.secret("admin-token");
    for listener in [proxy.addresses().admin, proxy.addresses().http1] {
        let request =
            format!("GET /li ve\r\nAuthorization: Bearer {token}\r\nCookie: a={token}\r\nno colon\r\n\r\n");
        raw::exchange(listener, request.as_bytes(), SILENCE).await;
    }
    let counted = async || proxy.metric("countersign_framework_refusals_total", &["malformed_head"]).await;
    until("both are counted", async || counted().await >= 2.0).await;
    tokio::time::sleep(SILENCE).await;
    assert!(!proxy.output().contains(&token), "{}", proxy.output());
    assert!(app.take().is_empty());
}
