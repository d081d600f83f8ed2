//! The queue and its workers. A worker is a task that exists while something waits; there are never more of them than
//! the pool has connections to spare, and each makes one query at a time. A query to a server that is not full is spaced from the
//! last one of its kind, so that their number does not depend on how fast a crowd arrives.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::Failure;
use super::kinds::{
    ForeignRecords, Kind, Platforms, Sessions, Settings, Stats, TableKey, TableSessions, UserPlatforms, Users,
};
use super::lane::{Answer, Lane};
use crate::context::{ForeignRecord, Platform, PlatformId, SessionId, User, UserId};
use crate::directory::{Directory, DirectoryError, Pair, SessionRow, TableSession};
use crate::telemetry::Metrics;

/// The most keys that wait; beyond them the answer is "undetermined" at once.
pub(super) const ROOM: usize = 16_384;
/// The most keys in one query.
pub(super) const BATCH: usize = 512;
/// How many further queries may be spent on finding the rows of one batch that cannot be read: two for each halving of
/// 512 finds one such row.
const SEARCHES: usize = 18;

/// How long the next query of a kind waits for company, for each key that the last one brought: a lone key delays
/// nobody much, a crowd that trickles in is gathered. Above 200 keys a second the pause grows to its limit.
const PAUSE_PER_KEY: Duration = Duration::from_millis(5);
/// The longest such pause: a fifth of the default budget of a request, which makes two such lookups in a row.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The queue in front of the directory.
#[derive(Debug)]
pub(super) struct Desk {
    directory: Arc<dyn Directory>,
    workers: usize,
    patience: Duration,
    metrics: Arc<Metrics>,
    queue: Mutex<Queue>,
    /// Wakes the worker that waits for a pause to end.
    ready: Notify,
}

/// What waits, and who works.
#[derive(Debug)]
pub(super) struct Queue {
    running: usize,
    /// Whether one of them waits for a pause to end.
    is_watched: bool,
    callers: u64,
    pub(super) sessions: Lane<SessionId, Option<SessionRow>>,
    pub(super) users: Lane<UserId, Option<User>>,
    pub(super) platforms: Lane<PlatformId, Option<Platform>>,
    pub(super) user_platforms: Lane<UserId, Vec<Platform>>,
    pub(super) settings: Lane<Pair, Option<Value>>,
    pub(super) stats: Lane<Pair, Option<Value>>,
    pub(super) table_sessions: Lane<TableKey, Option<Arc<TableSession>>>,
    pub(super) foreign_records: Lane<SessionId, Option<ForeignRecord>>,
}

/// A caller's place in the queue, given up when it is dropped.
pub(super) struct Ticket<'a, K: Kind> {
    desk: &'a Desk,
    key: &'a K::Key,
    number: u64,
    receiver: oneshot::Receiver<Answer<K::Value>>,
}

/// Which kind is to be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Which {
    Sessions,
    Users,
    Platforms,
    UserPlatforms,
    Settings,
    Stats,
    TableSessions,
    ForeignRecords,
}

/// What a worker is to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Next {
    Serve(Which),
    /// All that waits is to gather company until then.
    Wait(Instant),
    /// Nothing is left to do.
    Go,
}

impl Desk {
    pub(super) fn new(directory: Arc<dyn Directory>, patience: Duration, metrics: Arc<Metrics>) -> Self {
        let connections = usize::try_from(directory.connections()).unwrap_or(usize::MAX);
        // One connection is left for writes; where there is but one, reads and writes take turns.
        let workers = connections.saturating_sub(1).max(1);
        let queue = Queue {
            running: 0,
            is_watched: false,
            callers: 0,
            sessions: Lane::new(),
            users: Lane::new(),
            platforms: Lane::new(),
            user_platforms: Lane::new(),
            settings: Lane::new(),
            stats: Lane::new(),
            table_sessions: Lane::new(),
            foreign_records: Lane::new(),
        };
        Self { directory, workers, patience, metrics, queue: Mutex::new(queue), ready: Notify::new() }
    }

    /// Who is asked.
    pub(super) fn directory(&self) -> &dyn Directory {
        self.directory.as_ref()
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
        let lane = K::lane(&mut queue);
        let receiver = lane.join(key, number);
        let now = Instant::now();
        let is_ready = lane.ready_at(BATCH, now).is_some_and(|at| at <= now);
        // A kind that begins to wait may be due before what the watch waits for.
        let is_news = is_ready || lane.len() == 1;
        self.show(&queue);
        if is_news && queue.is_watched {
            self.ready.notify_one();
        }
        if queue.running < self.workers && (is_ready || !queue.is_watched) {
            queue.running += 1;
            tokio::spawn(work(Shift { desk: Arc::clone(self), is_over: false }));
        }
        Some(Ticket { desk: self, key, number, receiver })
    }

