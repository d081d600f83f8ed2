//! The directory in one SQLite file, or in memory: the same contract without a server. One connection writes, a few
//! read. The schema is brought up to date when the file is opened.

mod foreign;
mod ledger;
mod log;
mod sessions;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection};

use super::migrations::{MigrationError, up_sqlite};
use super::rows::{
    PlatformColumns, SessionColumns, UserColumns, all, column, platform_columns, session_columns, texts,
};
use super::trouble::{Dialect, Watch};
use super::{
    AuditEntry, Change, Directory, DirectoryError, OpenError, Page, Pair, Place, PutForeign, Replaced,
    SessionRow, Settings,
};
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, Platform, PlatformId, Session, SessionId, User, UserId};

/// How long opening the file and bringing its schema up to date may wait for a slow disk, or for a predecessor that still
/// writes. No request waits for it, so the deadline of queries would only keep a slow machine from starting; below the
/// 30 s that the systemd unit gives the start.
const OPENING: Duration = Duration::from_secs(20);
const USER_COLUMNS: &str = "id, name, roles, active, sessions_valid_after";

/// Users, platforms and sessions in one SQLite file.
pub struct SqliteDirectory {
    /// One connection, so that writers wait in a row here and not for each other's locks.
    writer: SqlitePool,
    reader: SqlitePool,
    watch: Watch,
}

/// How the file is opened. An acknowledged revocation must survive a power failure, so every commit reaches the disk.
pub(super) fn options(path: Option<&Path>, timeout: Duration) -> SqliteConnectOptions {
    let options = match path {
        Some(path) => SqliteConnectOptions::new().filename(path).journal_mode(SqliteJournalMode::Wal),
        None => SqliteConnectOptions::new().in_memory(true),
    };
    options
        .create_if_missing(true)
        .foreign_keys(true)
        .busy_timeout(timeout * 4 / 5)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging()
}

/// Makes the file readable by its owner only, if it is not there; SQLite would let everybody read it.
pub(super) fn make_private(path: Option<&Path>) -> std::io::Result<()> {
    let Some(path) = path else { return Ok(()) };
    OpenOptions::new().create(true).append(true).mode(0o600).open(path).map(drop)
}

impl SqliteDirectory {
    /// Opens the file, or makes it, readable by its owner only; without a path everything is kept in memory and ends
    /// with this value.
    ///
    /// # Errors
    /// When the file cannot be made or opened, or was written by a later version of this program.
    pub async fn open(settings: &Settings, path: Option<&Path>) -> Result<Self, OpenError> {
        let unreachable = |error| OpenError::File(MigrationError::Unreachable(error));
        make_private(path).map_err(|error| unreachable(error.into()))?;
        if path.is_some() {
            // On a connection of its own, which waits for locks longer than a request may.
            let mut connection = options(path, OPENING).connect().await.map_err(unreachable)?;
            up_sqlite(&mut connection).await?;
            connection.close().await.map_err(unreachable)?;
        }
        let options = options(path, settings.timeout);
        // A database in memory lives as long as its one connection. Queries have the deadline of `watch`.
        let one = SqlitePoolOptions::new().max_connections(1).idle_timeout(None).max_lifetime(None);
        let writer = one.acquire_timeout(OPENING).connect_with(options.clone()).await.map_err(unreachable)?;
        if path.is_none() {
            up_sqlite(&mut *writer.acquire().await.map_err(unreachable)?).await?;
        }
        let reader = match path {
            Some(_) => SqlitePoolOptions::new()
                .max_connections(settings.connections.max(1))
                .acquire_timeout(settings.timeout)
                .connect_lazy_with(options),
            None => writer.clone(),
        };
        Ok(Self { writer, reader, watch: Watch::new(Dialect::Sqlite, settings.timeout, None) })
    }
}

impl fmt::Debug for SqliteDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteDirectory").field("readers", &self.reader.size()).finish_non_exhaustive()
    }
}

/// A list as one parameter.
fn list(texts: &[String]) -> String {
    serde_json::Value::from(texts).to_string()
}

