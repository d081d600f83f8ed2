//! The store in Redis, in the layout of DESIGN.md section 4: sessions, tombstones and entities as JSON under keys
//! with a prefix. Nothing here blocks the start; what cannot be asked in time is an error, never "missing".

mod connection;
mod entities;
mod events;
mod foreign;
mod instance;
mod keys;
mod replies;
mod sessions;
mod tracking;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use redis::io::tcp::TcpSettings;
use redis::{
    Client, ConnectionAddr, IntoConnectionInfo, Pipeline, ProtocolVersion, RedisConnectionInfo,
    TlsCertificates, Value,
};

use self::connection::Connection;
use self::instance::Instance;
use self::keys::Keys;
use self::replies::{bytes_of, exactly, lookup, pairs, uses};
use self::tracking::{Tracker, Tracking};
use super::foreign::{ForeignAnswer, ForeignKey};
use super::{
    Allowance, Backlog, Doubts, Entity, EntityAnswer, EntityKey, EntityLifetime, Event, EventId, Follower,
    Lease, Lookup, Progress, PutSession, RedisSettings, Renewal, SessionAnswer, Settings, Store, StoreError,
    UnconfirmedEnd, UnusableSettings, Uses, record,
};
use crate::breaker::Breaker;
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, Platform, PlatformId, Session, SessionId, UserId};
use crate::secret::Secret;

/// Commands per round trip in long writes, so that one of them does not hold up everybody's replies.
const BATCH: usize = 512;

/// Sessions and entities in one Redis server.
pub struct RedisStore {
    client: Client,
    address: String,
    connection: Connection,
    instance: Arc<Instance>,
    tracking: Mutex<Vec<Tracking>>,
    keys: Arc<Keys>,
    entity_lifetime: EntityLifetime,
    stats_lifetime: Duration,
}

impl RedisStore {
    /// Starts to connect, on the current tokio runtime, and returns at once; until a connection stands, every call
    /// fails with `Unavailable`.
    ///
    /// # Errors
    /// When the certificate authority is not PEM.
    pub fn open(settings: &Settings, redis: &RedisSettings) -> Result<Self, UnusableSettings> {
        let client = client(redis)?;
        let address = format!("{}:{}", redis.host, redis.port);
        let instance = Arc::new(Instance::default());
        let reads = Arc::clone(&instance);
        Ok(Self {
            connection: Connection::open(client.clone(), address.clone(), settings.timeout, reads),
            client,
            address,
            instance,
            tracking: Mutex::default(),
            keys: Arc::new(Keys::new(&redis.prefix, &redis.foreign_prefixes)),
            entity_lifetime: EntityLifetime::new(settings.entity_lifetime),
            stats_lifetime: settings.stats_lifetime,
        })
    }

    /// Fails while the server may hold records from before a restart that revocations have not been replayed over.
    fn believed(&self) -> Result<(), StoreError> {
        if self.instance.is_doubtful() { Err(StoreError::Doubtful) } else { Ok(()) }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore").field("connection", &self.connection).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn session(&self, id: &SessionId) -> Result<SessionAnswer, StoreError> {
        self.read_session(id).await
    }

