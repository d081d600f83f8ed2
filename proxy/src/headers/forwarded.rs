//! Where a request came from: the chain of proxies in front of us is judged once, here, and told on in one element.
//! Only a trusted peer is listened to, from right to left; an untrusted one's words are dropped (THREATS H10).

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::lines::Lines;
use super::names::{begins, equals, in_namespace, without_leading_separators};
use super::scrub::Removals;
use crate::clock::append_number;
use crate::reason::Reason;
use crate::telemetry::request_line::append_address;

/// The scheme of the public side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme as URLs write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that URLs leave out.
    #[must_use]
    pub const fn default_port(self) -> &'static str {
        match self {
            Self::Http => "80",
            Self::Https => "443",
        }
    }

    fn parse(text: &[u8]) -> Option<Self> {
        match text {
            _ if text.eq_ignore_ascii_case(b"http") => Some(Self::Http),
            _ if text.eq_ignore_ascii_case(b"https") => Some(Self::Https),
            _ => None,
        }
    }
}

/// What we see ourselves of the connection a request came by.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The other end; `None` for a local socket, which is never trusted.
    pub peer: Option<IpAddr>,
    /// The listener's trusted proxies; empty trusts nobody.
    pub trusted: &'a [IpNet],
    /// The scheme of the listener.
    pub scheme: Scheme,
    /// The validated authority of the request.
    pub authority: &'a str,
}

/// Where a request came from, as far as trusted proxies vouch for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientOrigin {
    /// The client's address: the first one from the right that is not a trusted proxy.
    pub address: Option<IpAddr>,
    /// The scheme that the client spoke.
    pub scheme: Scheme,
    /// The host, perhaps with a port, that the client asked for.
    pub host: String,
}

/// Judges the chain. What cannot be read, or is said in two ways that differ, is not believed: the last thing known
/// to be true is the answer.
#[must_use]
pub fn origin(hop: &Hop<'_>, headers: &HeaderMap) -> ClientOrigin {
    let own = ClientOrigin { address: hop.peer, scheme: hop.scheme, host: hop.authority.to_owned() };
    if !hop.peer.is_some_and(|peer| trusts(hop.trusted, peer)) {
        return own;
    }
    let legacy = LEGACY_FOR.iter().chain(&[PROTO, HOST]).any(|name| headers.contains_key(*name));
    match (headers.contains_key(FORWARDED), legacy) {
        (false, false) => own,
        (false, true) => said_by_legacy(hop, headers, own),
        (true, false) => said_by_forwarded(hop, headers, own),
        (true, true) => {
            // A proxy that writes one of the two may let the client's other one pass, so only agreement counts.
            let legacy = said_by_legacy(hop, headers, own.clone());
            if said_by_forwarded(hop, headers, own.clone()) == legacy { legacy } else { own }
        }
    }
}

/// Every inbound field that tells where a request came from, in any spelling. `Via` is no such field and stays.
#[must_use]
pub fn family(headers: &HeaderMap) -> Removals {
    headers.keys().filter(|name| belongs(name.as_str())).cloned().collect()
}

/// Tells it on in fields made from `origin` alone: one client, one element.
///
/// # Errors
/// `CannotSign` when the host is nothing that can be written, which none is that was accepted.
pub fn rebuild(origin: &ClientOrigin, lines: &mut Lines) -> Result<(), Reason> {
    let (scheme, host) = (origin.scheme.as_str().as_bytes(), origin.host.as_bytes());
    lines.write(&X_FORWARDED_PROTO, |value| value.extend_from_slice(scheme))?;
    lines.write(&X_FORWARDED_PORT, |value| match port_of(&origin.host) {
        Some(port) => append_number(value, port.into()),
        None => value.extend_from_slice(origin.scheme.default_port().as_bytes()),
    })?;
    lines.write(&FORWARDED, |value| {
        value.extend_from_slice(b"for=");
        append_node(value, origin.address);
        value.extend_from_slice(b";host=\"");
        value.extend_from_slice(host);
        value.extend_from_slice(b"\";proto=");
        value.extend_from_slice(scheme);
    })?;
    lines.write(&X_FORWARDED_HOST, |value| value.extend_from_slice(host))?;
    if let Some(address) = origin.address {
        lines.write(&X_FORWARDED_FOR, |value| append_address(value, address))?;
        lines.write(&X_REAL_IP, |value| append_address(value, address))?;
    }
    Ok(())
}

