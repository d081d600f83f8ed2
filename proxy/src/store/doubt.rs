//! Whether what the store holds may be believed. After anything over which a write could have been lost (a start, a new
//! connection, a lapse of the lease, deafness towards the directory) it may not, until somebody has gone through what
//! changed meanwhile. While it is in doubt no copy of it is served. The rules are in `cache/PROTOCOL.md`. No I/O here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Lease;

/// The doubts about one store.
///
/// Invariant: while there is a doubt, every lease on this store is held.
#[derive(Debug, Default)]
pub struct Doubts {
    state: Mutex<State>,
    doubtful: AtomicBool,
    raised: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Somebody settles doubts; without, only a server that was replaced is doubted, and for good.
    settled_by_somebody: bool,
    /// Counts the doubts, so that going through the changes settles none that was raised meanwhile.
    number: u64,
    leases: Vec<Arc<Lease>>,
}

/// One doubt, for whoever wants to settle it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Doubt(u64);

impl Doubts {
    /// From now on somebody settles doubts. The first is there at once: what happened before is not known.
    pub fn keep(&self) {
        self.state.lock().settled_by_somebody = true;
        self.raise("start");
    }

    /// A write may have been lost up to now. Without somebody who settles doubts this says nothing.
    pub fn raise(&self, cause: &'static str) {
        let mut state = self.state.lock();
        if state.settled_by_somebody {
            tracing::debug!(cause, "the store is in doubt until what changed was gone through");
            self.hold(&mut state);
        }
    }

    /// The server was replaced by one that is not empty.
    pub(super) fn raise_in_any_case(&self) {
        self.hold(&mut self.state.lock());
    }

    fn hold(&self, state: &mut State) {
        state.number += 1;
        self.doubtful.store(true, Ordering::Release);
        state.leases.iter().for_each(|lease| lease.hold());
        self.raised.notify_one();
    }

    /// The doubt that there is. Taken before going through the changes begins.
    #[must_use]
    pub fn current(&self) -> Option<Doubt> {
        let state = self.state.lock();
        self.is_doubtful().then_some(Doubt(state.number))
    }

    /// What could have been lost before `doubt` was raised lies in the store now. Says whether nothing is in doubt any
    /// more: a later doubt stays.
    pub fn settle(&self, doubt: Doubt) -> bool {
        let state = self.state.lock();
        if state.number == doubt.0 {
            self.doubtful.store(false, Ordering::Release);
            state.leases.iter().for_each(|lease| lease.release());
        }
        !self.is_doubtful()
    }

    /// An empty server holds nothing that could be old. Only where nobody settles doubts.
    pub(super) fn forget_unsettled(&self) {
        let state = self.state.lock();
        if !state.settled_by_somebody {
            self.doubtful.store(false, Ordering::Release);
            state.leases.iter().for_each(|lease| lease.release());
        }
    }

    /// Whether what is read there may be old.
    pub fn is_doubtful(&self) -> bool {
        self.doubtful.load(Ordering::Acquire)
    }

    /// Returns when a doubt was raised since this returned last. For one caller. Cancellation safe.
    pub async fn raised(&self) {
        self.raised.notified().await;
    }

    /// Holds `lease` from now on while there is a doubt.
    pub(super) fn follow(&self, lease: Arc<Lease>) {
        let mut state = self.state.lock();
        if self.is_doubtful() {
            lease.hold();
        }
        state.leases.push(lease);
    }

    /// Ends the epoch of every lease: another server is read now.
    pub(super) fn close_leases(&self) {
        self.state.lock().leases.iter().for_each(|lease| lease.close_any());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubt_that_came_meanwhile_is_not_settled_with_the_one_before() {
        let doubts = Doubts::default();
        doubts.raise("nobody would ever settle it");
        assert!(!doubts.is_doubtful());
        doubts.keep();
        let first = doubts.current().unwrap();
        doubts.raise("again");
        assert!(!doubts.settle(first));
        let second = doubts.current().unwrap();
        assert!(doubts.settle(second) && doubts.current().is_none());
    }
}
