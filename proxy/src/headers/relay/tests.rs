//! What is passed on as it came is what the functions that judge all other answers would have made of it.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use proptest::prelude::*;

use super::super::response;
use super::*;

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn names() -> Names {
    Names::new("x-context-").unwrap()
}

fn relayed(answer: &str, private: bool) -> Option<String> {
    let with = Additions { private, kept: true, date: DATE.as_bytes() };
    let relayed = relay(answer.as_bytes(), &names(), with)?;
    Some(String::from_utf8(relayed.bytes).unwrap())
}

#[test]
fn an_answer_is_passed_on_with_what_is_ours_to_say() {
    let came = "HTTP/1.1 404 No such thing\r\nETag: \"a\"\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=5\r\n\
                date: yesterday\r\nContent-Length: 2\r\n\r\nno";
    let left = "HTTP/1.1 404 No such thing\r\nETag: \"a\"\r\nContent-Length: 2\r\n";
    let end = format!("Date: {DATE}\r\nConnection: keep-alive\r\n\r\nno");
    assert_eq!(relayed(came, false), Some(format!("{left}{end}")));
    let private = "Cache-Control: private\r\nVary: Cookie\r\n";
    assert_eq!(relayed(came, true), Some(format!("{left}{private}{end}")));
    let with = Additions { private: false, kept: false, date: DATE.as_bytes() };
    let answer = relay(came.as_bytes(), &names(), with).unwrap();
    assert_eq!((answer.status, answer.body), (404, 2));
    assert!(answer.bytes.ends_with(b"\r\nConnection: close\r\n\r\nno"));
}

#[test]
fn two_ways_to_say_where_an_answer_ends_are_found_as_soon_as_its_head_is_here() {
    let twice = "HTTP/1.1 200 OK\r\nContent-Length : 3\r\nX: y\r\n\ttransfer-encoding: z\r\ntransfer-encoding: chunked\r\n\r\n";
    let early = "HTTP/1.1 103 Early Hints\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    for length in 0..twice.len() {
        assert_eq!(framing(&twice.as_bytes()[..length]), Framing::Unknown, "{length}");
        // The client is to have what is here.
        assert_eq!(framing(format!("{early}{}", &twice[..length]).as_bytes()), Framing::Once, "{length}");
    }
    assert_eq!(framing(twice.as_bytes()), Framing::Twice);
    assert_eq!(framing(format!("{early}{twice}3\r\nabc").as_bytes()), Framing::Twice);
    for once in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
        "HTTP/1.1 200 OK\r\n\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        "no answer at all\r\n\r\n",
    ] {
        assert_eq!(framing(once.as_bytes()), Framing::Once, "{once}");
    }
}

#[test]
fn an_application_says_itself_how_its_answer_is_stored() {
    let came = "HTTP/1.1 200 OK\r\ncache-control: public\r\nvary: Accept\r\ncontent-length: 0\r\n\r\n";
    let lines = relayed(came, true).unwrap();
    assert!(lines.starts_with(
        "HTTP/1.1 200 OK\r\ncache-control: public\r\nvary: Accept\r\ncontent-length: 0\r\nDate"
    ));
}

#[test]
fn whatever_needs_a_decision_is_left_to_others() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n";
    assert!(relayed(&format!("{ok}\r\nok"), true).is_some());
    for bad in [
        "Set-Cookie: a=b",
        "Transfer-Encoding: chunked",
        "Content-Length: 2",
        "Upgrade: h2c",
        "Connection: close",
        "Connection: keep-alive, x-trace",
        "Trailer: a",
        "TE: trailers",
        "Proxy-Connection: keep-alive",
        "Proxy-Authenticate: Basic",
        "Content-Type: Text/Event-Stream; charset=utf-8",
        "Cache-Control:",
        "Vary: Accept",
        "X-Context-User-Id: 1",
        "X_Context.User_Id: 1",
        "Countersign-Session: end",
        "Signature: a",
        "a b: c",
        "folded: a\r\n b",
        "nul: a\0b",
        "return: a\rb",
    ] {
        assert_eq!(relayed(&format!("{ok}{bad}\r\n\r\nok"), true), None, "{bad}");
    }
    for whole in [
        "",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 None\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 304 None\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 999 None\r\nContent-Length: 0\r\n\r\n",
    ] {
        assert_eq!(relayed(whole, false), None, "{whole}");
    }
    let many = "a: b\r\n".repeat(FIELDS);
    assert_eq!(relayed(&format!("{ok}{many}\r\nok"), false), None);
}

/// What the other way makes of an answer, but for the spelling and order of its fields.
fn judged(fields: &[(String, String)], status: u16, private: bool) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value.trim_ascii()).unwrap());
    }
    for name in response::forbidden(&headers, StatusCode::from_u16(status).unwrap(), &names()) {
        headers.remove(&name);
    }
    for (name, value) in response::privacy(&headers).into_iter().flatten().filter(|_| private) {
        headers.insert(name, value);
    }
    headers.insert("date", HeaderValue::from_static(DATE));
    headers.insert("connection", HeaderValue::from_static("keep-alive"));
    sorted(headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())))
}

fn sorted(fields: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut fields: Vec<_> = fields.collect();
    fields.sort();
    fields
}

fn name() -> impl Strategy<Value = String> {
    let known = [
        "Connection",
        "Keep-Alive",
        "Date",
        "Vary",
        "cache-control",
        "Content-Type",
        "TE",
        "Upgrade",
        "Set-Cookie",
        "X-Context-Authn",
        "Signature-Input",
        "Server",
        "ETag",
        "Proxy-Connection",
    ];
    prop_oneof![prop::sample::select(known.to_vec()).prop_map(str::to_owned), "[a-zA-Z][a-zA-Z0-9_.-]{0,12}"]
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("keep-alive".to_owned()),
        Just("Cookie".to_owned()),
        Just(String::new()),
        "[ -~]{0,12}".prop_map(|value| value.trim().to_owned())
    ]
}

proptest! {
    #[test]
    fn both_ways_come_to_the_same(
        mut fields in prop::collection::vec((name(), value()), 0..6),
        status in 200_u16..600,
        private: bool,
        body in "[a-z]{0,20}",
    ) {
        fields.push(("Content-Length".to_owned(), body.len().to_string()));
        let lines = fields.iter().map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect::<String>();
        let came = format!("HTTP/1.1 {status} Why\r\n{lines}\r\n{body}");
        if let Some(written) = relayed(&came, private) {
            let (head, rest) = written.split_once("\r\n\r\n").unwrap();
            prop_assert_eq!(rest, body.as_str());
            let mut lines = head.split("\r\n");
            prop_assert_eq!(lines.next().unwrap(), format!("HTTP/1.1 {status} Why"));
            let got = lines.map(|line| line.split_once(": ").unwrap());
            let got = sorted(got.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())));
            let mut expected = judged(&fields, status, private);
            prop_assert_eq!(&got, &expected);
            let answer = apart(came.as_bytes(), &names(), private).unwrap();
            prop_assert_eq!((answer.status().as_u16(), answer.body().as_ref()), (status, body.as_bytes()));
            let got = answer.headers().iter();
            let got = sorted(got.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())));
            // Whoever speaks the protocol says these.
            expected.retain(|(name, _)| !["date", "connection"].contains(&name.as_str()));
            prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn no_bytes_are_too_strange(answer in prop::collection::vec(any::<u8>(), 0..200)) {
        let with = Additions { private: true, kept: true, date: b"" };
        prop_assert!(relay(&answer, &names(), with).is_none_or(|relayed| relayed.bytes.len() <= answer.len() + ADDED));
    }
}
