//! The host of a request: validated once, in one place, and brought into one form (THREATS R9).
//! Lower case, no userinfo, no trailing dot (refused: one host has one spelling), ports in canonical decimal.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::reason::Reason;

/// A host, lower case, and perhaps a port.
///
/// Invariant: `text` is a registered name, an IPv4 address or a bracketed IPv6 address, then perhaps `:port`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    text: String,
    host_len: usize,
}

impl Authority {
    /// Reads `host[:port]` or `[v6][:port]`.
    ///
    /// # Errors
    /// `BadHost`.
    pub fn parse(raw: &[u8]) -> Result<Self, Reason> {
        let raw = std::str::from_utf8(raw).map_err(|_| Reason::BadHost)?;
        let (host, port) = split(raw).ok_or(Reason::BadHost)?;
        port.map_or(Ok(()), check_port)?;
        if !host.starts_with('[') {
            check_name(host)?;
            // The port has digits alone.
            return Ok(Self { text: raw.to_ascii_lowercase(), host_len: host.len() });
        }
        let mut text = canonical_v6(host)?;
        let host_len = text.len();
        if let Some(port) = port {
            text.push(':');
            text.push_str(port);
        }
        Ok(Self { text, host_len })
    }

    /// The host without port, lower case.
    pub fn host(&self) -> &str {
        &self.text[..self.host_len]
    }

    /// The port, if one was given.
    pub fn port(&self) -> Option<u16> {
        self.text.get(self.host_len + 1..)?.parse().ok()
    }

    /// Host and port, lower case, as forwarded and signed.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

fn split(raw: &str) -> Option<(&str, Option<&str>)> {
    let host_end = if raw.starts_with('[') { raw.find(']')? + 1 } else { raw.find(':').unwrap_or(raw.len()) };
    let (host, rest) = raw.split_at(host_end);
    match rest.strip_prefix(':') {
        Some(port) => Some((host, Some(port))),
        None if rest.is_empty() => Some((host, None)),
        None => None,
    }
}

/// IPv6 has many spellings of one address; only RFC 5952's leaves here.
fn canonical_v6(host: &str) -> Result<String, Reason> {
    let address: Ipv6Addr = host[1..host.len() - 1].parse().map_err(|_| Reason::BadHost)?;
    Ok(format!("[{address}]"))
}

/// Letters, digits, `-`, `.` and `_` (container networks use it), as DNS limits them (RFC 1035, section 2.3.4).
fn check_name(host: &str) -> Result<(), Reason> {
    let fits = (1..=253).contains(&host.len())
        && host.as_bytes().split(|&byte| byte == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && label.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        });
    // A name that ends in a number is read as an IPv4 address by browsers (WHATWG URL, "ends in a number"),
    // so it must be one in its plain form: neither `127.1` nor `0x7f.0.0.1` nor `2130706433`.
    let last = host.rsplit('.').next().unwrap_or(host);
    let numeric = last.bytes().all(|b| b.is_ascii_digit())
        || last.len() >= 2 && last.as_bytes()[..2].eq_ignore_ascii_case(b"0x");
    if fits && (!numeric || host.parse::<Ipv4Addr>().is_ok()) { Ok(()) } else { Err(Reason::BadHost) }
}

fn check_port(port: &str) -> Result<(), Reason> {
    let canonical = !port.starts_with(['0', '+']);
    if canonical && port.parse::<u16>().is_ok() { Ok(()) } else { Err(Reason::BadHost) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Authority;
    use crate::reason::Reason;

    fn parsed(raw: &str) -> Option<(String, String, Option<u16>)> {
        let authority = Authority::parse(raw.as_bytes()).ok()?;
        Some((authority.host().into(), authority.as_str().into(), authority.port()))
    }

    #[test]
    fn hosts_come_out_in_one_form() {
        for (raw, host, text, port) in [
            ("example.org", "example.org", "example.org", None),
            ("EXAMPLE.org:8443", "example.org", "example.org:8443", Some(8443)),
            ("localhost", "localhost", "localhost", None),
            ("my_app.internal", "my_app.internal", "my_app.internal", None),
            ("127.0.0.1:80", "127.0.0.1", "127.0.0.1:80", Some(80)),
            ("[::1]:65535", "[::1]", "[::1]:65535", Some(65535)),
            ("[2001:DB8:0:0::1]", "[2001:db8::1]", "[2001:db8::1]", None),
            ("1.example", "1.example", "1.example", None),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", "xn--bcher-kva.example", None),
        ] {
            assert_eq!(parsed(raw), Some((host.into(), text.into(), port)), "{raw}");
        }
    }

    #[test]
    fn everything_else_is_a_bad_host() {
        let long = "a".repeat(64);
        for raw in [
            "",
            " ",
            "a b",
            "a,b",
            "a/evil",
            "user@a",
            "user:pw@a",
            "a:",
            "a:0",
            "a:080",
            "a:+80",
            "a:99999",
            "a:80:80",
            "a:x",
            "a.",
            ".a",
            "a..b",
            "a#b",
            "a?b",
            "a\\b",
            "a%2eb",
            "ä.example",
            "[::1",
            "::1",
            "[::1]x",
            "[::1%25eth0]",
            "[v1.x]",
            "[]",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0x7f000001",
            "1.2.3.256",
            "a\0b",
            "a\tb",
            " a",
            "a ",
            &long,
        ] {
            assert_eq!(Authority::parse(raw.as_bytes()), Err(Reason::BadHost), "{raw:?}");
        }
        assert_eq!(Authority::parse(b"\xff.example"), Err(Reason::BadHost));
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_and_what_is_accepted_is_its_own_canonical_form(raw: Vec<u8>) {
            if let Ok(authority) = Authority::parse(&raw) {
                prop_assert_eq!(Authority::parse(authority.as_str().as_bytes()), Ok(authority));
            }
        }

        #[test]
        fn host_like_text_is_judged_without_panic(raw in "[\\[\\]a-zA-Z0-9.:@%_ -]{0,24}") {
            if let Ok(authority) = Authority::parse(raw.as_bytes()) {
                prop_assert!(!authority.as_str().contains(['@', '%', ' ']));
                prop_assert_eq!(Authority::parse(authority.as_str().as_bytes()), Ok(authority));
            }
        }
    }
}
