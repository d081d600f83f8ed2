//! Steps 6 and 7, for every attempt anew: scrub, take our cookie out, sign, attach. The last change before the bytes leave.

use std::time::Duration;

use http::{HeaderMap, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};

use super::state::{Admitted, RequestState};
use crate::clock::Timestamp;
use crate::headers::forwarded::{self, Scheme};
use crate::headers::render::{self, RenderInput};
use crate::headers::scrub;
use crate::policy::accept::Accepted;
use crate::reason::Reason;
use crate::session::cookie;
use crate::signing::Outgoing;
use crate::telemetry::Metrics;

/// Prepares the copy of the request that leaves.
///
/// # Errors
/// The reason why it must not leave.
pub(super) fn prepare(
    request: &mut RequestHeader,
    received: &HeaderMap,
    state: &RequestState,
    now: Timestamp,
    metrics: &Metrics,
) -> Result<(), Reason> {
    let (Some(admitted), Some(accepted)) = (&state.admitted, &state.accepted) else {
        return Err(Reason::Internal);
    };
    address(request, state, admitted)?;
    scrub_request(request, received, state, metrics);
    take_our_cookie_out(request, state)?;
    tell_where_from(request, state)?;
    let outgoing = Outgoing {
        method: request.method.as_str(),
        authority: host(admitted, accepted, state),
        path: accepted.target.path(),
        query: accepted.target.query(),
    };
    let timer = metrics.signing_seconds.start_timer();
    let input = RenderInput {
        authn: admitted.authn,
        context: admitted.context.as_deref(),
        request_id: &state.request_id,
        platform_authorization: admitted.extras.credential.as_ref(),
        settings: admitted.extras.settings.as_ref(),
        stats: admitted.extras.stats.as_ref(),
    };
    let rules = &state.rules;
    let mut signed = render::render(&rules.names, &rules.snapshot.headers, &input)?;
    admitted.upstream.signer.sign(&outgoing, &mut signed, &input, now)?;
    timer.observe_duration();
    for (name, value) in signed {
        request.insert_header(name, value).map_err(|_| Reason::CannotSign)?;
    }
    Ok(())
}

/// What policy saw is what is forwarded: the canonical target, and exactly one Host.
fn address(request: &mut RequestHeader, state: &RequestState, admitted: &Admitted) -> Result<(), Reason> {
    let accepted = state.accepted.as_ref().ok_or(Reason::Internal)?;
    if request.raw_path() != accepted.target.as_str().as_bytes() || request.uri.authority().is_some() {
        request.set_raw_path(accepted.target.as_str().as_bytes()).map_err(|_| Reason::AmbiguousPath)?;
    }
    let host = host(admitted, accepted, state);
    if request.headers.get(header::HOST).is_none_or(|present| present.as_bytes() != host.as_bytes()) {
        request.insert_header(header::HOST, host).map_err(|_| Reason::BadHost)?;
    }
    Ok(())
}

/// The Host that the application sees: configured, or the client's without the default port, which verifiers leave out
/// (RFC 9421, section 2.2.3).
fn host<'a>(admitted: &'a Admitted, accepted: &'a Accepted, state: &RequestState) -> &'a str {
    if let Some(host) = &admitted.upstream.settings.host {
        return host;
    }
    let authority = accepted.authority.as_str();
    let default_port = match state.origin.as_ref().map(|origin| origin.scheme) {
        Some(Scheme::Https) => ":443",
        _ => ":80",
    };
    authority.strip_suffix(default_port).unwrap_or(authority)
}

/// Deletes unconditionally, then others insert: never "insert if absent" (THREATS H1).
fn scrub_request(request: &mut RequestHeader, received: &HeaderMap, state: &RequestState, metrics: &Metrics) {
    for name in scrub::nominated(received) {
        request.remove_header(&name);
    }
    let forbidden = scrub::forbidden(&request.headers, &state.rules.names);
    for name in &forbidden {
        request.remove_header(name);
    }
    if let Some(selector) = state.route.as_ref().and_then(|route| route.platform_from.as_ref()?.header()) {
        for name in scrub::lookalikes(&request.headers, selector) {
            request.remove_header(&name);
        }
    }
    if !forbidden.is_empty() && state.attempts <= 1 {
        metrics.scrubbed_headers.inc_by(forbidden.len() as u64);
    }
    // We answered it ourselves (THREATS F12).
    request.remove_header(&header::EXPECT);
}

fn take_our_cookie_out(request: &mut RequestHeader, state: &RequestState) -> Result<(), Reason> {
    if !request.headers.contains_key(header::COOKIE) {
        return Ok(());
    }
    match cookie::without(&request.headers, &state.rules.snapshot.session.cookie) {
        Some(rest) => {
            request.insert_header(header::COOKIE, rest).map_err(|_| Reason::MalformedRequest)?;
        }
        None => {
            request.remove_header(&header::COOKIE);
        }
    }
    Ok(())
}

fn tell_where_from(request: &mut RequestHeader, state: &RequestState) -> Result<(), Reason> {
    let origin = state.origin.as_ref().ok_or(Reason::Internal)?;
    for name in forwarded::family(&request.headers) {
        request.remove_header(&name);
    }
    for (name, value) in forwarded::rebuilt(origin) {
        request.insert_header(name, value).map_err(|_| Reason::Internal)?;
    }
    Ok(())
}

/// Carries a reason through Pingora to `fail_to_proxy`.
#[expect(clippy::unnecessary_box_returns, reason = "boxed is how Pingora's phases return errors")]
pub(super) fn refusal(state: &mut RequestState, reason: Reason) -> Box<Error> {
    state.refuse(reason);
    Error::new_in(ErrorType::HTTPStatus(reason.status()))
}

/// How long a body may take whatever its size, and how many bytes a second it must bring on average beyond that
/// (THREATS S11). Slower than any line in use; who feeds a body by hand holds one of the application's connections.
const UNHURRIED: Duration = Duration::from_mins(1);
const SLOWEST: u64 = 64;

/// Counts request body bytes as they pass, and how fast they come.
///
/// # Errors
/// `BodyTooLarge` beyond the route's limit; what a body without a length turns out to be shows only here.
/// `ClientTooSlow` below the slowest rate, but for routes that say themselves how long a silence may last.
pub(super) fn count_body(bytes: usize, state: &mut RequestState) -> Result<(), Reason> {
    state.body_bytes += bytes as u64;
    let Some(route) = state.route.as_ref().filter(|_| !state.is_websocket()) else { return Ok(()) };
    if route.body_limit.is_some_and(|limit| state.body_bytes > limit) {
        return Err(Reason::BodyTooLarge);
    }
    let elapsed = state.started.elapsed();
    let expected = elapsed.saturating_sub(UNHURRIED).as_secs() * SLOWEST;
    if route.read_timeout.is_none() && state.body_bytes < expected {
        Err(Reason::ClientTooSlow)
    } else {
        Ok(())
    }
}
