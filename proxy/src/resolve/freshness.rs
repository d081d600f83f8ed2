//! Which entities of the store may be believed. While changes of the directory are told, what was read since is kept
//! true by whoever hears them. What may have missed a change is read from the directory once before it is used.
//! Bounded; decides only, never asks anybody.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::store::EntityKey;

/// How long entities may be believed while nobody tells of changes (DESIGN, section 5). Half of it in the store, half in
/// the process, which begins to count when it takes one from the store.
pub(super) const UNTOLD_LIFETIME: Duration = Duration::from_secs(30);
/// The part of its lifetime in the store after which an entity in use is read again ahead of its end: between this and
/// all but a twentieth, by key, so that what was read together is not read again together.
const REFRESH_FROM: u32 = 15;
const TWENTIETHS: u32 = 20;
/// The most entities that are remembered as read, 16 to 32 bytes each. Beyond them the directory is asked.
const ROOM: usize = 1 << 20;

/// Whether an entity that lies in the store may be used.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Belief {
    /// It may not.
    None,
    /// Only if the directory cannot say.
    InAnOutage,
    /// It may.
    Sound,
}

/// What is known of the entities in the store.
#[derive(Debug)]
pub(super) struct Freshness {
    // Randomly keyed, since some ids come from outside (THREATS S10).
    hasher: RandomState,
    /// How long entities stay usable while the directory is out of reach (`entity_outage_limit` in DESIGN, section 5).
    outage_limit: Duration,
    state: Mutex<State>,
}

/// When a reading of the directory began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    epoch: u64,
    at: Instant,
}

#[derive(Debug)]
struct State {
    hearing: Hearing,
    /// Counts the times that nothing from before could be believed any more.
    epoch: u64,
    /// Entities that were read from the directory and written to the store in this epoch, by hash, and when.
    read: HashMap<u64, Instant>,
    /// When the directory last answered.
    answered: Instant,
    /// Until when the store may hold what missed a change.
    suspicious_until: Option<Instant>,
    /// How long entities live in the store.
    lifetime: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Hearing {
    /// Nobody else can change anything.
    Unneeded,
    /// Every change is told; at `settled` whatever lay in the store before has reached its end.
    Told { settled: Instant },
    /// Changes are not told, or not yet, since then.
    Untold { since: Instant },
}

impl Freshness {
    /// Believes everything, until changes are followed.
    pub(super) fn new(outage_limit: Duration) -> Self {
        let state = State {
            hearing: Hearing::Unneeded,
            epoch: 0,
            read: HashMap::new(),
            answered: Instant::now(),
            suspicious_until: None,
            lifetime: Duration::MAX,
        };
        Self { hasher: RandomState::new(), outage_limit, state: Mutex::new(state) }
    }

    /// Changes are told from now on; entities live for `lifetime` in the store.
    pub(super) fn begin(&self, lifetime: Duration) {
        let now = Instant::now();
        let mut state = self.state.lock();
        // The first time is no loss: what lies there was kept true by others, or will be read before it is used.
        if state.epoch > 0 {
            state.suspicious_until = Some(now + lifetime);
        }
        state.epoch += 1;
        state.lifetime = lifetime;
        state.read.clear();
        state.answered = now;
        state.hearing = Hearing::Told { settled: now + lifetime };
    }

    /// Changes are not told any more, or not yet.
    pub(super) fn lose(&self) {
        self.state.lock().hearing = Hearing::Untold { since: Instant::now() };
    }

    /// Whether changes that others make might not be told at this moment.
    pub(super) fn is_untold(&self) -> bool {
        matches!(self.state.lock().hearing, Hearing::Untold { .. })
    }

    /// Begins to read from the directory.
    pub(super) fn reading(&self) -> Reading {
        Reading { epoch: self.state.lock().epoch, at: Instant::now() }
    }

    /// The directory answered.
    pub(super) fn note_answer(&self) {
        self.state.lock().answered = Instant::now();
    }

    /// What was read lies in the store now.
    pub(super) fn note_stored(&self, reading: Reading, keys: &[EntityKey]) {
        let mut state = self.state.lock();
        // What was read before a loss may have changed in it.
        if reading.epoch != state.epoch || matches!(state.hearing, Hearing::Unneeded) {
            return;
        }
        for key in keys {
            let hash = self.hasher.hash_one(key);
            if state.read.len() < ROOM || state.read.contains_key(&hash) {
                state.read.insert(hash, reading.at);
            }
        }
    }

    /// Whether `key`, which lies in the store, nears its end there and is to be read again ahead of it. Says so once in a
    /// while, to one caller.
    pub(super) fn is_due(&self, key: &EntityKey) -> bool {
        let hash = self.hasher.hash_one(key);
        let mut state = self.state.lock();
        if !matches!(state.hearing, Hearing::Told { .. }) {
            return false;
        }
        let (lifetime, now) = (state.lifetime, Instant::now());
        let Some(at) = state.read.get_mut(&hash) else { return false };
        let steps = TWENTIETHS - REFRESH_FROM;
        let part = REFRESH_FROM + u32::try_from(hash % u64::from(steps)).unwrap_or_default();
        if now - *at < lifetime / TWENTIETHS * part {
            return false;
        }
        // Whoever fails leaves it to the next in a twentieth of its life.
        *at += lifetime / TWENTIETHS;
        true
    }

