//! Answers that are passed on as they came, but for lines that are left out and added: those that are here whole, and in
//! which there is nothing to decide. To put them into maps, only to write them down again, took a fifth of what a request
//! costs (docs/performance.md). Whatever is not as plain is for Pingora's reader, and for the functions that judge all
//! other answers; what comes out here is what would come out there.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use httparse::{Header, ParserConfig, Response, Status};

use super::names::Names;

/// Fields that an answer may have here.
const FIELDS: usize = 64;
/// Fields that an answer may have at all.
const MOST_FIELDS: usize = 256;
/// Room for the lines that are added.
const ADDED: usize = 128;
/// Digits of a length that is no overflow.
const DIGITS: usize = 18;

/// What is added to an answer.
#[derive(Clone, Copy, Debug)]
pub struct Additions<'a> {
    /// Whether it was made for one session: caches that are shared must not keep it (THREATS S12).
    pub private: bool,
    /// Whether the client's connection is used again.
    pub kept: bool,
    /// The time, as HTTP writes it (RFC 9110, section 5.6.7).
    pub date: &'a [u8],
}

/// An answer on its way to the client.
#[derive(Debug)]
pub struct Relayed {
    /// Its status code.
    pub status: u16,
    /// Bytes of its body.
    pub body: usize,
    /// All of it, as it is written to the client.
    pub bytes: Vec<u8>,
}

/// The answer that a client gets over HTTP/1.1 for these bytes of an application; `None` when they are not a whole answer,
/// or one in which something has to be decided.
#[must_use]
pub fn relay(answer: &[u8], names: &Names, with: Additions<'_>) -> Option<Relayed> {
    read(answer, names, with.private, |Plain { status, reason, fields, body, is_marked }| {
        let mut bytes = Vec::with_capacity(answer.len() + ADDED);
        write_head(&mut bytes, status, reason, fields);
        let private: &[u8] = if is_marked { b"Cache-Control: private\r\nVary: Cookie\r\n" } else { b"" };
        let connection: &[u8] = if with.kept { b"keep-alive" } else { b"close" };
        for piece in [private, b"Date: ", with.date, b"\r\nConnection: ", connection, b"\r\n\r\n", body] {
            bytes.extend_from_slice(piece);
        }
        Some(Relayed { status, body: body.len(), bytes })
    })
}

/// The same for other protocols: head and body. What is written anew by whoever speaks them is left out.
#[must_use]
pub fn apart(answer: &[u8], names: &Names, private: bool) -> Option<http::Response<Bytes>> {
    read(answer, names, private, |Plain { status, fields, body, is_marked, .. }| {
        let mut answer = http::Response::new(Bytes::copy_from_slice(body));
        *answer.status_mut() = StatusCode::from_u16(status).ok()?;
        let mut headers = HeaderMap::with_capacity(fields.len() + PRIVATE.len() + 1);
        for Header { name, value } in passing(fields) {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            headers.append(name, HeaderValue::from_bytes(value).ok()?);
        }
        if is_marked {
            headers.extend(PRIVATE.map(|(name, value)| (name, HeaderValue::from_static(value))));
        }
        *answer.headers_mut() = headers;
        Some(answer)
    })
}

/// In how many ways an answer says where it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Framing {
    /// Its head is not here.
    Unknown,
    /// In one, or in none; or it cannot be read, which is for others to say.
    Once,
    /// By a length, and by chunks.
    Twice,
}

/// In how many ways the answer that begins with these bytes says where it ends. Informational answers before it have no
/// body; where one is the last that is here, nothing more is waited for: the client is to have it now.
#[must_use]
pub fn framing(mut answer: &[u8]) -> Framing {
    let mut incomplete = Framing::Unknown;
    loop {
        let mut room = [const { MaybeUninit::uninit() }; MOST_FIELDS];
        let mut head = Response::new(&mut []);
        let mut parser = ParserConfig::default();
        parser.allow_spaces_after_header_name_in_responses(true);
        parser.allow_obsolete_multiline_headers_in_responses(true);
        let end = match parser.parse_response_with_uninit_headers(&mut head, answer, &mut room) {
            Ok(Status::Complete(end)) => end,
            Ok(Status::Partial) => return incomplete,
            Err(_) => return Framing::Once,
        };
        if head.code.is_some_and(|status| (100..200).contains(&status) && status != 101) {
            (answer, incomplete) = (&answer[end..], Framing::Once);
            continue;
        }
        let has = |name: &str| head.headers.iter().any(|field| field.name.eq_ignore_ascii_case(name));
        return if has("content-length") && has("transfer-encoding") {
            Framing::Twice
        } else {
            Framing::Once
        };
    }
}

