//! A page in the operator's browser whose name was pointed at this machine reads nothing (THREATS O2).

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
