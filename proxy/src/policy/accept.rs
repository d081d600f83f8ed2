//! What is accepted at all: the strict gate before anything else looks at a request (THREATS sections 3, 4, 5).
//! HTTP/1 is judged on the bytes as received, because the HTTP layer has already mended what it read there
//! (PINGORA 3.5); HTTP/2 on the decoded fields. It refuses; it never mends. No allocation but for the result.
//! Not refused but never to be forwarded: `Upgrade: h2c` and `HTTP2-Settings` (see `origin`), hop-by-hop fields.

mod http1;

use http::{Method, Version};

use super::Limits;
use super::host::Authority;
use super::target::Target;
use crate::reason::Reason;

/// A request head as it arrived.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// The parsed parts.
    pub parts: &'a http::request::Parts,
    /// The request target as it arrived.
    pub raw_target: &'a [u8],
    /// The bytes of the whole head, where the protocol has them (HTTP/1).
    pub raw_head: Option<&'a [u8]>,
}

/// What was accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// Where it goes, in canonical form.
    pub target: Target,
    /// Which host it is for.
    pub authority: Authority,
}

/// Judges a request head. For HTTP/1 without its bytes (tests, generated requests) the parsed fields are judged.
///
/// # Errors
/// Why it is refused.
pub fn accept(head: Head<'_>, limits: &Limits) -> Result<Accepted, Reason> {
    let (parts, fields) = (head.parts, read(&head, limits)?);
    let (target, named) = Target::parse(head.raw_target, limits.target_bytes)?;
    if target.path() == "*" && parts.method != Method::OPTIONS {
        return Err(Reason::MalformedRequest);
    }
    let named = named.as_deref().or_else(|| parts.uri.authority().map(http::uri::Authority::as_str));
    let authority = authority(named.map(str::as_bytes), fields.host, parts.version)?;
    Ok(Accepted { target, authority })
}

/// Judges a head for its grammar, its size and its framing alone; what its target and its host say is for others to judge.
///
/// # Errors
/// Why it is refused.
pub fn accept_form(head: Head<'_>, limits: &Limits) -> Result<(), Reason> {
    read(&head, limits).map(|_| ())
}

fn read<'a>(head: &Head<'a>, limits: &Limits) -> Result<Fields<'a>, Reason> {
    let parts = head.parts;
    check_method(&parts.method)?;
    check_scheme(parts)?;
    let mut fields = Fields::new(parts.version)?;
    match head.raw_head {
        Some(raw) if parts.version < Version::HTTP_2 => {
            http1::check(raw, head, limits, |name, value| fields.see(name, value))?;
        }
        _ => {
            check_size(parts, limits)?;
            for (name, value) in &parts.headers {
                fields.see(name.as_str().as_bytes(), value.as_bytes())?;
            }
        }
    }
    check_length(&parts.method, &fields)?;
    Ok(fields)
}

/// A body over HTTP/1.0 says how long it is (RFC 1945, section 7.2.2): one that ends with its connection cannot be told from
/// another request (THREATS F3).
fn check_length(method: &Method, fields: &Fields<'_>) -> Result<(), Reason> {
    let has_body = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    let is_endless = has_body && fields.version == Version::HTTP_10 && !fields.length;
    if is_endless { Err(Reason::AmbiguousFraming) } else { Ok(()) }
}

/// Known methods and any other of upper-case letters and `-` (`PROPFIND`, `M-SEARCH`), as registered methods are
/// spelled; `get` is not GET (RFC 9110, section 9.1) and serves only to slip past a rule on GET.
fn check_method(method: &Method) -> Result<(), Reason> {
    let name = method.as_str().as_bytes();
    let spelled = name.len() <= 32 && name.iter().all(|b| b.is_ascii_uppercase() || *b == b'-');
    let echoes_or_tunnels = matches!(*method, Method::TRACE | Method::CONNECT);
    if spelled && !echoes_or_tunnels { Ok(()) } else { Err(Reason::MethodNotAllowed) }
}

/// What HTTP/2 says in `:scheme`, and an absolute target in front of its authority.
fn check_scheme(parts: &http::request::Parts) -> Result<(), Reason> {
    match parts.uri.scheme_str() {
        None | Some("http" | "https") => Ok(()),
        Some(_) => Err(Reason::MalformedRequest),
    }
}

fn check_size(parts: &http::request::Parts, limits: &Limits) -> Result<(), Reason> {
    let bytes: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    // Browsers send each cookie in a field of its own (RFC 9113, section 8.2.3): together they are the one of HTTP/1.
    let crumbs = || parts.headers.get_all(http::header::COOKIE).iter().count().saturating_sub(1);
    let few =
        parts.headers.len() <= limits.head_fields || parts.headers.len() - crumbs() <= limits.head_fields;
    if few && bytes <= limits.head_bytes { Ok(()) } else { Err(Reason::HeadTooLarge) }
}

