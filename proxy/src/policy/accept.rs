//! What is accepted at all: the strict gate before anything else looks at a request (THREATS sections 1, 3, 5).

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

/// Judges a request head.
///
/// # Errors
/// Why it is refused.
pub fn accept(_head: Head<'_>, _limits: &Limits) -> Result<Accepted, Reason> {
    todo!()
}
