//! The store in the memory of this process: the same contract without a server. It is a bounded cache in front of
//! the directory, which is what makes sessions durable.

mod events;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use quick_cache::Weighter;
use quick_cache::sync::{Cache, EntryAction, EntryResult};
use quick_cache::unsync;

use self::events::Streams;
use super::{
    Allowance, Backlog, Change, Entity, EntityAnswer, EntityKey, EntityLifetime, Event, EventId,
    FORGOTTEN_FOR, Follower, Lease, Lookup, Progress, PutSession, SessionAnswer, Settings, Store, StoreError,
    StoredSession, UnconfirmedEnd, Uses, record,
};
use crate::clock::{Clock, Timestamp};
use crate::context::{Platform, PlatformId, Session, SessionId, UserId};

/// The largest number of sessions, and of times of last use, that are kept: about 128 MiB when full. What is pushed
/// out is read from the directory again, ended sessions included.
const SESSIONS: usize = 262_144;
/// The largest number of bytes that cached entities take, keys included.
const ENTITY_BYTES: u64 = 64 * 1024 * 1024;
/// The size of an entity for which the cache is laid out.
const USUAL_ENTITY_BYTES: u64 = 512;

/// Sessions and entities in this process.
pub struct EmbeddedStore {
    sessions: Mutex<Sessions>,
    entities: Cache<EntityKey, Cached, Bytes>,
    followers: RwLock<Vec<Arc<dyn Follower>>>,
    streams: Streams,
    allowances: Mutex<unsync::Cache<(UserId, Allowance), (u64, Timestamp)>>,
    clock: Arc<dyn Clock>,
    entity_lifetime: EntityLifetime,
    stats_lifetime: Duration,
}

struct Sessions {
    records: unsync::Cache<SessionId, (StoredSession, Timestamp)>,
    last_seen: unsync::Cache<SessionId, Timestamp>,
    /// Sessions of a user with their ends; those that are over are dropped whenever the user begins another one.
    of_user: unsync::Cache<UserId, HashMap<SessionId, Timestamp>>,
}

/// An encoded entity and the end of its life.
#[derive(Clone)]
struct Cached {
    record: Arc<[u8]>,
    until: Timestamp,
}

impl Cached {
    /// The mark of an entity that was forgotten.
    fn mark(now: Timestamp) -> Self {
        Self { record: record::FORGOTTEN.into(), until: now.plus(FORGOTTEN_FOR) }
    }

    fn is_mark(&self) -> bool {
        *self.record == *record::FORGOTTEN
    }
}

#[derive(Clone)]
struct Bytes;

impl Weighter<EntityKey, Cached> for Bytes {
    fn weight(&self, _key: &EntityKey, value: &Cached) -> u64 {
        // Two ids of at most 128 bytes each and the bookkeeping of one entry.
        value.record.len() as u64 + 320
    }
}

impl EmbeddedStore {
    /// An empty store. `clock` judges how long sessions and entities live.
    #[must_use]
    pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Self {
        let usual = usize::try_from(ENTITY_BYTES / USUAL_ENTITY_BYTES).unwrap_or(SESSIONS);
        Self {
            sessions: Mutex::new(Sessions {
                records: unsync::Cache::new(SESSIONS),
                last_seen: unsync::Cache::new(SESSIONS),
                of_user: unsync::Cache::new(SESSIONS),
            }),
            entities: Cache::with_weighter(usual, ENTITY_BYTES, Bytes),
            followers: RwLock::default(),
            streams: Streams::new(),
            allowances: Mutex::new(unsync::Cache::new(SESSIONS)),
            clock,
            entity_lifetime: EntityLifetime::new(settings.entity_lifetime),
            stats_lifetime: settings.stats_lifetime,
        }
    }

    /// Tells the followers, after the write: what was read before is old now.
    fn tell(&self, change: &Change) {
        for follower in self.followers.read().iter() {
            follower.changed(change);
        }
    }

    fn entity<T>(&self, key: &EntityKey, decode: impl Fn(&[u8]) -> Lookup<T>) -> Lookup<T> {
        match self.entities.get(key) {
            Some(cached) if cached.until > self.clock.now() && !cached.is_mark() => decode(&cached.record),
            _ => Lookup::Missing,
        }
    }

    fn platform(&self, id: &PlatformId) -> Lookup<Platform> {
        self.entity(&EntityKey::Platform(id.clone()), |bytes| record::decode_platform(bytes, id))
    }
}

impl fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sessions = self.sessions.lock().records.len();
        f.debug_struct("EmbeddedStore").field("sessions", &sessions).finish_non_exhaustive()
    }
}

