//! Tests of the watch: every split of the bytes must come to the same end.

use proptest::prelude::*;

use super::{Pass, Watch};
use crate::policy::Limits;
use crate::reason::Reason;

const HEAD: &str = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";

fn limits() -> Limits {
    Limits { target_bytes: 100, head_bytes: 200, head_fields: 5 }
}

/// Feeds the pieces; what the HTTP layer gets, and the verdict.
fn feed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<u8>, Option<Reason>) {
    let mut watch = Watch::new(limits());
    let mut got = Vec::new();
    for piece in pieces {
        match watch.see(piece) {
            Pass::All => got.extend_from_slice(piece),
            Pass::Until(keep) => {
                got.extend_from_slice(&piece[..keep]);
                break;
            }
            Pass::Cut { keep, end } => {
                got.extend_from_slice(&piece[..keep]);
                got.extend_from_slice(end);
                break;
            }
            Pass::None => break,
        }
    }
    (got, watch.verdict())
}

fn verdict_of_body(body: &str) -> Option<Reason> {
    let whole = format!("{HEAD}{body}");
    let (_, together) = feed([whole.as_bytes()]);
    let (_, apart) = feed(whole.as_bytes().chunks(1));
    assert_eq!(together, apart, "{body:?}");
    together
}

#[test]
fn well_formed_chunks_pass() {
    for body in [
        "0\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\n",
        "005\r\nhello\r\nA;name=\"value\";x\r\n0123456789\r\n0;last\r\n\r\n",
        "5\r\n\r\n\0\n\r\r\n0\r\nName: value\r\nOther:\r\n\r\n",
        "5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n",
    ] {
        assert_eq!(verdict_of_body(body), None, "{body:?}");
    }
}

#[test]
fn whatever_two_readers_of_chunks_could_see_differently_is_refused() {
    for body in [
        "\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\t;x\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5_\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\\\"\r\nhello\r\n0\r\n\r\n",
        "5;\0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloX\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "0000000000000005\r\nhello\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "0\r\n\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\nname \r\n\r\n",
        "0\r\n: value\r\n\r\n",
        "0\r\nname : value\r\n\r\n",
        "0\r\n folded: value\r\n\r\n",
        "0\r\nname: a\nb\r\n\r\n",
        "0\r\nname: a\0b\r\n\r\n",
    ] {
        assert_eq!(verdict_of_body(body), Some(Reason::AmbiguousFraming), "{body:?}");
    }
}

#[test]
fn extensions_and_trailers_are_bounded_one_by_one_and_together() {
    let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(300));
    let many = "1;extension=of-thirty-bytes-or-so\r\na\r\n".repeat(1200);
    let trailers = format!("0\r\n{}\r\n", "Name: value\r\n".repeat(1000));
    let short = "1;a=bcdefg\r\na\r\n".repeat(2000);
    let crumbs = |count| "1\r\na\r\n".repeat(count);
    for body in [&long, &many, &trailers, &short, &crumbs(20_000)] {
        assert_eq!(verdict_of_body(body), Some(Reason::BodyTooLarge), "{}", &body[..40]);
    }
    assert_eq!(verdict_of_body(&crumbs(8_000)), None);
    assert_eq!(verdict_of_body(&"2\r\nab\r\n".repeat(20_000)), None);
}

