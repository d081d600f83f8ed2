//! Sessions of other frameworks in Redis. Their keys are read, in one round trip with what is ours about them; they are
//! never written, renewed or locked, and deleted only at a log-out, where the operator lets us.

use std::time::Duration;

use redis::{Pipeline, Value};

use super::replies::{bytes_of, exactly, lookup};
use super::{BATCH, RedisStore, millis};
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, PlatformId, SessionId};
use crate::formats::decode::Raw;
use crate::formats::value::MOST_BYTES;
use crate::secret::Secret;
use crate::store::foreign::{ForeignAnswer, ForeignKey, Own};
use crate::store::{Lookup, StoreError, StoredSession, record};

/// The field of the time at which a session was first seen.
const SEEN: &str = "seen";
/// The field of the chosen platform; an empty text is the user's default.
const PLATFORM: &str = "platform";
/// The field of the version of the directory's record, where there is one.
const VERSION: &str = "version";
/// Writes seen (ARGV[2]) and, if ARGV[3] says that there is one, the platform (ARGV[4]) as they stand in the directory at
/// version ARGV[1], unless it is older, and lets the hash live for ARGV[5] ms at least. One that is the same is not
/// written: every write is told to all processes.
const PUT_RECORD: &str = "local known = tonumber(redis.call('HGET', KEYS[1], 'version') or '0') \
    if tonumber(ARGV[1]) > known then redis.call('HSET', KEYS[1], 'version', ARGV[1], 'seen', ARGV[2]) \
    if ARGV[3] == 'chosen' then redis.call('HSET', KEYS[1], 'platform', ARGV[4]) \
    else redis.call('HDEL', KEYS[1], 'platform') end end \
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[5]) then redis.call('PEXPIRE', KEYS[1], ARGV[5]) end return 1";
/// Writes the field ARGV[1] with ARGV[2] unless it is there and ARGV[4] says to keep it, and lets the hash live for
/// ARGV[3] ms at least.
const PUT_OWN: &str = "if ARGV[4] == 'keep' then redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2]) \
    else redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end \
    if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end return 1";

impl RedisStore {
    pub(super) async fn read_foreign(&self, foreign: &ForeignKey) -> Result<ForeignAnswer, StoreError> {
        let mut commands = Pipeline::new();
        if let Some(key) = &foreign.key {
            let key = key.expose();
            if foreign.is_hash {
                commands.cmd("HGETALL").arg(key);
            } else {
                // One byte more than a session may have, so that a larger one is seen to be larger, and no more.
                commands.cmd("GETRANGE").arg(key).arg(0).arg(MOST_BYTES);
            }
            commands.cmd("PTTL").arg(key);
        }
        commands.cmd("GET").arg(self.keys.session(&foreign.id));
        commands.cmd("PTTL").arg(self.keys.session(&foreign.id));
        let own = self.keys.foreign(&foreign.id);
        commands.cmd("HMGET").arg(&own).arg(SEEN).arg(PLATFORM).arg(VERSION);
        commands.cmd("PTTL").arg(&own);
        let answer = self.connection.ask(&commands).await?;
        let (there, [ended, ended_lives, own, own_lives]) = if foreign.key.is_some() {
            let [session, lives, ended, ended_lives, own, own_lives] = exactly(answer)?;
            (Some((session, lifetime(&lives)?)), [ended, ended_lives, own, own_lives])
        } else {
            (None, exactly(answer)?)
        };
        let ended = lookup(ended, |bytes| record::decode_session(bytes, &foreign.id))?;
        let ended = ended == Lookup::Found(StoredSession::Ended);
        // A tombstone is never old; everything else may be, in a server that was replaced.
        if !ended {
            self.believed()?;
        }
        let lives = there.as_ref().and_then(|(_, lives)| lives.span());
        Ok(ForeignAnswer {
            session: match there {
                None | Some((_, Lifetime::Missing)) => Lookup::Missing,
                Some((session, _)) => raw(session)?,
            },
            lives,
            ended,
            ended_lives: lifetime(&ended_lives)?.span(),
            own: read_own(&own, lifetime(&own_lives)?.span())?,
        })
    }

    pub(super) async fn write_foreign_seen(
        &self,
        id: &SessionId,
        seen: Timestamp,
        kept: Duration,
    ) -> Result<(), StoreError> {
        self.write_own(id, SEEN, &seen.as_millis().to_string(), kept, "keep").await
    }

