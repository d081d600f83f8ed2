//! The seam for session formats: how a request's claim to a session is read. Nothing outside may assume the native
//! token; profiles for other frameworks go here.

use http::HeaderMap;

use super::cookie::{self, Presented};
use super::token::{SessionToken, TokenKeys};
use crate::context::SessionId;
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
        /// Token keys.
        keys: TokenKeys,
    },
}

impl Profile {
    /// Reads the claim of a request. Pure: no I/O, no clock, nothing counted.
    pub fn claim(&self, headers: &HeaderMap) -> Claim {
        match self {
            Self::Native { cookie, keys } => match cookie::find(headers, cookie) {
                Presented::Nothing => Claim::Nobody(Reason::NoCookie),
                Presented::Conflicting => Claim::Nobody(Reason::ConflictingCookies),
                Presented::Excessive => Claim::Nobody(Reason::MalformedCookie),
                Presented::One(value) => match SessionToken::parse(value, keys) {
                    Ok(token) => Claim::Session(token.id()),
                    Err(reason) => Claim::Nobody(reason),
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::COOKIE;

    use super::*;
    use crate::keys::Key;
    use crate::secret::Secret;

    fn keys() -> Vec<Key> {
        vec![Key { id: "k".to_owned(), secret: Secret::new(vec![7; 32]) }]
    }

    fn profile() -> Profile {
        Profile::Native { cookie: "sid".to_owned(), keys: keys().as_slice().into() }
    }

    fn claim(cookie: &str) -> Claim {
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).unwrap())]);
        profile().claim(&headers)
    }

    #[test]
    fn a_genuine_token_claims_its_session() {
        let token = SessionToken::mint(&keys());
        assert_eq!(claim(&format!("a=1; sid={}", token.expose())), Claim::Session(token.id()));
    }

    #[test]
    fn every_other_cookie_is_nobody_with_a_reason_of_its_own() {
        assert_eq!(profile().claim(&HeaderMap::new()), Claim::Nobody(Reason::NoCookie));
        assert_eq!(claim("sidd=1"), Claim::Nobody(Reason::NoCookie));
        assert_eq!(claim("sid="), Claim::Nobody(Reason::MalformedCookie));
        assert_eq!(claim("sid=.eJwlzjEOwjAM"), Claim::Nobody(Reason::MalformedCookie));
        assert_eq!(claim("sid=a; sid=b"), Claim::Nobody(Reason::ConflictingCookies));
        let forged = "A".repeat(43);
        assert_eq!(claim(&format!("sid={forged}")), Claim::Nobody(Reason::ForgedToken));
    }
}
