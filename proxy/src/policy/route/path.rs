//! Paths as they are compared: decoded once for the match itself, and folded for the question whether a more
//! lenient reader would see another route's path. Only comparison; what is forwarded is never changed.

use std::ops::Deref;

use percent_encoding::percent_decode;
use smallvec::SmallVec;

use crate::policy::Route;

/// Bytes on the stack for usual paths (the median path of a web application is below 50 bytes).
type Bytes = SmallVec<[u8; 128]>;

/// A path with its escapes decoded: `/%61dmin` and `/admin` are the same resource (RFC 3986, section 6.2.2.2).
/// Targets hold no escape of a separator or of an escape, so that one decoding is all there is.
pub(super) enum Plain<'a> {
    /// A path without escapes.
    As(&'a str),
    /// A decoded one.
    Decoded(Bytes),
}

impl<'a> Plain<'a> {
    pub(super) fn of(path: &'a str) -> Self {
        if path.contains('%') {
            Self::Decoded(percent_decode(path.as_bytes()).collect())
        } else {
            Self::As(path)
        }
    }
}

impl Deref for Plain<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::As(path) => path.as_bytes(),
            Self::Decoded(path) => path,
        }
    }
}

/// A configured path as it is looked up: decoded, without its last slash.
pub(super) fn of_route(route: &Route) -> Vec<u8> {
    Plain::of(route.path.trim_end_matches('/')).to_vec()
}

/// A path as the most lenient reader takes it: decoded, lower case, parameters (`;…`), what follows an encoded `?` or `#`,
/// and last dots cut off each segment, empty segments dropped, no last slash.
pub(super) struct Folded(Bytes);

impl Folded {
    pub(super) fn of(path: &[u8]) -> Self {
        let mut decoded: Bytes = percent_decode(path).collect();
        decoded.make_ascii_lowercase();
        if !decoded.is_ascii() {
            decoded = String::from_utf8_lossy(&decoded).to_lowercase().into_bytes().into();
        }
        let mut folded = Bytes::new();
        for segment in decoded.split(|&b| b == b'/') {
            let name = segment.split(|b| b";?#".contains(b)).next().unwrap_or(segment);
            let kept = name.iter().rposition(|&b| b != b'.').map_or(0, |last| last + 1);
            if kept > 0 {
                folded.push(b'/');
                folded.extend_from_slice(&name[..kept]);
            }
        }
        Self(folded)
    }
}

impl Deref for Folded {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Whether folding could change a path (but for its last slash).
pub(super) fn is_odd(path: &str) -> bool {
    let bytes = path.as_bytes();
    bytes.iter().any(|&b| b.is_ascii_uppercase() || matches!(b, b'%' | b';'))
        || bytes.ends_with(b".")
        || memchr::memmem::find(bytes, b"./").is_some()
}

/// A path cut at each of its segment borders, the whole first, the root (empty) last. What does not begin with `/`
/// has none.
pub(super) fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let rooted = path.first().is_none_or(|&b| b == b'/');
    let whole = path.strip_suffix(b"/").unwrap_or(path);
    let mut next = rooted.then_some(whole);
    std::iter::from_fn(move || {
        let current = next?;
        next = memchr::memrchr(b'/', current).map(|at| &current[..at]);
        Some(current)
    })
}

/// How many segments a path has.
pub(super) fn depth(path: &[u8]) -> usize {
    path.split(|&b| b == b'/').filter(|segment| !segment.is_empty()).count()
}
