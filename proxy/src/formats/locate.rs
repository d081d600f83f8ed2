//! Finds the few values that matter in a decoded session: by paths, the first that leads to something wins.

use std::fmt;

use cookie::time::OffsetDateTime;
use cookie::time::format_description::well_known::Rfc3339;

use super::value::{DecodeError, Decoded, Node, Twice};
use crate::clock::Timestamp;

/// Largest whole number that JavaScript can tell from its neighbours: 2^53 - 1.
const LARGEST_IN_JAVASCRIPT: i64 = (1 << 53) - 1;
/// Whole numbers from here on are milliseconds (1973), smaller ones seconds (until the year 5138).
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// A way into a session: the keys and positions to follow, as a JSON pointer (RFC 6901) writes them.
#[derive(Clone, PartialEq, Eq)]
pub struct Path(Vec<Box<str>>);

impl Path {
    /// Reads a JSON pointer; a name without a slash in front is that one key.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let Some(rest) = text.strip_prefix('/') else { return Self(vec![text.into()]) };
        Self(rest.split('/').map(|step| step.replace("~1", "/").replace("~0", "~").into()).collect())
    }
}

impl fmt::Debug for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}

/// What stands where an identifier or a time should cannot be one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unusable {
    /// It is none: true, a fraction, a key that occurs twice.
    NotOne,
    /// Nobody can say what it is: it stands in a part of the session that could not be read.
    Unreadable(DecodeError),
}

impl From<Twice> for Unusable {
    fn from(_: Twice) -> Self {
        Self::NotOne
    }
}

/// The value at the end of a path.
///
/// # Errors
/// A key on the way occurs twice, or what stands there could not be read.
pub fn follow<'a>(session: &'a Decoded, path: &Path) -> Result<Option<&'a Node>, Unusable> {
    let mut node = session.root();
    for step in &path.0 {
        let next = match node {
            Node::Map(entries) => session.entry(entries, step.as_bytes())?,
            Node::List(items) => {
                // One spelling of a position.
                let position = step.parse::<usize>().ok().filter(|at| at.to_string() == **step);
                position.and_then(|at| items.get(at).copied())
            }
            _ => None,
        };
        let Some(next) = next else { return Ok(None) };
        node = session.node(next);
        if let Node::Unreadable(error) = node {
            return Err(Unusable::Unreadable(*error));
        }
    }
    Ok(Some(node))
}

/// An identifier as text: a whole number in decimal digits, or text of 1 to 128 bytes without control characters.
/// Nothing, null, an empty text or a container means that there is none there, and the next path is tried.
///
/// # Errors
/// What stands there is neither nothing nor an identifier.
pub fn identifier(
    session: &Decoded,
    paths: &[Path],
    is_javascript: bool,
) -> Result<Option<String>, Unusable> {
    for path in paths {
        match follow(session, path)? {
            None | Some(Node::Null | Node::List(_) | Node::Map(_) | Node::Object(..)) => {}
            Some(Node::Text(text)) if text.is_empty() => {}
            Some(Node::Text(text)) => return readable(text).map(Some),
            Some(Node::Integer(number)) => {
                if is_javascript && number.unsigned_abs() > LARGEST_IN_JAVASCRIPT.unsigned_abs() {
                    return Err(Unusable::NotOne);
                }
                return Ok(Some(number.to_string()));
            }
            Some(Node::Bool(_) | Node::Float(_) | Node::Time(_) | Node::Opaque | Node::Unreadable(_)) => {
                return Err(Unusable::NotOne);
            }
        }
    }
    Ok(None)
}

/// A moment: one of Go's or Ruby's, seconds or milliseconds since 1970, or text as RFC 3339 has it, in UTC where no
/// zone is named.
///
/// # Errors
/// What stands there is neither nothing nor a time.
pub fn moment(session: &Decoded, paths: &[Path]) -> Result<Option<Timestamp>, Unusable> {
    for path in paths {
        match follow(session, path)? {
            None | Some(Node::Null) => {}
            Some(node) => return time_of(node).map(Some).ok_or(Unusable::NotOne),
        }
    }
    Ok(None)
}

/// A whole number of at most 64 bits.
///
/// # Errors
/// Something else stands there.
pub fn whole(session: &Decoded, path: &Path) -> Result<Option<i64>, Unusable> {
    match follow(session, path)? {
        None | Some(Node::Null) => Ok(None),
        Some(Node::Integer(number)) => Ok(Some(*number)),
        Some(_) => Err(Unusable::NotOne),
    }
}

fn readable(text: &[u8]) -> Result<String, Unusable> {
    let text = std::str::from_utf8(text).map_err(|_| Unusable::NotOne)?;
    if text.len() > 128 || text.chars().any(char::is_control) {
        return Err(Unusable::NotOne);
    }
    Ok(text.to_owned())
}

fn time_of(node: &Node) -> Option<Timestamp> {
    match node {
        Node::Time(moment) => Some(*moment),
        Node::Integer(number) => count(*number),
        Node::Float(seconds) if (0.0..1e11).contains(seconds) => Some(seconds_of(*seconds)),
        Node::Text(text) => {
            let text = std::str::from_utf8(text).ok()?;
            text.parse().ok().and_then(count).or_else(|| fraction(text)).or_else(|| written(text))
        }
        _ => None,
    }
}

/// Seconds with a fraction, as `str(time.time())` writes them.
fn fraction(text: &str) -> Option<Timestamp> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds: f64 = if plain { text.parse().ok()? } else { return None };
    (0.0..1e11).contains(&seconds).then(|| seconds_of(seconds))
}

fn count(number: i64) -> Option<Timestamp> {
    let size = u64::try_from(number).ok()?;
    Some(if number >= MILLISECONDS_FROM { Timestamp::from_millis(size) } else { Timestamp::from_secs(size) })
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the caller checks the range")]
fn seconds_of(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0) as u64)
}

fn written(text: &str) -> Option<Timestamp> {
    if text.len() > 40 {
        return None;
    }
    let parsed = OffsetDateTime::parse(text, &Rfc3339)
        .or_else(|_| OffsetDateTime::parse(&format!("{}Z", text.replacen(' ', "T", 1)), &Rfc3339));
    let millis = parsed.ok()?.unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).ok().map(Timestamp::from_millis)
}
