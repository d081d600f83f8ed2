//! What targets are taken and refused; the last tests hold for any bytes.

use percent_encoding::percent_decode_str;
use proptest::prelude::*;

use super::Target;
use crate::reason::Reason;

fn judge(raw: &str) -> Result<String, Reason> {
    Target::parse(raw.as_bytes(), 8192).map(|(target, _)| target.as_str().to_owned())
}

#[test]
fn plain_targets_are_forwarded_byte_for_byte() {
    for raw in [
        "/",
        "/a",
        "/a/",
        "/a/b.c",
        "/.well-known/x",
        "/a..b/c.",
        "/%61",
        "/a%20b",
        "/a;v=1/b",
        "/caf%C3%A9",
        "/%E2%82%AC",
        "/100%25",
        "/100%25%20off",
        "/wait%E2%80%A6",
        "/q?x=%2f..//\\%00&y=100%",
        "/?",
        "/a?b?c",
        "/who%3F",
        "/a:b@c",
        "/~x",
        "/a{b}|c",
    ] {
        assert_eq!(judge(raw), Ok(raw.to_owned()), "{raw}");
    }
}

#[test]
fn a_path_that_could_be_read_in_two_ways_is_refused() {
    for raw in [
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/a/..",
        "/../",
        "/%2e",
        "/%2E%2e/x",
        "/.%2e",
        "/a/..;/b",
        "/a/..;x=1/b",
        "/.;/a",
        "/a/..%3b/b",
        "/a/..%20/b",
        "/a/%20../b",
        "/...",
        "/a/.../b",
        "//",
        "//host/x",
        "/a//b",
        "/a//",
        "/a\\b",
        "/\\host",
        "/a%2fb",
        "/a%2Fb",
        "/a%5cb",
        "/a%5Cb",
        "/a%00",
        "/a%0d%0aX",
        "/a%09b",
        "/a%1f",
        "/a%7f",
        "/a%",
        "/a%2",
        "/a%zz",
        "/a%u002e",
        "/a%+41",
        "/%252e%252e/",
        "/a%252fb",
        "/a%255Cb",
        "/a%2500",
        "/%25252e",
        "/a%25u002f",
        "/%2541",
        "/%25%34%31",
        "/%254%31",
        "/%25%32%65%25%32%65/x",
        "/a%25%32%66b",
        "/a%25%75002f",
        "/%c0%af",
        "/%c0%ae",
        "/%e0%80%af",
        "/%ff",
        "/a%ef%bc%8fb",
        "/%ef%bc%8e%ef%bc%8e/x",
        "/%e2%80%a4%e2%80%a4/x",
        "/%e2%80%a5/x",
        "/.%ef%bc%8e/",
        "/a%ef%bc%bcb",
        "/a%ef%bc%85b",
        "/a%c2%85b",
        "/admin%20",
        "/%20admin",
        "/%e3%80%80x",
        "/a%20;x",
        "/a#b",
        "/a?b#c",
        "#",
    ] {
        assert_eq!(judge(raw), Err(Reason::AmbiguousPath), "{raw}");
    }
}

#[test]
fn what_is_no_target_at_all_is_malformed() {
    for raw in [
        "",
        "x",
        "?q=1",
        "a:80",
        "\\admin",
        "ftp://host/x",
        "http:/host",
        "http//x",
        "**",
        "*x",
        "/a b",
        "/a\tb",
        "/é",
        "/a\0",
        "file:///etc",
        "%2f",
    ] {
        assert_eq!(judge(raw), Err(Reason::MalformedRequest), "{raw:?}");
    }
    assert_eq!(Target::parse(b"/\xff", 100).map(|_| ()), Err(Reason::MalformedRequest));
}

#[test]
fn absolute_form_is_reduced_to_path_and_query_and_names_its_authority() {
    for (raw, text, authority) in [
        ("http://host/x?y", "/x?y", "host"),
        ("HTTPS://Host:8443", "/", "Host:8443"),
        ("http://host?y=/", "/?y=/", "host"),
        ("http://user@host/", "/", "user@host"),
        ("http:///x", "/x", ""),
    ] {
        let (target, found) = Target::parse(raw.as_bytes(), 8192).unwrap();
        assert_eq!((target.as_str(), found.as_deref()), (text, Some(authority)), "{raw}");
    }
    assert_eq!(judge("http://host//x"), Err(Reason::AmbiguousPath));
    assert_eq!(judge("http://host/../x"), Err(Reason::AmbiguousPath));
}

#[test]
fn path_and_query_are_cut_at_the_first_question_mark() {
    let (target, _) = Target::parse(b"/a?b?c", 100).unwrap();
    assert_eq!((target.path(), target.query()), ("/a", Some("b?c")));
    let (target, _) = Target::parse(b"/a?", 100).unwrap();
    assert_eq!((target.path(), target.query()), ("/a", Some("")));
    let (target, _) = Target::parse(b"*", 100).unwrap();
    assert_eq!((target.path(), target.query()), ("*", None));
}

#[test]
fn the_limit_counts_every_byte() {
    assert!(Target::parse(b"/1234", 5).is_ok());
    assert_eq!(Target::parse(b"/12345", 5).map(|_| ()), Err(Reason::TargetTooLong));
}

/// A reader of paths that is as careless as can be: decodes `times`, takes both slashes, cuts parameters.
fn sees_dot_segment(path: &str, times: usize) -> bool {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..times {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        bytes = percent_decode_str(&text).collect();
    }
    bytes
        .split(|&b| b == b'/' || b == b'\\')
        .map(|segment| segment.split(|&b| b == b';').next().unwrap_or(segment))
        .any(|name| name == b"." || name == b"..")
}

proptest! {
    #[test]
    fn any_bytes_are_judged(raw: Vec<u8>) {
        if let Ok((target, _)) = Target::parse(&raw, 64) {
            prop_assert!(target.path() == "*" || target.path().starts_with('/'));
        }
    }

    #[test]
    fn nothing_accepted_has_a_dot_segment_or_more_segments_in_any_decoding(
        raw in "/([a-z./;%\\\\]|%2[eEfF5]|%5[cC]|%25|%2e|%3[25]|%6[56]|\\.\\.){0,12}"
    ) {
        if let Ok((target, _)) = Target::parse(raw.as_bytes(), 8192) {
            let path = target.path();
            for times in 0..4 {
                prop_assert!(!sees_dot_segment(path, times), "{path} decoded {times} times");
            }
            let decoded: Vec<u8> = percent_decode_str(path).collect();
            let slashes = |bytes: &[u8]| bytes.iter().filter(|&&b| b == b'/' || b == b'\\').count();
            prop_assert_eq!(slashes(path.as_bytes()), slashes(&decoded));
        }
    }

    #[test]
    fn what_is_accepted_is_accepted_again_unchanged(raw in "(http://h)?/[ -~]{0,20}") {
        if let Ok((target, _)) = Target::parse(raw.as_bytes(), 8192) {
            prop_assert_eq!(Target::parse(target.as_str().as_bytes(), 8192), Ok((target, None)));
        }
    }
}
