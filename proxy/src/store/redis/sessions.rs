//! Sessions in Redis: their records and tombstones, the set of each user's sessions, and the times of last use.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::replies::{bytes_of, exactly, lookup, pairs, time_of};
use super::{BATCH, RedisStore, millis};
use crate::clock::Timestamp;
use crate::context::{Session, SessionId, UserId};
use crate::store::{Lookup, PutSession, SessionAnswer, StoreError, StoredSession, record};

/// How long a time of last use is kept: longer than any idle timeout that makes sense (31 days).
const ACTIVITY_KEPT: Duration = Duration::from_hours(31 * 24);
/// From how many remembered sessions on a user's set is looked through for ended ones, and how often.
const CROWD: i64 = 64;

/// Writes ARGV[1] for ARGV[2] ms if nothing lies there, or a live record of our format with a version below ARGV[3].
/// Everything else (a tombstone, garbage, a newer format) stays. Versions are compared as numbers, exact below 2^53.
const PUT_IF_NEWER: &str = "local old = redis.pcall('GET', KEYS[1]) \
    if type(old) == 'table' then return 0 end \
    if old then \
      local read, record = pcall(cjson.decode, old) \
      if not read or type(record) ~= 'table' or record.v ~= 1 or record.ended ~= nil \
        or type(record.version) ~= 'number' or record.version >= tonumber(ARGV[3]) then return 0 end \
    end \
    redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 1";

