//! What lets a process believe copies of what the store holds: word of every change, and a lease that says how long
//! silence may be taken for "nothing changed". The protocol is written down in `cache/PROTOCOL.md`. No I/O here.

use std::time::Duration;

use tokio::time::Instant;

use super::EntityKey;
use crate::context::{SessionId, UserId};
use crate::sync::{AtomicBool, AtomicU64, Mutex, Ordering};

/// Something in the store was written, by whomever; what was read before may be old.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A session's record.
    Session(SessionId),
    /// An entity.
    Entity(EntityKey),
    /// A user's events.
    Events(UserId),
    /// The list of ends that the directory does not know yet.
    Ends,
    /// Possibly everything: the store was emptied.
    Everything,
}

/// Hears of changes. Called from the task that drives a connection: it must neither wait nor do much.
pub trait Follower: Send + Sync {
    /// Takes note of one change before it returns.
    fn changed(&self, change: &Change);
}

/// Which unbroken stretch of following a reading falls into. Odd while changes are heard of, even while they are not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Epoch(u64);

impl Epoch {
    /// Whether changes were being heard of.
    #[must_use]
    pub const fn is_open(self) -> bool {
        self.0 % 2 == 1
    }
}

/// How long copies may be believed without asking. Read without a lock by every request.
///
/// Invariant: while the epoch is open, every change that the store made before `until - length` has been handed to the
/// follower; `until` is moved only by the keeper of the connection on which they arrive.
#[derive(Debug)]
pub struct Lease {
    begin: Instant,
    length: Duration,
    epoch: AtomicU64,
    /// Nanoseconds after `begin`; the largest value never lapses.
    until: AtomicU64,
    /// Held while the epoch changes, so that a connection lost meanwhile is not announced as live, and while the end
    /// of the lease moves.
    turning: Mutex<Turning>,
}

/// What moves the end of a lease.
#[derive(Debug, Default)]
struct Turning {
    /// The store is in doubt: nothing is served whatever is proven of the connection.
    held: bool,
    /// How far the connection's proof reaches.
    proven: u64,
}

/// What a lease said at one moment. Taken before the time and before the marks are looked at.
#[derive(Clone, Copy, Debug)]
pub struct LeaseView {
    begin: Instant,
    until: u64,
}

impl LeaseView {
    /// Whether the lease reaches beyond `now`.
    #[must_use]
    pub fn is_fresh(self, now: Instant) -> bool {
        self.until == u64::MAX || nanos(now.saturating_duration_since(self.begin)) < self.until
    }
}

/// One connection on which changes arrive, from its making to its end.
#[derive(Debug, Default)]
pub struct Line {
    lost: AtomicBool,
    epoch: AtomicU64,
}

impl Lease {
    /// A lease of `length` on a store that is not followed yet.
    #[must_use]
    pub fn closed(length: Duration) -> Self {
        Self {
            begin: Instant::now(),
            length,
            epoch: AtomicU64::new(0),
            until: AtomicU64::new(0),
            turning: Mutex::default(),
        }
    }

    /// For a store within this process, whose changes cannot be lost on the way.
    #[must_use]
    pub fn unbroken() -> Self {
        let lease = Self::closed(Duration::MAX);
        lease.epoch.store(1, Ordering::Release);
        lease.until.store(u64::MAX, Ordering::Release);
        lease
    }