/// Exactly one host: in the target and in `Host` it must be the same (RFC 9112, section 3.2; RFC 9113, 8.3.1).
fn authority(named: Option<&[u8]>, host: Option<&[u8]>, version: Version) -> Result<Authority, Reason> {
    match (named, host) {
        (Some(named), Some(host)) => {
            let named = Authority::parse(named)?;
            if Authority::parse(host)? == named { Ok(named) } else { Err(Reason::BadHost) }
        }
        (None, Some(host)) => Authority::parse(host),
        // HTTP/2 may leave Host out; HTTP/1 never, also where the target names an authority.
        (Some(named), None) if version >= Version::HTTP_2 => Authority::parse(named),
        (_, None) => Err(Reason::BadHost),
    }
}

/// What the fields of one head said so far about framing, host and expectation.
struct Fields<'a> {
    version: Version,
    length: bool,
    chunked: bool,
    expects: bool,
    host: Option<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn new(version: Version) -> Result<Self, Reason> {
        match version {
            Version::HTTP_10 | Version::HTTP_11 | Version::HTTP_2 => {
                Ok(Self { version, length: false, chunked: false, expects: false, host: None })
            }
            _ => Err(Reason::UnsupportedVersion),
        }
    }

    /// Judges one field. Lengths first: nearly every field is done after one comparison.
    fn see(&mut self, name: &'a [u8], value: &'a [u8]) -> Result<(), Reason> {
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => {
                if self.host.replace(value).is_some() {
                    Err(Reason::BadHost)
                } else {
                    Ok(())
                }
            }
            6 if name.eq_ignore_ascii_case(b"expect") => {
                let again = std::mem::replace(&mut self.expects, true);
                let known = value.eq_ignore_ascii_case(b"100-continue");
                if again || !known { Err(Reason::UnsupportedExpectation) } else { Ok(()) }
            }
            14.. if reads_as(name, b"content-length") => self.see_length(name, value),
            17.. if reads_as(name, b"transfer-encoding") => self.see_coding(name, value),
            2 | 7 | 10 | 16 if self.version == Version::HTTP_2 => check_connection_specific(name, value),
            _ => Ok(()),
        }
    }

    fn see_length(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        let again = std::mem::replace(&mut self.length, true);
        let fine = name.len() == 14 && name[7] == b'-' && !again && !self.chunked && is_length(value);
        if fine { Ok(()) } else { Err(Reason::AmbiguousFraming) }
    }

    fn see_coding(&mut self, name: &[u8], value: &[u8]) -> Result<(), Reason> {
        let again = std::mem::replace(&mut self.chunked, true);
        let fine = name.len() == 17
            && name[8] == b'-'
            && !again
            && !self.length
            && self.version == Version::HTTP_11
            && value.eq_ignore_ascii_case(b"chunked");
        if fine { Ok(()) } else { Err(Reason::AmbiguousFraming) }
    }
}

/// Whether an application that folds separators together, however many, reads `name` as `wanted` (THREATS F2, F4).
fn reads_as(name: &[u8], wanted: &[u8]) -> bool {
    let mut rest = without_separators(name);
    wanted.split(|&byte| byte == b'-').all(|word| {
        let begins = rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
        let behind = rest.get(word.len()..).unwrap_or_default();
        rest = without_separators(behind);
        // Both names have two words: between them something separates, and behind the second nothing is left.
        begins && (rest.is_empty() || rest.len() < behind.len())
    }) && rest.is_empty()
}

fn without_separators(name: &[u8]) -> &[u8] {
    let start = name.iter().position(u8::is_ascii_alphanumeric).unwrap_or(name.len());
    &name[start..]
}

/// Digits alone, as a number is printed: what is forwarded is then what re-serialising would give. 18 digits fit
/// every signed 64-bit parser behind us.
fn is_length(value: &[u8]) -> bool {
    let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    digits && (value.len() == 1 || value[0] != b'0')
}

/// Fields that have no meaning in HTTP/2 (RFC 9113, section 8.2.2) and would gain one behind us.
fn check_connection_specific(name: &[u8], value: &[u8]) -> Result<(), Reason> {
    match name {
        b"connection" | b"keep-alive" | b"proxy-connection" | b"upgrade" => Err(Reason::MalformedRequest),
        b"te" if !value.eq_ignore_ascii_case(b"trailers") => Err(Reason::MalformedRequest),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