/// Appends a node (RFC 7239, section 6).
fn append_node(element: &mut Vec<u8>, address: Option<IpAddr>) {
    let Some(address) = address else { return element.extend_from_slice(b"unknown") };
    let quotes: [&[u8]; 2] = if address.is_ipv6() { [b"\"[", b"]\""] } else { [b"", b""] };
    element.extend_from_slice(quotes[0]);
    append_address(element, address);
    element.extend_from_slice(quotes[1]);
}

/// The names that [`rebuild`] writes, in its order, where the client's address is known.
pub const REBUILT: [HeaderName; 6] =
    [X_FORWARDED_PROTO, X_FORWARDED_PORT, FORWARDED, X_FORWARDED_HOST, X_FORWARDED_FOR, X_REAL_IP];

const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static(PROTO);
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static(HOST);
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

const LEGACY_FOR: [&str; 1] = ["x-forwarded-for"];
const PROTO: &str = "x-forwarded-proto";
const HOST: &str = "x-forwarded-host";

/// Names besides the `Forwarded` and `X-Forwarded` families by which servers and CDNs pass the client on.
const RELATIVES: [&[u8]; 23] = [
    b"x-real-ip",
    b"x-client-ip",
    b"true-client-ip",
    b"cf-connecting-ip",
    b"cf-connecting-ipv6",
    b"client-ip",
    b"x-cluster-client-ip",
    b"fastly-client-ip",
    b"x-originating-ip",
    b"x-remote-ip",
    b"x-remote-addr",
    b"x-original-forwarded-for",
    b"x-original-host",
    b"x-host",
    b"x-url-scheme",
    b"x-envoy-external-address",
    b"x-scheme",
    b"front-end-https",
    // What code in Java asks for one after the other, and a name for the host that frameworks in PHP know.
    b"proxy-client-ip",
    b"wl-proxy-client-ip",
    b"cluster-client-ip",
    b"fly-client-ip",
    b"x-http-host-override",
];

/// Whether a field tells where a request came from, in any spelling. `Via` is no such field.
#[must_use]
pub fn belongs(name: &str) -> bool {
    let name = without_leading_separators(name.as_bytes());
    // Ordered by first letter, because this runs for every field of every request.
    match name.first() {
        Some(b'f' | b'F') => begins(name, b"forwarded") || relative(name),
        Some(b'x' | b'X') => in_namespace(name, b"x-forwarded") || relative(name),
        Some(b'c' | b'C' | b'p' | b'P' | b't' | b'T' | b'w' | b'W') => relative(name),
        _ => false,
    }
}

fn relative(name: &[u8]) -> bool {
    RELATIVES.iter().any(|known| equals(name, known))
}

fn trusts(trusted: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    trusted.iter().any(|net| net.contains(&address))
}

/// `X-Forwarded-*`: the chain of addresses from the right; of scheme and host only the last value, which is the one
/// the nearest proxy wrote.
fn said_by_legacy(hop: &Hop<'_>, headers: &HeaderMap, own: ClientOrigin) -> ClientOrigin {
    let mut origin = own;
    for name in LEGACY_FOR {
        for item in from_the_right(headers, name) {
            let Some(address) = std::str::from_utf8(item).ok().and_then(parse_node) else { break };
            origin.address = Some(address);
            if !trusts(hop.trusted, address) {
                break;
            }
        }
    }
    if let Some(scheme) = from_the_right(headers, PROTO).next().and_then(Scheme::parse) {
        origin.scheme = scheme;
    }
    if let Some(host) = from_the_right(headers, HOST).next().and_then(parse_host) {
        origin.host = host;
    }
    origin
}

