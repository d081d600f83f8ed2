//! From columns to entities, the same for every kind of directory, and the words of SQL that the queries share.

use serde::de::value::{Error as TextError, StrDeserializer};
use serde::de::{Deserialize, IntoDeserializer};
use sqlx::{Error, FromRow};

use super::ledger::AuditRecord;
use super::{Pair, SessionRow};
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, Platform, SealedCredential, Session, User};

/// The columns of a session, in a query.
macro_rules! session_columns {
    () => {
        "id, user_id, platform_id, created_at, authenticated_at, expires_at, ended_at, last_seen, predecessor, \
         successor, actor_id, version"
    };
}

/// The columns of a platform, in a query.
macro_rules! platform_columns {
    () => {
        "id, user_id, type, name, url, active, is_default, credential"
    };
}

/// The columns of a line of the audit log, in a query.
macro_rules! audit_columns {
    () => {
        "id, at, event, user_id, session_id, platform_id, done_by, address, request_id"
    };
}

/// The columns of what is ours about a foreign session, in a query.
macro_rules! foreign_columns {
    () => {
        "id, user_id, seen_at, has_choice, platform_id, ended_at, kept_until, version"
    };
}

pub(super) use {audit_columns, foreign_columns, platform_columns, session_columns};

/// Behind every session id, which is base64url.
pub(super) const LAST_ID: &str = "~";

#[derive(FromRow)]
pub(super) struct SessionColumns {
    id: String,
    user_id: String,
    platform_id: Option<String>,
    created_at: i64,
    authenticated_at: i64,
    expires_at: i64,
    ended_at: Option<i64>,
    last_seen: Option<i64>,
    predecessor: Option<String>,
    successor: Option<String>,
    actor_id: Option<String>,
    version: i64,
}

#[derive(FromRow)]
pub(super) struct UserColumns {
    id: String,
    name: String,
    /// A JSON array of texts.
    roles: String,
    active: bool,
    sessions_valid_after: Option<i64>,
}

#[derive(FromRow)]
pub(super) struct PlatformColumns {
    id: String,
    user_id: String,
    #[sqlx(rename = "type")]
    kind: String,
    name: String,
    url: String,
    active: bool,
    is_default: bool,
    credential: Option<String>,
}

#[derive(FromRow)]
pub(super) struct ForeignColumns {
    id: String,
    user_id: Option<String>,
    seen_at: i64,
    has_choice: bool,
    platform_id: Option<String>,
    ended_at: Option<i64>,
    kept_until: i64,
    version: i64,
}

impl TryFrom<ForeignColumns> for ForeignRecord {
    type Error = Error;

    fn try_from(columns: ForeignColumns) -> Result<Self, Error> {
        let platform = columns.platform_id.as_deref().map(id).transpose()?;
        Ok(Self {
            id: id(&columns.id)?,
            user: columns.user_id.as_deref().map(id).transpose()?,
            seen: time(columns.seen_at)?,
            platform: columns.has_choice.then_some(platform),
            ended: columns.ended_at.map(time).transpose()?,
            kept_until: time(columns.kept_until)?,
            version: u64::try_from(columns.version).map_err(unreadable)?,
        })
    }
}

#[derive(FromRow)]
pub(super) struct AuditColumns {
    id: i64,
    at: i64,
    event: String,
    user_id: Option<String>,
    session_id: Option<String>,
    platform_id: Option<String>,
    done_by: String,
    address: Option<String>,
    request_id: Option<String>,
}

impl TryFrom<AuditColumns> for AuditRecord {
    type Error = Error;

    fn try_from(columns: AuditColumns) -> Result<Self, Error> {
        Ok(Self {
            number: u64::try_from(columns.id).map_err(unreadable)?,
            at: time(columns.at)?,
            event: columns.event,
            user: columns.user_id.as_deref().map(id).transpose()?,
            session: columns.session_id.as_deref().map(id).transpose()?,
            platform: columns.platform_id.as_deref().map(id).transpose()?,
            by: columns.done_by,
            from: columns.address,
            request_id: columns.request_id,
        })
    }
}

