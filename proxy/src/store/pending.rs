//! A store whose failed writes are kept and tried again: tombstones, sessions that changed, entities to be forgotten. While
//! one waits, the store's own word on that record is not believed here. Bounded; what has no room puts the whole store in
//! doubt. Fillings of the cache are not kept: the next reading tries again.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::foreign::{ForeignAnswer, ForeignKey};
use super::{
    Allowance, Backlog, Doubts, Entity, EntityAnswer, EntityKey, Event, EventId, Follower, Lease, Lookup,
    Progress, PutSession, Renewal, SessionAnswer, Store, StoreError, StoredSession, UnconfirmedEnd, Uses,
};
use crate::breaker::Breaker;
use crate::clock::{Clock, Timestamp};
use crate::context::{ForeignRecord, Platform, PlatformId, Session, SessionId, UserId};
use crate::secret::Secret;
use crate::telemetry::Metrics;

/// The most writes that wait: some 30 MB.
const ROOM: usize = 65_536;
/// Writes in one attempt.
const BATCH: usize = 512;
/// The waits between attempts: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LAST_WAIT: Duration = Duration::from_secs(1);

/// A store in front of which failed writes wait.
pub struct PersistentStore {
    inner: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    waiting: Mutex<Waiting>,
    /// How many wait: readers look at the list only if there are any.
    count: AtomicUsize,
    news: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    numbers: u64,
    writes: HashMap<Key, (u64, Write)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Key {
    Session(SessionId),
    Entity(EntityKey),
}

#[derive(Clone, Debug)]
enum Write {
    /// As it stands in the directory.
    Put(Session),
    /// What is ours about a foreign session, as it stands there.
    PutForeign(ForeignRecord),
    /// A tombstone, until then.
    End(Timestamp),
    Forget,
}

impl Write {
    const fn what(&self) -> &'static str {
        match self {
            Self::Put(_) | Self::PutForeign(_) => "session",
            Self::End(_) => "tombstone",
            Self::Forget => "entities",
        }
    }
}

impl PersistentStore {
    /// Nothing waits yet. Somebody must [`Self::run`].
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let (waiting, count, news) = (Mutex::default(), AtomicUsize::new(0), Notify::new());
        Self { inner, clock, metrics, waiting, count, news }
    }

    /// Tries what waits again, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut pause = FIRST_WAIT;
        loop {
            if self.count.load(Ordering::Acquire) == 0 {
                self.news.notified().await;
                pause = FIRST_WAIT;
            }
            sleep(pause).await;
            pause = if self.attempt().await.is_ok() { FIRST_WAIT } else { (pause * 2).min(LAST_WAIT) };
        }
    }

    /// Tries some of what waits. Stops at the first failure.
    async fn attempt(&self) -> Result<(), StoreError> {
        let some: Vec<(Key, u64, Write)> = {
            let waiting = self.waiting.lock();
            let writes = waiting.writes.iter().take(BATCH);
            writes.map(|(key, (number, write))| (key.clone(), *number, write.clone())).collect()
        };
        let now = self.clock.now();
        let ends: Vec<_> = some.iter().filter_map(|(key, _, write)| end_of(key, write)).collect();
        let forgotten: Vec<_> = some.iter().filter_map(|(key, ..)| entity_of(key)).collect();
        self.inner.end_sessions(&ends, now).await?;
        self.inner.forget(&forgotten).await?;
        for (_, _, write) in &some {
            match write {
                Write::Put(session) => {
                    self.inner.put_session(session, PutSession::IfNewer, now).await?;
                }
                Write::PutForeign(record) => {
                    self.inner.put_foreign(std::slice::from_ref(record), now).await?;
                }
                Write::End(_) | Write::Forget => {}
            }
        }
        let mut waiting = self.waiting.lock();
        for (key, number, write) in some {
            // A later write of the same record still waits.
            if waiting.writes.get(&key).is_some_and(|(other, _)| *other == number) {
                waiting.writes.remove(&key);
            }
            self.metrics.store_writes_retried.with_label_values(&[write.what()]).inc();
        }
        self.show(&waiting);
        Ok(())
    }

    /// Keeps what could not be written, and hands the outcome on.
    fn keep(
        &self,
        outcome: Result<(), StoreError>,
        writes: impl Iterator<Item = (Key, Write)>,
    ) -> Result<(), StoreError> {
        let mut waiting = self.waiting.lock();
        for (key, write) in writes {
            if outcome.is_ok() {
                // This came later than what waits, or is the same.
                if !(matches!(write, Write::Put(_) | Write::PutForeign(_)) && waiting.has_end(&key)) {
                    waiting.writes.remove(&key);
                }
                continue;
            }
            if waiting.writes.len() >= ROOM && !waiting.writes.contains_key(&key) {
                if let Some(doubts) = self.inner.doubts() {
                    doubts.raise("too many writes wait");
                }
                continue;
            }
            waiting.add(key, write);
        }
        self.show(&waiting);
        drop(waiting);
        self.news.notify_one();
        outcome
    }

    fn show(&self, waiting: &Waiting) {
        self.count.store(waiting.writes.len(), Ordering::Release);
        self.metrics.store_writes_pending.set(i64::try_from(waiting.writes.len()).unwrap_or(i64::MAX));
    }

    fn waits(&self, key: impl FnOnce() -> Key) -> Option<Write> {
        if self.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.waiting.lock().writes.get(&key()).map(|(_, write)| write.clone())
    }

    fn is_old(&self, key: EntityKey) -> bool {
        self.waits(|| Key::Entity(key)).is_some()
    }
}

