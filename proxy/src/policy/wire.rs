//! What the HTTP/1 layer mends or takes leniently before policy can see it, watched on the bytes of the connection:
//! heads without end, blanks in the request line, the syntax of chunked bodies (THREATS F5, F6, F13, P6).
//! It follows one request at a time. What lies behind the end that it sees waits for its turn; whoever sees a later end
//! waits for bytes that do not come, and whoever sees an earlier one is left with some and closes: never out of step.

mod chunks;
pub mod frames;

use memchr::{memchr, memchr_iter};

use self::chunks::Chunks;
use super::Limits;
use crate::reason::Reason;

/// What is to happen with bytes that were just received.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// All of them go on to the HTTP layer.
    All,
    /// So many of them end the request; those behind begin another one, which is not to be read yet.
    Until(usize),
    /// So many of them go on, then `end`, then nothing: a head beyond the limits. What goes on is enough for the gate
    /// to see that a limit was passed.
    Cut {
        /// Bytes that go on.
        keep: usize,
        /// What makes a head of them.
        end: &'static [u8],
    },
    /// None of them: the body breaks the grammar.
    None,
}

/// Follows the bytes of one connection.
#[derive(Debug)]
pub struct Watch {
    limits: Limits,
    state: State,
    /// Whether the end of the request can be told: not where it may become a tunnel, or is refused anyway.
    has_end: bool,
    /// Whether the request is its head and nothing else.
    is_bare: bool,
    verdict: Option<Reason>,
}

#[derive(Debug)]
enum State {
    /// Within a head that came in pieces so far; holds them.
    Head(Vec<u8>),
    Chunks(Chunks),
    /// Within a body of which so much is left.
    Body(u64),
    /// Behind the last byte of the request.
    Whole,
    /// Nothing more to be watched in this request: a tunnel, HTTP/2, what is refused.
    Rest,
}

impl Watch {
    /// A watch at the beginning of a request.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, state: State::Head(Vec::new()), has_end: false, is_bare: false, verdict: None }
    }

    /// Begins anew: the next bytes are those of another request.
    pub fn restart(&mut self) {
        self.state = State::Head(Vec::new());
        self.is_bare = false;
        self.verdict = None;
    }

    /// Why the request is to be refused, if it is.
    #[must_use]
    pub const fn verdict(&self) -> Option<Reason> {
        self.verdict
    }

    /// Whether the last byte of the request is here: whatever comes now is of another one.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        matches!(self.state, State::Whole)
    }

    /// Whether the head is here, or as much of it as will ever be read.
    #[must_use]
    pub const fn has_head(&self) -> bool {
        !matches!(self.state, State::Head(_))
    }

    /// Whether the request is a well-formed head and nothing else, and its answer may have a body.
    #[must_use]
    pub const fn is_bare(&self) -> bool {
        self.is_bare
    }

    /// Whether a head has begun to come and is not whole yet.
    #[must_use]
    pub const fn is_within_head(&self) -> bool {
        matches!(&self.state, State::Head(before) if !before.is_empty())
    }

    /// Looks at bytes as they arrive.
    pub fn see(&mut self, bytes: &[u8]) -> Pass {
        match &mut self.state {
            State::Rest | State::Whole => Pass::All,
            State::Body(_) | State::Chunks(_) => match self.see_body(bytes) {
                Ok(length) if length < bytes.len() => Pass::Until(length),
                Ok(_) => Pass::All,
                Err(reason) => {
                    self.verdict = Some(reason);
                    Pass::None
                }
            },
            State::Head(before) => {
                let before = std::mem::take(before);
                self.see_head(before, bytes)
            }
        }
    }

    /// How many of the bytes belong to the body.
    fn see_body(&mut self, bytes: &[u8]) -> Result<usize, Reason> {
        let (end, length) = match &mut self.state {
            State::Body(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= length as u64;
                (*left == 0, length)
            }
            State::Chunks(chunks) => match chunks.see(bytes)? {
                Some(length) => (true, length),
                None => (false, bytes.len()),
            },
            State::Head(_) | State::Whole | State::Rest => (false, bytes.len()),
        };
        if end {
            self.state = if self.has_end { State::Whole } else { State::Rest };
        }
        Ok(if end && !self.has_end { bytes.len() } else { length })
    }

    fn see_head(&mut self, mut before: Vec<u8>, bytes: &[u8]) -> Pass {
        let passed = before.len();
        // Nearly every head comes in one piece and is judged where it lies.
        let head = if passed == 0 {
            bytes
        } else {
            before.extend_from_slice(bytes);
            &before
        };
        let start = if head.starts_with(b"\r\n") { 2 } else { 0 };
        let search_from = passed.saturating_sub(3).max(start);
        let end = head.get(search_from..).and_then(end_of_head);
        let end = end.map(|at| search_from + at + 4);
        if let Some((keep, end)) = beyond(&head[..end.unwrap_or(head.len())], start, &self.limits) {
            self.state = State::Rest;
            // What has passed already lay within the limits.
            return Pass::Cut { keep: keep.saturating_sub(passed), end };
        }
        let Some(end) = end else {
            self.state = State::Head(if passed == 0 { bytes.to_vec() } else { before });
            return Pass::All;
        };
        let (head, body) = (&head[start..end], &head[end..]);
        self.verdict = judge_request_line(head).err();
        let framing = framing(head);
        self.has_end = self.verdict.is_none() && framing.has_end;
        let has_body = framing.is_chunked || framing.length.is_some_and(|length| length > 0);
        self.is_bare = self.has_end && !has_body && !head.starts_with(b"HEAD ");
        self.state = match framing.length {
            _ if framing.is_chunked => State::Chunks(Chunks::default()),
            Some(length) => State::Body(length),
            None => State::Body(0),
        };
        match self.see_body(body) {
            Ok(length) if length < body.len() => Pass::Until(bytes.len() - (body.len() - length)),
            Ok(_) => Pass::All,
            // The head goes on, so that the refusal is an answer to a request that the log knows.
            Err(reason) => {
                self.verdict = Some(reason);
                self.state = State::Rest;
                Pass::All
            }
        }
    }
}