#[async_trait]
impl Directory for SqliteDirectory {
    async fn sessions(&self, ids: &[SessionId]) -> Result<Vec<SessionRow>, DirectoryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = concat!(
            "SELECT ",
            session_columns!(),
            " FROM sessions WHERE id IN (SELECT value FROM json_each($1))"
        );
        let query = sqlx::query_as::<_, SessionColumns>(query).bind(list(&texts(ids)));
        self.watch.within(async { all(query.fetch_all(&self.reader).await?) }).await
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, DirectoryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let sql = sqlx::AssertSqlSafe(format!(
            "SELECT {USER_COLUMNS} FROM users WHERE id IN (SELECT value FROM json_each($1))"
        ));
        let query = sqlx::query_as::<_, UserColumns>(sql).bind(list(&texts(ids)));
        self.watch.within(async { all(query.fetch_all(&self.reader).await?) }).await
    }

    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Platform>, DirectoryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = concat!(
            "SELECT ",
            platform_columns!(),
            " FROM platforms WHERE id IN (SELECT value FROM json_each($1))"
        );
        let query = sqlx::query_as::<_, PlatformColumns>(query).bind(list(&texts(ids)));
        self.watch.within(async { all(query.fetch_all(&self.reader).await?) }).await
    }

    async fn user_platforms(&self, users: &[UserId]) -> Result<Vec<Platform>, DirectoryError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let query = concat!(
            "SELECT ",
            platform_columns!(),
            " FROM platforms WHERE user_id IN (SELECT value FROM json_each($1)) AND active ",
            "ORDER BY user_id, is_default DESC, name, id"
        );
        let query = sqlx::query_as::<_, PlatformColumns>(query).bind(list(&texts(users)));
        self.watch.within(async { all(query.fetch_all(&self.reader).await?) }).await
    }

    async fn settings_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, serde_json::Value)>, DirectoryError> {
        if pairs.is_empty() {
            Ok(Vec::new())
        } else {
            self.watch.within(values::settings(&self.reader, pairs)).await
        }
    }

    async fn stats_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, serde_json::Value)>, DirectoryError> {
        if pairs.is_empty() {
            Ok(Vec::new())
        } else {
            self.watch.within(values::stats(&self.reader, pairs)).await
        }
    }

    fn keeps_foreign(&self) -> bool {
        true
    }

    async fn check_foreign(&self) -> Result<Result<(), String>, DirectoryError> {
        Ok(Ok(()))
    }

    async fn foreign_records(&self, ids: &[SessionId]) -> Result<Vec<ForeignRecord>, DirectoryError> {
        if ids.is_empty() { Ok(Vec::new()) } else { self.watch.within(self.read_foreign(ids)).await }
    }

    async fn put_foreign(
        &self,
        records: &[ForeignRecord],
        how: PutForeign,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<ForeignRecord>, DirectoryError> {
        self.watch.within(self.write_foreign(records, how, line)).await
    }

    async fn purge_foreign(&self, now: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        self.watch.within(self.drop_foreign(now, limit)).await
    }

    async fn put_settings(
        &self,
        user: &UserId,
        platform: &PlatformId,
        settings: &serde_json::Value,
    ) -> Result<(), DirectoryError> {
        let query = sqlx::query(
            "INSERT INTO user_settings (user_id, platform_id, settings) VALUES ($1, $2, $3) \
             ON CONFLICT (user_id, platform_id) DO UPDATE SET settings = excluded.settings, \
             updated_at = excluded.updated_at",
        );
        let query = query.bind(user.as_str()).bind(platform.as_str()).bind(settings.to_string());
        self.watch.within(query.execute(&self.writer)).await.map(drop)
    }

    async fn replace_settings(
        &self,
        user: &UserId,
        platform: &PlatformId,
        before: Option<&serde_json::Value>,
        after: &serde_json::Value,
        line: Option<&AuditEntry>,
    ) -> Result<Change<()>, DirectoryError> {
        self.watch.within(values::replace(&self.writer, user, platform, before, after, line)).await
    }

    async fn create_session(
        &self,
        session: &Session,
        replaces: Option<Replaced<'_>>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, DirectoryError> {
        self.watch.within(self.create(session, replaces, now, line)).await
    }

    async fn rotate_session(
        &self,
        old: &SessionId,
        old_version: u64,
        successor: &Session,
        grace_until: Option<Timestamp>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Change<()>, DirectoryError> {
        self.watch.within(self.rotate(old, old_version, successor, grace_until, now, line)).await
    }

    async fn set_platform(
        &self,
        id: &SessionId,
        version: u64,
        platform: Option<&PlatformId>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Change<Session>, DirectoryError> {
        self.watch.within(self.choose(id, version, platform, now, line)).await
    }

    async fn end_sessions(
        &self,
        ids: &[SessionId],
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, DirectoryError> {
        if ids.is_empty() { Ok(0) } else { self.watch.within(self.end(ids, now, line)).await }
    }

    async fn end_user_sessions(
        &self,
        user: &UserId,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Option<User>, DirectoryError> {
        self.watch.within(self.end_all(user, now, line)).await
    }

    async fn sessions_of(&self, user: &UserId, now: Timestamp) -> Result<Vec<SessionRow>, DirectoryError> {
        let query = concat!(
            "SELECT ",
            session_columns!(),
            " FROM sessions WHERE user_id = $1 AND ended_at IS NULL AND expires_at > $2 ",
            "ORDER BY created_at DESC, id"
        );
        let query = sqlx::query_as::<_, SessionColumns>(query).bind(user.as_str()).bind(column(now));
        self.watch.within(async { all(query.fetch_all(&self.reader).await?) }).await
    }

    async fn note_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), DirectoryError> {
        let work = async {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            for (id, at) in seen {
                let query = sqlx::query(
                    "UPDATE sessions SET last_seen = $2 WHERE id = $1 AND ifnull(last_seen, 0) < $2",
                );
                query.bind(id.to_string()).bind(column(*at)).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        if seen.is_empty() { Ok(()) } else { self.watch.within(work).await }
    }

    async fn audit(&self, entry: &AuditEntry) -> Result<(), DirectoryError> {
        let work = async {
            let mut connection = self.writer.acquire().await?;
            ledger::append(&mut connection, [entry]).await
        };
        self.watch.within(work).await
    }

    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        let query = sqlx::query(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE min(expires_at, ifnull(ended_at, expires_at)) < $1 \
             ORDER BY min(expires_at, ifnull(ended_at, expires_at)) LIMIT $2)",
        );
        let query = query.bind(column(before)).bind(i64::from(limit));
        Ok(self.watch.within(query.execute(&self.writer)).await?.rows_affected())
    }

    async fn changes_after(&self, after: Place, most: u32) -> Result<Page, DirectoryError> {
        self.watch.within(log::page(&self.reader, after, most)).await
    }

    async fn purge_changes(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        self.watch.within(log::purge(&self.writer, before, limit)).await
    }

    async fn put_user(&self, user: &User) -> Result<(), DirectoryError> {
        let query = sqlx::query(
            "INSERT INTO users (id, name, roles, active, sessions_valid_after) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, roles = excluded.roles, active = excluded.active, \
             sessions_valid_after = excluded.sessions_valid_after",
        );
        let query = query
            .bind(user.id.as_str())
            .bind(&user.name)
            .bind(list(&user.roles))
            .bind(user.active)
            .bind(user.sessions_valid_after.map(column));
        self.watch.within(query.execute(&self.writer)).await.map(drop)
    }

    async fn put_platform(&self, platform: &Platform) -> Result<(), DirectoryError> {
        let work = async {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            if platform.default {
                let query = sqlx::query(
                    "UPDATE platforms SET is_default = false WHERE user_id = $1 AND id <> $2 AND is_default",
                );
                let query = query.bind(platform.user.as_str()).bind(platform.id.as_str());
                query.execute(&mut *transaction).await?;
            }
            let query = sqlx::query(
                "INSERT INTO platforms (id, user_id, type, name, url, active, is_default, credential) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET user_id = excluded.user_id, \
                 type = excluded.type, name = excluded.name, url = excluded.url, active = excluded.active, \
                 is_default = excluded.is_default, credential = excluded.credential",
            );
            let query = query
                .bind(platform.id.as_str())
                .bind(platform.user.as_str())
                .bind(&platform.kind)
                .bind(&platform.name)
                .bind(&platform.url)
                .bind(platform.active)
                .bind(platform.default)
                .bind(platform.credential.as_ref().map(crate::context::SealedCredential::as_text));
            query.execute(&mut *transaction).await?;
            transaction.commit().await
        };
        self.watch.within(work).await
    }

    fn connections(&self) -> u32 {
        self.reader.options().get_max_connections()
    }

    fn is_server(&self) -> bool {
        false
    }

    async fn ping(&self) -> Result<String, DirectoryError> {
        let query = sqlx::query_scalar::<_, String>("SELECT sqlite_version()");
        let version = self.watch.within(query.fetch_one(&self.reader)).await?;
        Ok(format!("SQLite {version}"))
    }
}
