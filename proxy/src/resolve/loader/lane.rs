//! Who waits for what, of one kind of record: keys in the order they came, each with its callers. Holds no more than
//! the keys that somebody still waits for.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Failure;

/// What one lookup came to.
pub(super) type Answer<V> = Result<V, Failure>;

/// The keys of one kind that wait.
#[derive(Debug)]
pub(super) struct Lane<K, V> {
    order: BTreeMap<u64, K>,
    // Randomly keyed by default, since some keys come from outside (THREATS S10).
    waiting: HashMap<K, Waiting<V>>,
    /// Until when a query that is not full gathers company.
    pause: Instant,
}

#[derive(Debug)]
struct Waiting<V> {
    place: u64,
    callers: Vec<(u64, oneshot::Sender<Answer<V>>)>,
}

impl<K: Clone + Eq + Hash, V: Clone> Lane<K, V> {
    pub(super) fn new() -> Self {
        Self { order: BTreeMap::new(), waiting: HashMap::new(), pause: Instant::now() }
    }

    /// How many keys wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.waiting.contains_key(key)
    }

    /// The place of the key that has waited longest.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.order.first_key_value().map(|(place, _)| *place)
    }

    /// From when the keys that wait may be asked for, if there are any; as many as `full` of them need not wait for company.
    pub(super) fn ready_at(&self, full: usize, now: Instant) -> Option<Instant> {
        match self.len() {
            0 => None,
            few if few < full => Some(self.pause),
            _ => Some(now),
        }
    }

    /// Lets keys gather company until then.
    pub(super) fn pause_until(&mut self, then: Instant) {
        self.pause = then;
    }

    /// Lets the caller `number` wait for `key`. Numbers grow; a key has the place of its first caller.
    pub(super) fn join(&mut self, key: &K, number: u64) -> oneshot::Receiver<Answer<V>> {
        let (sender, receiver) = oneshot::channel();
        let order = &mut self.order;
        let waiting = self.waiting.entry(key.clone()).or_insert_with(|| {
            order.insert(number, key.clone());
            Waiting { place: number, callers: Vec::with_capacity(1) }
        });
        waiting.callers.push((number, sender));
        receiver
    }

    /// Takes a caller out, and its key if nobody else waits for that. One that was served already is not there.
    pub(super) fn leave(&mut self, key: &K, number: u64) {
        let Some(waiting) = self.waiting.get_mut(key) else { return };
        waiting.callers.retain(|(other, _)| *other != number);
        if waiting.callers.is_empty() {
            self.order.remove(&waiting.place);
            self.waiting.remove(key);
        }
    }

    /// Takes out at most `most` keys, those that came first.
    pub(super) fn take(&mut self, most: usize) -> Batch<K, V> {
        let mut batch = Batch(Vec::with_capacity(most.min(self.order.len())));
        while batch.0.len() < most {
            let Some((_, key)) = self.order.pop_first() else { break };
            if let Some(waiting) = self.waiting.remove(&key) {
                let callers = waiting.callers.into_iter().map(|(_, sender)| sender).collect();
                batch.0.push((key, callers));
            }
        }
        batch
    }
}

/// Keys that were taken out together, with those who wait for them.
#[derive(Debug)]
pub(super) struct Batch<K, V>(Vec<(K, Vec<oneshot::Sender<Answer<V>>>)>);

impl<K: Clone, V: Clone> Batch<K, V> {
    pub(super) fn keys(&self) -> Vec<K> {
        self.0.iter().map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives every caller its answer; those who went away meanwhile are passed over.
    pub(super) fn answer(self, mut of: impl FnMut(&K) -> Answer<V>) {
        for (key, mut callers) in self.0 {
            let answer = of(&key);
            let last = callers.pop();
            for caller in callers {
                let _ = caller.send(answer.clone());
            }
            if let Some(last) = last {
                let _ = last.send(answer);
            }
        }
    }
}
