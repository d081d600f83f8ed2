//! What a copy rests on: the counts of its cells, the epoch it was read in, and how long it may be believed by its age
//! alone. Noted before the reading begins, checked at every use.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use super::marks::{Mark, Marks};
use crate::store::{Epoch, Lease};

/// The cells of a context: session, user, the user's platforms, platform.
pub(super) type Held = SmallVec<[Mark; 4]>;

/// Notes of a reading that is about to begin.
#[derive(Clone, Debug)]
pub struct Reading {
    pub(super) at: Instant,
    pub(super) all: u64,
    pub(super) epoch: Epoch,
    pub(super) marks: Held,
}

/// Who answered, and so how far the answer may be believed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// The store: as long as it reports every change.
    Store,
    /// The directory, the store having nothing: for as long as no revocation need be known anyway. The next reading
    /// finds it in the store.
    Directory,
    /// The directory, because the store cannot be asked: for the lease of that case.
    DirectoryAlone,
}

/// What a copy rests on.
#[derive(Clone, Debug)]
pub struct Proof {
    pub(super) all: u64,
    pub(super) epoch: Epoch,
    /// Whether it may be believed for as long as the lease is fresh.
    pub(super) coherent: bool,
    /// Until then it is believed by its age alone.
    pub(super) young_until: Instant,
    /// From then on it is read again, whatever stands.
    pub(super) ends: Option<Instant>,
    pub(super) marks: Held,
}

impl Reading {
    /// Notes one more cell, looked at before its key is read.
    pub fn also(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    /// A copy that may be believed for `age` after the reading began, and, if `coherent`, while the lease is fresh.
    pub(super) fn proves(self, coherent: bool, age: Duration) -> Proof {
        Proof {
            all: self.all,
            epoch: self.epoch,
            coherent: coherent && self.epoch.is_open(),
            young_until: self.at + age,
            ends: None,
            marks: self.marks,
        }
    }
}

impl Proof {
    /// The hit rule (rule 1): whether what was proven still stands. `now` is asked for the time once the lease was looked
    /// at.
    #[inline]
    pub(super) fn stands(&self, lease: &Lease, marks: &Marks, now: impl FnOnce() -> Instant) -> bool {
        // In this order: a lease seen fresh vouches for every mark looked at afterwards, and the epoch, looked at last,
        // says that it was the lease of this epoch.
        let view = lease.view();
        let now = now();
        let in_time = self.ends.is_none_or(|end| now < end)
            && (now < self.young_until || (self.coherent && view.is_fresh(now)));
        in_time && self.is_unstruck(marks) && lease.epoch() == self.epoch
    }

    /// Whether no invalidation arrived since the reading began, however old it is.
    #[inline]
    pub(super) fn is_unstruck(&self, marks: &Marks) -> bool {
        marks.all() == self.all && self.marks.iter().all(|mark| marks.stands(*mark))
    }

    /// What two copies together rest on. Counts and epochs only grow, so the smaller stands only if both do.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.all = self.all.min(other.all);
        self.epoch = self.epoch.min(other.epoch);
        self.coherent &= other.coherent;
        self.young_until = self.young_until.min(other.young_until);
        self.ends = match (self.ends, other.ends) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        };
        self.marks.extend_from_slice(&other.marks);
        self
    }
}
