//! One piece of work per key, however many wait for it. No lock is held across an await, and nothing runs by itself:
//! the waiting callers drive the work, so that it goes on when the first of them leaves and ends with the last.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use parking_lot::Mutex;
use tokio::time::Instant;

/// Locks over which the keys are spread, so that callers of different keys seldom meet.
const SHARDS: usize = 16;

/// Flights under way, by key. Keys are complete ids, so that two callers share only what is the same (THREATS S2).
///
/// Cloning shares the flights. Bounded by the requests that wait: a flight without a waiting caller is dropped.
pub struct SingleFlight<K, V>(Arc<Shards<K, V>>);

struct Shards<K, V> {
    // Randomly keyed, since some keys come from outside (THREATS S10).
    hasher: RandomState,
    maps: [Mutex<HashMap<K, Flight<V>>>; SHARDS],
    started: AtomicU64,
    joinable: Option<Duration>,
}

struct Flight<V> {
    number: u64,
    begun: Instant,
    work: WeakShared<BoxFuture<'static, V>>,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Nothing under way. A flight can be joined until it lands.
    #[must_use]
    pub fn new() -> Self {
        Self::bounded(None)
    }

    /// As [`Self::new`], but nobody joins a flight that began longer ago than `age`: what it read may be older than the
    /// caller may believe.
    #[must_use]
    pub fn joinable_for(age: Duration) -> Self {
        Self::bounded(Some(age))
    }

    fn bounded(joinable: Option<Duration>) -> Self {
        let maps = std::array::from_fn(|_| Mutex::new(HashMap::new()));
        Self(Arc::new(Shards { hasher: RandomState::new(), maps, started: AtomicU64::new(0), joinable }))
    }

    /// Joins the flight of `key`, or starts one with `work`. Every caller receives the same value, errors too.
    ///
    /// Cancellation safe: whoever stops waiting leaves the flight to the others, one of which drives it on.
    pub async fn run<W>(&self, key: &K, work: impl FnOnce() -> W) -> V
    where
        W: Future<Output = V> + Send + 'static,
    {
        self.join(key, work).await
    }

    /// Lets nobody join the flight of `key` any more; whoever waits still receives its value. For a change that a
    /// flight under way may have been too early to see.
    pub fn forget(&self, key: &K) {
        let gone = self.0.shard(key).lock().remove(key);
        drop(gone);
    }

    /// The same for every flight.
    pub fn forget_all(&self) {
        for map in &self.0.maps {
            let gone = std::mem::take(&mut *map.lock());
            drop(gone);
        }
    }

    fn join<W>(&self, key: &K, work: impl FnOnce() -> W) -> Shared<BoxFuture<'static, V>>
    where
        W: Future<Output = V> + Send + 'static,
    {
        let mut flights = self.0.shard(key).lock();
        // A flight that cannot be upgraded has lost its last caller just now and is about to be taken out.
        let joinable = |flight: &&Flight<V>| self.0.joinable.is_none_or(|age| flight.begun.elapsed() < age);
        if let Some(work) = flights.get(key).filter(joinable).and_then(|flight| flight.work.upgrade()) {
            return work;
        }
        let number = self.0.started.fetch_add(1, Ordering::Relaxed);
        let work = work();
        let landing = Landing { shards: Arc::clone(&self.0), key: key.clone(), number };
        let flight = async move {
            let landing = landing;
            let value = work.await;
            drop(landing);
            value
        };
        let flight = flight.boxed().shared();
        let weak = flight.downgrade().expect("a future that was not polled yet is not finished");
        flights.insert(key.clone(), Flight { number, begun: Instant::now(), work: weak });
        flight
    }
}

impl<K: Hash, V> Shards<K, V> {
    fn shard(&self, key: &K) -> &Mutex<HashMap<K, Flight<V>>> {
        let hash = self.hasher.hash_one(key);
        let at = usize::try_from(hash % SHARDS as u64).expect("a number below 16 fits");
        &self.maps[at]
    }
}

/// Takes the flight out when its work is done or nobody waits for it any more.
struct Landing<K: Eq + Hash, V> {
    shards: Arc<Shards<K, V>>,
    key: K,
    number: u64,
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut flights = self.shards.shard(&self.key).lock();
        // After `forget` a later flight may be under way for the same key.
        if flights.get(&self.key).is_some_and(|flight| flight.number == self.number) {
            flights.remove(&self.key);
        }
    }
}

impl<K, V> Clone for SingleFlight<K, V> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, V> Default for SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V> fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleFlight").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
