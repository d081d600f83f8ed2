//! Who shares what, and what is left when somebody leaves.

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