#[test]
fn a_request_line_with_other_blanks_than_two_is_refused() {
    for line in ["GET /a b HTTP/1.1", "GET  / HTTP/1.1", "GET /?a\tb HTTP/1.1", "GET /?\0 HTTP/1.1", "GET /"]
    {
        let (_, verdict) = feed([format!("{line}\r\nHost: a\r\n\r\n").as_bytes()]);
        assert_eq!(verdict, Some(Reason::MalformedRequest), "{line:?}");
    }
    for version in ["HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "HTTP/9.9"] {
        let (_, verdict) = feed([format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes()]);
        assert_eq!(verdict, Some(Reason::UnsupportedVersion), "{version}");
    }
    for version in ["http/1.1", "HTTP/1.10", "HTTP/1", "HTTP/a.b", "HTTPS/1.1", "XHTTP/1.2"] {
        let (_, verdict) = feed([format!("GET / {version}\r\nHost: a\r\n\r\n").as_bytes()]);
        assert_eq!(verdict, Some(Reason::MalformedRequest), "{version}");
    }
    assert_eq!(feed([&b"PRI * HTTP/2.0\r\n\r\n"[..]]).1, None);
    let (got, verdict) = feed([&b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"[..]]);
    assert_eq!((got.len(), verdict), (29, None));
}

#[test]
fn a_request_that_is_only_a_head_is_told_from_all_others() {
    let is_bare = |text: &str, size: usize| {
        let mut watch = Watch::new(limits());
        watch.see(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nx");
        watch.restart();
        for piece in text.as_bytes().chunks(size) {
            assert!(!watch.is_bare());
            watch.see(piece);
        }
        assert!(watch.has_head(), "{text}");
        watch.is_bare()
    };
    for (rest, bare) in [
        ("", true),
        ("Content-Length: 0\r\n", true),
        ("Content-Length: 1\r\n", false),
        ("Content-Length: x\r\n", false),
        ("Content-Length: 0\r\nContent-Length: 0\r\n", false),
        ("Transfer-Encoding: chunked\r\n", false),
        ("Upgrade: websocket\r\n", false),
    ] {
        for (method, may_be) in [("GET", true), ("POST", true), ("HEAD", false), ("GET  ", false)] {
            let text = format!("{method} / HTTP/1.1\r\n{rest}\r\n");
            for size in [1, 1000] {
                assert_eq!(is_bare(&text, size), bare && may_be, "{text}");
            }
        }
    }
    let mut watch = Watch::new(limits());
    watch.see(b"GET / HTTP/1.1\r\nHost: a\r\n");
    assert!(!watch.has_head());
    // Cut: there is no more to wait for.
    watch.see("a".repeat(1000).as_bytes());
    assert!(watch.has_head() && !watch.is_bare());
}

#[test]
fn a_head_beyond_a_limit_is_cut_where_the_gate_can_see_it() {
    let line = "GET / HTTP/1.1\r\n";
    for (head, longest) in [
        (format!("GET /{}", "a".repeat(5000)), 170),
        (format!("{line}X: {}", "a".repeat(5000)), 230),
        (format!("{line}{}\r\n", "X: a\r\n".repeat(300)), 60),
    ] {
        for size in [1, 7, 5000] {
            let (got, _) = feed(head.as_bytes().chunks(size));
            assert!(got.ends_with(b"\r\n\r\n"), "{:?}", String::from_utf8_lossy(&got));
            assert!(got.len() < longest, "{} for {}", got.len(), &head[..30]);
        }
    }
}

#[test]
fn a_head_at_the_limits_passes_whole() {
    let line = "GET / HTTP/1.1\r\n";
    for head in [
        format!("{line}{}\r\n", "X: a\r\n".repeat(5)),
        format!("{line}X: {}\r\n\r\n", "a".repeat(193)),
        format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(99)),
    ] {
        for size in [1, 7, 5000] {
            let (got, verdict) = feed(head.as_bytes().chunks(size));
            assert_eq!((got, verdict), (head.clone().into_bytes(), None));
        }
    }
}

/// Where the request ends in `bytes`, however they are cut into pieces; `None` where that is not told.
fn end(bytes: &[u8]) -> Option<usize> {
    let told = |size: usize| {
        let mut watch = Watch::new(Limits::default());
        let mut seen = 0;
        for piece in bytes.chunks(size) {
            match watch.see(piece) {
                Pass::Until(keep) => return Some(seen + keep),
                pass => assert_eq!(pass, Pass::All),
            }
            seen += piece.len();
            if watch.is_whole() {
                return Some(seen);
            }
        }
        None
    };
    let whole = told(bytes.len());
    for size in [1, 2, 7, 30] {
        assert_eq!(told(size), whole, "in pieces of {size}: {:?}", String::from_utf8_lossy(bytes));
    }
    whole
}

#[test]
fn what_lies_behind_the_end_of_a_request_is_told_apart() {
    let behind = "GET /two HTTP/1.1\r\nHost: a\r\n\r\n";
    for (head, body) in [
        ("GET / HTTP/1.1\r\nHost: a\r\n", ""),
        ("\r\nGET / HTTP/1.1\r\nHost: a\r\n", ""),
        ("POST / HTTP/1.1\r\ncontent-LENGTH:  5 \r\nHost: a\r\n", "hello"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n", ""),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n",
            "5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\n",
        ),
    ] {
        let one = format!("{head}\r\n{body}");
        assert_eq!(end(one.as_bytes()), Some(one.len()), "{one:?}");
        assert_eq!(end(format!("{one}{behind}").as_bytes()), Some(one.len()), "{one:?}");
    }
    // Two readers could see different ends, or the connection becomes a tunnel.
    for head in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nUpgrade: websocket\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nupgrade: websocket\r\n",
        "GET /a b HTTP/1.1\r\nHost: a\r\n",
        "PRI * HTTP/2.0\r\n",
    ] {
        assert_eq!(end(format!("{head}\r\n0\r\n\r\n").as_bytes()), None, "{head:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic_or_split_its_mind(
        bytes in prop::collection::vec(prop::sample::select(b"0a;\r\n :X/".to_vec()), 0..400),
        size in 1_usize..50,
        chunked in any::<bool>(),
    ) {
        let mut all = if chunked { HEAD.as_bytes().to_vec() } else { Vec::new() };
        all.extend(bytes);
        let (_, together) = feed([all.as_slice()]);
        let (_, apart) = feed(all.chunks(size));
        // A piece behind the end of a request is not looked at, so only a verdict on a body can be missing here.
        if chunked {
            prop_assert_eq!(together, apart);
        }
    }
}
