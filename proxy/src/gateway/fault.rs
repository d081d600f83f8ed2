//! Faults become answers: from Pingora's error to our reason.

use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use super::state::{Outcome, RequestState};
use super::wire;
use crate::reason::Reason;
use crate::telemetry::Metrics;

/// The reason behind an error. A reason of our own that travelled as an error wins.
pub(super) fn reason(error: &Error, state: &RequestState) -> Reason {
    if let Some(reason) = state.reason {
        return reason;
    }
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, _) if wire::verdict().is_some() => {
            wire::verdict().unwrap_or(Reason::MalformedRequest)
        }
        (ErrorSource::Downstream, kind) => match kind {
            ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::ConnectionClosed
            | ErrorType::WriteTimedout => Reason::ClientGone,
            ErrorType::ReadTimedout => Reason::ClientTooSlow,
            _ => Reason::MalformedRequest,
        },
        // Nobody answers what has not been said to its end.
        (ErrorSource::Upstream, ErrorType::ReadTimedout) if is_silent(state) => Reason::ClientTooSlow,
        (ErrorSource::Upstream, kind) => upstream(kind),
        _ => Reason::Internal,
    }
}

/// Whether a client that has not ended its body has sent nothing for most of the time that either side is waited for.
fn is_silent(state: &RequestState) -> bool {
    let patience = state.rules.snapshot.connections.patience;
    let of_route = state.route().and_then(|route| route.read_timeout);
    let of_upstream = state.admitted.as_ref().map(|admitted| admitted.road.upstream.settings.read_timeout);
    let shortest = of_route.or(of_upstream).map_or(patience, |timeout| timeout.min(patience));
    // Once it is answered, it is the application that goes on or does not.
    let is_asking = state.outcome == Outcome::Pending && !state.is_websocket();
    is_asking && state.body_awaited.is_some_and(|since| since.elapsed() >= shortest / 2)
}

fn upstream(kind: &ErrorType) -> Reason {
    match kind {
        ErrorType::ConnectTimedout
        | ErrorType::TLSHandshakeTimedout
        | ErrorType::ReadTimedout
        | ErrorType::WriteTimedout => Reason::UpstreamTimeout,
        ErrorType::InvalidHTTPHeader | ErrorType::H1Error | ErrorType::H2Error => Reason::UpstreamMalformed,
        _ => Reason::UpstreamUnreachable,
    }
}

/// Counts an upstream's failure and says so in one line, without the error's context, which may hold a raw head.
pub(super) fn report(error: &Error, reason: Reason, state: &RequestState, metrics: &Metrics) {
    if reason == Reason::ClientTooSlow {
        return;
    }
    if *error.esource() == ErrorSource::Upstream {
        if let Some(admitted) = &state.admitted {
            let name = admitted.road.upstream.settings.name.as_str();
            metrics.upstream_errors.with_label_values(&[name, error.etype().as_str()]).inc();
            tracing::warn!(
                request_id = state.request_id,
                upstream = name,
                kind = error.etype().as_str(),
                attempts = state.attempts,
                "upstream failed"
            );
        }
    } else if reason == Reason::Internal {
        tracing::error!(request_id = state.request_id, kind = error.etype().as_str(), "request failed");
    }
}

/// Whether there is still somebody to answer, and nothing was answered yet.
pub(super) fn can_answer(session: &Session, state: &RequestState, reason: Reason) -> bool {
    reason != Reason::ClientGone
        && state.relayed.is_none()
        && session.response_written().is_none_or(|answer| answer.status.is_informational())
}