/// `Forwarded` (RFC 7239): the elements from the right; scheme and host of the element that names the client.
fn said_by_forwarded(hop: &Hop<'_>, headers: &HeaderMap, own: ClientOrigin) -> ClientOrigin {
    let mut origin = own;
    for element in elements(headers).into_iter().rev() {
        let Some(element) = parse_element(&element) else { break };
        let Some(address) = element.node.as_deref().and_then(parse_node) else { break };
        origin.address = Some(address);
        origin.scheme = element.scheme.unwrap_or(origin.scheme);
        origin.host = element.host.unwrap_or(origin.host);
        if !trusts(hop.trusted, address) {
            break;
        }
    }
    origin
}

/// The members of a comma-separated field over all its lines, last first.
fn from_the_right<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    lines.into_iter().rev().flat_map(|line| line.rsplit(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

/// The elements of all `Forwarded` lines, first first; a comma inside a quoted string separates nothing.
fn elements(headers: &HeaderMap) -> Vec<String> {
    let mut elements = Vec::new();
    for line in headers.get_all(FORWARDED) {
        let Ok(line) = line.to_str() else {
            // Not text: everything to the left of it is unreadable, too.
            elements.clear();
            elements.push(String::new());
            continue;
        };
        split_outside_quotes(line, ',', &mut elements);
    }
    elements
}

fn split_outside_quotes(text: &str, separator: char, parts: &mut Vec<String>) {
    let (mut part, mut quoted, mut escaped) = (String::new(), false, false);
    for char in text.chars() {
        if char == separator && !quoted {
            parts.push(std::mem::take(&mut part));
            continue;
        }
        quoted ^= char == '"' && !escaped;
        escaped = quoted && char == '\\' && !escaped;
        part.push(char);
    }
    parts.push(part);
}

#[derive(Default)]
struct Element {
    node: Option<String>,
    scheme: Option<Scheme>,
    host: Option<String>,
}

/// One forwarded-element (RFC 7239, section 4). A parameter given twice, or without a value, makes it unreadable.
fn parse_element(text: &str) -> Option<Element> {
    let mut element = Element::default();
    let mut pairs = Vec::new();
    split_outside_quotes(text, ';', &mut pairs);
    for pair in pairs {
        let (name, value) = pair.split_once('=')?;
        let value = unquote(value.trim_end())?;
        let given_twice = match name.trim_start().to_ascii_lowercase().as_str() {
            "for" => element.node.replace(value).is_some(),
            "proto" => element.scheme.replace(Scheme::parse(value.as_bytes())?).is_some(),
            "host" => element.host.replace(parse_host(value.as_bytes())?).is_some(),
            _ => false,
        };
        if given_twice {
            return None;
        }
    }
    Some(element)
}

/// A token as it is, or the inside of a quoted string (RFC 9110, section 5.6.4).
fn unquote(value: &str) -> Option<String> {
    let Some(inside) = value.strip_prefix('"') else {
        let token = !value.is_empty() && !value.contains(['"', ' ', '\\']);
        return token.then(|| value.to_owned());
    };
    let inside = inside.strip_suffix('"')?;
    let (mut text, mut escaped) = (String::with_capacity(inside.len()), false);
    for char in inside.chars() {
        if char == '\\' && !escaped {
            escaped = true;
        } else if char == '"' && !escaped {
            return None;
        } else {
            text.push(char);
            escaped = false;
        }
    }
    (!escaped).then_some(text)
}

/// An address, perhaps with a port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_node(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            rest.split_once(']').map(|(inside, port)| (inside, port.strip_prefix(':').unwrap_or(port)))?
        }
        None => text.split_once(':')?,
    };
    let port_reads = port.is_empty() && text.ends_with(']') || port.parse::<u16>().is_ok();
    let address = address.parse::<IpAddr>().ok()?;
    (port_reads && address.is_ipv6() == text.starts_with('[')).then(|| address.to_canonical())
}

/// A host, perhaps with a port, of the characters that hosts are made of.
fn parse_host(text: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(text).ok()?;
    let characters = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte));
    ((1..=255).contains(&text.len()) && characters).then(|| text.to_ascii_lowercase())
}

fn port_of(host: &str) -> Option<u16> {
    let (name, port) = host.rsplit_once(':')?;
    if name.contains(':') && !name.ends_with(']') { None } else { port.parse().ok() }
}

#[cfg(test)]
mod tests;