    /// The stretch that a reading which begins now belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::Acquire))
    }

    /// How far the lease reaches. See [`LeaseView`] for when to ask.
    #[must_use]
    pub fn view(&self) -> LeaseView {
        LeaseView { begin: self.begin, until: self.until.load(Ordering::Acquire) }
    }

    /// How long ago it was proven that no change is missing; `None` while the store is not followed, or is in doubt.
    #[must_use]
    pub fn age(&self, now: Instant) -> Option<Duration> {
        let until = self.until.load(Ordering::Acquire);
        if !self.epoch().is_open() || until == 0 {
            return None;
        }
        if until == u64::MAX {
            return Some(Duration::ZERO);
        }
        let proven = self.begin + Duration::from_nanos(until).saturating_sub(self.length);
        Some(now.saturating_duration_since(proven))
    }

    /// Begins a new epoch on `line`, whose server confirmed that it reports changes in an answer to what was sent at
    /// `sent`. Answers `None`, and opens nothing, when the line was lost meanwhile.
    #[must_use]
    pub fn open(&self, line: &Line, sent: Instant) -> Option<Epoch> {
        let mut turning = self.turning.lock();
        if line.lost.load(Ordering::Acquire) {
            return None;
        }
        turning.proven = self.reach(sent);
        // The lease first: nobody must find the new epoch with an old lease (PROTOCOL.md, rule 2).
        self.until.store(if turning.held { 0 } else { turning.proven }, Ordering::Release);
        let now = self.epoch.load(Ordering::Acquire);
        let next = if Epoch(now).is_open() { now + 2 } else { now + 1 };
        self.epoch.store(next, Ordering::Release);
        line.epoch.store(next, Ordering::Release);
        Some(Epoch(next))
    }

    /// Ends the epoch of `line`, if it is still the current one, and lets the line open none any more. Called by the
    /// connection's own task the moment it ends, and by whoever gives it up.
    pub fn close(&self, line: &Line) {
        let _turning = self.turning.lock();
        line.lost.store(true, Ordering::Release);
        let opened = line.epoch.load(Ordering::Acquire);
        if opened != 0 && self.epoch.load(Ordering::Acquire) == opened {
            self.epoch.store(opened + 1, Ordering::Release);
        }
    }

    /// Ends the epoch whatever line it is on: what is read and what is followed are not the same server any more.
    pub fn close_any(&self) {
        let _turning = self.turning.lock();
        let now = self.epoch();
        if now.is_open() {
            self.epoch.store(now.0 + 1, Ordering::Release);
        }
    }

    /// Prolongs the lease: what was asked on the line at `sent` has been answered, after every change before it. Says
    /// whether the proof reached up to `now`: if not, the lease had lapsed.
    pub fn renew(&self, sent: Instant, now: Instant) -> bool {
        let mut turning = self.turning.lock();
        let reached = nanos(now.saturating_duration_since(self.begin)) < turning.proven;
        turning.proven = turning.proven.max(self.reach(sent));
        if !turning.held {
            self.until.fetch_max(turning.proven, Ordering::AcqRel);
        }
        reached
    }

    /// Takes the lease away, until [`Self::release`]: what the store says is in doubt.
    pub(super) fn hold(&self) {
        let mut turning = self.turning.lock();
        turning.held = true;
        self.until.store(0, Ordering::Release);
    }

    /// Gives the lease back, as far as the connection has been proven meanwhile.
    pub(super) fn release(&self) {
        let mut turning = self.turning.lock();
        turning.held = false;
        self.until.fetch_max(turning.proven, Ordering::AcqRel);
    }

    fn reach(&self, sent: Instant) -> u64 {
        let since = sent.saturating_duration_since(self.begin);
        nanos(since.saturating_add(self.length)).min(u64::MAX - 1)
    }
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_millis(100);

    #[test]
    fn a_lease_counts_from_when_the_question_was_sent() {
        let (lease, line, sent) = (Lease::closed(LENGTH), Line::default(), Instant::now());
        assert!(!lease.epoch().is_open() && !lease.view().is_fresh(sent));
        assert!(lease.open(&line, sent).is_some_and(Epoch::is_open));
        assert!(lease.view().is_fresh(sent + LENGTH.saturating_sub(Duration::from_nanos(1))));
        assert!(!lease.view().is_fresh(sent + LENGTH));
        assert!(!lease.renew(sent + LENGTH, sent + LENGTH), "it had lapsed");
        assert!(lease.renew(sent, sent + LENGTH));
        assert!(lease.view().is_fresh(sent + LENGTH + LENGTH / 2), "a late answer took the lease back");
        assert_eq!(lease.age(sent + LENGTH * 2), Some(LENGTH));
    }

    #[test]
    fn each_line_has_an_epoch_of_its_own_and_ends_only_that() {
        let (lease, first, second, sent) =
            (Lease::closed(LENGTH), Line::default(), Line::default(), Instant::now());
        let old = lease.open(&first, sent).unwrap();
        lease.close(&first);
        assert!(!lease.epoch().is_open());
        assert_eq!(lease.open(&first, sent), None, "a line that was lost opened the lease");
        let new = lease.open(&second, sent).unwrap();
        lease.close(&first);
        assert!(new > old && lease.epoch() == new, "the end of an old line closed the new one");
        lease.close_any();
        assert!(!lease.epoch().is_open() && lease.age(sent).is_none());
    }

    #[test]
    fn a_lease_that_is_held_is_given_back_as_far_as_it_was_proven_meanwhile() {
        let (lease, line, sent) = (Lease::closed(LENGTH), Line::default(), Instant::now());
        lease.hold();
        assert!(lease.open(&line, sent).is_some());
        assert!(lease.renew(sent + LENGTH / 2, sent + LENGTH / 2));
        assert!(!lease.view().is_fresh(sent) && lease.age(sent).is_none());
        lease.release();
        assert!(lease.view().is_fresh(sent + LENGTH) && !lease.view().is_fresh(sent + LENGTH * 2));
    }

    #[test]
    fn a_lease_within_the_process_never_lapses() {
        let lease = Lease::unbroken();
        assert!(lease.epoch().is_open());
        assert!(lease.view().is_fresh(Instant::now() + Duration::from_hours(10_000)));
    }
}
