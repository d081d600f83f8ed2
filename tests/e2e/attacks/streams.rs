//! Heads of HTTP/2 that are none, bodies that are not as long as they say, and floods of frames (THREATS T1 to T6, T8 to
//! T10): nothing of them arrives, and others are served meanwhile.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY, RST_STREAM, SETTINGS,
    block, frame, is_served, next, request, sent,
};
use super::start;

/// A head that is served.
const GOOD: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "app.test"), (":path", "/public/")];

/// What takes the place of the part with the same name.
const INSTEAD: &[(&str, &str)] = &[
    (":method", ""),
    (":method", "GET /session/ HTTP/1.1\r\nx:"),
    (":method", "get"),
    (":method", "CONNECT"),
    (":method", "TRACE"),
    (":scheme", "ftp"),
    (":scheme", "http\r\nx: y"),
    (":authority", ""),
    (":authority", "app.test\r\nx: y"),
    (":authority", "user@app.test"),
    (":authority", "app.test/session/"),
    (":authority", "app.test, other.test"),
    (":path", ""),
    (":path", "public/"),
    (":path", "/public/\r\nx: y"),
    (":path", "/public/ HTTP/1.1\r\nhost: app.test\r\n\r\nGET /session/"),
    (":path", "/public/\0"),
    (":path", "/public/ x"),
    (":path", "http://other.test/public/"),
    (":path", "*"),
];

