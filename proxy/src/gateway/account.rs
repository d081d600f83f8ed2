//! Step 10: count and tell, once per request, whatever became of it.

use std::cell::{Cell, RefCell};

use pingora::http::RequestHeader;
use pingora::proxy::Session;

use super::state::{Outcome, RequestState};
use super::trace;
use crate::config::snapshot::LogLevel;
use crate::context::Authn;
use crate::telemetry::traces::{Trace, Tracer};
use crate::telemetry::{LogSink, Metrics, Refusal, RequestFacts, Step};

/// The route label of requests that found none.
pub(super) const NO_ROUTE: &str = "-";

thread_local! {
    /// Where a thread writes its lines, one after the other; texts from outside are capped, so it stays small.
    static LINE: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(2048));
    /// How many successes it has counted.
    static SUCCESSES: Cell<u32> = const { Cell::new(0) };
}

/// Counts a finished request, writes its line, and hands it to whoever records.
pub(super) fn finish(
    session: &Session,
    state: &mut RequestState,
    metrics: &Metrics,
    log: Option<&LogSink>,
    tracer: Option<&Tracer>,
) {
    if state.outcome == Outcome::Pending && session.response_written().is_some() {
        state.outcome = Outcome::Forwarded;
    }
    state.steps.end(Step::Answer, state.started);
    let route = route_label(state);
    let duration = state.started.elapsed();
    let lasts = state.tied.is_some() || state.is_websocket();
    let seconds = (!lasts).then_some(duration.as_secs_f64());
    match &state.road {
        Some(road) => road.meter.count(route, state.outcome, seconds, metrics),
        None => state.rules.meters.count(route, state.outcome, seconds, metrics),
    }
    if let Some(reason) = state.reason {
        metrics.refusals.with_label_values(&[route, reason.code()]).inc();
        metrics.recent.note(|| Refusal {
            at: state.at,
            reason,
            route: route.to_owned(),
            request_id: state.request_id.clone(),
        });
    }
    if let Some(reason) = state.would_refuse {
        metrics.reported.with_label_values(&[route, reason.code()]).inc();
    }
    let limit = state.rules.snapshot.request_log.slow.filter(|_| !lasts);
    let facts = facts(session, state, duration, limit.is_some_and(|limit| duration >= limit));
    trace::finish(state, &facts, duration, tracer, metrics);
    if let Some(log) = log.filter(|_| is_shown(state, &facts)) {
        LINE.with_borrow_mut(|line| {
            line.clear();
            facts.write(line);
            log.put(line);
        });
    }
}

/// Whether a request gets its line: slow ones are warnings; of those that simply succeeded, a share.
fn is_shown(state: &RequestState, facts: &RequestFacts<'_>) -> bool {
    let snapshot = &state.rules.snapshot;
    if facts.slow {
        return snapshot.log != LogLevel::Error;
    }
    let succeeded = matches!(state.outcome, Outcome::Forwarded | Outcome::Answered)
        && state.reason.is_none()
        && state.would_refuse.is_none()
        && facts.status < 400;
    snapshot.log.shows_requests() && (!succeeded || snapshot.request_log.successes.takes(next_success()))
}

/// Counts the successes of a thread, so that a share of them is spread evenly.
fn next_success() -> u32 {
    SUCCESSES.set(SUCCESSES.get().wrapping_add(1));
    SUCCESSES.get()
}

/// Counts how long the application took to begin its answer.
pub(super) fn answered(state: &mut RequestState, metrics: &Metrics) {
    if let (Some(sent), Some(admitted)) = (state.sent.take(), &state.admitted) {
        let upstream = &admitted.road.upstream;
        let label = || metrics.upstream_seconds.with_label_values(&[upstream.settings.name.as_str()]);
        upstream.answers.get_or_init(label).observe(sent.elapsed().as_secs_f64());
    }
    state.steps.end(Step::Upstream, state.started);
}

/// The name of the route, or of the endpoint of our own: both are closed sets.
fn route_label(state: &RequestState) -> &str {
    let own = state.own.as_ref().map_or(NO_ROUTE, |own| own.name);
    state.route().map_or(own, |route| route.name.as_str())
}

fn facts<'a>(
    session: &'a Session,
    state: &'a RequestState,
    duration: std::time::Duration,
    slow: bool,
) -> RequestFacts<'a> {
    let request = session.req_header();
    let admitted = state.admitted.as_ref();
    let own = state.own.as_ref();
    let context = admitted.and_then(|admitted| admitted.context.as_deref());
    let context = context.or_else(|| own.and_then(|own| own.context.as_deref()));
    let accepted = state.accepted.as_ref();
    let (status, bytes_out) = match state.relayed {
        Some(answer) => (answer.status, answer.body),
        None => {
            (session.response_written().map_or(0, |answer| answer.status.as_u16()), session.body_bytes_sent())
        }
    };
    RequestFacts {
        at: state.at,
        request_id: &state.request_id,
        client: match &state.origin {
            Some(origin) => origin.address,
            None => session.client_addr().and_then(|peer| peer.as_inet()).map(std::net::SocketAddr::ip),
        },
        protocol: protocol(request.version),
        method: request.method.as_str(),
        host: accepted.map_or_else(|| claimed_host(request), |accepted| accepted.authority.as_str()),
        path: accepted.map_or_else(|| claimed_path(request), |accepted| accepted.target.path()),
        route: Some(route_label(state)).filter(|label| *label != NO_ROUTE),
        upstream: admitted
            .filter(|_| state.attempts > 0)
            .map(|admitted| admitted.road.upstream.settings.name.as_str()),
        attempts: state.attempts,
        outcome: state.outcome.as_str(),
        reason: state.reason.map(crate::reason::Reason::code),
        would_refuse: state.would_refuse.map(crate::reason::Reason::code),
        status,
        authn: admitted.map(|admitted| Authn::as_str(admitted.authn)),
        session: context.map(|context| context.session.id),
        user: context.map(|context| context.user.id.as_str()),
        platform: context.and_then(|context| context.platform.as_ref()).map(|platform| platform.id.as_str()),
        layer: context.map(|context| context.layer.as_str()),
        bytes_in: session.body_bytes_read(),
        bytes_out,
        duration,
        trace_id: state.trace.as_ref().map(Trace::digits),
        slow,
        steps: &state.steps,
    }
}

/// The host of a request that was not accepted, as far as it is text: whoever reads the log wants to know what came.
fn claimed_host(request: &RequestHeader) -> &str {
    let field = request.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    field.or_else(|| request.uri.authority().map(http::uri::Authority::as_str)).unwrap_or_default()
}

/// The path of a request that was not accepted, without whatever could be a query.
fn claimed_path(request: &RequestHeader) -> &str {
    let target = std::str::from_utf8(request.raw_path()).unwrap_or_default();
    target.split(['?', '#']).next().unwrap_or_default()
}

fn protocol(version: http::Version) -> &'static str {
    match version {
        http::Version::HTTP_10 => "1.0",
        http::Version::HTTP_2 => "2",
        _ => "1.1",
    }
}
