//! Where the process is in its life; what readiness tells. Neither Redis nor Postgres has a say in it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::endpoints::health::Phase;

/// Counts the public services that are still to open their listeners, and remembers that the end has begun.
#[derive(Debug, Default)]
pub(super) struct Life {
    closed: AtomicUsize,
    draining: AtomicBool,
}

impl Life {
    /// One more public service will open its listeners.
    pub(super) fn expect_service(&self) {
        self.closed.fetch_add(1, Ordering::SeqCst);
    }

    /// The listeners of one public service are open.
    pub(super) fn service_is_open(&self) {
        self.closed.fetch_sub(1, Ordering::SeqCst);
    }

    /// The end has begun.
    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
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
        life.service_is_open();
        assert_eq!(life.phase(), Phase::Starting);
        life.service_is_open();
        assert_eq!(life.phase(), Phase::Serving);
        life.drain();
        assert_eq!(life.phase(), Phase::Draining);
    }
}
