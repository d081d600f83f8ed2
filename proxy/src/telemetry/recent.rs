//! The last requests that were not let through, for people who look now. A small ring in memory; whoever wants all of them
//! reads the log. Holds words of ours, the name of a route and the number of a request: nothing that a client sent.

use std::collections::VecDeque;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::reason::Reason;

/// How many are remembered.
pub const REMEMBERED: usize = 64;

/// One request that was not let through.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// When its head had arrived.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// The name of its route, or `-`.
    pub route: String,
    /// The number under which the log knows it.
    pub request_id: String,
}

/// A refusal as it is shown.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct RefusalView {
    at: String,
    code: &'static str,
    status: u16,
    title: &'static str,
    route: String,
    request_id: String,
}

/// The last refusals. Invariant: never more than [`REMEMBERED`].
#[derive(Debug, Default)]
pub struct Recent(Mutex<VecDeque<Refusal>>);

impl Recent {
    /// Remembers one more, unless another thread is just doing the same: a flood of refusals must not queue up here.
    pub fn note(&self, refusal: impl FnOnce() -> Refusal) {
        let Some(mut ring) = self.0.try_lock() else { return };
        if ring.len() == REMEMBERED {
            ring.pop_front();
        }
        ring.push_back(refusal());
    }

    /// All of them, the newest first.
    #[must_use]
    pub fn shown(&self) -> Vec<RefusalView> {
        let ring = self.0.lock();
        let view = |refusal: &Refusal| RefusalView {
            at: refusal.at.to_string(),
            code: refusal.reason.code(),
            status: refusal.reason.status(),
            title: refusal.reason.title(),
            route: refusal.route.clone(),
            request_id: refusal.request_id.clone(),
        };
        ring.iter().rev().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_are_remembered_newest_first() {
        let recent = Recent::default();
        for number in 0..200_u64 {
            recent.note(|| Refusal {
                at: Timestamp::from_secs(number),
                reason: Reason::NoCookie,
                route: "r".to_owned(),
                request_id: number.to_string(),
            });
        }
        let shown = recent.shown();
        assert_eq!(shown.len(), REMEMBERED);
        assert_eq!((shown[0].request_id.as_str(), shown[0].code), ("199", "no_cookie"));
        assert_eq!(shown[REMEMBERED - 1].request_id, "136");
    }
}
