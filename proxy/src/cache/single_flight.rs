//! One piece of work per key, however many wait for it. No lock is held across an await, and nothing runs by itself:
//! the waiting callers drive the work, so that it goes on when the first of them leaves and ends with the last.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use parking_lot::Mutex;

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
}

struct Flight<V> {
    number: u64,
    work: WeakShared<BoxFuture<'static, V>>,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Nothing under way.
    #[must_use]
    pub fn new() -> Self {
        let maps = std::array::from_fn(|_| Mutex::new(HashMap::new()));
        Self(Arc::new(Shards { hasher: RandomState::new(), maps, started: AtomicU64::new(0) }))
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
        if let Some(work) = flights.get(key).and_then(|flight| flight.work.upgrade()) {
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
        flights.insert(key.clone(), Flight { number, work: weak });
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
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Semaphore;
    use tokio::task::yield_now;

    use super::*;

    /// Work that counts how often it was begun and goes on when it is let.
    #[derive(Default)]
    struct Work {
        begun: AtomicUsize,
        gate: Option<Arc<Semaphore>>,
    }

    impl Work {
        fn gated() -> (Arc<Self>, Arc<Semaphore>) {
            let gate = Arc::new(Semaphore::new(0));
            (Arc::new(Self { begun: AtomicUsize::new(0), gate: Some(Arc::clone(&gate)) }), gate)
        }

        async fn answer(self: Arc<Self>, value: u32) -> Result<u32, &'static str> {
            self.begun.fetch_add(1, Ordering::SeqCst);
            if let Some(gate) = &self.gate {
                gate.acquire().await.unwrap().forget();
            }
            if value == 0 { Err("nothing") } else { Ok(value) }
        }

        fn begun(&self) -> usize {
            self.begun.load(Ordering::SeqCst)
        }
    }

    type Flights = SingleFlight<u32, Result<u32, &'static str>>;

    fn empty(flights: &Flights) -> bool {
        flights.0.maps.iter().all(|map| map.lock().is_empty())
    }

    async fn settle() {
        for _ in 0..20 {
            yield_now().await;
        }
    }

    fn caller(
        flights: &Flights,
        work: &Arc<Work>,
        key: u32,
        value: u32,
    ) -> tokio::task::JoinHandle<Result<u32, &'static str>> {
        let (flights, work) = (flights.clone(), Arc::clone(work));
        tokio::spawn(async move { flights.run(&key, || work.answer(value)).await })
    }

    #[tokio::test]
    async fn a_thousand_callers_of_one_key_begin_one_flight() {
        let (flights, (work, gate)) = (Flights::new(), Work::gated());
        let callers: Vec<_> = (0..1000).map(|_| caller(&flights, &work, 1, 7)).collect();
        settle().await;
        gate.add_permits(1);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Ok(7));
        }
        assert_eq!(work.begun(), 1);
        assert!(empty(&flights));
    }

    #[tokio::test]
    async fn different_keys_never_share() {
        let (flights, work) = (Flights::new(), Arc::new(Work::default()));
        let (one, two) = (caller(&flights, &work, 1, 11), caller(&flights, &work, 2, 22));
        assert_eq!((one.await.unwrap(), two.await.unwrap()), (Ok(11), Ok(22)));
    }

    #[tokio::test]
    async fn errors_are_shared_and_not_remembered() {
        let (flights, (work, gate)) = (Flights::new(), Work::gated());
        let callers = [caller(&flights, &work, 1, 0), caller(&flights, &work, 1, 0)];
        settle().await;
        gate.add_permits(2);
        for caller in callers {
            assert_eq!(caller.await.unwrap(), Err("nothing"));
        }
        assert_eq!(caller(&flights, &work, 1, 5).await.unwrap(), Ok(5));
        assert_eq!(work.begun(), 2);
    }

    #[tokio::test]
    async fn when_the_first_caller_leaves_another_takes_over() {
        let (flights, (work, gate)) = (Flights::new(), Work::gated());
        let first = caller(&flights, &work, 1, 7);
        settle().await;
        let second = caller(&flights, &work, 1, 7);
        settle().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        gate.add_permits(1);
        assert_eq!(second.await.unwrap(), Ok(7));
        assert_eq!(work.begun(), 1);
    }

    #[tokio::test]
    async fn a_flight_that_everybody_left_is_gone() {
        let (flights, (work, gate)) = (Flights::new(), Work::gated());
        let only = caller(&flights, &work, 1, 7);
        settle().await;
        only.abort();
        assert!(only.await.unwrap_err().is_cancelled());
        assert!(empty(&flights));
        gate.add_permits(1);
        assert_eq!(caller(&flights, &work, 1, 8).await.unwrap(), Ok(8));
        assert_eq!(work.begun(), 2);
    }

    #[tokio::test]
    async fn nobody_joins_a_forgotten_flight() {
        let (flights, (work, gate)) = (Flights::new(), Work::gated());
        let before = caller(&flights, &work, 1, 7);
        settle().await;
        flights.forget(&1);
        let after = caller(&flights, &work, 1, 8);
        settle().await;
        assert_eq!(work.begun(), 2);
        gate.add_permits(1);
        assert_eq!(before.await.unwrap(), Ok(7));
        // The end of the forgotten flight does not take the later one out.
        let joined = caller(&flights, &work, 1, 9);
        settle().await;
        gate.add_permits(1);
        assert_eq!((after.await.unwrap(), joined.await.unwrap()), (Ok(8), Ok(8)));
        assert!(empty(&flights));
    }
}
