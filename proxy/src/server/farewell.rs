//! Last words: what tasks beside the requests still have to write when the process ends, for a bounded time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// How long the end of the process waits for all of them together.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is asked whether they are done.
const STEP: Duration = Duration::from_millis(5);

/// How the end of the process asks one task for what must still be written, and learns that it was.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    asked: Notify,
    done: AtomicBool,
}

impl Farewell {
    /// Returns when the end has come; for one task alone.
    pub(super) async fn asked(&self) {
        self.asked.notified().await;
    }

    /// Says that everything is written, and never returns: the task must not end before the process does.
    pub(super) async fn all_is_said(&self) {
        self.done.store(true, Ordering::SeqCst);
        std::future::pending::<()>().await;
    }

    /// Asks all of them, and waits until each is done or the patience is over. Called outside any runtime.
    pub(super) fn say(all: &[&Self]) {
        for farewell in all {
            farewell.asked.notify_one();
        }
        let end = Instant::now() + PATIENCE;
        while !all.iter().all(|farewell| farewell.done.load(Ordering::SeqCst)) && Instant::now() < end {
            std::thread::sleep(STEP);
        }
    }
}