impl Sessions {
    fn remember(&mut self, session: &Session, now: Timestamp) {
        let mut of_user = self.of_user.remove(&session.user).map(|(_, ids)| ids).unwrap_or_default();
        of_user.retain(|_, end| *end > now);
        of_user.insert(session.id, session.expires);
        self.of_user.insert(session.user.clone(), of_user);
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn session(&self, id: &SessionId) -> Result<SessionAnswer, StoreError> {
        let now = self.clock.now();
        let sessions = self.sessions.lock();
        let session = match sessions.records.get(id) {
            Some((stored, until)) if *until > now => Lookup::Found(stored.clone()),
            _ => Lookup::Missing,
        };
        Ok(SessionAnswer { session, last_seen: sessions.last_seen.get(id).copied() })
    }

    async fn entities(
        &self,
        user: &UserId,
        platform: Option<&PlatformId>,
    ) -> Result<EntityAnswer, StoreError> {
        Ok(EntityAnswer {
            user: self.entity(&EntityKey::User(user.clone()), |bytes| record::decode_user(bytes, user)),
            platform: platform.map_or(Lookup::Missing, |id| self.platform(id)),
            user_platforms: self.entity(&EntityKey::UserPlatforms(user.clone()), record::decode_ids),
        })
    }

    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Lookup<Platform>>, StoreError> {
        Ok(ids.iter().map(|id| self.platform(id)).collect())
    }

    async fn json(&self, key: &EntityKey) -> Result<Lookup<serde_json::Value>, StoreError> {
        Ok(self.entity(key, record::decode_json))
    }

    async fn put_session(
        &self,
        session: &Session,
        how: PutSession,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if session.expires <= now {
            return Ok(false);
        }
        let mut sessions = self.sessions.lock();
        let may = match (sessions.records.get(&session.id), how) {
            (Some((_, until)), _) if *until <= now => true,
            (None, _) => true,
            (Some((StoredSession::Live(old), _)), PutSession::IfNewer) => old.version < session.version,
            (Some(_), _) => false,
        };
        if may {
            let record = (StoredSession::Live(session.clone()), session.expires);
            sessions.records.insert(session.id, record);
            sessions.remember(session, now);
        }
        drop(sessions);
        if may {
            self.tell(&Change::Session(session.id));
        }
        Ok(may)
    }

    async fn end_sessions(
        &self,
        ended: &[(SessionId, Timestamp)],
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut sessions = self.sessions.lock();
        for (id, until) in ended {
            sessions.records.insert(*id, (StoredSession::Ended, *until));
        }
        drop(sessions);
        for (id, _) in ended {
            self.tell(&Change::Session(*id));
        }
        Ok(())
    }

    async fn put_entities(&self, entities: &[Entity]) -> Result<Vec<EntityKey>, StoreError> {
        let now = self.clock.now();
        let mut written = Vec::with_capacity(entities.len());
        for entity in entities {
            let (key, record) = record::encode_entity(entity);
            let lifetime = match key {
                EntityKey::PlatformStats(..) => self.stats_lifetime,
                _ => self.entity_lifetime.now(),
            };
            let Some(record) = record else {
                self.entities.insert(key.clone(), Cached::mark(now));
                self.tell(&Change::Entity(key));
                continue;
            };
            let fresh = Cached { record: record.into(), until: now.plus(lifetime) };
            // Under the lock of the entry, so that no mark is overwritten that came in between.
            let mut is_there = false;
            let entry = self.entities.entry(&key, None, |_, old| {
                is_there = !old.is_mark() || old.until <= now;
                if is_there {
                    *old = fresh.clone();
                }
                EntryAction::Retain(())
            });
            if let EntryResult::Vacant(place) = entry {
                // Refused when the entry was written meanwhile: by a mark, or by another reading as fresh as this one.
                is_there = place.insert(fresh).is_ok();
            }
            self.tell(&Change::Entity(key.clone()));
            written.extend(is_there.then_some(key));
        }
        Ok(written)
    }

    async fn forget(&self, keys: &[EntityKey]) -> Result<(), StoreError> {
        let now = self.clock.now();
        for key in keys {
            self.entities.insert(key.clone(), Cached::mark(now));
            self.tell(&Change::Entity(key.clone()));
        }
        Ok(())
    }

    fn limit_entities(&self, at_most: Option<Duration>) -> Duration {
        self.entity_lifetime.limit(at_most)
    }

    async fn note_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
        let mut sessions = self.sessions.lock();
        for (id, at) in seen {
            let latest = sessions.last_seen.get(id).map_or(*at, |known| *known.max(at));
            sessions.last_seen.insert(*id, latest);
        }
        Ok(())
    }