    /// Asks for all that wait of one kind, and gives everybody the answer.
    async fn serve<K: Kind>(&self) {
        let batch = {
            let mut queue = self.queue.lock();
            let lane = K::lane(&mut queue);
            let batch = lane.take(BATCH.min(self.directory.most_keys(K::ASKED)));
            let keys = u32::try_from(batch.len()).unwrap_or(u32::MAX);
            if self.directory.is_server() {
                lane.pause_until(Instant::now() + LONGEST_PAUSE.min(PAUSE_PER_KEY.saturating_mul(keys)));
            }
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

    /// What the worker that asks is to do. It is dismissed, or set to watch, in the same moment, so that no key is left
    /// behind without a worker.
    fn next(&self) -> Next {
        let mut queue = self.queue.lock();
        let next = match queue.next(Instant::now()) {
            Next::Wait(_) if queue.is_watched => Next::Go,
            next => next,
        };
        match next {
            Next::Go => queue.running -= 1,
            Next::Wait(_) => queue.is_watched = true,
            Next::Serve(_) => {}
        }
        next
    }

    /// Waits for a pause to end, or for a kind that need not wait.
    async fn watch(&self, until: Instant) {
        // Only the news counts, not how it came.
        let _ = timeout_at(until, self.ready.notified()).await;
        self.queue.lock().is_watched = false;
    }

    fn show(&self, queue: &Queue) {
        self.metrics.loader_waiting_keys.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
    }
}

impl Queue {
    fn len(&self) -> usize {
        let people = self.sessions.len() + self.table_sessions.len() + self.users.len();
        let values = self.settings.len() + self.stats.len() + self.foreign_records.len();
        people + self.platforms.len() + self.user_platforms.len() + values
    }

    /// Of the kinds that need not wait, the one whose first key has waited longest.
    fn next(&self, now: Instant) -> Next {
        let Self { sessions, users, platforms, user_platforms, settings, stats, .. } = self;
        let (table_sessions, foreign_records) = (&self.table_sessions, &self.foreign_records);
        let kinds = [
            (sessions.oldest(), sessions.ready_at(BATCH, now), Which::Sessions),
            (users.oldest(), users.ready_at(BATCH, now), Which::Users),
            (platforms.oldest(), platforms.ready_at(BATCH, now), Which::Platforms),
            (user_platforms.oldest(), user_platforms.ready_at(BATCH, now), Which::UserPlatforms),
            (settings.oldest(), settings.ready_at(BATCH, now), Which::Settings),
            (stats.oldest(), stats.ready_at(BATCH, now), Which::Stats),
            (table_sessions.oldest(), table_sessions.ready_at(BATCH, now), Which::TableSessions),
            (foreign_records.oldest(), foreign_records.ready_at(BATCH, now), Which::ForeignRecords),
        ];
        let waiting =
            || kinds.iter().filter_map(|(place, ready, which)| Some(((*place)?, (*ready)?, *which)));
        let first = waiting().filter(|(_, ready, _)| *ready <= now).min_by_key(|(place, ..)| *place);
        if let Some((.., which)) = first {
            return Next::Serve(which);
        }
        waiting().map(|(_, ready, _)| ready).min().map_or(Next::Go, Next::Wait)
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
    loop {
        match shift.desk.next() {
            Next::Serve(Which::Sessions) => shift.desk.serve::<Sessions>().await,
            Next::Serve(Which::Users) => shift.desk.serve::<Users>().await,
            Next::Serve(Which::Platforms) => shift.desk.serve::<Platforms>().await,
            Next::Serve(Which::UserPlatforms) => shift.desk.serve::<UserPlatforms>().await,
            Next::Serve(Which::Settings) => shift.desk.serve::<Settings>().await,
            Next::Serve(Which::Stats) => shift.desk.serve::<Stats>().await,
            Next::Serve(Which::TableSessions) => shift.desk.serve::<TableSessions>().await,
            Next::Serve(Which::ForeignRecords) => shift.desk.serve::<ForeignRecords>().await,
            Next::Wait(until) => shift.desk.watch(until).await,
            Next::Go => break,
        }
    }
    shift.is_over = true;
}
