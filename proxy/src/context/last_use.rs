//! When a session was last used, shared by all who hold its context: noting a use is writing one number, and whoever
//! writes uses down reads it when it is time to.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::sync::{AtomicU64, Ordering};

/// Set in the number while somebody watches it, who will read it before it is given up.
const WATCHED: u64 = 1;

/// The latest use of a session that is known here. Clones are the same number.
#[derive(Clone, Debug)]
pub struct LastUse(Arc<AtomicU64>);

impl LastUse {
    /// A use at `at`, watched by nobody.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self(Arc::new(AtomicU64::new(number(at))))
    }

    /// The latest use.
    #[must_use]
    pub fn get(&self) -> Timestamp {
        moment(self.0.load(Ordering::Acquire))
    }

    /// Moves it to `at`, if that is later. Whether somebody watches, and so will hear of it.
    pub fn advance(&self, at: Timestamp) -> bool {
        let advanced = |known: u64| (moment(known) < at).then(|| number(at) | (known & WATCHED));
        let known = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, advanced);
        known.unwrap_or_else(|known| known) & WATCHED != 0
    }

    /// Watches it from now on.
    pub fn watch(&self) {
        self.0.fetch_or(WATCHED, Ordering::AcqRel);
    }

    /// Watches it no more, and answers the latest use up to then: all later ones are told that nobody watches.
    pub fn unwatch(&self) -> Timestamp {
        moment(self.0.fetch_and(!WATCHED, Ordering::AcqRel))
    }

    /// Whether this is the same number, and not only an equal one.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// Far beyond every date there is the mark would have no room.
const fn number(at: Timestamp) -> u64 {
    at.as_millis().saturating_mul(2) & !WATCHED
}

const fn moment(number: u64) -> Timestamp {
    Timestamp::from_millis(number >> 1)
}
