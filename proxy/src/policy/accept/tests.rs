//! The gate against the catalogue: each bad head is one good head with one thing wrong.

use http::{Method, Request, Version};
use proptest::prelude::*;

use super::{Accepted, Head, accept};
use crate::policy::Limits;
use crate::reason::Reason;

/// Judges a raw HTTP/1 head the way the gateway does: with what a lenient parser made of it.
fn judge(raw: &[u8]) -> Result<Accepted, Reason> {
    let text = String::from_utf8_lossy(raw);
    let line = text.trim_start().lines().next().unwrap_or_default();
    let mut words = line.split(' ');
    let method = words.next().unwrap_or_default();
    let target = words.next().unwrap_or_default().split('#').next().unwrap_or_default();
    let version = if line.ends_with("1.0") { Version::HTTP_10 } else { Version::HTTP_11 };
    let method = Method::from_bytes(method.as_bytes()).unwrap_or(Method::GET);
    let (parts, ()) = Request::builder().method(method).version(version).body(()).unwrap().into_parts();
    accept(
        Head { parts: &parts, raw_target: target.as_bytes(), raw_head: Some(raw) },
        &Limits { target_bytes: 64, head_bytes: 512, head_fields: 8 },
    )
}

fn with(fields: &str) -> Result<Accepted, Reason> {
    judge(format!("GET /x HTTP/1.1\r\nHost: a\r\n{fields}\r\n").as_bytes())
}

fn h2(uri: &str, fields: &[(&str, &str)]) -> Result<Accepted, Reason> {
    let mut request = Request::builder().version(Version::HTTP_2).uri(uri);
    for &(name, value) in fields {
        request = request.header(name, value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    accept(Head { parts: &parts, raw_target: target.as_bytes(), raw_head: None }, &Limits::default())
}

#[test]
fn honest_requests_pass() {
    for raw in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nhost:a:80\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length:   1234567890   \r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://A/x HTTP/1.1\r\nHost: a\r\n\r\n",
        "PROPFIND / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Tab: a\tb\r\nX-Latin: caf\u{e9}\r\n\r\n",
        "M-SEARCH / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n",
    ] {
        assert!(judge(raw.as_bytes()).is_ok(), "{raw:?}");
    }
    let accepted = judge(b"GET http://A:1/x?y HTTP/1.1\r\nHost: a:1\r\n\r\n").unwrap();
    assert_eq!((accepted.target.as_str(), accepted.authority.as_str()), ("/x?y", "a:1"));
}

#[test]
fn a_request_line_is_three_words_and_nothing_else() {
    for raw in [
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
        "",
    ] {
        assert_eq!(judge(raw.as_bytes()).map(|_| ()), Err(Reason::MalformedRequest), "{raw:?}");
    }
    let fragment = b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(judge(fragment).map(|_| ()), Err(Reason::AmbiguousPath));
}

#[test]
fn a_head_that_ends_where_the_parser_did_not_see_it_is_refused() {
    let raw = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /admin HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(judge(raw).map(|_| ()), Err(Reason::AmbiguousFraming));
}

#[test]
fn field_names_and_values_keep_to_the_grammar() {
    for fields in [
        "X : y\r\n",
        "X\t: y\r\n",
        " X: y\r\n",
        ": y\r\n",
        "X\r\n",
        "X: a\r\n b\r\n",
        "X: a\r\n\tb\r\n",
        "X\0: y\r\n",
        "X\u{b}: y\r\n",
        "X\u{a0}: y\r\n",
        "(X): y\r\n",
        "X: a\0b\r\n",
        "X: a\rb\r\n",
        "X: a\u{1}b\r\n",
        "X: a\u{7f}\r\n",
        "X: a\nY: b\r\n",
        "\"X\": y\r\n",
    ] {
        assert_eq!(with(fields).map(|_| ()), Err(Reason::MalformedRequest), "{fields:?}");
    }
}

#[test]
fn framing_is_said_once_and_in_one_way() {
    for fields in [
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length: \r\n",
        "Content-Length: 5 5\r\n",
        "Content-Length: \t5\r\n",
        "Content-Length: 05\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5;\r\n",
        "Content_Length: 5\r\n",
        "content.length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding:\tchunked\r\n",
        "Transfer-Encoding: \r\n",
        "Transfer-Encoding: chunked;x=y\r\n",
        "Transfer-Encoding: \"chunked\"\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Transfer_Encoding: chunked\r\n",
        "transfer~encoding: chunked\r\n",
    ] {
        assert_eq!(with(fields).map(|_| ()), Err(Reason::AmbiguousFraming), "{fields:?}");
    }
    let old = b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(judge(old).map(|_| ()), Err(Reason::AmbiguousFraming));
}

#[test]
fn there_is_exactly_one_host() {
    for raw in [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nhOST: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        assert_eq!(judge(raw.as_bytes()).map(|_| ()), Err(Reason::BadHost), "{raw:?}");
    }
}

#[test]
fn methods_are_spelled_as_registered_and_never_trace_or_connect() {
    for method in ["TRACE", "CONNECT", "get", "Get", "GET1", "G_T", "X!", &"X".repeat(33)] {
        let raw = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(judge(raw.as_bytes()).map(|_| ()), Err(Reason::MethodNotAllowed), "{method}");
    }
}

#[test]
fn limits_and_expectations_have_reasons_of_their_own() {
    let long_target = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(64));
    assert_eq!(judge(long_target.as_bytes()).map(|_| ()), Err(Reason::TargetTooLong));
    assert_eq!(with(&"X: y\r\n".repeat(8)).map(|_| ()), Err(Reason::HeadTooLarge));
    assert!(with(&"X: y\r\n".repeat(7)).is_ok());
    assert_eq!(with(&format!("X: {}\r\n", "y".repeat(512))).map(|_| ()), Err(Reason::HeadTooLarge));
    for expectation in ["Expect: x\r\n", "Expect:\r\n", "Expect: 100-continue\r\nExpect: 100-continue\r\n"] {
        assert_eq!(with(expectation).map(|_| ()), Err(Reason::UnsupportedExpectation), "{expectation}");
    }
}

