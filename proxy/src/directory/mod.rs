//! The durable truth: users, platforms, sessions, settings and the audit log, in Postgres or SQLite.
//! A directory knows nothing of the store, cookies or HTTP.

pub mod changes;
pub mod ledger;
pub mod migrations;
mod postgres;
mod queries;
mod read_only;
mod rows;
mod sqlite;
mod trouble;

#[cfg(test)]
mod contract;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

pub use changes::{Changed, Changes, News, Page, Place};
pub use ledger::{AuditPage, AuditRecord, Ledger, SessionPage};
pub use postgres::PostgresDirectory;
pub use queries::{Queries, QueryFacts, QueryObserver, QueryReport, SessionQuery};
pub use sqlite::SqliteDirectory;

use read_only::ReadOnly;

use crate::breaker::Breaker;
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, PasswordKeys, Platform, PlatformId, Session, SessionId, User, UserId};
use crate::secret::Secret;

/// A user and one platform: whose settings or figures, for what.
pub type Pair = (UserId, PlatformId);

/// A session as the directory keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRow {
    /// The session.
    pub session: Session,
    /// When it was ended, if it was.
    pub ended: Option<Timestamp>,
    /// When it was last used, as far as written.
    pub last_seen: Option<Timestamp>,
}

/// A session of an application, as it lies in a table.
#[derive(Clone, Debug)]
pub struct TableSession {
    /// What it is looked up by. As secret as the cookie.
    pub key: Secret,
    /// When it ends.
    pub ends: Timestamp,
    /// The session as the framework writes it there.
    pub data: Option<Vec<u8>>,
    /// Whose it is, where a column says so.
    pub user: Option<String>,
    /// The platform that was chosen, where a column says so.
    pub platform: Option<String>,
    /// When it began, where a column says so.
    pub created: Option<Timestamp>,
}

/// How what is ours about a foreign session is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PutForeign {
    /// It was ended, or a platform was chosen: that counts from now on.
    Change,
    /// It was seen: a choice that is kept stays.
    Note,
}

/// The outcome of a conditional change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change<T> {
    /// It was made, and this is what stands now.
    Done(T),
    /// What was to be changed is not there any more, or has ended.
    Gone,
    /// It was changed by somebody else meanwhile.
    Conflict,
}

/// One line of the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// What happened: `session_started`, `session_rotated`, `session_ended`, `platform_switched`, ...
    pub event: &'static str,
    /// Whose session.
    pub user: Option<UserId>,
    /// Which session.
    pub session: Option<SessionId>,
    /// Which platform.
    pub platform: Option<PlatformId>,
    /// Who did it: `upstream:{name}`, `user`, `admin`, `proxy`.
    pub by: String,
    /// The client's address.
    pub from: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
}

/// The session that another one takes the place of.
#[derive(Clone, Copy, Debug)]
pub struct Replaced<'a> {
    /// Which.
    pub id: SessionId,
    /// What the audit log says of its end.
    pub line: Option<&'a AuditEntry>,
}

/// The directory could not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DirectoryError {
    /// No connection, no free connection in time, or the server refused.
    #[error("the directory cannot be reached")]
    Unavailable,
    /// No answer in time.
    #[error("the directory did not answer in time")]
    Timeout,
    /// The answer could not be read: a wrong column type, a missing table, a failing query.
    #[error("the directory's answer cannot be read")]
    Unreadable,
    /// It would have to be written to a schema that is not ours.
    #[error("the directory is an existing schema, which is only read")]
    ReadOnly,
}

/// Why a directory could not be opened at all. A server that is away is no reason.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL is not one of a Postgres server. What is wrong with it is in the source; the URL may hold a password.
    #[error("the directory's URL cannot be used")]
    Url(#[source] sqlx::Error),
    /// The file cannot be made, opened or brought up to date.
    #[error("the directory's file cannot be used")]
    File(#[from] migrations::MigrationError),
}

/// Opens the directory that `settings` describe, inside a tokio runtime. Postgres is connected to when it is first
/// asked, so its absence does not delay the start; a SQLite file is made and migrated here.
///
/// # Errors
/// When the URL is none, or the file cannot be used.
pub async fn open(settings: &Settings) -> Result<Arc<dyn Directory>, OpenError> {
    Ok(match &settings.kind {
        Kind::Postgres(url) if settings.queries.replace_people() => {
            Arc::new(ReadOnly::over(PostgresDirectory::open(settings, url)?))
        }
        Kind::Postgres(url) => Arc::new(PostgresDirectory::open(settings, url)?),
        Kind::Sqlite(path) => Arc::new(SqliteDirectory::open(settings, path.as_deref()).await?),
    })
}

/// Connections of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolUse {
    /// Lent to a query.
    pub in_use: u32,
    /// Open and waiting.
    pub idle: u32,
    /// The most that may be open.
    pub limit: u32,
}

