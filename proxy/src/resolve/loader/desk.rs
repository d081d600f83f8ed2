//! The queue and its workers. A worker is a task that exists while something waits; there are never more of them than
//! the pool has connections to spare, and each makes one query at a time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Failure;
use super::kinds::{Kind, Platforms, Sessions, UserPlatforms, Users};
use super::lane::{Answer, Lane};
use crate::context::{Platform, PlatformId, SessionId, User, UserId};
use crate::directory::{Directory, DirectoryError, SessionRow};
use crate::telemetry::Metrics;

/// The most keys that wait; beyond them the answer is "undetermined" at once.
pub(super) const ROOM: usize = 16_384;
/// The most keys in one query.
pub(super) const BATCH: usize = 512;
/// How many further queries may be spent on finding the rows of one batch that cannot be read: two for each halving of
/// 512 finds one such row.
const SEARCHES: usize = 18;

/// The queue in front of the directory.
#[derive(Debug)]
pub(super) struct Desk {
    directory: Arc<dyn Directory>,
    workers: usize,
    patience: Duration,
    metrics: Arc<Metrics>,
    queue: Mutex<Queue>,
}

/// What waits, and who works.
#[derive(Debug)]
pub(super) struct Queue {
    running: usize,
    callers: u64,
    pub(super) sessions: Lane<SessionId, Option<SessionRow>>,
    pub(super) users: Lane<UserId, Option<User>>,
    pub(super) platforms: Lane<PlatformId, Option<Platform>>,
    pub(super) user_platforms: Lane<UserId, Vec<Platform>>,
}

/// A caller's place in the queue, given up when it is dropped.
pub(super) struct Ticket<'a, K: Kind> {
    desk: &'a Desk,
    key: &'a K::Key,
    number: u64,
    receiver: oneshot::Receiver<Answer<K::Value>>,
}

/// Which kind is to be served.
#[derive(Clone, Copy)]
enum Next {
    Sessions,
    Users,
    Platforms,
    UserPlatforms,
}

impl Desk {
    pub(super) fn new(directory: Arc<dyn Directory>, patience: Duration, metrics: Arc<Metrics>) -> Self {
        let connections = usize::try_from(directory.connections()).unwrap_or(usize::MAX);
        // One connection is left for writes; where there is but one, reads and writes take turns.
        let workers = connections.saturating_sub(1).max(1);
        let queue = Queue {
            running: 0,
            callers: 0,
            sessions: Lane::new(),
            users: Lane::new(),
            platforms: Lane::new(),
            user_platforms: Lane::new(),
        };
        Self { directory, workers, patience, metrics, queue: Mutex::new(queue) }
    }

    /// Lets a caller wait for `key`; `None` when the queue is full.
    pub(super) fn join<'a, K: Kind>(self: &'a Arc<Self>, key: &'a K::Key) -> Option<Ticket<'a, K>> {
        let mut queue = self.queue.lock();
        if queue.len() >= ROOM && !K::lane(&mut queue).contains(key) {
            drop(queue);
            self.metrics.loader_shed.with_label_values(&[K::NAME]).inc();
            return None;
        }
        let number = queue.callers;
        queue.callers += 1;
        let receiver = K::lane(&mut queue).join(key, number);
        self.show(&queue);
        if queue.running < self.workers {
            queue.running += 1;
            tokio::spawn(work(Shift { desk: Arc::clone(self), is_over: false }));
        }
        Some(Ticket { desk: self, key, number, receiver })
    }

    /// Asks for all that wait of one kind, and gives everybody the answer.
    async fn serve<K: Kind>(&self) {
        let batch = {
            let mut queue = self.queue.lock();
            let batch = K::lane(&mut queue).take(BATCH);
            self.show(&queue);
            batch
        };
        let keys = batch.keys();
        if keys.is_empty() {
            return;
        }
        #[expect(clippy::cast_precision_loss, reason = "at most 512")]
        self.metrics.loader_batch_keys.with_label_values(&[K::NAME]).observe(keys.len() as f64);
        let mut answers = self.ask_for_all::<K>(&keys).await;
        batch.answer(|key| answers.remove(key).unwrap_or(Err(Failure::Abandoned)));
    }

    /// Asks once. Only if the answer cannot be read, smaller parts are asked for: one broken row must not keep 511
    /// people waiting.
    async fn ask_for_all<K: Kind>(&self, keys: &[K::Key]) -> HashMap<K::Key, Answer<K::Value>> {
        let mut answers = HashMap::with_capacity(keys.len());
        let mut parts = vec![keys];
        let mut searches = SEARCHES;
        while let Some(part) = parts.pop() {
            let asked = timeout(self.patience, K::ask(self.directory.as_ref(), part)).await;
            match asked.unwrap_or(Err(DirectoryError::Timeout)) {
                Ok(mut found) => {
                    for key in part {
                        answers.insert(key.clone(), Ok(found.remove(key).unwrap_or_default()));
                    }
                }
                Err(DirectoryError::Unreadable) if part.len() > 1 && searches >= 2 => {
                    searches -= 2;
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([first, second]);
                }
                Err(error) => {
                    answers.extend(part.iter().map(|key| (key.clone(), Err(Failure::Directory(error)))));
                }
            }
        }
        answers
    }

    /// The kind whose first key has waited longest. Without one, the worker that asks is dismissed: in the same moment,
    /// so that no key is left behind without a worker.
    fn next(&self) -> Option<Next> {
        let mut queue = self.queue.lock();
        let next = queue.next();
        if next.is_none() {
            queue.running -= 1;
        }
        next
    }

    fn show(&self, queue: &Queue) {
        self.metrics.loader_waiting_keys.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
    }
}

impl Queue {
    fn len(&self) -> usize {
        self.sessions.len() + self.users.len() + self.platforms.len() + self.user_platforms.len()
    }

    fn next(&self) -> Option<Next> {
        let oldest = [
            (self.sessions.oldest(), Next::Sessions),
            (self.users.oldest(), Next::Users),
            (self.platforms.oldest(), Next::Platforms),
            (self.user_platforms.oldest(), Next::UserPlatforms),
        ];
        let waiting = oldest.into_iter().filter_map(|(place, kind)| Some((place?, kind)));
        waiting.min_by_key(|(place, _)| *place).map(|(_, kind)| kind)
    }
}

impl<K: Kind> Ticket<'_, K> {
    pub(super) async fn answer(mut self) -> Answer<K::Value> {
        (&mut self.receiver).await.unwrap_or(Err(Failure::Abandoned))
    }
}

impl<K: Kind> Drop for Ticket<'_, K> {
    fn drop(&mut self) {
        let mut queue = self.desk.queue.lock();
        K::lane(&mut queue).leave(self.key, self.number);
        self.desk.show(&queue);
    }
}

/// The time that one worker works; also a worker that panics is dismissed.
struct Shift {
    desk: Arc<Desk>,
    is_over: bool,
}

impl Drop for Shift {
    fn drop(&mut self) {
        if !self.is_over {
            self.desk.queue.lock().running -= 1;
        }
    }
}

async fn work(mut shift: Shift) {
    while let Some(kind) = shift.desk.next() {
        match kind {
            Next::Sessions => shift.desk.serve::<Sessions>().await,
            Next::Users => shift.desk.serve::<Users>().await,
            Next::Platforms => shift.desk.serve::<Platforms>().await,
            Next::UserPlatforms => shift.desk.serve::<UserPlatforms>().await,
        }
    }
    shift.is_over = true;
}