/// What comes behind all parts.
const BESIDES: &[(&str, &str)] = &[
    (":path", "/session/"),
    (":method", "POST"),
    (":authority", "app.test"),
    (":status", "200"),
    (":unknown", "x"),
    (":protocol", "websocket"),
    ("", "a"),
    ("X-Upper", "a"),
    ("x y", "a"),
    (" x", "a"),
    ("x ", "a"),
    ("x\0", "a"),
    ("x\r\ny", "a"),
    ("x", "a\r\ny: b"),
    ("x", "a\nb"),
    ("x", "a\0b"),
    ("host", "other.test"),
    ("connection", "x-context-authn"),
    ("keep-alive", "5"),
    ("proxy-connection", "close"),
    ("transfer-encoding", "chunked"),
    ("transfer_encoding", "chunked"),
    ("upgrade", "h2c"),
    ("te", "gzip"),
    ("content-length", "5"),
    ("content-length", "+0"),
    ("content_length", "0"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_with_anything_wrong_in_it_reaches_nobody() {
    let (app, proxy) = start().await;
    let mut heads: Vec<Vec<(&str, &str)>> = Vec::new();
    for odd in INSTEAD {
        heads.push(GOOD.iter().map(|part| if part.0 == odd.0 { *odd } else { *part }).collect());
    }
    for odd in BESIDES {
        heads.push([&GOOD[..], &[*odd]].concat());
    }
    for missing in 0..GOOD.len() {
        let mut head = GOOD.to_vec();
        head.remove(missing);
        heads.push(head);
    }
    heads.push([&GOOD[..3], &[("x", "y"), GOOD[3]]].concat());
    heads.push([&GOOD[..], &[("x", "y"); 101]].concat());
    heads.push([&GOOD[..], &vec![("x", "y"); 2000]].concat());
    for head in heads {
        let frames = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&head))];
        let shown = &head[..head.len().min(6)];
        assert!(!is_served(proxy.addresses().http2, &frames).await, "{shown:?}");
        assert!(app.take().is_empty(), "{shown:?} was forwarded");
    }
    let good = [frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&GOOD))];
    assert!(is_served(proxy.addresses().http2, &good).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_another_length_than_was_said_is_refused() {
    let (_app, proxy) = start().await;
    let post = [&[(":method", "POST")], &GOOD[1..], &[("content-length", "5")]].concat();
    for (pieces, served) in
        [(&["hello"][..], true), (&["hel", "lo"], true), (&["hell"], false), (&["hello!"], false)]
    {
        let mut frames = vec![frame(HEADERS, END_HEADERS, 1, &block(&post))];
        for (place, piece) in pieces.iter().enumerate() {
            let flags = if place + 1 == pieces.len() { END_STREAM } else { 0 };
            frames.push(frame(DATA, flags, 1, piece.as_bytes()));
        }
        assert_eq!(is_served(proxy.addresses().http2, &frames).await, served, "{pieces:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_where_none_was_said_to_come_reaches_nobody() {
    let (app, proxy) = start().await;
    let post = [&[(":method", "POST")], &GOOD[1..], &[("content-length", "0")]].concat();
    for (piece, served) in [(&b""[..], true), (b"hello!", false)] {
        let frames = [frame(HEADERS, END_HEADERS, 1, &block(&post)), frame(DATA, END_STREAM, 1, piece)];
        assert_eq!(is_served(proxy.addresses().http2, &frames).await, served, "{piece:?}");
        assert_eq!(!app.take().is_empty(), served, "{piece:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_never_ends_is_not_waited_for() {
    let (app, proxy) = start().await;
    let get = request("GET", "/public/");
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, 1, &get);
    let begun = [frame(HEADERS, END_STREAM, 1, &get), whole[..4].to_vec(), whole[..20].to_vec()];
    let ends = begun.map(|bytes| async {
        let mut stream = sent(proxy.addresses().http2, &[bytes]).await;
        let ends = async { while next(&mut stream).await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(25), ends).await.is_ok()
    });
    let [first, second, third] = ends;
    assert_eq!(tokio::join!(first, second, third), (true, true, true));
    assert!(app.take().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_floods_is_sent_away_and_others_are_served() {
    let (_app, proxy) = start().await;
    let at = proxy.addresses().http2;
    let get = request("GET", "/public/");
    let cancel = 8_u32.to_be_bytes();
    let ends = END_STREAM | END_HEADERS;
    let reset = |id| [frame(HEADERS, ends, id, &get), frame(RST_STREAM, 0, id, &cancel)].concat();
    assert!(is_sent_away(at, vec![], reset).await, "streams that are reset at once");
    // Made to be reset by the server: a stream that depends on itself (RFC 9113, section 5.3.1).
    let itself = |id: u32| {
        let depends = [&id.to_be_bytes()[..], &[1]].concat();
        [frame(HEADERS, ends, id, &get), frame(2, 0, id, &depends)].concat()
    };
    assert!(is_sent_away(at, vec![], itself).await, "streams that the server has to reset");
    let malformed = request("GET", "/public/ x");
    let malformed = |id| frame(HEADERS, ends, id, &malformed);
    assert!(is_sent_away(at, vec![], malformed).await, "heads that are none");
    let begun = frame(HEADERS, 0, 1, &get);
    let more = block(&[("x", "y"); 100]);
    assert!(is_sent_away(at, begun, |_| frame(CONTINUATION, 0, 1, &more)).await, "a head without end");
    let post = frame(HEADERS, END_HEADERS, 1, &request("POST", "/public/"));
    assert!(is_sent_away(at, post, |_| frame(DATA, 0, 1, b"")).await, "a body of empty frames");
    for (kind, payload) in [(PING, vec![0; 8]), (SETTINGS, vec![]), (PRIORITY, vec![0, 0, 0, 0, 1])] {
        let stream = u32::from(kind == PRIORITY);
        let again = |_| frame(kind, 0, stream, &payload);
        assert!(is_sent_away(at, vec![], again).await, "frames of kind {kind} that ask for nothing");
    }
    proxy.client().get("/public/").send().await.expect(200);
}

/// Whether a connection ends on which this is repeated, told which stream may be opened next.
async fn is_sent_away(address: SocketAddr, first: Vec<u8>, again: impl Fn(u32) -> Vec<u8>) -> bool {
    let mut stream = sent(address, &[first]).await;
    for id in (0..20_000).map(|count| 2 * count + 1) {
        if stream.write_all(&again(id)).await.is_err() {
            return true;
        }
    }
    let goes = async {
        while let Some((kind, _)) = next(&mut stream).await {
            if kind == GOAWAY {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), goes).await.is_ok()
}