/// Where the empty line begins that ends a head. Lines are short, so that looking at each line end is quicker than
/// making a searcher ready.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr_iter(b'\n', bytes).find(|&at| bytes[..=at].ends_with(b"\r\n\r\n")).map(|at| at - 3)
}

/// Where a head is cut that passes a limit, and what ends it there: just behind the limit, so that the gate says which.
fn beyond(head: &[u8], start: usize, limits: &Limits) -> Option<(usize, &'static [u8])> {
    let line_limit = limits.target_bytes + METHOD_AND_VERSION;
    let line_end = memchr(b'\n', &head[start..]).map(|at| start + at + 1);
    let line = line_end.unwrap_or(head.len()) - start;
    if line > line_limit {
        return Some((start + line_limit, b" HTTP/1.1\r\n\r\n"));
    }
    let fields = line_end?;
    let count = memchr_iter(b'\n', &head[fields..]).nth(limits.head_fields);
    if let Some(at) = count.filter(|&at| fields + at + 1 < head.len()) {
        let line = fields + at + 1;
        // One line more than allowed, or the empty line that ends a head of exactly so many.
        if !head[..line].ends_with(b"\r\n\r\n") {
            return Some((line, b"\r\n"));
        }
    }
    // Inside a line the two line ends close it and the head; behind one they are an empty line, and one too many.
    let bytes_limit = fields + limits.head_bytes + 1;
    (head.len() > bytes_limit + 2).then_some((bytes_limit, b"\r\n\r\n"))
}

/// Room for the longest method that the gate accepts, the version, two blanks and the line end.
const METHOD_AND_VERSION: usize = 48;

/// `token SP target SP version`, without any other blank and without controls, which the HTTP layer would mend; and a
/// version that is spoken here. The preface of HTTP/2 is none of a request.
fn judge_request_line(head: &[u8]) -> Result<(), Reason> {
    let line = &head[..memchr(b'\n', head).unwrap_or(head.len())];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let clean = memchr_iter(b' ', line).count() == 2
        && line.iter().all(|&byte| byte == b' ' || (byte > b' ' && byte != 0x7f));
    if !clean {
        return Err(Reason::MalformedRequest);
    }
    if line.ends_with(b" HTTP/1.1") || line.ends_with(b" HTTP/1.0") || line == b"PRI * HTTP/2.0" {
        return Ok(());
    }
    match line {
        [.., b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
            Err(Reason::UnsupportedVersion)
        }
        _ => Err(Reason::MalformedRequest),
    }
}

/// What a head says about the body that follows it.
#[derive(Default)]
struct Framing {
    /// More than one coding, or another one, is refused by the gate.
    is_chunked: bool,
    length: Option<u64>,
    has_end: bool,
}

fn framing(head: &[u8]) -> Framing {
    let mut framing = Framing { has_end: !head.starts_with(b"PRI "), ..Framing::default() };
    for at in memchr_iter(b'\n', head) {
        let line = &head[at + 1..];
        // One letter tells nearly every line apart.
        match line.first().map(u8::to_ascii_lowercase) {
            Some(b't') if is_named(line, b"transfer-encoding:") => {
                framing.has_end &= !framing.is_chunked && framing.length.is_none();
                framing.is_chunked = true;
            }
            Some(b'c') if is_named(line, b"content-length:") => {
                let length = length(&line[b"content-length:".len()..]);
                framing.has_end &= !framing.is_chunked && framing.length.is_none() && length.is_some();
                framing.length = framing.length.or(length);
            }
            Some(b'u') if is_named(line, b"upgrade:") => framing.has_end = false,
            _ => {}
        }
    }
    framing
}

fn is_named(line: &[u8], name: &[u8]) -> bool {
    line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name))
}

/// A length as the gate accepts it; anything else is refused there.
fn length(rest: &[u8]) -> Option<u64> {
    let value = rest[..memchr(b'\r', rest)?].trim_ascii();
    let is_length = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
    if is_length { std::str::from_utf8(value).ok()?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
