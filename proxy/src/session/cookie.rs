//! The `Cookie` header in, `Set-Cookie` out. One byte parser (RFC 6265, section 5.4 as THREATS C2 narrows it).

use http::{HeaderMap, HeaderValue};

use super::Settings;
use super::token::SessionToken;

/// What a request says under the name of the session cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// One value, perhaps several times.
    One(&'a [u8]),
    /// Several different values.
    Conflicting,
}

/// Finds the cookie `name` in all `Cookie` fields.
pub fn find<'a>(_headers: &'a HeaderMap, _name: &str) -> Presented<'a> {
    todo!()
}

/// All `Cookie` fields joined with `; `, without the cookies called `name`, everything else byte for byte.
/// `None` when nothing is left.
pub fn without(_headers: &HeaderMap, _name: &str) -> Option<HeaderValue> {
    todo!()
}

/// `Set-Cookie` that hands the token to the browser.
pub fn set(_settings: &Settings, _token: &SessionToken) -> HeaderValue {
    todo!()
}

/// `Set-Cookie` that takes the cookie away; only for a session that was ended.
pub fn clear(_settings: &Settings) -> HeaderValue {
    todo!()
}

/// Whether a `Set-Cookie` value sets the cookie `name`.
pub fn names(_set_cookie: &HeaderValue, _name: &str) -> bool {
    todo!()
}