/// JSON under a user and a platform; `T` is what the database calls JSON.
#[derive(FromRow)]
pub(super) struct ValueColumns<T> {
    user_id: String,
    platform_id: String,
    value: T,
}

impl TryFrom<ValueColumns<serde_json::Value>> for (Pair, serde_json::Value) {
    type Error = Error;

    fn try_from(columns: ValueColumns<serde_json::Value>) -> Result<Self, Error> {
        Ok(((id(&columns.user_id)?, id(&columns.platform_id)?), columns.value))
    }
}

impl TryFrom<ValueColumns<String>> for (Pair, serde_json::Value) {
    type Error = Error;

    fn try_from(columns: ValueColumns<String>) -> Result<Self, Error> {
        let value = serde_json::from_str(&columns.value).map_err(unreadable)?;
        Ok(((id(&columns.user_id)?, id(&columns.platform_id)?), value))
    }
}

impl TryFrom<SessionColumns> for SessionRow {
    type Error = Error;

    fn try_from(columns: SessionColumns) -> Result<Self, Error> {
        let session = Session {
            id: id(&columns.id)?,
            user: id(&columns.user_id)?,
            platform: columns.platform_id.as_deref().map(id).transpose()?,
            created: time(columns.created_at)?,
            authenticated: time(columns.authenticated_at)?,
            expires: time(columns.expires_at)?,
            predecessor: columns.predecessor.as_deref().map(id).transpose()?.map(Box::new),
            successor: columns.successor.as_deref().map(id).transpose()?.map(Box::new),
            actor: columns.actor_id.as_deref().map(id).transpose()?,
            version: u64::try_from(columns.version).map_err(unreadable)?,
        };
        let ended = columns.ended_at.map(time).transpose()?;
        Ok(Self { session, ended, last_seen: columns.last_seen.map(time).transpose()? })
    }
}

impl TryFrom<UserColumns> for User {
    type Error = Error;

    fn try_from(columns: UserColumns) -> Result<Self, Error> {
        Ok(Self {
            id: id(&columns.id)?,
            name: columns.name.into(),
            roles: serde_json::from_str(&columns.roles).map_err(unreadable)?,
            active: columns.active,
            sessions_valid_after: columns.sessions_valid_after.map(time).transpose()?,
            passwords: Box::default(),
        })
    }
}

impl TryFrom<PlatformColumns> for Platform {
    type Error = Error;

    fn try_from(columns: PlatformColumns) -> Result<Self, Error> {
        Ok(Self {
            id: id(&columns.id)?,
            user: id(&columns.user_id)?,
            kind: columns.kind.into(),
            name: columns.name.into(),
            url: columns.url.into(),
            active: columns.active,
            default: columns.is_default,
            credential: columns.credential.map(SealedCredential::from_text),
        })
    }
}

/// All rows as entities; one that cannot be read makes the whole answer unreadable, because leaving it out would say
/// that it is not there.
pub(super) fn all<C, T: TryFrom<C, Error = Error>>(rows: Vec<C>) -> Result<Vec<T>, Error> {
    rows.into_iter().map(T::try_from).collect()
}

/// A moment as it is stored; far beyond any lifetime it stops at the largest value.
pub(super) fn column(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}

/// A version as it is stored. No session changes that often.
pub(super) fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}

/// Ids as they are stored.
pub(super) fn texts<I: ToString>(ids: &[I]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

/// A moment that was stored.
pub(super) fn time(millis: i64) -> Result<Timestamp, Error> {
    u64::try_from(millis).map(Timestamp::from_millis).map_err(unreadable)
}

fn id<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Error> {
    let text: StrDeserializer<'a, TextError> = text.into_deserializer();
    T::deserialize(text).map_err(unreadable)
}

pub(super) fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Decode(Box::new(error))
}
