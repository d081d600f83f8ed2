//! The seam for session formats: how a request's claim to a session is read. Nothing outside may assume the native
//! token; profiles for other frameworks go here.

use http::HeaderMap;

use crate::context::SessionId;
use crate::keys::Key;
use crate::reason::Reason;

/// What a request claims about its session, before any store was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Claim {
    /// There is no session cookie, or it cannot be one; the reason says which.
    Nobody(Reason),
    /// A well-formed claim to this session.
    Session(SessionId),
}

/// A session format.
#[derive(Clone, Debug)]
pub enum Profile {
    /// Our own tokens.
    Native {
        /// Name of the cookie.
        cookie: String,
        /// Token keys, newest first.
        keys: Vec<Key>,
    },
}

impl Profile {
    /// Reads the claim of a request. Pure: no I/O, no clock.
    pub fn claim(&self, _headers: &HeaderMap) -> Claim {
        todo!()
    }
}
