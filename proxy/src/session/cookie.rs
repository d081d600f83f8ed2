//! The `Cookie` header in, `Set-Cookie` out. One byte parser (RFC 6265, section 5.4 as THREATS C2 narrows it):
//! split at `;`, trim SP and HTAB, name before the first `=`, bytes compared with bytes. Nothing is unquoted, decoded
//! or split at commas. The same parser finds our cookie and takes it out, so that the two cannot disagree.

use ::cookie::{Cookie, SameSite, time};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use smallvec::SmallVec;

use super::Settings;
use super::token::SessionToken;
use crate::formats::spelling::{Spelling, Written};
use crate::reason::Reason;

/// Most bytes of `Cookie` that are looked at. The limit on the whole request head (32 KiB) is usually met first.
const MOST_BYTES: usize = 64 * 1024;
/// Most cookies that are looked at: browsers keep 180 (Chromium) or 150 (Firefox) per site.
const MOST_COOKIES: usize = 1024;

/// Most cookies among which a name is looked for that is there twice.
const MOST_COMPARED: usize = 64;

/// What a request says under the name of the session cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Presented<'a> {
    /// Nothing.
    Nothing,
    /// One value, perhaps several times.
    One(&'a [u8]),
    /// Several different values.
    Conflicting,
    /// More cookies than are looked at (THREATS C5); whether ours is among them was not found out.
    Excessive,
}

/// Finds the cookie `name` in all `Cookie` fields; HTTP/2 clients send one field per cookie (RFC 9113, section 8.2.3).
pub fn find<'a>(headers: &'a HeaderMap, name: &str) -> Presented<'a> {
    let mut presented = Presented::Nothing;
    let (mut bytes, mut count) = (0, 0);
    for field in headers.get_all(COOKIE) {
        bytes += field.len();
        if bytes > MOST_BYTES {
            return Presented::Excessive;
        }
        for part in pieces(field.as_bytes()) {
            count += 1;
            if count > MOST_COOKIES {
                return Presented::Excessive;
            }
            let Some(value) = value_of(part, name) else { continue };
            presented = match presented {
                Presented::Nothing => Presented::One(value),
                Presented::One(earlier) if earlier == value => presented,
                _ => Presented::Conflicting,
            };
        }
    }
    presented
}

/// As [`find`], for a cookie of another framework: how it stands in the header is part of the answer, and a part that
/// `spelling` says might be read as this one counts as another value.
pub fn find_written<'a>(
    headers: &'a HeaderMap,
    name: &str,
    spelling: Spelling,
) -> Result<Option<Written<'a>>, Reason> {
    let mut written: Option<Written<'a>> = None;
    let mut bare = false;
    for part in parts(headers) {
        let part = part.ok_or(Reason::MalformedCookie)?;
        if spelling.hides(trim(part), name) {
            return Err(Reason::ConflictingCookies);
        }
        let Some((own, value)) = split_once(part) else {
            bare |= trim(part) == name.as_bytes();
            continue;
        };
        if trim(own) != name.as_bytes() {
            if spelling.confuses(trim(own), name) {
                return Err(Reason::ConflictingCookies);
            }
            continue;
        }
        let plain_name = own.strip_prefix(b" ").unwrap_or(own) == name.as_bytes();
        let (value, spaced) = (trim(value), !plain_name || trim(value).len() != value.len());
        match &mut written {
            None => written = Some(Written { value, spaced }),
            Some(earlier) if earlier.value == value => earlier.spaced |= spaced,
            Some(_) => return Err(Reason::ConflictingCookies),
        }
    }
    // Where the first one counts, or a name may stand alone, that is an empty value.
    if bare && written.is_some() { Err(Reason::ConflictingCookies) } else { Ok(written) }
}

/// All parts of all `Cookie` fields; `None` when there are more than are looked at.
fn parts(headers: &HeaderMap) -> impl Iterator<Item = Option<&[u8]>> {
    let (mut bytes, mut count) = (0, 0);
    headers.get_all(COOKIE).into_iter().flat_map(|field| pieces(field.as_bytes())).map(move |part| {
        count += 1;
        bytes += part.len() + 1;
        (bytes <= MOST_BYTES && count <= MOST_COOKIES).then_some(part)
    })
}

/// What stands between the separators of a `Cookie` field: at least one part, which may be empty.
fn pieces(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = memchr::memchr_iter(b';', field).chain(std::iter::once(field.len()));
    ends.scan(0, |start, end| {
        let piece = &field[*start..end];
        *start = end + 1;
        Some(piece)
    })
}

/// The name of the cookie of who is logged in to the admin page. That listener speaks without TLS, so the name cannot begin
/// with `__Host-`; and cookies know no ports, so that browsers send it to applications on the same host too.
pub const ADMIN: &str = "countersign-admin";

/// All `Cookie` fields joined with `; ` (RFC 9113, section 8.2.3), without the cookies called `name` and those of the admin
/// page, everything else byte for byte. `None` when nothing is left.
pub fn without(headers: &HeaderMap, name: &str) -> Option<HeaderValue> {
    without_those(headers, |part| value_of(part, name).is_some() || value_of(part, ADMIN).is_some())
}

/// As [`without`], for the cookies that `drop` says yes to. It is told the name of each, and the whole of it, both
/// without white space around them.
pub fn without_named(headers: &HeaderMap, mut drop: impl FnMut(&[u8], &[u8]) -> bool) -> Option<HeaderValue> {
    without_those(headers, |part| {
        let own = split_once(part).map_or(part, |(own, _)| own);
        drop(trim(own), trim(part))
    })
}

