//! The PROXY protocol, versions 1 and 2: what a balancer says about the client before the client's own bytes. Parsed once,
//! strictly and with bounded work; whose word counts is for the caller to know.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest header that is read: version 1 has at most 107 bytes, version 2 here at most 16 and 520 of addresses and
/// extensions; what balancers send has some 100.
pub const LONGEST: usize = 536;

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// The longest line of version 1, its end included (section 2.1 of the protocol).
const LONGEST_LINE: usize = 107;

/// What the bytes of a connection say so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyHeader {
    /// More bytes are needed.
    Incomplete,
    /// A whole header.
    Complete {
        /// The client; `None` where the balancer speaks for itself, or of something that has no address.
        client: Option<SocketAddr>,
        /// How many bytes the header has.
        length: usize,
    },
    /// No header.
    Malformed,
}

/// Reads the header at the beginning of `bytes`.
#[must_use]
pub fn parse(bytes: &[u8]) -> ProxyHeader {
    let header = if bytes.first() == Some(&b'P') { version_1(bytes) } else { version_2(bytes) };
    match header {
        ProxyHeader::Incomplete if bytes.len() >= LONGEST => ProxyHeader::Malformed,
        header => header,
    }
}

fn version_1(bytes: &[u8]) -> ProxyHeader {
    let start = &bytes[..bytes.len().min(LONGEST_LINE)];
    let Some(end) = memchr::memchr(b'\n', start) else {
        let hopeless = start.len() == LONGEST_LINE || !b"PROXY ".starts_with(&start[..start.len().min(6)]);
        return if hopeless { ProxyHeader::Malformed } else { ProxyHeader::Incomplete };
    };
    let line = start[..end].strip_suffix(b"\r").and_then(|line| std::str::from_utf8(line).ok());
    match line.and_then(|line| line.strip_prefix("PROXY ")).and_then(said_in_words) {
        Some(told) => ProxyHeader::Complete { client: told.client(), length: end + 1 },
        None => ProxyHeader::Malformed,
    }
}

/// Whom a header names.
enum Told {
    Client(SocketAddr),
    Nobody,
}

impl Told {
    fn client(self) -> Option<SocketAddr> {
        match self {
            Self::Client(client) => Some(client),
            Self::Nobody => None,
        }
    }
}

/// `TCP4 192.0.2.1 198.51.100.1 56324 443`: the client, as far as it is told.
fn said_in_words(line: &str) -> Option<Told> {
    if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        return Some(Told::Nobody);
    }
    let mut words = line.split(' ');
    let mut next = || words.next();
    let family = next()?;
    let (source, destination) = (next()?.parse::<IpAddr>().ok()?, next()?.parse::<IpAddr>().ok()?);
    let (port, destination_port) = (parse_port(next()?)?, parse_port(next()?)?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    let _ = destination_port;
    (fits && next().is_none()).then_some(Told::Client(SocketAddr::new(source, port)))
}

fn parse_port(text: &str) -> Option<u16> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let leading_zero = text.len() > 1 && text.starts_with('0');
    if plain && !leading_zero { text.parse().ok() } else { None }
}

