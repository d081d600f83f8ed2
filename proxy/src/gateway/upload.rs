//! The rest of a request's body over HTTP/2 that nobody wants any more: the application has answered, and the client
//! neither goes on nor ends. Over HTTP/1 a time-out ends that. Pingora has none for streams of HTTP/2, and each would hold
//! a connection to the application for as long as the client likes (THREATS S11, T10).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::state::RequestState;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::Counter;

tokio::task_local! {
    /// The body of the request that this task serves, where it came over HTTP/2 and has one.
    pub static UPLOAD: Arc<Upload>;
}

/// One such body.
#[derive(Default)]
pub struct Upload(Mutex<Wait>);

/// What is waited for.
#[derive(Default)]
enum Wait {
    /// The answer has not begun: the time-outs of the application hold.
    #[default]
    Answer,
    /// Something moved last at this moment, in either direction.
    Rest(Instant, Patience),
    /// All of the body is here.
    Nothing,
}

/// How long nothing may move, and what is told when it is too long.
struct Patience {
    limit: Duration,
    request_id: String,
    /// A request that is cut off in the middle never gets to its log line.
    requests: Counter,
}

impl Upload {
    /// Returns when the answer has begun and nothing has moved for too long since, in either direction. Looks after it
    /// every `interval` until then. Cancellation safe.
    pub async fn stalls(&self, interval: Duration) {
        loop {
            let left = match &*self.0.lock() {
                Wait::Rest(since, patience) => patience.limit.saturating_sub(since.elapsed()),
                Wait::Answer | Wait::Nothing => interval,
            };
            if left.is_zero() {
                return self.tell();
            }
            sleep(left).await;
        }
    }

    fn tell(&self) {
        if let Wait::Rest(_, patience) = &*self.0.lock() {
            patience.requests.inc();
            tracing::info!(request_id = patience.request_id, "the rest of a body was not waited for");
        }
    }

    fn moves(&self) {
        if let Wait::Rest(since, _) = &mut *self.0.lock() {
            *since = Instant::now();
        }
    }
}

/// Notes that the answer begins.
pub(super) fn answered(state: &RequestState, limit: Duration, metrics: &Metrics) {
    let _ = UPLOAD.try_with(|upload| {
        let mut wait = upload.0.lock();
        if !matches!(*wait, Wait::Nothing) {
            let route = state.route().map_or("-", |route| route.name.as_str());
            let requests = metrics.requests.with_label_values(&[route, "dropped"]);
            let patience = Patience { limit, request_id: state.request_id.clone(), requests };
            *wait = Wait::Rest(Instant::now(), patience);
        }
    });
}

/// Notes that a piece of the answer passes.
pub(super) fn moves() {
    let _ = UPLOAD.try_with(|upload| upload.moves());
}

/// Notes that a piece of the body passes, perhaps the last one.
pub(super) fn comes(last: bool) {
    let _ = UPLOAD.try_with(|upload| if last { *upload.0.lock() = Wait::Nothing } else { upload.moves() });
}
