//! The lock-free parts as they stand in the product (lease, epochs, cells, the hit rule and last uses) run over thousands of orders of
//! their steps, with the atomics of `shuttle` in the place of the standard ones, which are all as strong as they can be.
//! Beside each scene stands one with a fault, which must be found. No harness: the source taken in here brings its unit
//! tests along otherwise.

#![expect(clippy::print_stdout, reason = "what was run is what one wants to read")]
#![expect(dead_code, reason = "the scenes do not use all of the source that is taken in")]
#![expect(unreachable_pub, reason = "it is public where it stands")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;
use tokio::time::Instant;

/// Orders of steps per scene.
const ORDERS: usize = 2_000;
/// The most for one with a fault: the orders are drawn by lot, and the first one that shows the fault ends the search.
const SEARCHED: usize = 100_000;
const LENGTH: Duration = Duration::from_millis(100);

/// In the place of the product's.
mod sync {
    pub use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    /// A lock in the manner of `parking_lot`.
    #[derive(Debug, Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn lock(&self) -> shuttle::sync::MutexGuard<'_, T> {
            self.0.lock().expect("nobody panics with the lock")
        }
    }
}

mod context {
    pub use countersign::context::{PlatformId, SessionId, UserId};
}

mod store {
    pub use countersign::store::EntityKey;

    pub use super::coherence::{Epoch, Lease};
}

mod clock {
    pub use countersign::clock::Timestamp;
}

#[path = "../src/store/coherence.rs"]
mod coherence;
#[path = "../src/context/last_use.rs"]
mod last_use;
#[path = "../src/cache/marks.rs"]
#[expect(unused_imports, reason = "of its unit tests only that is left without a harness")]
mod marks;
#[path = "../src/cache/proof.rs"]
mod proof;

use clock::Timestamp;
use coherence::{Lease, Line};
use context::SessionId;
use last_use::LastUse;
use marks::{Marks, Name};
use proof::Reading;
use store::EntityKey;
use sync::{AtomicBool, Mutex, Ordering};

/// The cells, and the session whose copy rests on them.
struct Kept {
    marks: Marks,
    id: SessionId,
}

impl Kept {
    fn new() -> Self {
        Self { marks: Marks::with_cells(1), id: SessionId::of_token(b"a session") }
    }

    fn strike(&self) {
        self.marks.strike(Name::Session(&self.id));
    }

    /// As `Copies::reading` notes it, with a time of the scene.
    fn reading(&self, lease: &Lease, at: Instant) -> Reading {
        let mark = self.marks.look(Name::Session(&self.id));
        let (all, epoch) = (self.marks.all(), lease.epoch());
        Reading { at, all, epoch, marks: [mark].into_iter().collect() }
    }

    /// Whether a copy that rests on this reading is served.
    fn serves(&self, rule: Rule, reading: &Reading, lease: &Lease, now: Instant) -> bool {
        let proof = reading.clone().proves(true, Duration::ZERO);
        match rule {
            Rule::Product => proof.stands(lease, &self.marks, || now),
            Rule::MarksFirst => {
                let unstruck = proof.is_unstruck(&self.marks);
                unstruck && lease.view().is_fresh(now) && lease.epoch() == proof.epoch
            }
            Rule::EpochFirst => {
                let same = lease.epoch() == proof.epoch;
                same && lease.view().is_fresh(now) && proof.is_unstruck(&self.marks)
            }
            Rule::NoEpoch => lease.view().is_fresh(now) && proof.is_unstruck(&self.marks),
        }
    }
}

/// The hit rule of the product, and others that are wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    Product,
    /// The marks are looked at before the lease.
    MarksFirst,
    /// The epoch is looked at first.
    EpochFirst,
    /// The epoch is not looked at.
    NoEpoch,
}

fn main() {
    holds("a reading that an invalidation overtakes", || overtaken(true));
    fails("the same, noted after the reading", || overtaken(false));
    holds("a silent connection that speaks again", || healed(Rule::Product));
    fails("the same, marks before the lease", || healed(Rule::MarksFirst));
    holds("a connection that is replaced", || replaced(Rule::Product));
    fails("the same, the epoch first", || replaced(Rule::EpochFirst));
    fails("the same, without the epoch", || replaced(Rule::NoEpoch));
    holds("a lease that is held while it is renewed", held);
    holds("a connection that ends while its epoch opens", ending);
    holds("a use while the session is forgotten", || used(true));
    fails("the same, without a look at what came last", || used(false));
}

fn holds(what: &str, scene: fn()) {
    shuttle::check_random(scene, ORDERS);
    shuttle::check_pct(scene, ORDERS, 3);
    println!("{what}: holds in {} orders", 2 * ORDERS);
}

/// A scene with a fault, which must be found.
fn fails(what: &str, scene: fn()) {
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let found = catch_unwind(AssertUnwindSafe(|| shuttle::check_random(scene, SEARCHED))).is_err();
    std::panic::set_hook(quiet);
    assert!(found, "{what}: not found in {SEARCHED} orders");
    println!("{what}: found");
}