    /// Whether what lies under `key` in the store may be used.
    pub(super) fn judge(&self, key: &EntityKey) -> Belief {
        let hash = self.hasher.hash_one(key);
        let now = Instant::now();
        let state = self.state.lock();
        let read = state.read.get(&hash).copied();
        let is_sound = match state.hearing {
            Hearing::Unneeded => true,
            Hearing::Told { settled } => read.is_some() || now >= settled,
            Hearing::Untold { .. } => read.is_some_and(|at| now - at < UNTOLD_LIFETIME / 2),
        };
        if is_sound {
            return Belief::Sound;
        }
        let known_until = match state.hearing {
            Hearing::Unneeded | Hearing::Told { .. } => now,
            Hearing::Untold { since } => since.max(state.answered),
        };
        let was_sound = read.is_some() || state.suspicious_until.is_none_or(|until| now >= until);
        if was_sound && now - known_until < self.outage_limit { Belief::InAnOutage } else { Belief::None }
    }
}

impl Reading {
    /// How old the answer is at least.
    pub(super) fn age(&self) -> Duration {
        self.at.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const SECOND: Duration = Duration::from_secs(1);
    const OUTAGE_LIMIT: Duration = Duration::from_mins(15);

    fn key(id: &str) -> EntityKey {
        EntityKey::User(id.parse().unwrap())
    }

    fn read(freshness: &Freshness, id: &str) {
        freshness.note_stored(freshness.reading(), &[key(id)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_lay_there_before_changes_were_told_is_read_once_or_runs_out() {
        let freshness = Freshness::new(OUTAGE_LIMIT);
        assert_eq!(freshness.judge(&key("ana")), Belief::Sound, "nobody else changes anything");
        freshness.lose();
        assert_eq!(freshness.judge(&key("ana")), Belief::InAnOutage);
        freshness.begin(HOUR);
        assert_eq!(freshness.judge(&key("ana")), Belief::InAnOutage);
        read(&freshness, "ana");
        assert_eq!(freshness.judge(&key("ana")), Belief::Sound);
        tokio::time::advance(HOUR).await;
        assert_eq!(freshness.judge(&key("ben")), Belief::Sound);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loss_leaves_half_a_minute_and_its_end_leaves_nothing() {
        let freshness = Freshness::new(OUTAGE_LIMIT);
        freshness.begin(HOUR);
        read(&freshness, "ana");
        freshness.lose();
        assert_eq!(freshness.judge(&key("ana")), Belief::Sound);
        tokio::time::advance(UNTOLD_LIFETIME / 2).await;
        assert_eq!(freshness.judge(&key("ana")), Belief::InAnOutage);
        read(&freshness, "ana");
        assert_eq!(freshness.judge(&key("ana")), Belief::Sound);
        let begun_before = freshness.reading();
        freshness.begin(HOUR);
        freshness.note_stored(begun_before, &[key("ana")]);
        assert_eq!(freshness.judge(&key("ana")), Belief::None, "it may have changed in between");
        tokio::time::advance(HOUR).await;
        assert_eq!(freshness.judge(&key("ana")), Belief::Sound);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_is_bridged_for_a_quarter_of_an_hour() {
        let freshness = Freshness::new(OUTAGE_LIMIT);
        freshness.begin(HOUR);
        read(&freshness, "ana");
        freshness.lose();
        tokio::time::advance(OUTAGE_LIMIT.saturating_sub(SECOND)).await;
        assert_eq!(freshness.judge(&key("ana")), Belief::InAnOutage);
        tokio::time::advance(SECOND).await;
        assert_eq!(freshness.judge(&key("ana")), Belief::None);
        freshness.note_answer();
        assert_eq!(freshness.judge(&key("ana")), Belief::InAnOutage);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_in_use_is_read_again_before_its_end_once_and_not_all_at_once() {
        let freshness = Freshness::new(OUTAGE_LIMIT);
        freshness.begin(HOUR);
        let keys: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        for id in &keys {
            read(&freshness, id);
        }
        let due = || -> Vec<&String> { keys.iter().filter(|id| freshness.is_due(&key(id))).collect() };
        tokio::time::advance((HOUR / 20 * 15).checked_sub(SECOND).unwrap()).await;
        assert!(due().is_empty());
        let mut seen = 0;
        for _ in 0..5 {
            tokio::time::advance(HOUR / 20).await;
            let found = due();
            assert!(found.len() < 60, "{} at once", found.len());
            assert!(due().is_empty(), "told twice");
            seen += found.len();
            for id in found {
                read(&freshness, id);
            }
        }
        assert_eq!(seen, 100);
    }
}
