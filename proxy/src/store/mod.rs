//! Where sessions live and entities are cached for all proxies: Redis, or this process ("embedded").
//! A store is a cache of the directory. It knows nothing of cookies, HTTP or the directory.

pub mod coherence;
pub mod doubt;
mod embedded;
pub mod events;
pub mod foreign;
mod pending;
mod record;
mod redis;

#[cfg(test)]
mod contract;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub use coherence::{Change, Epoch, Follower, Lease};
pub use doubt::{Doubt, Doubts};
pub use embedded::EmbeddedStore;
pub use events::{Backlog, Event, EventId};
pub use pending::PersistentStore;
pub use redis::RedisStore;

use crate::breaker::Breaker;
use crate::clock::{Clock, Timestamp};
use crate::context::{ForeignRecord, Platform, PlatformId, Session, SessionId, User, UserId};
use crate::secret::Secret;
use foreign::{ForeignAnswer, ForeignKey};

/// What a store knows under one key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup<T> {
    /// A record that could be read.
    Found(T),
    /// Nothing lies under this key.
    Missing,
    /// Something lies there that this version cannot read. Counted; the next layer is asked.
    Unreadable,
}

/// What lies under a session's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoredSession {
    /// A session; whether it is still within its times is for the resolver to say.
    Live(Session),
    /// A tombstone: the session was ended, and no older copy may be believed.
    Ended,
}

/// The answer to one session lookup.
#[derive(Clone, Debug)]
pub struct SessionAnswer {
    /// The record.
    pub session: Lookup<StoredSession>,
    /// When any proxy last noted the session's use.
    pub last_seen: Option<Timestamp>,
}

/// The answer to one lookup of a session's entities.
#[derive(Clone, Debug)]
pub struct EntityAnswer {
    /// The user.
    pub user: Lookup<User>,
    /// The platform that was asked for; `Missing` when none was asked for.
    pub platform: Lookup<Platform>,
    /// The ids of the user's active platforms, default first.
    pub user_platforms: Lookup<Vec<PlatformId>>,
}

/// An entity to be cached.
#[derive(Clone, Debug)]
pub enum Entity {
    /// `user:{user_id}`
    User(User),
    /// `platform:{platform_id}`
    Platform(Platform),
    /// `user_platforms:{user_id}`: ids of the active platforms, default first.
    UserPlatforms(UserId, Vec<PlatformId>),
    /// `user_settings:{user_id}:{platform_id}`; `None` remembers that there are none.
    UserSettings(UserId, PlatformId, Option<serde_json::Value>),
    /// `platform_stats:{user_id}:{platform_id}`
    PlatformStats(UserId, PlatformId, serde_json::Value),
}

/// The name of a cached entity.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum EntityKey {
    /// `user:{user_id}`
    User(UserId),
    /// `platform:{platform_id}`
    Platform(PlatformId),
    /// `user_platforms:{user_id}`
    UserPlatforms(UserId),
    /// `user_settings:{user_id}:{platform_id}`
    UserSettings(UserId, PlatformId),
    /// `platform_stats:{user_id}:{platform_id}`
    PlatformStats(UserId, PlatformId),
}

impl Entity {
    /// The name under which it is cached.
    #[must_use]
    pub fn key(&self) -> EntityKey {
        match self {
            Self::User(user) => EntityKey::User(user.id.clone()),
            Self::Platform(platform) => EntityKey::Platform(platform.id.clone()),
            Self::UserPlatforms(user, _) => EntityKey::UserPlatforms(user.clone()),
            Self::UserSettings(user, platform, _) => EntityKey::UserSettings(user.clone(), platform.clone()),
            Self::PlatformStats(user, platform, _) => {
                EntityKey::PlatformStats(user.clone(), platform.clone())
            }
        }
    }
}

/// For how long after it was forgotten an entity is not cached again: whoever read it just before the change may still
/// be about to write. Older readings than half of this must not be written at all.
pub const FORGOTTEN_FOR: Duration = Duration::from_secs(10);

/// Entities that were forgotten although somebody uses them, with leave to put back what is read from now on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Renewal {
    /// Which.
    pub keys: Vec<EntityKey>,
    /// Holds until one of them is forgotten again.
    leave: String,
}

/// What a user may do only so often.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Allowance {
    /// Switching platforms.
    PlatformSwitches,
}

/// What became of an allowance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uses {
    /// Uses in the present window.
    pub count: u64,
    /// How long the window lasts from now.
    pub ends_in: Duration,
}

/// How a session record may be written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutSession {
    /// Only if nothing lies under the key: filling the cache never overwrites a tombstone or a newer record.
    IfAbsent,
    /// Only over a live record of a lower version, or where nothing lies: what was just committed elsewhere.
    IfNewer,
}

/// How far somebody has gone through the changes of the directory, as it lies in the store itself. What was gone through
/// before this was written lies in the same data, also after a restart from an old save.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The place, in the words of whoever wrote it; `None` when nobody has, or the store was emptied.
    pub upto: Option<String>,
    /// When it was written, by the writer's clock.
    pub at: Timestamp,
    /// It was written to the run of the server that is read now, which was not emptied since.
    pub same_server: bool,
    /// The connection on which it was read.
    line: u64,
}

