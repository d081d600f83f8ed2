//! The grammar of an HTTP/1 head, on the bytes as received (RFC 9112, sections 2 to 5), without any leniency.

use super::Head;
use crate::policy::Limits;
use crate::reason::Reason;

/// Walks over a head once, from the request line to the empty line, and shows every field to `see`: the name as
/// spelled, the value without the blanks around it (tabs around a value stay; no client of good will sends them).
///
/// # Errors
/// What breaks the grammar or a limit, or what `see` says.
pub(super) fn check<'a>(
    raw: &'a [u8],
    head: &Head<'_>,
    limits: &Limits,
    mut see: impl FnMut(&'a [u8], &'a [u8]) -> Result<(), Reason>,
) -> Result<(), Reason> {
    // At most one empty line before the request line (RFC 9112, section 2.2).
    let raw = raw.strip_prefix(b"\r\n").unwrap_or(raw);
    let (line, mut rest) = next_line(raw)?;
    check_request_line(line, head, limits)?;
    if rest.len() > limits.head_bytes {
        return Err(Reason::HeadTooLarge);
    }
    for count in 0.. {
        let (line, following) = next_line(rest)?;
        rest = following;
        if line.is_empty() {
            break;
        }
        if count == limits.head_fields {
            return Err(Reason::HeadTooLarge);
        }
        let (name, value) = split_field(line)?;
        see(name, value)?;
    }
    // The parser took this as one head; if more follows, it saw another end than we do.
    if rest.is_empty() { Ok(()) } else { Err(Reason::AmbiguousFraming) }
}

/// What precedes the next CRLF. A line feed without carriage return, or the other way round, ends nothing here.
fn next_line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Reason> {
    let end = memchr::memchr(b'\n', bytes).ok_or(Reason::MalformedRequest)?;
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Reason::MalformedRequest)?;
    Ok((line, &bytes[end + 1..]))
}

/// Exactly `method SP target SP HTTP/1.x`, saying what the parser read there.
fn check_request_line(line: &[u8], head: &Head<'_>, limits: &Limits) -> Result<(), Reason> {
    let rest = line
        .strip_prefix(head.parts.method.as_str().as_bytes())
        .and_then(|rest| rest.strip_prefix(b" "))
        .ok_or(Reason::MalformedRequest)?;
    let version: &[u8] =
        if head.parts.version == http::Version::HTTP_10 { b" HTTP/1.0" } else { b" HTTP/1.1" };
    let target = rest.strip_suffix(version).ok_or(Reason::MalformedRequest)?;
    if target.len() > limits.target_bytes {
        return Err(Reason::TargetTooLong);
    }
    // The parser drops a fragment, so it is seen only here (THREATS R7).
    if target.contains(&b'#') {
        return Err(Reason::AmbiguousPath);
    }
    if target == head.raw_target { Ok(()) } else { Err(Reason::MalformedRequest) }
}

fn split_field(line: &[u8]) -> Result<(&[u8], &[u8]), Reason> {
    let colon = memchr::memchr(b':', line).ok_or(Reason::MalformedRequest)?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    // This refuses blanks before the colon and folded lines too: neither is a token (RFC 9112, section 5).
    let clean = !name.is_empty() && name.iter().all(|&b| TOKEN[usize::from(b)]) && !has_control(value);
    if !clean {
        return Err(Reason::MalformedRequest);
    }
    let start = value.iter().position(|&b| b != b' ').unwrap_or(value.len());
    let end = value.iter().rposition(|&b| b != b' ').map_or(start, |last| last + 1);
    Ok((name, &value[start..end]))
}

/// `tchar` of RFC 9110, section 5.6.2.
const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// [`is_token`] of every byte.
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        let is_one = is_token(byte as u8);
        table[byte] = is_one;
        byte += 1;
    }
    table
};

/// Without a way out of the loop, so that many bytes are compared at once.
fn has_control(value: &[u8]) -> bool {
    value.iter().fold(false, |found, &b| found | is_control(b))
}

const fn is_control(b: u8) -> bool {
    (b < 0x20 && b != b'\t') || b == 0x7f
}
