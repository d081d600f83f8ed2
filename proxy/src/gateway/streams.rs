//! Answers that go on for as long as both sides like, WebSockets and server-sent events of applications: they are tied
//! to the session that they were asked for with, and end when it does.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;

use super::state::RequestState;
use super::{Core, wire};
use crate::events::Hold;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Counter;

/// A stream that is tied to a session.
pub(super) struct Tied {
    hold: Hold,
    request_id: String,
    ended: Counter,
    /// Such a request is cut off in the middle and never gets to its log line.
    requests: Counter,
}

impl Drop for Tied {
    fn drop(&mut self) {
        if self.hold.was_ended() {
            self.ended.inc();
            self.requests.inc();
            tracing::info!(request_id = self.request_id, "a stream was ended with its session");
        }
    }
}

/// Ties an answer to its session, if it is a stream and was asked for with one.
pub(super) fn tie(answer: &ResponseHeader, state: &mut RequestState, core: &Arc<Core>, metrics: &Metrics) {
    if !is_stream(answer) {
        return;
    }
    wire::is_stream();
    let context = state.admitted.as_ref().and_then(|admitted| admitted.context.as_deref());
    let (Some(context), Some(leash)) = (context, wire::leash()) else { return };
    let route = state.route().map_or("-", |route| route.name.as_str());
    state.tied = Some(Tied {
        hold: core.streams.hold(&context.session, &leash),
        request_id: state.request_id.clone(),
        ended: metrics.streams_ended.with_label_values(&["forwarded"]),
        requests: metrics.requests.with_label_values(&[route, "dropped"]),
    });
}

fn is_stream(answer: &ResponseHeader) -> bool {
    let kind = answer.headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let events = kind.len() >= 17 && kind[..17].eq_ignore_ascii_case(b"text/event-stream");
    answer.status == StatusCode::SWITCHING_PROTOCOLS || (events && !answer.status.is_informational())
}