/// The end of a session, or of all sessions of a user, that only the store knows so far.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct UnconfirmedEnd {
    /// The session; `None` for all that the user had at that moment.
    pub session: Option<SessionId>,
    /// Whose.
    pub user: UserId,
    /// When it was accepted.
    pub at: Timestamp,
    /// Who ended it; for the audit log.
    pub by: String,
    /// The client's address.
    pub from: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
    /// For a session of another framework: until when its end is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign_until: Option<Timestamp>,
}

/// The store could not do what was asked; whether it is there at all is unknown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection, or the connection broke, or the server refused.
    #[error("the store cannot be reached")]
    Unavailable,
    /// No answer in time.
    #[error("the store did not answer in time")]
    Timeout,
    /// It answers, but may hold what was true before its last restart: it is not believed.
    #[error("the store was replaced and may hold old records")]
    Doubtful,
}

/// The settings name something with which no connection can ever be made: an authority that is not PEM.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store's settings cannot be used: {0}")]
pub struct UnusableSettings(String);

/// Opens the store that `settings` describe, at once, whether or not a server can be reached. For Redis a tokio
/// runtime must be entered: the task that connects, and connects again, lives on it. `clock` judges what the
/// embedded store keeps; Redis counts lifetimes itself.
///
/// # Errors
/// When no connection could ever be made with these settings.
pub fn open(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, UnusableSettings> {
    Ok(match &settings.kind {
        Kind::Redis(redis) => Arc::new(RedisStore::open(settings, redis)?),
        Kind::Embedded => Arc::new(EmbeddedStore::open(settings, clock)),
    })
}

/// Sessions and cached entities, shared by all proxies.
///
/// Every method has a deadline of its own (`Settings::timeout`) and fails rather than waits. Dropping a call never
/// leaves the connection out of step.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug {
    /// Reads a session and its last use: one round trip.
    async fn session(&self, id: &SessionId) -> Result<SessionAnswer, StoreError>;

    /// Reads what a session refers to: one round trip.
    async fn entities(
        &self,
        user: &UserId,
        platform: Option<&PlatformId>,
    ) -> Result<EntityAnswer, StoreError>;

    /// Reads several platforms, in the order asked: one round trip.
    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Lookup<Platform>>, StoreError>;

    /// Reads one JSON entity (settings or stats). `Found(Null)` is a remembered absence.
    async fn json(&self, key: &EntityKey) -> Result<Lookup<serde_json::Value>, StoreError>;

    /// Writes a session that lives until `session.expires`, and remembers it under its user. Answers whether it was
    /// written. `now` is the caller's clock, from which the time to live is counted.
    async fn put_session(
        &self,
        session: &Session,
        how: PutSession,
        now: Timestamp,
    ) -> Result<bool, StoreError>;

    /// Writes a tombstone over each session, kept until its given end. Works whether or not the session was there.
    async fn end_sessions(
        &self,
        sessions: &[(SessionId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Caches entities for their lifetime, those that were not forgotten just now. Answers which of them lie there now.
    async fn put_entities(&self, entities: &[Entity]) -> Result<Vec<EntityKey>, StoreError>;

    /// Drops cached entities, and keeps readings from before this moment from being cached again ([`FORGOTTEN_FOR`]).
    async fn forget(&self, keys: &[EntityKey]) -> Result<(), StoreError>;

    /// The same for whoever is about to read them from the directory again: what somebody uses need not be missed for as
    /// long as older readings are kept out. A store that is never without its directory has nothing to be put back.
    async fn renew(&self, keys: &[EntityKey]) -> Result<Renewal, StoreError> {
        self.forget(keys).await.map(|()| Renewal::default())
    }

    /// Puts back what was read after `renewal` was given, unless it was forgotten again meanwhile. Answers which of them
    /// lie there now.
    async fn put_renewed(
        &self,
        _entities: &[Entity],
        _renewal: &Renewal,
    ) -> Result<Vec<EntityKey>, StoreError> {
        Ok(Vec::new())
    }

    /// From now on entities live at most this long, statistics apart; `None` lifts the limit. Answers how long they live
    /// then. For times in which nobody tells of changes.
    fn limit_entities(&self, at_most: Option<Duration>) -> Duration;

    /// Notes when sessions were last used; never moves a time backwards, never touches the session's own key.
    async fn note_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError>;

    /// The sessions remembered under a user; some may have ended meanwhile.
    async fn user_sessions(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError>;

    /// Reads a session of another framework, and what is ours about it: one round trip. A store that frameworks do not
    /// share has none.
    async fn foreign_session(&self, _key: &ForeignKey) -> Result<ForeignAnswer, StoreError> {
        Err(StoreError::Unavailable)
    }

    /// Notes when a foreign session was first seen, and keeps what is ours about it for `kept`. Where the directory keeps
    /// nothing of it; likewise the next.
    async fn note_foreign(
        &self,
        _id: &SessionId,
        _seen: Timestamp,
        _kept: Duration,
    ) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }

    /// Chooses a platform for a foreign session, or the user's default, in a key of our own that lives for `kept`.
    async fn put_foreign_platform(
        &self,
        _id: &SessionId,
        _platform: Option<&PlatformId>,
        _kept: Duration,
    ) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }

    /// Writes what the directory has confirmed about foreign sessions that stand, over older versions of it.
    async fn put_foreign(&self, _records: &[ForeignRecord], _now: Timestamp) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }

    /// The same for what was only seen: whoever reads the session next tries again if this fails.
    async fn fill_foreign(&self, records: &[ForeignRecord], now: Timestamp) -> Result<(), StoreError> {
        self.put_foreign(records, now).await
    }

    /// Deletes a session of another framework, as the framework itself would when its user logs out.
    async fn delete_foreign(&self, _key: &Secret) -> Result<(), StoreError> {
        Err(StoreError::Unavailable)
    }

    /// Appends events to the streams of users, in the order given: one round trip. Whoever follows is told.
    async fn append_events(&self, events: &[(UserId, Event)]) -> Result<(), StoreError>;

    /// Reads the events of users after a place, or with `None` only where their streams end now: one round trip.
    async fn events(&self, wanted: &[(UserId, Option<EventId>)]) -> Result<Vec<Backlog>, StoreError>;

    /// Counts one more use of a user's allowance in a window that begins with the first one. Answers how many there are,
    /// this one included, and when the window ends.
    async fn count_use(&self, user: &UserId, what: Allowance, window: Duration) -> Result<Uses, StoreError>;

    /// Begins to tell `follower` of every write, this process' own included, and answers the lease that says how far
    /// its silence can be believed: never longer than `max_staleness`. For Redis a tokio runtime must be entered.
    fn follow(&self, follower: Arc<dyn Follower>, max_staleness: Duration) -> Arc<Lease>;

    /// Sessions that were used lately, the latest first, as far as anybody noted it: at most about `most`.
    async fn recently_used(&self, most: usize) -> Result<Vec<SessionId>, StoreError>;

    /// Accepts an end that the directory cannot take at the moment: tombstones and a note for whoever can bring it
    /// there later, in one transaction. `Doubtful` when the server may not be the one that all others use.
    async fn accept_end(
        &self,
        end: &UnconfirmedEnd,
        tombstones: &[(SessionId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Some of the ends that were accepted and are not durable yet, at most `most`, whoever accepted them.
    async fn unconfirmed_ends(&self, most: usize) -> Result<Vec<UnconfirmedEnd>, StoreError>;

    /// These ends are durable now.
    async fn confirm_ends(&self, ends: &[UnconfirmedEnd]) -> Result<(), StoreError>;

    /// What keeps calls from waiting for a server that is not there; `None` where there is no server.
    fn breaker(&self) -> Option<&Breaker> {
        None
    }

    /// The doubts about this store; `None` where no write can get lost.
    fn doubts(&self) -> Option<Arc<Doubts>> {
        None
    }

    /// How far the changes of the directory were gone through.
    async fn progress(&self) -> Result<Progress, StoreError>;

    /// Notes that all changes up to `upto` lie in the store. Fails when the connection is not the one on which `before`
    /// was read: another server may lack what was written meanwhile.
    async fn note_progress(&self, before: &Progress, upto: &str, now: Timestamp) -> Result<(), StoreError>;

    /// Whether the store answers, and who it says it is.
    async fn ping(&self) -> Result<String, StoreError>;
}

/// How to reach the store, and how long it may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which kind.
    pub kind: Kind,
    /// The longest that one call may take.
    pub timeout: Duration,
    /// How long users, platforms and settings stay cached (1 h).
    pub entity_lifetime: Duration,
    /// How long stats stay cached (5 min).
    pub stats_lifetime: Duration,
}

/// The kinds of store.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A Redis server.
    Redis(RedisSettings),
    /// The memory of this process, in front of the directory, which is what makes it durable.
    Embedded,
}

/// Where and how a Redis server is reached.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database number.
    pub database: i64,
    /// ACL user; `None` is the server's default user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// TLS, with an own certificate authority (PEM) if one is given.
    pub tls: Option<RedisTls>,
    /// What every key begins with.
    pub prefix: String,
    /// What the keys of sessions of other frameworks begin with.
    pub foreign_prefixes: Vec<String>,
}

/// TLS towards Redis.
#[derive(Clone, Debug, Default)]
pub struct RedisTls {
    /// PEM of the certificate authority; the public roots when `None`.
    pub ca: Option<Vec<u8>>,
}

/// How long entities live, as far as it is not limited at the moment.
#[derive(Debug)]
struct EntityLifetime {
    usual: Duration,
    limit: AtomicU64,
}

impl EntityLifetime {
    const fn new(usual: Duration) -> Self {
        Self { usual, limit: AtomicU64::new(u64::MAX) }
    }

    fn now(&self) -> Duration {
        self.usual.min(Duration::from_millis(self.limit.load(Ordering::Relaxed)))
    }

    fn limit(&self, at_most: Option<Duration>) -> Duration {
        let millis = at_most.map_or(u64::MAX, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
        self.limit.store(millis, Ordering::Relaxed);
        self.now()
    }
}
