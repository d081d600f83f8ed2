//! Step 9: the upstream's answer. Our names are kept in, the application's copy of our cookie out, our cookies set.

use http::{HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;

use super::state::RequestState;
use crate::headers::response;
use crate::policy::Requirement;
use crate::reason::Reason;
use crate::session::cookie;

/// A switch of protocols is only believed when one was asked for and allowed (THREATS F10).
pub(super) fn check_upgrade(answer: &ResponseHeader, state: &RequestState) -> Result<(), Reason> {
    let asked = state.admitted.as_ref().is_some_and(|admitted| admitted.websocket);
    if answer.status == StatusCode::SWITCHING_PROTOCOLS && !asked {
        return Err(Reason::UpstreamMalformed);
    }
    Ok(())
}

/// Keeps our names in, the application's copy of our cookie out, and private answers out of shared caches.
pub(super) fn clean(answer: &mut ResponseHeader, state: &RequestState) {
    for name in response::forbidden(&answer.headers, &state.rules.names) {
        answer.remove_header(&name);
    }
    keep_our_cookie_ours(answer, &state.rules.snapshot.session.cookie);
    if state.route.as_ref().is_some_and(|route| route.requirement != Requirement::Nothing) {
        for (name, value) in response::privacy(&answer.headers).into_iter().flatten() {
            let _ = answer.append_header(name, value);
        }
    }
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

fn keep_our_cookie_ours(answer: &mut ResponseHeader, name: &str) {
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