/// The durable truth. Reads take many keys at once, because one query for all that wait is what keeps the pool whole;
/// keys that are not there are simply absent from the answer.
///
/// Invariant: a change and the `line` that tells of it in the audit log are one transaction: both are there, or neither.
/// What changes nothing is not told.
#[async_trait]
pub trait Directory: Ledger + fmt::Debug {
    /// Sessions by id, ended ones included.
    async fn sessions(&self, ids: &[SessionId]) -> Result<Vec<SessionRow>, DirectoryError>;

    /// Users by id, inactive ones included.
    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, DirectoryError>;

    /// Platforms by id, inactive ones included.
    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Platform>, DirectoryError>;

    /// The active platforms of users: per user the default first, then by name.
    async fn user_platforms(&self, users: &[UserId]) -> Result<Vec<Platform>, DirectoryError>;

    /// Settings of users for platforms.
    async fn settings_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, serde_json::Value)>, DirectoryError>;

    /// Computed figures of users about their own platforms.
    async fn stats_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, serde_json::Value)>, DirectoryError>;

    /// The keys with which users are marked; `None` where nobody's password can be read.
    fn password_keys(&self) -> Option<&PasswordKeys> {
        None
    }

    /// Marks users with these keys from now on. Answers whether those before were others.
    fn mark_passwords_with(&self, _keys: &PasswordKeys) -> bool {
        false
    }

    /// Sessions that an application keeps in a table, by its own keys; nothing is ever written there. Where there are no
    /// tables of others, the answer is `Unreadable`.
    async fn table_sessions(
        &self,
        _query: &SessionQuery,
        _keys: &[&Secret],
    ) -> Result<Vec<TableSession>, DirectoryError> {
        Err(DirectoryError::Unreadable)
    }

    /// Whether changes of what this query reads are told, as long as anything is.
    fn tells_of(&self, _query: &SessionQuery) -> bool {
        false
    }

    /// Deletes a session that an application keeps in a table, as the application itself would when its user logs out.
    async fn delete_table_session(&self, _query: &SessionQuery, _key: &Secret) -> Result<(), DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    /// Whether what is ours about sessions of other frameworks may be kept here, as far as is known without asking. Where
    /// it is not, only the store has it, and the calls for it answer `ReadOnly`.
    fn keeps_foreign(&self) -> bool {
        false
    }

    /// Whether it can be kept here that a user logged out everywhere, as far as is known without asking.
    fn ends_users(&self) -> bool {
        true
    }

    /// Finds out whether it is; if not, why, and what to do.
    async fn check_foreign(&self) -> Result<Result<(), String>, DirectoryError> {
        Ok(Err("this directory has no place for them".to_owned()))
    }

    /// What is ours about sessions of other frameworks.
    async fn foreign_records(&self, _ids: &[SessionId]) -> Result<Vec<ForeignRecord>, DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    /// Writes it together with what is kept: the earlier moment at which the session was seen, the first end, the later
    /// end of keeping; a choice takes the place of another only as `how` says. Answers all as they stand. The `line` is
    /// written if something has changed that counts.
    async fn put_foreign(
        &self,
        _records: &[ForeignRecord],
        _how: PutForeign,
        _line: Option<&AuditEntry>,
    ) -> Result<Vec<ForeignRecord>, DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    /// Deletes at most `limit` of those that need not be kept at `now`. Answers how many.
    async fn purge_foreign(&self, _now: Timestamp, _limit: u32) -> Result<u64, DirectoryError> {
        Ok(0)
    }

    /// Writes settings whole.
    async fn put_settings(
        &self,
        user: &UserId,
        platform: &PlatformId,
        settings: &serde_json::Value,
    ) -> Result<(), DirectoryError>;

    /// Writes settings over those that were read; `None` where there were none. `Conflict` when others stand there now,
    /// `Gone` when there is no such user or platform.
    async fn replace_settings(
        &self,
        user: &UserId,
        platform: &PlatformId,
        before: Option<&serde_json::Value>,
        after: &serde_json::Value,
        line: Option<&AuditEntry>,
    ) -> Result<Change<()>, DirectoryError>;

    /// Writes a new session, and ends the one it replaces in the same transaction (the browser's old session at login),
    /// with those that a rotation joins to it. Answers how many ended. `Unreadable` when the id is taken or there is no
    /// such user.
    async fn create_session(
        &self,
        session: &Session,
        replaces: Option<Replaced<'_>>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, DirectoryError>;

    /// Puts `successor` in the place of the session `old`, if `old` is live and at version `old_version`. With a grace
    /// the old one ends at `grace_until` and points to its successor; without, it ends now, and so does its own
    /// predecessor if that still has a grace.
    async fn rotate_session(
        &self,
        old: &SessionId,
        old_version: u64,
        successor: &Session,
        grace_until: Option<Timestamp>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Change<()>, DirectoryError>;

    /// Sets or clears the session's platform, if it is live and at `version`. Answers the session as it stands.
    async fn set_platform(
        &self,
        id: &SessionId,
        version: u64,
        platform: Option<&PlatformId>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Change<Session>, DirectoryError>;

    /// Ends sessions, and with each the one it replaced and the one that replaced it, if they stand. Those that are
    /// not there or have ended are left alone. Answers how many ended; without any there is no line.
    async fn end_sessions(
        &self,
        ids: &[SessionId],
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, DirectoryError>;

    /// Ends every session of a user that began up to `now`, and moves `sessions_valid_after` to `now` if it lies before.
    /// Answers the user as it stands, or `None` if unknown. Where all that was done before, there is no line.
    async fn end_user_sessions(
        &self,
        user: &UserId,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Option<User>, DirectoryError>;

    /// How much of its pool is in use; `None` where there is none.
    fn pool(&self) -> Option<PoolUse> {
        None
    }

    /// The user's sessions that have not ended, newest first.
    async fn sessions_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<SessionRow>, DirectoryError>;

    /// Notes when sessions were last used; never moves a time backwards.
    async fn note_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), DirectoryError>;

    /// Appends to the audit log what was not done here.
    async fn audit(&self, entry: &AuditEntry) -> Result<(), DirectoryError>;

    /// Deletes at most `limit` sessions that ended or expired before `before`. Answers how many.
    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError>;

    /// The changes that were written down after `after`, at most `most` of them, oldest first: whatever was told, and
    /// what nobody heard. Those that are committed later than asked are after the answer's horizon.
    async fn changes_after(&self, after: Place, most: u32) -> Result<Page, DirectoryError>;

    /// Deletes at most `limit` changes that were written down before `before`. Answers how many.
    async fn purge_changes(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError>;

    /// Writes a user whole (the demo, tests and the command line).
    async fn put_user(&self, user: &User) -> Result<(), DirectoryError>;

    /// Writes a platform whole; when it is the default, no other one of its user stays so. `Unreadable` when there is no
    /// such user.
    async fn put_platform(&self, platform: &Platform) -> Result<(), DirectoryError>;

    /// The largest number of connections; whoever reads for many asks with fewer at once.
    fn connections(&self) -> u32;

    /// Whether it is a server, to which each query is a way, and which others use as well: keys are gathered before it is
    /// asked. A file in the same machine is asked at once.
    fn is_server(&self) -> bool {
        true
    }

    /// The most keys that one call for this kind of record shall ask for: few where the operator's query takes one.
    fn most_keys(&self, _what: Asked) -> usize {
        usize::MAX
    }

    /// Describes the operator's own queries that are not in use yet, and says what each came to.
    async fn check_queries(&self) -> Result<Vec<QueryReport>, DirectoryError> {
        Ok(Vec::new())
    }

    /// Has `observer` told whenever one of the operator's own queries becomes usable, or is found not to be.
    fn observe_queries(&self, _observer: QueryObserver) {}

    /// What keeps calls from waiting for a server that is not there; `None` where there is no server.
    fn breaker(&self) -> Option<&Breaker> {
        None
    }

    /// Starts to listen for changes that others make, inside a tokio runtime; each call listens anew. `None` where
    /// nobody else can change anything: then whoever writes tells whom it concerns.
    fn changes(&self) -> Option<Changes> {
        None
    }

    /// Whether the directory answers, and who it says it is.
    async fn ping(&self) -> Result<String, DirectoryError>;
}

/// A kind of record that is asked for by key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Sessions of ours.
    Sessions,
    /// Users.
    Users,
    /// Platforms by id.
    Platforms,
    /// Platforms by user.
    UserPlatforms,
    /// Settings.
    Settings,
    /// Figures.
    Stats,
    /// Sessions of applications.
    TableSessions,
    /// What is ours about sessions of other frameworks.
    ForeignRecords,
}

/// How to reach the directory, and how long it may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which kind.
    pub kind: Kind,
    /// The largest number of connections.
    pub connections: u32,
    /// The longest that one call may take, getting a connection included; the server's own limit lies below it. A
    /// write that timed out may have been made.
    pub timeout: Duration,
    /// The operator's own queries (Postgres).
    pub queries: Queries,
    /// Whether a pooler in transaction mode stands in front (Postgres): nothing is kept on a connection then.
    pub pooler: bool,
    /// The server itself, where a pooler stands in front (Postgres): for the connection that listens, and for migrations.
    pub direct_url: Option<Secret>,
}

impl Settings {
    /// A directory of ours.
    #[must_use]
    pub fn new(kind: Kind, connections: u32, timeout: Duration) -> Self {
        Self { kind, connections, timeout, queries: Queries::default(), pooler: false, direct_url: None }
    }
}

/// The kinds of directory.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A Postgres server; the URL may hold a password.
    Postgres(Secret),
    /// One SQLite file, made when it is not there; `None` keeps everything in memory.
    Sqlite(Option<PathBuf>),
}