    // Several GET in one round trip instead of one MGET, which would call a key of the wrong type missing.
    async fn entities(
        &self,
        user: &UserId,
        platform: Option<&PlatformId>,
    ) -> Result<EntityAnswer, StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("GET").arg(self.keys.user(user));
        commands.cmd("GET").arg(self.keys.user_platforms(user));
        if let Some(platform) = platform {
            commands.cmd("GET").arg(self.keys.platform(platform));
        }
        let mut values = self.connection.ask(&commands).await?.into_iter();
        self.believed()?;
        let mut next = || values.next().unwrap_or(Value::Nil);
        Ok(EntityAnswer {
            user: lookup(next(), |bytes| record::decode_user(bytes, user))?,
            user_platforms: lookup(next(), record::decode_ids)?,
            platform: match platform {
                Some(id) => lookup(next(), |bytes| record::decode_platform(bytes, id))?,
                None => Lookup::Missing,
            },
        })
    }

    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Lookup<Platform>>, StoreError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut commands = Pipeline::new();
        for id in ids {
            commands.cmd("GET").arg(self.keys.platform(id));
        }
        let values = self.connection.ask(&commands).await?;
        self.believed()?;
        let pairs = ids.iter().zip(values);
        pairs.map(|(id, value)| lookup(value, |bytes| record::decode_platform(bytes, id))).collect()
    }

    async fn json(&self, key: &EntityKey) -> Result<Lookup<serde_json::Value>, StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("GET").arg(self.keys.entity(key));
        let [value] = exactly(self.connection.ask(&commands).await?)?;
        self.believed()?;
        lookup(value, record::decode_json)
    }

    async fn put_session(
        &self,
        session: &Session,
        how: PutSession,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write_session(session, how, now).await
    }

    async fn end_sessions(
        &self,
        sessions: &[(SessionId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write_tombstones(sessions, now).await
    }

    async fn put_entities(&self, entities: &[Entity]) -> Result<Vec<EntityKey>, StoreError> {
        self.write_entities(entities, None).await
    }

    async fn forget(&self, keys: &[EntityKey]) -> Result<(), StoreError> {
        self.forget_entities(keys).await.map(drop)
    }

    async fn renew(&self, keys: &[EntityKey]) -> Result<Renewal, StoreError> {
        self.forget_entities(keys).await
    }

    async fn put_renewed(
        &self,
        entities: &[Entity],
        renewal: &Renewal,
    ) -> Result<Vec<EntityKey>, StoreError> {
        if renewal.leave.is_empty() {
            return Ok(Vec::new());
        }
        self.write_entities(entities, Some(renewal)).await
    }

    fn limit_entities(&self, at_most: Option<Duration>) -> Duration {
        self.entity_lifetime.limit(at_most)
    }

    async fn note_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
        self.write_activity(seen).await
    }

    async fn user_sessions(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        self.sessions_of(user).await
    }

    async fn foreign_session(&self, key: &ForeignKey) -> Result<ForeignAnswer, StoreError> {
        self.read_foreign(key).await
    }

    async fn note_foreign(&self, id: &SessionId, seen: Timestamp, kept: Duration) -> Result<(), StoreError> {
        self.write_foreign_seen(id, seen, kept).await
    }

    async fn put_foreign_platform(
        &self,
        id: &SessionId,
        platform: Option<&PlatformId>,
        kept: Duration,
    ) -> Result<(), StoreError> {
        self.write_foreign_platform(id, platform, kept).await
    }

    async fn put_foreign(&self, records: &[ForeignRecord], now: Timestamp) -> Result<(), StoreError> {
        self.write_foreign(records, now).await
    }

    async fn delete_foreign(&self, key: &Secret) -> Result<(), StoreError> {
        self.delete_record(key).await
    }

    async fn append_events(&self, events: &[(UserId, Event)]) -> Result<(), StoreError> {
        self.append(events).await
    }

    async fn events(&self, wanted: &[(UserId, Option<EventId>)]) -> Result<Vec<Backlog>, StoreError> {
        self.backlogs(wanted).await
    }

    async fn count_use(&self, user: &UserId, what: Allowance, window: Duration) -> Result<Uses, StoreError> {
        let key = self.keys.allowance(user, what);
        let mut commands = Pipeline::new();
        commands.cmd("INCR").arg(&key);
        commands.cmd("PEXPIRE").arg(&key).arg(millis(window)).arg("NX");
        commands.cmd("PTTL").arg(&key);
        uses(&self.connection.ask_all(&commands).await?).ok_or(StoreError::Unavailable)
    }

    fn follow(&self, follower: Arc<dyn Follower>, max_staleness: Duration) -> Arc<Lease> {
        let lease = Arc::new(Lease::closed(max_staleness));
        self.instance.follow(Arc::clone(&lease));
        self.tracking.lock().push(Tracking::start(Tracker {
            client: self.client.clone(),
            address: self.address.clone(),
            keys: Arc::clone(&self.keys),
            instance: Arc::clone(&self.instance),
            lease: Arc::clone(&lease),
            follower,
            max_staleness,
        }));
        lease
    }

    async fn recently_used(&self, most: usize) -> Result<Vec<SessionId>, StoreError> {
        self.used_last(most).await
    }

    async fn accept_end(
        &self,
        end: &UnconfirmedEnd,
        tombstones: &[(SessionId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.believed()?;
        let mut commands = Pipeline::new();
        commands.cmd("MULTI");
        for (id, until) in tombstones {
            let lifetime = millis(until.since(now)).max(1);
            commands.cmd("SET").arg(self.keys.session(id)).arg(record::TOMBSTONE).arg("PX").arg(lifetime);
        }
        let (field, record) = record::encode_end(end);
        commands.cmd("HSET").arg(self.keys.outbox()).arg(field).arg(record);
        commands.cmd("EXEC");
        let values = self.connection.ask_all(&commands).await?;
        // A refused part makes the server refuse EXEC; `Nil` would be a transaction that was not carried out.
        if matches!(values.last(), Some(Value::Array(_))) { Ok(()) } else { Err(StoreError::Unavailable) }
    }

    async fn unconfirmed_ends(&self, most: usize) -> Result<Vec<UnconfirmedEnd>, StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("HRANDFIELD").arg(self.keys.outbox()).arg(most).arg("WITHVALUES");
        let [found] = exactly(self.connection.ask_all(&commands).await?)?;
        Ok(pairs(&found)
            .into_iter()
            .filter_map(|(_, record)| record::decode_end(bytes_of(record)?))
            .collect())
    }

    async fn confirm_ends(&self, ends: &[UnconfirmedEnd]) -> Result<(), StoreError> {
        if ends.is_empty() {
            return Ok(());
        }
        let mut commands = Pipeline::new();
        let command = commands.cmd("HDEL").arg(self.keys.outbox());
        for end in ends {
            command.arg(record::encode_end(end).0);
        }
        self.connection.ask_all(&commands).await.map(drop)
    }

    fn breaker(&self) -> Option<&Breaker> {
        Some(self.connection.breaker())
    }

    fn doubts(&self) -> Option<Arc<Doubts>> {
        Some(Arc::clone(self.instance.doubts()))
    }

    async fn progress(&self) -> Result<Progress, StoreError> {
        let line = self.connection.number().ok_or(StoreError::Unavailable)?;
        let mut commands = Pipeline::new();
        commands.cmd("GET").arg(self.keys.progress());
        let [value] = exactly(self.connection.ask_all_on(line, &commands).await?)?;
        let noted = bytes_of(&value).and_then(record::decode_progress);
        let run = self.instance.run();
        Ok(noted.map_or(
            Progress { upto: None, at: Timestamp::default(), same_server: false, line },
            |noted| Progress {
                upto: Some(noted.upto),
                at: noted.at,
                same_server: run.is_some_and(|run| run == noted.run),
                line,
            },
        ))
    }

    async fn note_progress(&self, before: &Progress, upto: &str, now: Timestamp) -> Result<(), StoreError> {
        let run = self.instance.run().unwrap_or_default();
        let noted = record::Noted { upto: upto.to_owned(), at: now, run };
        let mut commands = Pipeline::new();
        commands.cmd("SET").arg(self.keys.progress()).arg(record::encode_progress(&noted));
        self.connection.ask_all_on(before.line, &commands).await.map(drop)
    }

    async fn ping(&self) -> Result<String, StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("PING");
        commands.cmd("INFO").arg("server");
        let [pong, info] = exactly(self.connection.ask(&commands).await?)?;
        if matches!(pong, Value::ServerError(_)) {
            return Err(StoreError::Unavailable);
        }
        // An ACL user may be denied INFO; the server answers all the same.
        let text = bytes_of(&info).map(String::from_utf8_lossy).unwrap_or_default();
        let version = text.lines().find_map(|line| line.strip_prefix("redis_version:")).unwrap_or_default();
        Ok(format!("Redis {version}").trim_end().to_owned())
    }
}

fn client(redis: &RedisSettings) -> Result<Client, UnusableSettings> {
    let mut login =
        RedisConnectionInfo::default().set_db(redis.database).set_protocol(ProtocolVersion::RESP3);
    if let Some(name) = &redis.username {
        login = login.set_username(name);
    }
    if let Some(password) = &redis.password {
        let text =
            password.expose_text().map_err(|_| UnusableSettings("the password is not UTF-8".into()))?;
        login = login.set_password(text);
    }
    let (host, port) = (redis.host.clone(), redis.port);
    let address = match redis.tls {
        Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        None => ConnectionAddr::Tcp(host, port),
    };
    let client = address.into_connection_info().and_then(|information| {
        let nodelay = TcpSettings::default().set_nodelay(true);
        let information = information.set_redis_settings(login).set_tcp_settings(nodelay);
        match &redis.tls {
            Some(tls) => {
                let root_cert = tls.ca.clone();
                Client::build_with_tls(information, TlsCertificates { client_tls: None, root_cert })
            }
            None => Client::open(information),
        }
    });
    client.map_err(|error| UnusableSettings(error.category().to_owned()))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
