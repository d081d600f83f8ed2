//! Where the process is in its life; what readiness tells. Neither Redis nor Postgres has a say in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::endpoints::health::Phase;

/// Counts the services that are still to open their listeners, and remembers that the end has begun.
#[derive(Debug, Default)]
pub(super) struct Life {
    closed: AtomicUsize,
    draining: Arc<AtomicBool>,
}

impl Life {
    /// One more service will open its listeners.
    pub(super) fn expect_service(&self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }

    /// The listeners of one service are open. True when it was the last: from now on requests are taken.
    pub(super) fn service_is_open(&self) -> bool {
        self.closed.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// The end has begun.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Whether the end has begun, for those who ask for every request.
    pub(super) fn draining(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.draining)
    }

    /// Where the process is.
    pub(super) fn phase(&self) -> Phase {
        if self.draining.load(Ordering::SeqCst) {
            Phase::Draining
        } else if self.closed.load(Ordering::SeqCst) > 0 {
            Phase::Starting
        } else {
            Phase::Serving
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Life, Phase};

    #[test]
    fn a_process_is_ready_when_every_service_listens_and_until_it_drains() {
        let life = Life::default();
        life.expect_service();
        life.expect_service();
        assert!(!life.service_is_open());
        assert_eq!(life.phase(), Phase::Starting);
        assert!(life.service_is_open());
        assert_eq!(life.phase(), Phase::Serving);
        life.drain();
        assert_eq!(life.phase(), Phase::Draining);
    }
}