#[test]
fn http2_has_one_authority_and_no_connection_fields() {
    assert_eq!(h2("https://a/x?y", &[]).unwrap().authority.as_str(), "a");
    assert!(h2("https://a/x", &[("host", "A"), ("te", "trailers"), ("content-length", "5")]).is_ok());
    assert_eq!(h2("/x", &[]).map(|_| ()), Err(Reason::BadHost));
    assert_eq!(h2("https://a/x", &[("host", "b")]).map(|_| ()), Err(Reason::BadHost));
    assert_eq!(h2("https://a/x", &[("host", "a"), ("host", "a")]).map(|_| ()), Err(Reason::BadHost));
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "1"),
        ("proxy-connection", "x"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
    ] {
        assert_eq!(h2("https://a/", &[(name, value)]).map(|_| ()), Err(Reason::MalformedRequest), "{name}");
    }
    for fields in [
        &[("transfer-encoding", "chunked")][..],
        &[("content-length", "+5")],
        &[("content-length", "5"), ("content-length", "5")],
        &[("content_length", "5")],
    ] {
        assert_eq!(h2("https://a/", fields).map(|_| ()), Err(Reason::AmbiguousFraming), "{fields:?}");
    }
    let many: Vec<(String, String)> = (0..101).map(|n| (format!("x-{n}"), "y".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(h2("https://a/", &many).map(|_| ()), Err(Reason::HeadTooLarge));
    // Cookies come one by one, and are still one field; all their bytes count.
    let crumbs = [("cookie", "a=b"); 300];
    assert!(h2("https://a/", &crumbs).is_ok());
    assert!(h2("https://a/", &[&crumbs[..], &many[..99]].concat()).is_ok());
    assert_eq!(h2("https://a/", &[&crumbs[..], &many].concat()).map(|_| ()), Err(Reason::HeadTooLarge));
    assert_eq!(h2("https://a/", &vec![("cookie", "a=b"); 5000]).map(|_| ()), Err(Reason::HeadTooLarge));
}

proptest! {
    #[test]
    fn any_bytes_are_judged(raw: Vec<u8>) {
        let _ = judge(&raw);
    }

    #[test]
    fn any_field_section_is_judged_and_bare_line_ends_never_pass(
        fields in "(([A-Za-z-]{1,17}|Host|Content-Length|Transfer-Encoding)[: \t]{1,2}[ -~\t]{0,9}(\r\n|\n|\r)){0,4}"
    ) {
        if with(&fields).is_ok() {
            prop_assert!(!fields.replace("\r\n", "").contains(['\r', '\n']));
        }
    }
}