impl Waiting {
    fn has_end(&self, key: &Key) -> bool {
        matches!(self.writes.get(key), Some((_, Write::End(_))))
    }

    /// An end stays, and so does the newer of two versions.
    fn add(&mut self, key: Key, write: Write) {
        let stays = match (self.writes.get(&key), &write) {
            (Some((_, Write::End(_))), Write::Put(_) | Write::PutForeign(_)) => true,
            (Some((_, Write::Put(old))), Write::Put(new)) => old.version > new.version,
            (Some((_, Write::PutForeign(old))), Write::PutForeign(new)) => old.version > new.version,
            _ => false,
        };
        if !stays {
            self.numbers += 1;
            self.writes.insert(key, (self.numbers, write));
        }
    }
}

fn end_of(key: &Key, write: &Write) -> Option<(SessionId, Timestamp)> {
    match (key, write) {
        (Key::Session(id), Write::End(until)) => Some((*id, *until)),
        _ => None,
    }
}

fn entity_of(key: &Key) -> Option<EntityKey> {
    match key {
        Key::Entity(key) => Some(key.clone()),
        Key::Session(_) => None,
    }
}

impl fmt::Debug for PersistentStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersistentStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for PersistentStore {
    /// A tombstone that waits is as good as one that lies there; of a session that changed the directory is asked.
    async fn session(&self, id: &SessionId) -> Result<SessionAnswer, StoreError> {
        match self.waits(|| Key::Session(*id)) {
            Some(Write::End(_)) => {
                Ok(SessionAnswer { session: Lookup::Found(StoredSession::Ended), last_seen: None })
            }
            Some(_) => Err(StoreError::Doubtful),
            None => self.inner.session(id).await,
        }
    }

    async fn entities(
        &self,
        user: &UserId,
        platform: Option<&PlatformId>,
    ) -> Result<EntityAnswer, StoreError> {
        let mut answer = self.inner.entities(user, platform).await?;
        if self.is_old(EntityKey::User(user.clone())) {
            answer.user = Lookup::Missing;
        }
        if self.is_old(EntityKey::UserPlatforms(user.clone())) {
            answer.user_platforms = Lookup::Missing;
        }
        if platform.is_some_and(|id| self.is_old(EntityKey::Platform(id.clone()))) {
            answer.platform = Lookup::Missing;
        }
        Ok(answer)
    }

    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Lookup<Platform>>, StoreError> {
        let found = self.inner.platforms(ids).await?;
        let pairs = ids.iter().zip(found);
        Ok(pairs
            .map(
                |(id, found)| {
                    if self.is_old(EntityKey::Platform(id.clone())) { Lookup::Missing } else { found }
                },
            )
            .collect())
    }