    pub(super) async fn write_foreign_platform(
        &self,
        id: &SessionId,
        platform: Option<&PlatformId>,
        kept: Duration,
    ) -> Result<(), StoreError> {
        self.write_own(id, PLATFORM, platform.map_or("", PlatformId::as_str), kept, "replace").await
    }

    pub(super) async fn write_foreign(
        &self,
        records: &[ForeignRecord],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        for some in records.chunks(BATCH) {
            let mut commands = Pipeline::new();
            for record in some {
                let kept = millis(record.kept_until.since(now)).max(1);
                let platform = record.platform.as_ref().and_then(Option::as_ref);
                let chosen = if record.platform.is_some() { "chosen" } else { "" };
                let command = commands.cmd("EVAL").arg(PUT_RECORD).arg(1).arg(self.keys.foreign(&record.id));
                command.arg(record.version).arg(record.seen.as_millis()).arg(chosen);
                command.arg(platform.map_or("", PlatformId::as_str)).arg(kept);
            }
            self.connection.ask_all(&commands).await?;
        }
        Ok(())
    }

    pub(super) async fn delete_record(&self, key: &Secret) -> Result<(), StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("DEL").arg(key.expose());
        self.connection.ask_all(&commands).await.map(drop)
    }

    async fn write_own(
        &self,
        id: &SessionId,
        field: &str,
        value: &str,
        kept: Duration,
        how: &str,
    ) -> Result<(), StoreError> {
        let mut commands = Pipeline::new();
        commands.cmd("EVAL").arg(PUT_OWN).arg(1).arg(self.keys.foreign(id));
        commands.arg(field).arg(value).arg(millis(kept)).arg(how);
        self.connection.ask_all(&commands).await.map(drop)
    }
}

/// What PTTL says.
#[derive(Clone, Copy)]
enum Lifetime {
    Missing,
    Endless,
    Span(Duration),
}

impl Lifetime {
    const fn span(self) -> Option<Duration> {
        match self {
            Self::Span(span) => Some(span),
            Self::Missing | Self::Endless => None,
        }
    }
}

fn lifetime(value: &Value) -> Result<Lifetime, StoreError> {
    match value {
        Value::Int(-2) => Ok(Lifetime::Missing),
        Value::Int(-1) => Ok(Lifetime::Endless),
        Value::Int(millis) => u64::try_from(*millis)
            .map(Duration::from_millis)
            .map(Lifetime::Span)
            .map_err(|_| StoreError::Unavailable),
        _ => Err(StoreError::Unavailable),
    }
}

/// The session as it lies there. A key of another type cannot be read; it is no session of this framework.
fn raw(value: Value) -> Result<Lookup<Raw>, StoreError> {
    let pairs = match value {
        Value::ServerError(error) if error.code() == "WRONGTYPE" => return Ok(Lookup::Unreadable),
        Value::ServerError(_) => return Err(StoreError::Unavailable),
        Value::Map(pairs) => pairs,
        Value::Array(values) => {
            values.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
        }
        value => {
            return Ok(
                bytes_of(&value).map_or(Lookup::Unreadable, |text| Lookup::Found(Raw::Text(text.to_vec())))
            );
        }
    };
    let bytes = |value: &Value| bytes_of(value).map(<[u8]>::to_vec);
    let fields: Option<Vec<_>> =
        pairs.iter().map(|(name, value)| Some((bytes(name)?, bytes(value)?))).collect();
    Ok(fields.map_or(Lookup::Unreadable, |fields| Lookup::Found(Raw::Hash(fields))))
}

fn read_own(value: &Value, lives: Option<Duration>) -> Result<Own, StoreError> {
    let Value::Array(values) = value else { return Err(StoreError::Unavailable) };
    let text = |value: Option<&Value>| std::str::from_utf8(bytes_of(value?)?).ok().map(str::to_owned);
    let seen = text(values.first()).and_then(|text| text.parse().ok()).map(Timestamp::from_millis);
    let platform = match text(values.get(1)) {
        None => None,
        Some(empty) if empty.is_empty() => Some(None),
        // What cannot be read is ours, and means that nothing may be assumed.
        Some(id) => Some(Some(id.parse().map_err(|_| StoreError::Unavailable)?)),
    };
    let version = text(values.get(2)).and_then(|text| text.parse().ok());
    Ok(Own { seen, platform, lives, version })
}
