//! Trace context on its way through: what a request brings, what the application is told, what is recorded at the end.
//! Nothing here is done unless the configuration names a collector.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::proxy::Session;

use super::admit;
use super::head::Put;
use super::rules::InForce;
use super::state::RequestState;
use crate::telemetry::exemplars::Exemplar;
use crate::telemetry::traces::context::{TraceParent, state_fits};
use crate::telemetry::traces::{Recorded, Trace, Tracer};
use crate::telemetry::{Metrics, RequestFacts};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace that a request belongs to, if traces are on and there is anything to record or to tell.
pub(super) fn begin(session: &Session, rules: &InForce, tracer: Option<&Tracer>) -> Option<Trace> {
    let (settings, tracer) = (rules.snapshot.traces.as_deref()?, tracer?);
    let mut fields = session.req_header().headers.get_all(TRACEPARENT).iter();
    let parent = match (fields.next(), fields.next()) {
        (Some(field), None) => TraceParent::parse(field.as_bytes()),
        // None, or two that could be read differently.
        _ => None,
    };
    let trusted = parent.is_some() && admit::is_trusted_proxy(session, rules);
    tracer.begin(settings, parent, trusted)
}

/// Whether a field of the client is trace context, which is written anew.
pub(super) fn is_context(name: &HeaderName) -> bool {
    *name == TRACEPARENT || *name == TRACESTATE
}

/// Tells the application which span it is called from. What other systems added is passed on with the trace it is about.
pub(super) fn tell(headers: &mut impl Put, received: &HeaderMap, trace: Option<&Trace>) {
    let Some(parent) = trace.and_then(Trace::onward) else { return };
    let Ok(value) = HeaderValue::from_bytes(&parent.write()) else { return };
    headers.put(&TRACEPARENT, &value);
    let states = || received.get_all(TRACESTATE).iter();
    if trace.is_some_and(Trace::is_continued) && state_fits(states().map(HeaderValue::as_bytes)) {
        for state in states() {
            headers.put(&TRACESTATE, state);
        }
    }
}

/// Hands a request that is over to the collector, if it is recorded.
pub(super) fn finish(
    state: &RequestState,
    facts: &RequestFacts<'_>,
    duration: Duration,
    tracer: Option<&Tracer>,
    metrics: &Metrics,
) {
    let (Some(trace), Some(tracer)) = (state.trace.filter(Trace::is_recorded), tracer) else { return };
    tracer.record(Recorded {
        trace,
        at: state.at,
        duration,
        steps: state.steps,
        failed: facts.status >= 500 || facts.status == 0,
        facts: facts.recorded(),
    });
    let exemplar = Exemplar {
        trace_id: String::from_utf8_lossy(&trace.digits()).into_owned(),
        seconds: duration.as_secs_f64(),
        at: state.at.plus(duration),
    };
    metrics.exemplars.note(facts.route.unwrap_or(super::account::NO_ROUTE), facts.outcome, exemplar);
}