/// An open lease that is fresh for [`LENGTH`] after the moment returned with it.
fn open() -> (Arc<Lease>, Arc<Line>, Instant) {
    let (lease, line, now) = (Lease::closed(LENGTH), Line::default(), Instant::now());
    assert!(lease.open(&line, now).is_some());
    (Arc::new(lease), Arc::new(line), now)
}

/// Rules 3 and 4: one reads while the session ends and the report of it comes in.
fn overtaken(note_first: bool) {
    let ((lease, _line, now), kept) = (open(), Arc::new(Kept::new()));
    let lives = Arc::new(Mutex::default());
    *lives.lock() = true;
    let reader = thread::spawn({
        let (lease, kept, lives) = (lease.clone(), kept.clone(), lives.clone());
        move || {
            let before = kept.reading(&lease, now);
            let found: bool = *lives.lock();
            let note = if note_first { before } else { kept.reading(&lease, now) };
            found.then_some(note)
        }
    });
    let everything = lives.clone();
    let teller = thread::spawn({
        let kept = kept.clone();
        move || {
            *everything.lock() = false;
            kept.strike();
        }
    });
    teller.join().expect("it strikes");
    if let Some(note) = reader.join().expect("it reads") {
        assert!(!kept.serves(Rule::Product, &note, &lease, now), "what was overtaken is served");
    }
}

/// Rule 1: the session ended unheard, and the lease has lapsed. While a request looks, the report arrives and the lease is
/// renewed.
fn healed(rule: Rule) {
    let ((lease, _line, begin), kept) = (open(), Arc::new(Kept::new()));
    let note = kept.reading(&lease, begin);
    let now = begin + LENGTH * 2;
    let teller = thread::spawn({
        let (lease, kept) = (lease.clone(), kept.clone());
        move || {
            kept.strike();
            lease.renew(now, now);
        }
    });
    assert!(!kept.serves(rule, &note, &lease, now), "a lapsed lease was taken for a fresh one");
    teller.join().expect("it renews");
}

/// Rules 1, 2 and 6: the session ended while nobody listened. While a request looks, the next connection opens its epoch.
fn replaced(rule: Rule) {
    let ((lease, line, begin), kept) = (open(), Arc::new(Kept::new()));
    let note = kept.reading(&lease, begin);
    let now = begin + LENGTH * 2;
    let keeper = thread::spawn({
        let lease = lease.clone();
        move || {
            lease.close(&line);
            assert!(lease.open(&Line::default(), now).is_some());
        }
    });
    assert!(!kept.serves(rule, &note, &lease, now), "a copy outlived its connection");
    keeper.join().expect("it opens");
    assert!(!kept.serves(rule, &note, &lease, now), "a copy is served in the next epoch");
}

/// Rule 10: what is proven of the connection meanwhile counts only once the doubt is settled.
fn held() {
    let ((lease, _line, begin), now) = (open(), Instant::now());
    let keeper = thread::spawn({
        let lease = lease.clone();
        move || {
            lease.renew(begin, now);
            lease.renew(now, now);
        }
    });
    lease.hold();
    assert!(!lease.view().is_fresh(begin), "held, and fresh");
    lease.release();
    keeper.join().expect("it renews");
    assert!(lease.view().is_fresh(now), "what was proven was lost");
}

/// Rule 6: the end of a connection, noticed in its own task, and the opening of its epoch.
fn ending() {
    let lease = Arc::new(Lease::closed(LENGTH));
    let (line, lost) = (Arc::new(Line::default()), Arc::new(AtomicBool::new(false)));
    let driver = thread::spawn({
        let (lease, line, lost) = (lease.clone(), line.clone(), lost.clone());
        move || {
            lease.close(&line);
            lost.store(true, Ordering::SeqCst);
        }
    });
    let opened = lease.open(&line, Instant::now());
    if lost.load(Ordering::SeqCst) {
        assert!(!lease.epoch().is_open(), "a line that was lost is announced as live");
    }
    driver.join().expect("it closes");
    assert!(!lease.epoch().is_open(), "{opened:?} stays open");
}

/// A session is used while whoever writes uses down forgets it, having written the one before, as `Activity` does.
fn used(looks_again: bool) {
    let (first, second) = (Timestamp::from_secs(1), Timestamp::from_secs(2));
    let last = LastUse::at(first);
    last.watch();
    // The entry, while there is one.
    let watched = Arc::new(Mutex::default());
    *watched.lock() = Some(last.clone());
    let request = thread::spawn({
        let (last, watched) = (last.clone(), watched.clone());
        move || {
            if !last.advance(second) {
                let mut watched = watched.lock();
                last.watch();
                *watched = Some(last.clone());
            }
        }
    });
    {
        let mut entry = watched.lock();
        let is_clean = last.get() == first;
        if is_clean && (last.unwatch() == first || !looks_again) {
            *entry = None;
        } else {
            last.watch();
        }
    }
    request.join().expect("it notes");
    assert_eq!(watched.lock().as_ref().map(LastUse::get), Some(second), "the use is lost");
}
