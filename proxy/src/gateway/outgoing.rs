//! Steps 6 and 7, for every attempt anew. The headers that leave are built, not edited: ours, signed, then those of the
//! client that may pass. What is not let through is not there.

use std::time::Instant;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};

use super::head::{self, Put};
use super::state::{Admitted, RequestState};
use super::trace;
use crate::clock::Timestamp;
use crate::headers::forwarded::{self, ClientOrigin, Scheme};
use crate::headers::names::alike;
use crate::headers::render::RenderInput;
use crate::headers::scrub;
use crate::policy::accept::Accepted;
use crate::reason::Reason;
use crate::signing::{Outgoing, Signer};
use crate::telemetry::Metrics;

/// Prepares Pingora's copy of the request, which leaves.
///
/// # Errors
/// The reason why it must not leave.
pub(super) fn prepare(
    request: &mut RequestHeader,
    received: &HeaderMap,
    state: &mut RequestState,
    now: Timestamp,
    metrics: &Metrics,
) -> Result<(), Reason> {
    let mut parts = taken(request);
    let from = std::mem::take(&mut parts.headers);
    parts.uri = address(&parts.uri, state)?;
    let ours = signed(&parts.method, state, metrics, |signer, outgoing, input, origin| {
        signer.map(outgoing, input, origin, now)
    })?;
    parts.headers = filled(ours, &from, received, state, metrics);
    *request = parts.into();
    Ok(())
}

/// The head of the request that leaves over HTTP/1.1, made anew from the one `received`.
///
/// # Errors
/// The reason why it must not leave.
pub(super) fn head(
    received: &RequestHeader,
    state: &mut RequestState,
    now: Timestamp,
    metrics: &Metrics,
) -> Result<Vec<u8>, Reason> {
    let target = state.accepted.as_ref().ok_or(Reason::Internal)?.target.as_str();
    let head = head::begun(received.method.as_str(), target);
    let ours = signed(&received.method, state, metrics, |signer, outgoing, input, origin| {
        signer.lines(head, outgoing, input, origin, now)
    })?;
    let headers = &received.headers;
    Ok(head::ended(filled(ours, headers, headers, state, metrics)))
}

/// What policy saw is what is forwarded: the canonical target.
fn address(uri: &Uri, state: &RequestState) -> Result<Uri, Reason> {
    let target = state.accepted.as_ref().ok_or(Reason::Internal)?.target.as_str();
    if uri.authority().is_none() && uri.path_and_query().is_some_and(|sent| sent.as_str() == target) {
        return Ok(uri.clone());
    }
    let rebuilt = RequestHeader::build(Method::GET, target.as_bytes(), None);
    rebuilt.map(|request| request.uri.clone()).map_err(|_| Reason::AmbiguousPath)
}

/// The headers of ours, signed for the request as it will be sent, exactly one Host among them; and where it came from.
fn signed<H>(
    method: &Method,
    state: &mut RequestState,
    metrics: &Metrics,
    sign: impl FnOnce(&Signer, &Outgoing<'_>, &RenderInput<'_>, Option<&ClientOrigin>) -> Result<H, Reason>,
) -> Result<H, Reason> {
    let (Some(admitted), Some(accepted), Some(origin)) = (&state.admitted, &state.accepted, &state.origin)
    else {
        return Err(Reason::Internal);
    };
    let begun = Instant::now();
    let outgoing = Outgoing {
        method: method.as_str(),
        authority: host(admitted, accepted, state),
        path: accepted.target.path(),
        query: accepted.target.query(),
    };
    let input = RenderInput {
        authn: admitted.authn,
        context: admitted.context.as_deref(),
        request_id: &state.request_id,
        platform_authorization: admitted.extras.credential.as_ref(),
        settings: admitted.extras.settings.as_ref(),
        stats: admitted.extras.stats.as_ref(),
        client_certificate: state.client_certificate.as_ref(),
    };
    let signed = sign(&admitted.road.upstream.signer, &outgoing, &input, Some(origin))?;
    let signed_at = Instant::now();
    metrics.signing_seconds.observe((signed_at - begun).as_secs_f64());
    state.sent = Some(signed_at);
    Ok(signed)
}

/// The headers of ours with those of the client that may pass, and trace context.
fn filled<H: Put>(
    mut headers: H,
    from: &HeaderMap,
    received: &HeaderMap,
    state: &RequestState,
    metrics: &Metrics,
) -> H {
    let scrubbed = pass_on(from, received, &mut headers, state);
    if scrubbed > 0 && state.attempts <= 1 {
        metrics.scrubbed_headers.inc_by(scrubbed);
    }
    trace::tell(&mut headers, received, state.trace.as_ref());
    headers
}

/// Drops the spelling of names before Pingora copies the request for the upstream.
pub(super) fn forget_spelling(request: &mut RequestHeader) {
    // A target in absolute form is kept beside the URI and would be lost.
    if request.has_case() && request.raw_path().starts_with(b"/") {
        *request = taken(request).into();
    }
}

