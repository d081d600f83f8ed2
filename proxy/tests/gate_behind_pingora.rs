//! The gate behind the real parser: Pingora reads raw bytes from a socket, and what it lets through is judged by
//! `policy::accept` on the bytes as it kept them. Nothing of the catalogue may pass both (THREATS section 3).

use countersign::policy::Limits;
use countersign::policy::accept::{Accepted, Head, accept};
use countersign::reason::Reason;
use pingora::protocols::http::v1::server::HttpSession;
use pingora::protocols::l4::stream::Stream;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

/// What both make of a head; `None` when Pingora refuses it already.
async fn judged(raw: &[u8]) -> Option<Result<Accepted, Reason>> {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
    let (server, _) = listener.accept().await.expect("connected above");
    client.write_all(raw).await.expect("fits the socket's buffer");
    client.shutdown().await.expect("open until here");
    let mut session = HttpSession::new(Box::new(Stream::from(server)));
    session.read_request().await.ok().flatten()?;
    let (request, raw_head) = (session.req_header(), session.get_headers_raw_bytes());
    let head = Head { parts: request, raw_target: request.raw_path(), raw_head: Some(&raw_head) };
    Some(accept(head, &Limits::default()))
}

#[tokio::test]
async fn what_is_well_formed_passes_both_unchanged() {
    for (raw, target, authority) in [
        ("GET /a%20b?c=%2f HTTP/1.1\r\nHost: App.test:81\r\n\r\n", "/a%20b?c=%2f", "app.test:81"),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "/", "a"),
        ("GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n", "/x?y", "a"),
        ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "/", "a"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi", "/", "a"),
        ("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "*", "a"),
        ("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "/", "a"),
    ] {
        let accepted = judged(raw.as_bytes()).await.expect("Pingora takes it").expect("the gate takes it");
        assert_eq!((accepted.target.as_str(), accepted.authority.as_str()), (target, authority), "{raw:?}");
    }
}

#[tokio::test]
async fn nothing_ambiguous_passes_both() {
    let lines = [
        "GET  /x HTTP/1.1",
        "GET /x  HTTP/1.1",
        "GET   /x   HTTP/1.1",
        "GET\t/x HTTP/1.1",
        "GET /x\tHTTP/1.1",
        "GET /a\0b HTTP/1.1",
        "GET /a\tb HTTP/1.1",
        "GET x HTTP/1.1",
        "GET ?q=1 HTTP/1.1",
        "GET a:80 HTTP/1.1",
        "GET \\admin HTTP/1.1",
        "GET //host/x HTTP/1.1",
        "GET /a/../b HTTP/1.1",
        "GET /a#b HTTP/1.1",
        "GET /a?b#c HTTP/1.1",
        "GET /%2e%2e/ HTTP/1.1",
        "GET /a%2fb HTTP/1.1",
        "GET ftp://a/x HTTP/1.1",
        "GET http://b/x HTTP/1.1",
        "GET http://u@a/x HTTP/1.1",
        "GET * HTTP/1.1",
        "GET /x HTTP/1.2",
        "GET /x HTTP/0.9",
        "GET /x HTTP/2.0",
        "GET /x",
        "get /x HTTP/1.1",
        "TRACE /x HTTP/1.1",
        "CONNECT a:80 HTTP/1.1",
        "\r\n\r\nGET /x HTTP/1.1",
        "\nGET /x HTTP/1.1",
        "GET /\u{e9} HTTP/1.1",
        "GET /x HTTP/1.1 ",
        " GET /x HTTP/1.1",
        "GET /x http/1.1",
        "GET\t/x\tHTTP/1.1",
        "G@T /x HTTP/1.1",
        "PRI * HTTP/2.0",
        "garbage",
    ];
    for line in lines {
        refused(&format!("{line}\r\nHost: a\r\n\r\n")).await;
    }
    let fields = [
        "Content-Length: 0\r\nContent-Length: 0",
        "Content-Length: 0, 0",
        "Content-Length: +0",
        "Content-Length:",
        "Content-Length: 00",
        "Content-Length: 0\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\tchunked",
        "Transfer-Encoding: identity",
        "Transfer_Encoding: chunked",
        "Content_Length: 5",
        "Host: a",
        "Host: b",
        "X : y",
        " X: y",
        "X: a\r\n b",
        "X: a\0",
        "X: a\rb",
        "X: a\nY: b",
        "X\nY: b",
        ": b",
        "X",
        "Expect: 200-maybe",
    ];
    for field in fields {
        refused(&format!("GET /x HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\n")).await;
    }
    for head in [
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a/evil\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a,b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /x HTTP/1.1\nHost: a\n\n",
        "GET /x HTTP/1.1\r\nHost: a\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\n\n",
        "GET http://a/x HTTP/1.1\r\n\r\n",
        "POST /x HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        refused(head).await;
    }
}

#[tokio::test]
async fn a_blank_inside_a_target_is_what_pingora_makes_of_it_and_goes_on_as_that() {
    // Pingora escapes it and parses the line again, and keeps no trace of that. It is harmless: policy, signature and
    // application see the same escaped path.
    let accepted = judged(b"GET /pub lic/ HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(accepted.expect("repaired").expect("well formed").target.as_str(), "/pub%20lic/");
}

async fn refused(raw: &str) {
    if let Some(Ok(accepted)) = judged(raw.as_bytes()).await {
        panic!("{raw:?} was accepted as {accepted:?}");
    }
}
