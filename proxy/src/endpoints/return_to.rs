//! Where a browser is sent back to after a login: a path of the same origin, or nothing (THREATS E1, E2). The same
//! rule makes a value here and judges one that comes back from outside.

use std::fmt::Write;

use crate::policy::target::Target;

/// The longest value that is carried along; a longer one is left out, and the login leads to its default page. Kept
/// well below the 8 KiB that a request target may have, percent-encoding included.
pub const LONGEST: usize = 2048;

/// The value, if it leads to a path of the same origin whoever reads it: browsers, frameworks, scripts.
#[must_use]
pub fn verify(value: &str) -> Option<&str> {
    // `Target` refuses what is not visible ASCII, `//`, fragments, dot segments, and in the path encoded separators
    // and control bytes. Here it must begin as a path, and the query must not smuggle line ends either.
    let (_, absolute) = Target::parse(value.as_bytes(), LONGEST).ok()?;
    let safe =
        value.starts_with('/') && absolute.is_none() && !value.contains('\\') && !has_encoded_control(value);
    safe.then_some(value)
}

/// The location of a login (or platform) page of the configuration, with the way back to `target` where that is safe.
#[must_use]
pub fn location(page: &str, target: &Target) -> String {
    let mut location = page.to_owned();
    if let Some(back) = verify(target.as_str()) {
        location.push_str(if page.contains('?') { "&return_to=" } else { "?return_to=" });
        for byte in back.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
                location.push(char::from(byte));
            } else {
                // Writing to a String cannot fail.
                let _ = write!(location, "%{byte:02X}");
            }
        }
    }
    location
}

fn has_encoded_control(value: &str) -> bool {
    value.as_bytes().windows(3).any(|window| match *window {
        [b'%', b'0' | b'1', _] => true,
        [b'%', b'7', low] => low.eq_ignore_ascii_case(&b'f'),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    use super::{location, verify};
    use crate::policy::target::Target;

    #[test]
    fn paths_of_the_same_origin_are_kept() {
        for value in ["/", "/a", "/a?b=c&d=%20", "/a/b?next=https://x.example/", "/caf%C3%A9", "/a;b"] {
            assert_eq!(verify(value), Some(value));
        }
    }

    #[test]
    fn everything_else_leads_to_the_default_page() {
        let long = format!("/{}", "a".repeat(2048));
        for value in [
            "",
            "a",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\/evil.example",
            "\\\\evil.example",
            "https://evil.example/",
            "http://evil.example",
            "https:evil.example",
            "javascript:alert(1)",
            "/%5cevil.example",
            "/%2fevil.example",
            "/%2Fevil.example",
            "/a/..//evil.example",
            "/.//evil.example",
            "/%2e%2f/evil.example",
            "/\tx",
            "/\t/evil.example",
            "/\n/evil.example",
            "/%09/evil.example",
            "/%0d%0aX:y",
            "/a?x=%0d%0aSet-Cookie:y",
            "/a?x=%7f",
            " /a",
            "/ /evil.example",
            "/a#b",
            "/é",
            "*",
            "?a",
            "/a?b\\c",
            "/;//evil.example",
            "/\u{3000}",
            &long,
        ] {
            assert_eq!(verify(value), None, "{value:?}");
        }
    }

    #[test]
    fn the_way_back_is_one_encoded_parameter() {
        let target = |raw: &str| Target::parse(raw.as_bytes(), 8192).unwrap().0;
        assert_eq!(
            location("/login", &target("/a/b?x=1&y=%20")),
            "/login?return_to=/a/b%3Fx%3D1%26y%3D%2520"
        );
        assert_eq!(location("/login?from=app", &target("/a")), "/login?from=app&return_to=/a");
        assert_eq!(location("/login", &target("/a?x=%0d%0a")), "/login");
        assert_eq!(location("/login", &target("*")), "/login");
    }

    /// Where a browser goes from `https://here.example/login` by `Location: value`: the host it ends at. Written
    /// after the basic URL parser of the WHATWG, without any of our rules: tabs and line ends are removed, blanks
    /// and controls trimmed, backslashes are slashes.
    fn host_reached(value: &str) -> String {
        let trimmed = value.trim_matches(|c: char| c <= ' ');
        let text: String = trimmed.chars().filter(|c| !matches!(c, '\t' | '\n' | '\r')).collect();
        let text = text.replace('\\', "/");
        let scheme_end = text.find(':').filter(|&end| {
            let scheme = &text[..end];
            scheme.starts_with(|c: char| c.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
        });
        let after_slashes = match scheme_end {
            Some(end) if text[..end].eq_ignore_ascii_case("https") && !text[end + 1..].starts_with("//") => {
                return "here.example".into();
            }
            Some(end) => Some(text[end + 1..].trim_start_matches('/')),
            None => text.starts_with("//").then(|| text.trim_start_matches('/')),
        };
        match after_slashes {
            Some(rest) => {
                let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
                authority.rsplit('@').next().unwrap_or_default().to_owned()
            }
            None => "here.example".into(),
        }
    }

    proptest! {
        #[test]
        fn no_accepted_value_leaves_the_site(value in "(/|//|\\\\|\t|\n| |https:|h|\\.|%2f|%5c|%09|@|evil\\.example|;|\\?|#){0,8}") {
            if let Some(safe) = verify(&value) {
                prop_assert_eq!(host_reached(safe), "here.example");
                // Nor when an application decodes the value once more before it redirects.
                let decoded = percent_decode_str(safe).decode_utf8_lossy().into_owned();
                prop_assert_eq!(host_reached(&decoded), "here.example");
            }
        }

        #[test]
        fn any_text_is_judged(value: String) {
            if let Some(safe) = verify(&value) {
                prop_assert_eq!(host_reached(safe), "here.example");
            }
        }

        #[test]
        fn the_parameter_decodes_to_what_was_asked_for(raw in "/[a-z?=&%2;:@+ -]{0,24}") {
            if let Ok((target, None)) = Target::parse(raw.as_bytes(), 8192) {
                let sent = location("/login", &target);
                prop_assert!(sent.bytes().all(|b| b.is_ascii_graphic()) && sent.starts_with("/login"));
                if let Some(back) = sent.strip_prefix("/login?return_to=") {
                    prop_assert!(!back.contains(['&', '#', '+', '?']));
                    prop_assert_eq!(percent_decode_str(back).decode_utf8().unwrap(), target.as_str());
                }
            }
        }
    }
}