    async fn json(&self, key: &EntityKey) -> Result<Lookup<serde_json::Value>, StoreError> {
        let found = self.inner.json(key).await?;
        Ok(if self.is_old(key.clone()) { Lookup::Missing } else { found })
    }

    async fn put_session(
        &self,
        session: &Session,
        how: PutSession,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let outcome = self.inner.put_session(session, how, now).await;
        if how == PutSession::IfNewer {
            let write = (Key::Session(session.id), Write::Put(session.clone()));
            self.keep(outcome.map(drop), std::iter::once(write))?;
        }
        outcome
    }

    async fn end_sessions(
        &self,
        sessions: &[(SessionId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let outcome = self.inner.end_sessions(sessions, now).await;
        self.keep(outcome, sessions.iter().map(|(id, until)| (Key::Session(*id), Write::End(*until))))
    }

    async fn put_entities(&self, entities: &[Entity]) -> Result<Vec<EntityKey>, StoreError> {
        self.inner.put_entities(entities).await
    }

    async fn renew(&self, keys: &[EntityKey]) -> Result<Renewal, StoreError> {
        let outcome = self.inner.renew(keys).await;
        let told = outcome.as_ref().map(|_renewal| ()).map_err(|error| *error);
        self.keep(told, keys.iter().map(|key| (Key::Entity(key.clone()), Write::Forget)))?;
        outcome
    }

    async fn put_renewed(
        &self,
        entities: &[Entity],
        renewal: &Renewal,
    ) -> Result<Vec<EntityKey>, StoreError> {
        self.inner.put_renewed(entities, renewal).await
    }

    async fn forget(&self, keys: &[EntityKey]) -> Result<(), StoreError> {
        let outcome = self.inner.forget(keys).await;
        self.keep(outcome, keys.iter().map(|key| (Key::Entity(key.clone()), Write::Forget)))
    }

    /// A tombstone that waits is as good as one that lies there; of a session for which a platform was chosen the
    /// directory is asked.
    async fn foreign_session(&self, key: &ForeignKey) -> Result<ForeignAnswer, StoreError> {
        match self.waits(|| Key::Session(key.id)) {
            Some(Write::End(_)) => Ok(ForeignAnswer { ended: true, ..ForeignAnswer::NOTHING }),
            Some(_) => Err(StoreError::Doubtful),
            None => self.inner.foreign_session(key).await,
        }
    }

    async fn append_events(&self, events: &[(UserId, Event)]) -> Result<(), StoreError> {
        self.inner.append_events(events).await
    }

    async fn events(&self, wanted: &[(UserId, Option<EventId>)]) -> Result<Vec<Backlog>, StoreError> {
        self.inner.events(wanted).await
    }

    async fn count_use(&self, user: &UserId, what: Allowance, window: Duration) -> Result<Uses, StoreError> {
        self.inner.count_use(user, what, window).await
    }

    async fn note_foreign(&self, id: &SessionId, seen: Timestamp, kept: Duration) -> Result<(), StoreError> {
        self.inner.note_foreign(id, seen, kept).await
    }

    async fn put_foreign(&self, records: &[ForeignRecord], now: Timestamp) -> Result<(), StoreError> {
        let outcome = self.inner.put_foreign(records, now).await;
        let write = |record: &ForeignRecord| (Key::Session(record.id), Write::PutForeign(record.clone()));
        self.keep(outcome, records.iter().map(write))
    }

    async fn fill_foreign(&self, records: &[ForeignRecord], now: Timestamp) -> Result<(), StoreError> {
        self.inner.put_foreign(records, now).await
    }

    async fn delete_foreign(&self, key: &Secret) -> Result<(), StoreError> {
        self.inner.delete_foreign(key).await
    }

    async fn put_foreign_platform(
        &self,
        id: &SessionId,
        platform: Option<&PlatformId>,
        kept: Duration,
    ) -> Result<(), StoreError> {
        self.inner.put_foreign_platform(id, platform, kept).await
    }

    fn limit_entities(&self, at_most: Option<Duration>) -> Duration {
        self.inner.limit_entities(at_most)
    }

    async fn note_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
        self.inner.note_activity(seen).await
    }

    async fn user_sessions(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        self.inner.user_sessions(user).await
    }

    async fn recently_used(&self, most: usize) -> Result<Vec<SessionId>, StoreError> {
        self.inner.recently_used(most).await
    }

    fn follow(&self, follower: Arc<dyn Follower>, max_staleness: Duration) -> Arc<Lease> {
        self.inner.follow(follower, max_staleness)
    }

    fn doubts(&self) -> Option<Arc<Doubts>> {
        self.inner.doubts()
    }

    fn breaker(&self) -> Option<&Breaker> {
        self.inner.breaker()
    }

    async fn progress(&self) -> Result<Progress, StoreError> {
        self.inner.progress().await
    }

    async fn note_progress(&self, before: &Progress, upto: &str, now: Timestamp) -> Result<(), StoreError> {
        self.inner.note_progress(before, upto, now).await
    }

    async fn accept_end(
        &self,
        end: &UnconfirmedEnd,
        tombstones: &[(SessionId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.inner.accept_end(end, tombstones, now).await
    }

    async fn unconfirmed_ends(&self, most: usize) -> Result<Vec<UnconfirmedEnd>, StoreError> {
        self.inner.unconfirmed_ends(most).await
    }

    async fn confirm_ends(&self, ends: &[UnconfirmedEnd]) -> Result<(), StoreError> {
        self.inner.confirm_ends(ends).await
    }

    async fn ping(&self) -> Result<String, StoreError> {
        self.inner.ping().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::faults::Fault::Fails;
    use crate::cache::world::{MINUTE, World};
    use crate::store::StoredSession::{Ended, Live};

    #[tokio::test]
    async fn what_could_not_be_written_is_not_contradicted_and_is_written_later() {
        let world = World::new().await;
        let inner = Arc::clone(&world.store) as Arc<dyn Store>;
        let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
        let store = Arc::new(PersistentStore::new(inner, clock, Arc::clone(&world.metrics)));
        let (ended, changed) = (world.warm("ana", None).await, world.session("ben", None));
        store.put_session(&changed, PutSession::IfNewer, world.now()).await.unwrap();
        let ana: UserId = "ana".parse().unwrap();
        for method in ["end_sessions", "put_session", "forget"] {
            world.store.break_only(method, Fails);
        }
        let until = world.now().plus(MINUTE);
        store.end_sessions(&[(ended, until)], world.now()).await.unwrap_err();
        let newer = Session { version: 2, ..changed.clone() };
        store.put_session(&newer, PutSession::IfNewer, world.now()).await.unwrap_err();
        store.put_session(&changed, PutSession::IfNewer, world.now()).await.unwrap_err();
        store.forget(&[EntityKey::User(ana.clone())]).await.unwrap_err();

        let inner = world.store.inner();
        assert!(matches!(inner.session(&ended).await.unwrap().session, Lookup::Found(Live(_))));
        assert_eq!(store.session(&ended).await.unwrap().session, Lookup::Found(Ended));
        assert_eq!(store.session(&changed.id).await.unwrap_err(), StoreError::Doubtful);
        assert!(matches!(inner.entities(&ana, None).await.unwrap().user, Lookup::Found(_)));
        assert_eq!(store.entities(&ana, None).await.unwrap().user, Lookup::Missing);
        assert_eq!(world.metrics.store_writes_pending.get(), 3);

        let running = tokio::spawn(Arc::clone(&store).run());
        sleep(FIRST_WAIT * 4).await;
        assert_eq!(world.metrics.store_writes_pending.get(), 3, "it still fails");
        world.store.repair();
        while world.metrics.store_writes_pending.get() > 0 {
            sleep(FIRST_WAIT).await;
        }
        running.abort();
        assert_eq!(inner.session(&ended).await.unwrap().session, Lookup::Found(Ended));
        assert_eq!(inner.session(&changed.id).await.unwrap().session, Lookup::Found(Live(newer)));
        assert_eq!(inner.entities(&ana, None).await.unwrap().user, Lookup::Missing);
        assert_eq!(world.metrics.store_writes_retried.with_label_values(&["tombstone"]).get(), 1);
    }
}
