//! Live and ready. Live says that the process works; ready turns false while draining. Neither asks Redis or
//! Postgres: an outage there must not empty the fleet (DESIGN section 7).

use bytes::Bytes;
use http::{Response, StatusCode};

use super::own_answer;

/// The process works.
pub fn live() -> Response<Bytes> {
    own_answer(StatusCode::OK, "live", "application/json", Bytes::from_static(b"{\"status\":\"live\"}"))
}

/// Where a process is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Not every public listener is open yet.
    Starting,
    /// Requests are taken.
    Serving,
    /// On its way out: running requests finish, new ones should go elsewhere.
    Draining,
}

/// Whether new requests should be sent here: 200, or 503 before and after.
pub fn ready(phase: Phase) -> Response<Bytes> {
    let (status, name, body): (_, _, &'static [u8]) = match phase {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting", b"{\"status\":\"starting\"}"),
        Phase::Serving => (StatusCode::OK, "ready", b"{\"status\":\"ready\"}"),
        Phase::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining", b"{\"status\":\"draining\"}"),
    };
    own_answer(status, name, "application/json", Bytes::from_static(body))
}

#[cfg(test)]
mod tests {
    use super::{Phase, live, ready};

    #[test]
    fn readiness_turns_while_draining_and_liveness_does_not() {
        assert_eq!(live().status(), 200);
        assert_eq!(ready(Phase::Serving).status(), 200);
        assert_eq!(ready(Phase::Draining).status(), 503);
        for answer in [live(), ready(Phase::Serving), ready(Phase::Draining)] {
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(body["status"], answer.headers()["countersign-answer"].to_str().unwrap());
            assert_eq!(answer.headers()["cache-control"], "no-store");
        }
    }
}