/// The request without its second table of names, in which Pingora keeps the spelling of each: names go out in lower
/// case, as in HTTP/2 and as other proxies send them. Writing both tables was a sixth of our cost.
fn taken(request: &mut RequestHeader) -> http::request::Parts {
    let empty = RequestHeader::from(http::Request::new(()).into_parts().0);
    std::mem::replace(request, empty).into()
}

/// The Host that the application sees: configured, or the client's without the default port, which verifiers leave out
/// (RFC 9421, section 2.2.3).
fn host<'a>(admitted: &'a Admitted, accepted: &'a Accepted, state: &RequestState) -> &'a str {
    if let Some(host) = &admitted.road.upstream.settings.host {
        return host;
    }
    let authority = accepted.authority.as_str();
    let default_port = match state.origin.as_ref().map(|origin| origin.scheme) {
        Some(Scheme::Https) => ":443",
        _ => ":80",
    };
    authority.strip_suffix(default_port).unwrap_or(authority)
}

/// Copies what a client may say; all else is left behind unconditionally, never "unless present" (THREATS H1). Answers
/// how many names were left behind because they are ours or could be mistaken for ours.
fn pass_on(from: &HeaderMap, received: &HeaderMap, to: &mut impl Put, state: &RequestState) -> u64 {
    let names = &state.rules.names;
    let nominated = scrub::nominated(received);
    if let Some(cookies) = from.get(header::COOKIE).and_then(|_| rest_of_cookies(from, state)) {
        to.put(&header::COOKIE, &cookies);
    }
    let selector = state.route().and_then(|route| route.platform_from.as_ref()?.header());
    let traced = state.rules.snapshot.traces.is_some();
    let ends_here = state.admitted.as_ref().is_some_and(Admitted::ends_hop);
    let (mut last, mut stays, mut scrubbed) = (None::<&HeaderName>, false, 0);
    for (name, value) in from {
        // Values of one name follow each other.
        if !last.is_some_and(|last| std::ptr::eq(last, name)) {
            last = Some(name);
            let ours = names.reserved(name.as_str());
            scrubbed += u64::from(ours);
            let selects = selector.is_some_and(|selector| alike(name, selector));
            stays = ours || selects || is_rebuilt(name) || nominated.contains(name);
            let ends = is_of_one_hop(name) && (ends_here || !is_for_pingora(name));
            stays |= ends || (traced && trace::is_context(name));
        }
        if !stays {
            to.put(name, value);
        }
    }
    scrubbed
}

/// Fields that we write ourselves, or have answered (`Expect`; THREATS F12).
fn is_rebuilt(name: &HeaderName) -> bool {
    matches!(*name, header::HOST | header::COOKIE | header::EXPECT) || forwarded::belongs(name.as_str())
}

/// Fields that speak of one connection (RFC 9110, section 7.6.1); those of ours are Pingora's to write.
fn is_of_one_hop(name: &HeaderName) -> bool {
    matches!(
        *name,
        header::CONNECTION
            | header::TE
            | header::TRAILER
            | header::TRANSFER_ENCODING
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Those of them that Pingora goes by where it writes them anew itself: towards HTTP/2, and for a WebSocket.
fn is_for_pingora(name: &HeaderName) -> bool {
    matches!(*name, header::CONNECTION | header::TE | header::TRANSFER_ENCODING | header::UPGRADE)
}

fn rest_of_cookies(headers: &HeaderMap, state: &RequestState) -> Option<HeaderValue> {
    state.rules.snapshot.profile.forwarded(headers)
}

/// Carries a reason through Pingora to `fail_to_proxy`.
#[expect(clippy::unnecessary_box_returns, reason = "boxed is how Pingora's phases return errors")]
pub(super) fn refusal(state: &mut RequestState, reason: Reason) -> Box<Error> {
    state.refuse(reason);
    Error::new_in(ErrorType::HTTPStatus(reason.status()))
}

/// How many bytes a second a body must bring on average beyond the time that it may take whatever its size (THREATS
/// S11). Slower than any line in use; who feeds a body by hand holds one of the application's connections.
const SLOWEST: u64 = 64;

/// Counts request body bytes as they pass, and how fast they come.
///
/// # Errors
/// `BodyTooLarge` beyond the route's limit; what a body without a length turns out to be shows only here.
/// `ClientTooSlow` below the slowest rate, but for routes that say themselves how long a silence may last.
pub(super) fn count_body(bytes: usize, last: bool, state: &mut RequestState) -> Result<(), Reason> {
    state.body_bytes += bytes as u64;
    state.body_awaited = (!last).then(Instant::now);
    let Some(route) = state.route().filter(|_| !state.is_websocket()) else { return Ok(()) };
    if route.body_limit.is_some_and(|limit| state.body_bytes > limit) {
        return Err(Reason::BodyTooLarge);
    }
    if last {
        // It is all here, however long it took.
        return Ok(());
    }
    let elapsed = state.started.elapsed();
    let patience = state.rules.snapshot.connections.patience;
    let expected = elapsed.saturating_sub(patience).as_secs() * SLOWEST;
    if route.read_timeout.is_none() && state.body_bytes < expected {
        Err(Reason::ClientTooSlow)
    } else {
        Ok(())
    }
}