    async fn user_sessions(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        let now = self.clock.now();
        let sessions = self.sessions.lock();
        let of_user = sessions.of_user.get(user).into_iter().flatten();
        Ok(of_user.filter(|(_, end)| **end > now).map(|(id, _)| *id).collect())
    }

    async fn append_events(&self, events: &[(UserId, Event)]) -> Result<(), StoreError> {
        for (user, event) in events {
            self.streams.append(user, event, self.clock.now());
            self.tell(&Change::Events(user.clone()));
        }
        Ok(())
    }

    async fn events(&self, wanted: &[(UserId, Option<EventId>)]) -> Result<Vec<Backlog>, StoreError> {
        let now = self.clock.now();
        Ok(wanted.iter().map(|(user, after)| self.streams.backlog(user, *after, now)).collect())
    }

    async fn count_use(&self, user: &UserId, what: Allowance, window: Duration) -> Result<Uses, StoreError> {
        let (now, key) = (self.clock.now(), (user.clone(), what));
        let mut allowances = self.allowances.lock();
        let current = allowances.get(&key).copied().filter(|(_, ends)| *ends > now);
        let (count, ends) = current.unwrap_or((0, now.plus(window)));
        let count = count.saturating_add(1);
        allowances.insert(key, (count, ends));
        Ok(Uses { count, ends_in: ends.since(now) })
    }

    /// Nothing can be lost on the way within one process, so the lease never lapses.
    fn follow(&self, follower: Arc<dyn Follower>, _max_staleness: Duration) -> Arc<Lease> {
        self.followers.write().push(follower);
        Arc::new(Lease::unbroken())
    }

    async fn recently_used(&self, most: usize) -> Result<Vec<SessionId>, StoreError> {
        let sessions = self.sessions.lock();
        let mut seen: Vec<_> = sessions.last_seen.iter().map(|(id, at)| (*at, *id)).collect();
        seen.sort_unstable_by(|one, two| two.cmp(one));
        Ok(seen.into_iter().take(most).map(|(_, id)| id).collect())
    }

    /// It ends with the process, so nothing is accepted that is not durable.
    async fn accept_end(
        &self,
        _: &UnconfirmedEnd,
        _: &[(SessionId, Timestamp)],
        _: Timestamp,
    ) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }

    async fn unconfirmed_ends(&self, _: usize) -> Result<Vec<UnconfirmedEnd>, StoreError> {
        Ok(Vec::new())
    }

    async fn confirm_ends(&self, _: &[UnconfirmedEnd]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Nothing that outlives the process, and nobody else who writes.
    async fn progress(&self) -> Result<Progress, StoreError> {
        Ok(Progress { upto: None, at: self.clock.now(), same_server: true, line: 0 })
    }

    async fn note_progress(&self, _: &Progress, _: &str, _: Timestamp) -> Result<(), StoreError> {
        Ok(())
    }

    async fn ping(&self) -> Result<String, StoreError> {
        Ok("embedded".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::store::Kind;
    use crate::store::contract::{sample_session, sample_user};

    fn settings() -> Settings {
        Settings {
            kind: Kind::Embedded,
            timeout: Duration::from_millis(100),
            entity_lifetime: Duration::from_hours(1),
            stats_lifetime: Duration::from_mins(5),
        }
    }

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let store = EmbeddedStore::open(&settings(), Arc::new(crate::clock::SystemClock));
        crate::store::contract::keeps_the_contract(&store).await;
    }

    #[tokio::test]
    async fn sessions_and_entities_end_by_the_clock() {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000_000)));
        let store = EmbeddedStore::open(&settings(), clock.clone());
        let mut session = sample_session("ana");
        session.expires = clock.now().plus(Duration::from_hours(12));
        assert!(store.put_session(&session, PutSession::IfAbsent, clock.now()).await.unwrap());
        let user = sample_user("ana");
        store.put_entities(&[Entity::User(user.clone())]).await.unwrap();

        clock.advance(Duration::from_millis(3_599_999));
        assert_eq!(store.entities(&user.id, None).await.unwrap().user, Lookup::Found(user.clone()));
        clock.advance(Duration::from_millis(1));
        assert_eq!(store.entities(&user.id, None).await.unwrap().user, Lookup::Missing);
        clock.advance(Duration::from_hours(11));
        assert_eq!(store.session(&session.id).await.unwrap().session, Lookup::Missing);
    }
}