/// The only `Cookie` field, if each cookie in it may stay as it stands. `drop` is told its name and the whole of it, without
/// white space around them, and whether the name is there again.
pub fn untouched(
    headers: &HeaderMap,
    mut drop: impl FnMut(&[u8], &[u8], bool) -> bool,
) -> Option<&HeaderValue> {
    let mut fields = headers.get_all(COOKIE).into_iter();
    let field = fields.next().filter(|field| field.len() <= MOST_BYTES)?;
    let bytes = field.as_bytes();
    let mut names = SmallVec::<[&[u8]; 16]>::new();
    for piece in pieces(bytes) {
        let own = trim(split_once(piece).map_or(piece, |(own, _)| own));
        if own.is_empty() {
            continue;
        }
        if names.len() == MOST_COMPARED || drop(own, trim(piece), names.contains(&own)) {
            return None;
        }
        names.push(own);
    }
    (fields.next().is_none() && !trim(bytes).is_empty()).then_some(field)
}

fn without_those(headers: &HeaderMap, mut drop: impl FnMut(&[u8]) -> bool) -> Option<HeaderValue> {
    let mut left = Vec::new();
    for field in headers.get_all(COOKIE) {
        let start = left.len();
        if start > 0 {
            left.extend_from_slice(b"; ");
        }
        let separated = left.len();
        append_others(&mut left, field.as_bytes(), &mut drop);
        if trim(&left[separated..]).is_empty() {
            left.truncate(start);
        }
    }
    if left.is_empty() {
        return None;
    }
    // Parts of values that were valid, and "; ".
    let mut value = HeaderValue::from_bytes(&left).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `Set-Cookie` that hands the token to the browser. It has no end of its own: the session's end is what counts.
pub fn set(settings: &Settings, token: &SessionToken) -> HeaderValue {
    header(&ours(settings, token.expose()))
}

/// `Set-Cookie` that takes the cookie away; only for a session that was ended.
pub fn clear(settings: &Settings) -> HeaderValue {
    let mut cookie = ours(settings, "");
    cookie.set_max_age(time::Duration::ZERO);
    cookie.set_expires(time::OffsetDateTime::UNIX_EPOCH);
    header(&cookie)
}

/// `Set-Cookie` that takes an application's cookie away, as far as it was set for this host and every path. `None` for
/// a name that no cookie can have.
#[must_use]
pub fn clear_named(settings: &Settings, name: &str) -> Option<HeaderValue> {
    let mut cookie = Cookie::build((name, "")).path("/").secure(settings.secure).build();
    cookie.set_max_age(time::Duration::ZERO);
    cookie.set_expires(time::OffsetDateTime::UNIX_EPOCH);
    HeaderValue::try_from(cookie.to_string()).ok()
}

/// The value that this `Set-Cookie` gives to the cookie `name`; `None` when it is about another one.
#[must_use]
pub fn value_given<'a>(set_cookie: &'a HeaderValue, name: &str) -> Option<&'a [u8]> {
    let bytes = set_cookie.as_bytes();
    value_of(bytes.split(|byte| *byte == b';').next().unwrap_or(bytes), name)
}

/// Whether a browser that takes this `Set-Cookie` value would send a cookie `name` afterwards.
///
/// That is so for a cookie of that name, and for a nameless one (`=name=value`), which browsers send back without its
/// first `=` (RFC 6265bis, section 5.8.3).
pub fn names(set_cookie: &HeaderValue, name: &str) -> bool {
    let bytes = set_cookie.as_bytes();
    let pair = bytes.split(|byte| *byte == b';').next().unwrap_or(bytes);
    let sent = match split_once(pair) {
        Some((own, value)) if trim(own).is_empty() => value,
        _ => pair,
    };
    value_of(sent, name).is_some()
}

/// Copies a `Cookie` field without the cookies that are dropped and the separators that held them.
fn append_others(left: &mut Vec<u8>, field: &[u8], drop: &mut impl FnMut(&[u8]) -> bool) {
    let (mut first, mut dropped_all_so_far) = (true, false);
    for part in pieces(field) {
        if drop(part) {
            dropped_all_so_far |= first;
            continue;
        }
        if first {
            // White space after a separator that is gone would stand at the start of the value.
            left.extend_from_slice(if dropped_all_so_far { trim_start(part) } else { part });
        } else {
            left.push(b';');
            left.extend_from_slice(part);
        }
        first = false;
    }
}

/// The value, if this part of a `Cookie` field is a cookie called `name`.
fn value_of<'a>(part: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let (own, value) = split_once(part)?;
    (trim(own) == name.as_bytes()).then(|| trim(value))
}

fn split_once(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(b'=', part)?;
    Some((&part[..at], &part[at + 1..]))
}

/// Without SP and HTAB at both ends; no other white space, least of all Unicode's (THREATS C3).
fn trim(bytes: &[u8]) -> &[u8] {
    let bytes = trim_start(bytes);
    let end = bytes.iter().rposition(|byte| !is_white(*byte)).map_or(0, |last| last + 1);
    &bytes[..end]
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_white(*byte)).unwrap_or(bytes.len());
    &bytes[start..]
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn ours<'a>(settings: &'a Settings, value: &'a str) -> Cookie<'a> {
    Cookie::build((settings.cookie.as_str(), value))
        .path("/")
        .http_only(true)
        .same_site(SameSite::Lax)
        .secure(settings.secure)
        .build()
}

fn header(cookie: &Cookie<'_>) -> HeaderValue {
    let mut value = HeaderValue::try_from(cookie.to_string())
        .expect("the configured name and the token are visible ASCII");
    value.set_sensitive(true);
    value
}

#[cfg(test)]
mod tests;
