//! Answers of an application that break HTTP become 502, and nobody else's answer (THREATS F10, F15, F16).

use std::time::Duration;

use e2e::raw::{self, RawUpstream};

use super::{ask, in_front_of};

const WEBSOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://app.test\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn framing_that_two_readers_could_see_differently_is_a_502() {
    for fields in [
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: +3",
        "Content-Length: 3, 3",
        "Content-Length: 3\r\nX: a\0b",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let app = RawUpstream::answering(answer.as_bytes()).await;
        let proxy = in_front_of(&app).await;
        let exchange = ask(&proxy, "GET /public/", "", "").await;
        assert_eq!((exchange.status(), exchange.answers()), (502, 1), "{fields}: {}", exchange.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_beside_chunks_is_a_502() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    for (before, length) in [("", 1), ("", 3), ("", 300), (early, 3)] {
        for fields in [
            format!("Content-Length: {length}\r\nTransfer-Encoding: chunked"),
            format!("transfer-encoding : chunked\r\nX: y\r\ncontent-length:{length}"),
        ] {
            let answer = format!("{before}HTTP/1.1 200 OK\r\n{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
            let app = RawUpstream::answering(answer.as_bytes()).await;
            let proxy = in_front_of(&app).await;
            let exchange = ask(&proxy, "GET /public/", "", "").await;
            assert_eq!((exchange.status(), exchange.answers()), (502, 1), "{fields}: {}", exchange.text());
        }
    }
}

// Where a request has a body, Pingora takes the length away before anybody can object (RFC 9112, section 6.3): what is
// passed on has one framing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_beside_chunks_in_answer_to_a_body_is_read_by_nobody() {
    for length in [1, 3, 300] {
        let fields = format!("Content-Length: {length}\r\nTransfer-Encoding: chunked");
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
        let app = RawUpstream::answering(answer.as_bytes()).await;
        let proxy = in_front_of(&app).await;
        let exchange = ask(&proxy, "POST /public/", "Content-Length: 2\r\n", "ab").await;
        let text = exchange.text().to_lowercase();
        assert_eq!((exchange.status(), exchange.answers()), (200, 1), "{length}: {text}");
        assert!(
            text.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n") && !text.contains("content-length"),
            "{length}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_answer_that_is_cut_short_the_client_sees_the_beginning() {
    let app = RawUpstream::answering_once(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi").await;
    let proxy = in_front_of(&app).await;
    for round in 0..20 {
        let (line, fields, body) = if round % 2 == 0 {
            ("GET /public/", "", "")
        } else {
            ("POST /public/", "Content-Length: 2\r\n", "ab")
        };
        let exchange = ask(&proxy, line, fields, body).await;
        assert!(exchange.closed, "{line}");
        assert!(
            exchange.status() == 502 || (exchange.status() == 200 && exchange.text().ends_with("\r\n\r\nhi")),
            "{line}: {:?}",
            exchange.text()
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_application_is_answered_for_in_the_version_that_we_speak() {
    for fields in ["Content-Length: 2\r\n", ""] {
        let app = RawUpstream::answering(format!("HTTP/1.0 200 OK\r\n{fields}\r\nok").as_bytes()).await;
        let proxy = in_front_of(&app).await;
        let exchange = ask(&proxy, "GET /public/", "", "").await;
        assert!(exchange.text().starts_with("HTTP/1.1 200 "), "{fields}: {}", exchange.text());
    }
}

/// They know no chunks (RFC 9112, section 6.1).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_client_gets_a_body_of_unknown_length_until_the_connection_ends() {
    for answer in [
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nok",
    ] {
        let app = RawUpstream::answering_once(answer.as_bytes()).await;
        let proxy = in_front_of(&app).await;
        for (method, fields, body) in [("GET", "", ""), ("POST", "Content-Length: 2\r\n", "ab")] {
            for connection in ["", "Connection: keep-alive\r\n"] {
                let request =
                    format!("{method} /public/ HTTP/1.0\r\nHost: app.test\r\n{connection}{fields}\r\n{body}");
                let exchange =
                    raw::exchange(proxy.addresses().http1, request.as_bytes(), Duration::from_secs(5)).await;
                let text = exchange.text();
                assert_eq!((exchange.status(), exchange.closed), (200, true), "{request}: {text}");
                assert!(text.ends_with("\r\n\r\nok"), "{request}: {text}");
                assert!(!text.to_lowercase().contains("transfer-encoding"), "{text}");
            }
        }
    }
}

/// The last request on a connection is the last one, in whichever line that is said (RFC 9112, section 9.6).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_closes_is_not_used_again() {
    for (fields, connections) in [
        ("Connection: keep-alive\r\nConnection: close", 3),
        ("Connection: x\r\nConnection: y, Close", 3),
        ("Connection: x", 1),
    ] {
        // A cookie, so that it is not passed on as it came.
        let answer = format!("HTTP/1.1 200 OK\r\n{fields}\r\nSet-Cookie: a=b\r\nContent-Length: 2\r\n\r\nok");
        let app = RawUpstream::answering(answer.as_bytes()).await;
        let proxy = in_front_of(&app).await;
        for _ in 0..3 {
            assert_eq!(ask(&proxy, "GET /public/", "", "").await.status(), 200);
        }
        assert_eq!(app.received().len(), connections, "{fields}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_informational_answer_says_of_its_connection_ends_here() {
    let answer = "HTTP/1.1 103 Early Hints\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nLink: </a>\r\n\r\n\
                  HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let app = RawUpstream::answering(answer.as_bytes()).await;
    let proxy = in_front_of(&app).await;
    let exchange = ask(&proxy, "GET /public/", "", "").await;
    let text = exchange.text().to_lowercase();
    assert!(text.contains("link: </a>") && !text.contains("x-hop") && !text.contains("close"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_has_no_body_does_not_speak_of_one() {
    for fields in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let app =
            RawUpstream::answering(format!("HTTP/1.1 204 No Content\r\n{fields}\r\n\r\n").as_bytes()).await;
        let proxy = in_front_of(&app).await;
        let exchange = ask(&proxy, "GET /public/", "", "").await;
        let text = exchange.text().to_lowercase();
        assert_eq!((exchange.status(), exchange.closed), (204, false), "{fields}: {text}");
        assert!(!text.contains("content-length") && !text.contains("transfer-encoding"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn informational_answers_are_bounded_and_have_no_body() {
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for (count, status) in [(10, "200"), (1000, "502")] {
        let app = RawUpstream::answering((early.repeat(count) + last).as_bytes()).await;
        let proxy = in_front_of(&app).await;
        let exchange = ask(&proxy, "GET /public/", "", "").await;
        let text = exchange.text();
        assert!(text.contains(&format!("HTTP/1.1 {status} ")), "{count}: {text}");
        assert!(exchange.answers() <= 17, "{} answers", exchange.answers());
        assert!(!text.contains("ength: 5"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_to_another_protocol_than_was_asked_for_is_a_502() {
    for switch in ["Upgrade: h2c", "Upgrade: websocket, h2c", "X: y"] {
        let answer =
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n{switch}\r\n\r\nhello");
        let app = RawUpstream::answering(answer.as_bytes()).await;
        let proxy = in_front_of(&app).await;
        let exchange = ask(&proxy, "GET /public/", WEBSOCKET, "").await;
        assert_eq!((exchange.status(), exchange.answers()), (502, 1), "{switch}: {}", exchange.text());
        assert!(!exchange.text().contains("hello"));
    }
}
