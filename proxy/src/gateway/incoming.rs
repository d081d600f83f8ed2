//! Step 9: the upstream's answer. Our names are kept in, the application's copy of our cookie out, our cookies set.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::date::get_cached_date;
use pingora::proxy::Session;

use super::state::{RequestState, Size};
use crate::headers::relay::{Additions, Relayed, apart, relay};
use crate::headers::response;
use crate::policy::Requirement;
use crate::reason::Reason;
use crate::session::cookie;

/// How many informational answers may come before the final one (THREATS F15).
const INFORMATIONAL: u32 = 16;

/// What may come from an upstream at all: a switch of protocols only when it was asked for and allowed (THREATS F10), a
/// bounded number of informational answers, and one framing that nobody reads differently (THREATS F16).
pub(super) fn check(answer: &ResponseHeader, state: &mut RequestState) -> Result<(), Reason> {
    let headers = &answer.headers;
    if answer.status == StatusCode::SWITCHING_PROTOCOLS {
        let asked = state.admitted.as_ref().is_some_and(|admitted| admitted.websocket);
        let mut to = headers.get_all(header::UPGRADE).iter();
        let websocket = to.next().is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"));
        return if asked && websocket && to.next().is_none() {
            Ok(())
        } else {
            Err(Reason::UpstreamMalformed)
        };
    }
    if answer.status.is_informational() {
        state.informational += 1;
        return if state.informational > INFORMATIONAL { Err(Reason::UpstreamMalformed) } else { Ok(()) };
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let coding_is_chunked =
        codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    // A list of equal lengths (`2, 2`) would be read as one by the HTTP layer, and passed on as it is.
    let length_is_plain =
        lengths.next().is_none_or(|length| length.as_bytes().iter().all(u8::is_ascii_digit));
    if coding_is_chunked && codings.next().is_none() && length_is_plain && lengths.next().is_none() {
        Ok(())
    } else {
        Err(Reason::UpstreamMalformed)
    }
}

/// A whole answer in which nothing has to be decided.
pub(super) enum AsItCame {
    /// For a client that speaks HTTP/1.1: all of it, as it is written.
    Written(Vec<u8>),
    /// For one that speaks HTTP/2.
    Apart(Box<ResponseHeader>, Bytes),
}

/// What the client gets for these bytes of an application, where they are such an answer. Notes what the log says of it.
pub(super) fn as_it_came(session: &Session, answer: &[u8], state: &mut RequestState) -> Option<AsItCame> {
    if !state.set_cookies.is_empty() {
        return None;
    }
    match session.req_header().version {
        Version::HTTP_11 if session.as_http1().is_some() => {
            let Relayed { status, body, bytes } = written(session, answer, state)?;
            state.relayed = Some(Size { status, body });
            Some(AsItCame::Written(bytes))
        }
        Version::HTTP_2 => {
            let (head, body) = apart(answer, &state.rules.names, is_private(state))?.into_parts();
            Some(AsItCame::Apart(Box::new(head.into()), body))
        }
        _ => None,
    }
}

fn written(session: &Session, answer: &[u8], state: &RequestState) -> Option<Relayed> {
    let kept = session.get_keepalive().is_some() && session.get_keepalive_reuses_remaining() != Some(0);
    let date = get_cached_date();
    let additions = Additions { private: is_private(state), kept, date: date.as_bytes() };
    relay(answer, &state.rules.names, additions)
}

/// Whether an answer may be for one person alone.
fn is_private(state: &RequestState) -> bool {
    state.route().is_some_and(|route| route.requirement != Requirement::Nothing)
}

/// Keeps our names in, the application's copy of our cookie out, and private answers out of shared caches.
pub(super) fn clean(answer: &mut ResponseHeader, state: &RequestState) {
    if answer.version == Version::HTTP_10 {
        // The version is ours, not the application's (RFC 9110, section 2.5); Pingora would pass HTTP/1.0 on, and with
        // it a chunked body that no reader of HTTP/1.0 knows.
        answer.set_version(Version::HTTP_11);
    }
    for name in response::forbidden(&answer.headers, answer.status, &state.rules.names) {
        answer.remove_header(&name);
    }
    if answer.status.is_informational() && answer.status != StatusCode::SWITCHING_PROTOCOLS {
        // What it says of the connection it says of the application's (RFC 9110, section 7.6.1); of the client's, only the
        // final answer is told by Pingora.
        answer.remove_header(&header::CONNECTION);
    }
    if answer.status.is_informational() || answer.status == StatusCode::NO_CONTENT {
        // It never has a body, whatever it says (RFC 9110, section 8.6).
        answer.remove_header(&header::CONTENT_LENGTH);
        answer.remove_header(&header::TRANSFER_ENCODING);
    }
    keep_out_cookie(answer, &state.rules.snapshot.session.cookie);
    for name in &state.dropped_cookies {
        keep_out_cookie(answer, name);
    }
    if is_private(state) {
        for (name, value) in response::privacy(&answer.headers).into_iter().flatten() {
            // In place of what it was made of.
            let _ = answer.insert_header(name, value);
        }
    }
}

/// Whether an answer with this status has no body, whatever was asked. Behind a switch of protocols comes the other one.
pub(super) fn never_has_body(answer: &ResponseHeader) -> bool {
    (answer.status.is_informational() && answer.status != StatusCode::SWITCHING_PROTOCOLS)
        || matches!(answer.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
}

/// Clients that speak HTTP/1.0 know no chunks (RFC 9112, section 6.1): for them a body of unknown length ends with the
/// connection.
pub(super) fn fit_version(answer: &mut ResponseHeader, session: &mut Session) {
    if session.req_header().version == Version::HTTP_10
        && answer.remove_header(&header::TRANSFER_ENCODING).is_some()
    {
        session.set_keepalive(None);
    }
}

/// Keeps out of an answer's trailer section what is kept out of its head, and cookies, which have no business there.
pub(super) fn clean_trailers(trailers: &mut HeaderMap, state: &RequestState) {
    for name in response::forbidden(trailers, StatusCode::OK, &state.rules.names) {
        trailers.remove(name);
    }
    trailers.remove(header::SET_COOKIE);
}

/// Adds our cookies to a final answer.
pub(super) fn set_cookies(answer: &mut ResponseHeader, cookies: &[HeaderValue]) {
    for cookie in cookies {
        // A value of our own making, always legal.
        let _ = answer.append_header(header::SET_COOKIE, cookie.clone());
    }
    if !cookies.is_empty() {
        let _ = answer.insert_header(header::CACHE_CONTROL, "no-store");
    }
}

fn keep_out_cookie(answer: &mut ResponseHeader, name: &str) {
    if !answer.headers.get_all(header::SET_COOKIE).iter().any(|value| cookie::names(value, name)) {
        return;
    }
    let others: Vec<HeaderValue> = answer
        .headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter(|value| !cookie::names(value, name))
        .cloned()
        .collect();
    answer.remove_header(&header::SET_COOKIE);
    for other in others {
        let _ = answer.append_header(header::SET_COOKIE, other);
    }
}