impl RedisStore {
    pub(super) async fn read_session(&self, id: &SessionId) -> Result<SessionAnswer, StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("GET").arg(self.keys.session(id));
        commands.cmd("ZSCORE").arg(self.keys.activity(id)).arg(id.to_string());
        let [record, score] = exactly(self.connection.ask(&commands).await?)?;
        let session = lookup(record, |bytes| record::decode_session(bytes, id))?;
        // A tombstone is never old; everything else may be, in a server that was replaced.
        if session != Lookup::Found(StoredSession::Ended) {
            self.believed()?;
        }
        Ok(SessionAnswer { session, last_seen: time_of(&score)? })
    }

    pub(super) async fn write_session(
        &self,
        session: &Session,
        how: PutSession,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let lifetime = millis(session.expires.since(now));
        if lifetime == 0 {
            return Ok(false);
        }
        let key = self.keys.session(&session.id);
        let record = record::encode_session(session);
        let mut commands = Pipeline::new();
        match how {
            PutSession::IfAbsent => {
                commands.cmd("SET").arg(key).arg(record).arg("PX").arg(lifetime).arg("NX");
            }
            PutSession::IfNewer => {
                let version = session.version;
                commands.cmd("EVAL").arg(PUT_IF_NEWER).arg(1).arg(key).arg(record).arg(lifetime).arg(version);
            }
        }
        let [outcome] = exactly(self.connection.ask_all(&commands).await?)?;
        let written = matches!(outcome, Value::Okay | Value::Int(1));
        if written {
            self.remember(session, lifetime).await?;
        }
        Ok(written)
    }

    async fn remember(&self, session: &Session, lifetime: u64) -> Result<(), StoreError> {
        let key = self.keys.user_sessions(&session.user);
        let mut commands = Pipeline::new();
        commands.cmd("SADD").arg(&key).arg(session.id.to_string());
        // The set lives as long as its longest session: NX for a set without an end, GT to move an end outwards.
        commands.cmd("PEXPIRE").arg(&key).arg(lifetime).arg("NX");
        commands.cmd("PEXPIRE").arg(&key).arg(lifetime).arg("GT");
        commands.cmd("SCARD").arg(&key);
        let values = self.connection.ask_all(&commands).await?;
        if matches!(values.last(), Some(Value::Int(size)) if *size >= CROWD && size % (CROWD / 2) == 0) {
            self.sweep_user_sessions(&session.user).await?;
        }
        Ok(())
    }

    /// Drops from a user's set the sessions that have no record any more.
    async fn sweep_user_sessions(&self, user: &UserId) -> Result<(), StoreError> {
        let ids = self.sessions_of(user).await?;
        let mut commands = Pipeline::new();
        for id in &ids {
            commands.cmd("EXISTS").arg(self.keys.session(id));
        }
        let there = self.connection.ask_all(&commands).await?;
        let gone: Vec<String> = ids
            .iter()
            .zip(&there)
            .filter(|(_, n)| **n == Value::Int(0))
            .map(|(id, _)| id.to_string())
            .collect();
        if gone.is_empty() {
            return Ok(());
        }
        let mut commands = Pipeline::new();
        commands.cmd("SREM").arg(self.keys.user_sessions(user)).arg(gone);
        self.connection.ask_all(&commands).await.map(drop)
    }

    pub(super) async fn write_tombstones(
        &self,
        sessions: &[(SessionId, Timestamp)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for some in sessions.chunks(BATCH) {
            let mut commands = Pipeline::new();
            for (id, end) in some {
                let lifetime = millis(end.since(now)).max(1);
                commands.cmd("SET").arg(self.keys.session(id)).arg(record::TOMBSTONE).arg("PX").arg(lifetime);
            }
            self.connection.ask_all(&commands).await?;
        }
        Ok(())
    }

    pub(super) async fn sessions_of(&self, user: &UserId) -> Result<Vec<SessionId>, StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("SMEMBERS").arg(self.keys.user_sessions(user));
        let [members] = exactly(self.connection.ask_all(&commands).await?)?;
        let (Value::Array(members) | Value::Set(members)) = members else {
            return Err(StoreError::Unavailable);
        };
        let ids =
            members.iter().filter_map(|member| std::str::from_utf8(bytes_of(member)?).ok()?.parse().ok());
        Ok(ids.collect())
    }

    pub(super) async fn write_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), StoreError> {
        for some in seen.chunks(BATCH) {
            let mut shards: BTreeMap<String, Vec<&(SessionId, Timestamp)>> = BTreeMap::new();
            for entry in some {
                shards.entry(self.keys.activity(&entry.0)).or_default().push(entry);
            }
            let mut commands = Pipeline::new();
            for (key, entries) in &shards {
                let command = commands.cmd("ZADD").arg(key).arg("GT");
                for (id, at) in entries {
                    command.arg(at.as_millis()).arg(id.to_string());
                }
                let newest = entries.iter().map(|(_, at)| *at).max().unwrap_or_default();
                let oldest = newest.minus(ACTIVITY_KEPT).as_millis();
                commands.cmd("ZREMRANGEBYSCORE").arg(key).arg("-inf").arg(format!("({oldest}"));
                commands.cmd("PEXPIRE").arg(key).arg(millis(ACTIVITY_KEPT));
            }
            self.connection.ask_all(&commands).await?;
        }
        Ok(())
    }

    pub(super) async fn used_last(&self, most: usize) -> Result<Vec<SessionId>, StoreError> {
        let shards = self.keys.activity_shards();
        let each = most.div_ceil(shards.len());
        let mut commands = Pipeline::new();
        for shard in &shards {
            commands.cmd("ZREVRANGE").arg(shard).arg(0).arg(each.saturating_sub(1)).arg("WITHSCORES");
        }
        let values = self.connection.ask_all(&commands).await?;
        let mut seen: Vec<(Timestamp, SessionId)> = Vec::new();
        for value in &values {
            seen.extend(scores(value));
        }
        seen.sort_unstable_by(|one, two| two.cmp(one));
        Ok(seen.into_iter().take(most).map(|(_, id)| id).collect())
    }
}

/// Members and scores of a sorted set; what is not ours is passed over.
fn scores(value: &Value) -> Vec<(Timestamp, SessionId)> {
    let entry = |(member, score): (&Value, &Value)| {
        let id = std::str::from_utf8(bytes_of(member)?).ok()?.parse().ok()?;
        Some((time_of(score).ok()??, id))
    };
    pairs(value).into_iter().filter_map(entry).collect()
}
