//! Live and ready. Live says that the process works; ready turns false while draining. Neither asks Redis or
//! Postgres: an outage there must not empty the fleet (DESIGN section 7).

use bytes::Bytes;
use http::{Response, StatusCode};

use super::own_answer;

/// The process works.
pub fn live() -> Response<Bytes> {
    own_answer(StatusCode::OK, "live", "application/json", Bytes::from_static(b"{\"status\":\"live\"}"))
}

/// Whether new requests should be sent here: 200, or 503 while draining.
pub fn ready(draining: bool) -> Response<Bytes> {
    if draining {
        let body = Bytes::from_static(b"{\"status\":\"draining\"}");
        own_answer(StatusCode::SERVICE_UNAVAILABLE, "draining", "application/json", body)
    } else {
        own_answer(StatusCode::OK, "ready", "application/json", Bytes::from_static(b"{\"status\":\"ready\"}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{live, ready};

    #[test]
    fn readiness_turns_while_draining_and_liveness_does_not() {
        assert_eq!(live().status(), 200);
        assert_eq!(ready(false).status(), 200);
        assert_eq!(ready(true).status(), 503);
        for answer in [live(), ready(false), ready(true)] {
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(body["status"], answer.headers()["countersign-answer"].to_str().unwrap());
            assert_eq!(answer.headers()["cache-control"], "no-store");
        }
    }
}