fn version_2(bytes: &[u8]) -> ProxyHeader {
    let seen = bytes.len().min(SIGNATURE.len());
    if bytes[..seen] != SIGNATURE[..seen] {
        return ProxyHeader::Malformed;
    }
    let Some((&[version_and_command, family, high, low], rest)) =
        bytes.get(SIGNATURE.len()..).and_then(|rest| rest.split_first_chunk())
    else {
        return ProxyHeader::Incomplete;
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    let whole = SIGNATURE.len() + 4 + length;
    if version_and_command >> 4 != 2 || whole > LONGEST {
        return ProxyHeader::Malformed;
    }
    let Some(addresses) = rest.get(..length) else { return ProxyHeader::Incomplete };
    match (version_and_command & 0x0f, said_in_bytes(family, addresses)) {
        // LOCAL: the balancer itself, as for its health checks; what it says about addresses does not count.
        (0, _) => ProxyHeader::Complete { client: None, length: whole },
        (1, Some(told)) => ProxyHeader::Complete { client: told.client(), length: whole },
        _ => ProxyHeader::Malformed,
    }
}

fn said_in_bytes(family: u8, addresses: &[u8]) -> Option<Told> {
    let port = |at: usize| Some(u16::from_be_bytes(*addresses.get(at..)?.first_chunk()?));
    match family {
        // Stream over IPv4: source, destination, source port, destination port. What follows are extensions.
        0x11 if addresses.len() >= 12 => {
            let source: [u8; 4] = *addresses.first_chunk()?;
            Some(Told::Client(SocketAddr::new(Ipv4Addr::from(source).into(), port(8)?)))
        }
        0x21 if addresses.len() >= 36 => {
            let source: [u8; 16] = *addresses.first_chunk()?;
            Some(Told::Client(SocketAddr::new(Ipv6Addr::from(source).into(), port(32)?)))
        }
        // Unspecified, or a Unix socket: nobody with an address.
        0x00 | 0x31 => Some(Told::Nobody),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[expect(clippy::option_option, reason = "whether the header is whole, and whom it names")]
    fn client(bytes: &[u8]) -> Option<Option<String>> {
        match parse(bytes) {
            ProxyHeader::Complete { client, length } => {
                assert_eq!(length, bytes.len());
                Some(client.map(|client| client.to_string()))
            }
            _ => None,
        }
    }

    fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
        let length = u16::try_from(addresses.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[0x20 | command, family], &length, addresses].concat()
    }

    #[test]
    fn both_versions_name_the_client() {
        let text = |line: &str| client(line.as_bytes());
        assert_eq!(
            text("PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"),
            Some(Some("192.0.2.1:56324".into()))
        );
        assert_eq!(text("PROXY TCP6 2001:db8::1 ::1 1 2\r\n"), Some(Some("[2001:db8::1]:1".into())));
        assert_eq!(text("PROXY UNKNOWN\r\n"), Some(None));
        assert_eq!(text("PROXY UNKNOWN whatever follows\r\n"), Some(None));
        let v4 = [192, 0, 2, 1, 198, 51, 100, 1, 0xdc, 4, 1, 187];
        assert_eq!(client(&binary(1, 0x11, &v4)), Some(Some("192.0.2.1:56324".into())));
        let extended = [&v4[..], &[4, 0, 1, 0]].concat();
        assert_eq!(client(&binary(1, 0x11, &extended)), Some(Some("192.0.2.1:56324".into())));
        let mut v6 = [0; 36];
        (v6[15], v6[33]) = (1, 7);
        assert_eq!(client(&binary(1, 0x21, &v6)), Some(Some("[::1]:7".into())));
        assert_eq!(client(&binary(0, 0x00, &[])), Some(None));
    }

    #[test]
    fn what_is_no_header_is_told_at_once() {
        for line in [
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 056324 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 +1 443\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 99999 443\r\n",
            "PROXY TCP4 2001:db8::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4  192.0.2.1 198.51.100.1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 198.51.100.1 1 2 3\r\n",
            "PROXY UDP4 192.0.2.1 198.51.100.1 1 2\r\n",
            "PUT / HTTP/1.1\r\n",
            "POST / HTTP/1.1",
            "GET / HTTP/1.1\r\n",
            "\r\n\r\nGET",
        ] {
            assert_eq!(parse(line.as_bytes()), ProxyHeader::Malformed, "{line:?}");
        }
        for (command, family, length) in
            [(2, 0x11, 12), (1, 0x11, 11), (1, 0x21, 35), (1, 0x12, 12), (1, 0x11, 521)]
        {
            let bytes = binary(command, family, &vec![0; length]);
            assert_eq!(parse(&bytes), ProxyHeader::Malformed, "{command} {family} {length}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_without_panic_and_within_the_bound(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            if let ProxyHeader::Complete { length, .. } = parse(&bytes) {
                prop_assert!(length <= bytes.len().min(LONGEST));
            }
            prop_assert!(bytes.len() < LONGEST || parse(&bytes) != ProxyHeader::Incomplete);
        }

        #[test]
        fn a_header_reads_the_same_however_it_trickles_in(
            source in any::<SocketAddr>(), port in any::<u16>(), extension in prop::collection::vec(any::<u8>(), 0..40),
            after in prop::collection::vec(any::<u8>(), 0..20), in_words in any::<bool>(),
        ) {
            let (other, family): (IpAddr, _) = match source.ip() {
                IpAddr::V4(_) => (Ipv4Addr::LOCALHOST.into(), "TCP4"),
                IpAddr::V6(_) => (Ipv6Addr::LOCALHOST.into(), "TCP6"),
            };
            let header = if in_words {
                format!("PROXY {family} {} {other} {} {port}\r\n", source.ip(), source.port()).into_bytes()
            } else {
                let octets = |ip| match ip {
                    IpAddr::V4(ip) => ip.octets().to_vec(),
                    IpAddr::V6(ip) => ip.octets().to_vec(),
                };
                let ports = [source.port().to_be_bytes(), port.to_be_bytes()].concat();
                let addresses = [octets(source.ip()), octets(other), ports, extension].concat();
                binary(1, if source.is_ipv4() { 0x11 } else { 0x21 }, &addresses)
            };
            let whole = [header.as_slice(), &after].concat();
            for end in 0..header.len() {
                prop_assert_eq!(parse(&whole[..end]), ProxyHeader::Incomplete, "{}", end);
            }
            let client = Some(SocketAddr::new(source.ip(), source.port()));
            prop_assert_eq!(parse(&whole), ProxyHeader::Complete { client, length: header.len() });
        }
    }
}
