//! Requests behind each other on one connection, and clients that have said all they want (THREATS S3, F7, F11).

use std::time::Duration;

use e2e::eventually::until;
use e2e::fixture::{ANA, BEN};
use e2e::proxy::COOKIE;
use e2e::raw;
use e2e::stores::Stores;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{SILENCE, ask, start};
use crate::setup::Site;

/// The statuses of all answers.
fn statuses(text: &str) -> Vec<&str> {
    text.split("HTTP/1.1 ").skip(1).filter_map(|answer| answer.get(..3)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_behind_each_other_are_answered_in_their_order_each_with_its_own_identity() {
    let site = Site::start(Stores::embedded()).await;
    let (ana, ben) = (site.logged_in(ANA).await, site.logged_in(BEN).await);
    let [ana, ben] =
        [ana, ben].map(|browser| format!("Cookie: {COOKIE}={}\r\n", browser.cookie(COOKIE).unwrap()));
    let _ = site.app.take();
    let get = |target: &str, cookie: &str| format!("GET {target} HTTP/1.1\r\nHost: app.test\r\n{cookie}\r\n");
    // A body that looks like a request is none.
    let body = get("/session/smuggled", &ana);
    let post = |framing: &str, body: &str| {
        format!("POST /session/ben HTTP/1.1\r\nHost: app.test\r\n{ben}{framing}\r\n\r\n{body}")
    };
    let bytes = [
        get("/session/ana", &ana),
        post(&format!("Content-Length: {}", body.len()), &body),
        get("/session/nobody", ""),
        post("Transfer-Encoding: chunked", &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())),
        get("/session/ana", &ana),
    ]
    .concat();
    let exchange = raw::exchange(site.proxy.addresses().http1, bytes.as_bytes(), SILENCE).await;
    assert_eq!(statuses(&exchange.text()), ["200", "200", "401", "200", "200"], "{}", exchange.text());
    let arrived = site.app.take();
    let seen: Vec<_> =
        arrived.iter().map(|request| (request.target.as_str(), request.context("user-id"))).collect();
    let (ana, ben) = (("/session/ana", Some(ANA)), ("/session/ben", Some(BEN)));
    assert_eq!(seen, [ana, ben, ben, ana]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_while_another_one_is_served_waits_for_its_turn() {
    let (app, proxy) = start().await;
    let mut stream = TcpStream::connect(proxy.addresses().http1).await.unwrap();
    let request = |name: &str| format!("GET /public/{name} HTTP/1.1\r\nHost: app.test\r\n\r\n");
    stream.write_all(request("one").as_bytes()).await.unwrap();
    until("the first is under way", async || !app.received().concat().is_empty()).await;
    for piece in request("two").as_bytes().chunks(9) {
        stream.write_all(piece).await.unwrap();
    }
    let mut answers = Vec::new();
    while raw::count(&answers, b"ok") < 2 {
        let mut piece = [0; 1024];
        let length = stream.read(&mut piece).await.unwrap();
        assert_ne!(length, 0, "closed after {:?}", String::from_utf8_lossy(&answers));
        answers.extend_from_slice(&piece[..length]);
    }
    assert_eq!(statuses(&String::from_utf8_lossy(&answers)), ["200", "200"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_has_said_all_they_want_and_closed_their_side_is_answered() {
    let (app, proxy) = start().await;
    for (requests, expected) in [
        (vec!["GET /public/"], vec!["200"]),
        (vec!["GET /session/"], vec!["401"]),
        (vec!["GET /.countersign/session"], vec!["200"]),
        (vec!["GET /public/", "GET /nowhere", "GET /public/"], vec!["200", "404", "200"]),
    ] {
        let mut stream = TcpStream::connect(proxy.addresses().http1).await.unwrap();
        for line in &requests {
            stream.write_all(format!("{line} HTTP/1.1\r\nHost: app.test\r\n\r\n").as_bytes()).await.unwrap();
        }
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(statuses(&answer), expected, "{requests:?}: {answer}");
    }
    // What is cut off in the middle is not waited for.
    let mut stream = TcpStream::connect(proxy.addresses().http1).await.unwrap();
    let _ = app.take();
    let cut = "POST /public/ HTTP/1.1\r\nHost: app.test\r\nContent-Length: 10\r\n\r\nhalf";
    stream.write_all(cut.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{:?}", String::from_utf8_lossy(&answer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_the_whole_server_is_forwarded_to_nobody() {
    let (app, proxy) = start().await;
    let exchange = ask(&proxy, "OPTIONS *", "", "").await;
    assert_eq!((exchange.status(), exchange.answers()), (404, 1), "{}", exchange.text());
    assert!(exchange.text().contains("countersign-answer: no_route\r\n"));
    assert!(app.take().is_empty());
}