/// An answer in which there is nothing to decide.
struct Plain<'a> {
    status: u16,
    reason: &'a str,
    fields: &'a [Header<'a>],
    body: &'a [u8],
    /// Whether caches that are shared have to be told not to keep it.
    is_marked: bool,
}

fn read<R>(
    answer: &[u8],
    names: &Names,
    private: bool,
    make: impl FnOnce(Plain<'_>) -> Option<R>,
) -> Option<R> {
    let mut room = [const { MaybeUninit::uninit() }; FIELDS];
    let mut head = Response::new(&mut []);
    let parser = ParserConfig::default();
    let Ok(Status::Complete(end)) = parser.parse_response_with_uninit_headers(&mut head, answer, &mut room)
    else {
        return None;
    };
    let (Some(1), Some(status), Some(reason)) = (head.version, head.code, head.reason) else { return None };
    let (fields, body) = (&*head.headers, answer.get(end..)?);
    let says = Says::read(fields, names)?;
    let is_marked = private && !says.stores;
    // What a private answer varies by would have to be put together.
    let is_plain = has_body(status) && says.length == Some(body.len()) && !(is_marked && says.varies);
    if is_plain { make(Plain { status, reason, fields, body, is_marked }) } else { None }
}

/// What the fields of an answer say that matters here.
#[derive(Default)]
struct Says {
    length: Option<usize>,
    /// How the answer may be stored.
    stores: bool,
    varies: bool,
}

impl Says {
    /// `None` when something has to be decided.
    fn read(fields: &[Header<'_>], names: &Names) -> Option<Self> {
        let mut says = Self::default();
        for field in fields {
            if names.reserved(field.name) || !says.takes(field) {
                return None;
            }
        }
        Some(says)
    }

    /// Notes what a field says; whether that leaves nothing to decide.
    fn takes(&mut self, &Header { name, value }: &Header<'_>) -> bool {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        if is("content-length") {
            let is_first = self.length.is_none();
            self.length = length(value);
            is_first && self.length.is_some()
        } else if is("cache-control") {
            self.stores = true;
            // An empty field says nothing, and would be replaced.
            !value.is_empty()
        } else if is("vary") {
            self.varies = true;
            true
        } else if is("connection") {
            value.eq_ignore_ascii_case(b"keep-alive")
        } else if is("content-type") {
            !begins(value, b"text/event-stream")
        } else {
            !UNDECIDED.iter().any(|undecided| is(undecided))
        }
    }
}

/// Fields that frame a message in other ways, switch protocols, are for one hop alone, or set cookies, ours perhaps.
const UNDECIDED: [&str; 7] =
    ["set-cookie", "transfer-encoding", "upgrade", "trailer", "te", "proxy-authenticate", "proxy-connection"];
/// Fields that are written anew, or end here.
const LEFT_OUT: [&str; 3] = ["connection", "date", "keep-alive"];
/// What [`super::response::privacy`] says where an application says nothing.
const PRIVATE: [(HeaderName, &str); 2] = [(CACHE_CONTROL, "private"), (VARY, "Cookie")];

fn has_body(status: u16) -> bool {
    matches!(status, 200..=599) && !matches!(status, 204 | 304)
}

fn length(value: &[u8]) -> Option<usize> {
    let is_plain = (1..=DIGITS).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value).ok().filter(|_| is_plain)?.parse().ok()
}

fn begins(value: &[u8], with: &[u8]) -> bool {
    value.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with))
}

/// Everything in it was read by the parser, which lets nothing pass that ends a line.
fn write_head(bytes: &mut Vec<u8>, status: u16, reason: &str, fields: &[Header<'_>]) {
    bytes.extend_from_slice(b"HTTP/1.1 ");
    let digit = |place: u16| b'0' + u8::try_from(status / place % 10).unwrap_or_default();
    bytes.extend_from_slice(&[digit(100), digit(10), digit(1), b' ']);
    bytes.extend_from_slice(reason.as_bytes());
    bytes.extend_from_slice(b"\r\n");
    for Header { name, value } in passing(fields) {
        for piece in [name.as_bytes(), b": ", value, b"\r\n"] {
            bytes.extend_from_slice(piece);
        }
    }
}

fn passing<'a>(fields: &'a [Header<'a>]) -> impl Iterator<Item = &'a Header<'a>> {
    fields.iter().filter(|field| !LEFT_OUT.iter().any(|left| field.name.eq_ignore_ascii_case(left)))
}

#[cfg(test)]
mod tests;
