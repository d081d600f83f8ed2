//! The directory in Postgres: a small pool that connects when it is first asked, every query with a deadline on both
//! sides. Times are milliseconds since the epoch in bigint columns.

mod connect;
mod foreign;
mod gate;
mod ledger;
mod lines;
mod listener;
#[cfg(test)]
mod listener_tests;
mod log;
mod own;
mod people;
mod sessions;
#[cfg(test)]
mod tests;
mod values;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgConnectOptions;

pub(super) use self::connect::options;
use self::gate::Gate;
use self::own::OwnQueries;
use super::rows::{
    PlatformColumns, SessionColumns, UserColumns, all, column, platform_columns, session_columns, texts,
};
use super::trouble::Watch;
use super::{
    Asked, AuditEntry, Change, Changes, Directory, DirectoryError, Page, Pair, Place, PoolUse, PutForeign,
    QueryObserver, QueryReport, Replaced, SessionQuery, SessionRow, TableSession,
};
use crate::breaker::Breaker;
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, PasswordKeys, Platform, PlatformId, Session, SessionId, User, UserId};
use crate::secret::Secret;

/// Rows in one write of last uses: 14 to 52 us each were measured (STATE.md 3.3), so this stays within a deadline.
const BATCH: usize = 500;
/// The longest that describing the operator's own queries may take.
const CHECKING: Duration = Duration::from_secs(10);

const USER_COLUMNS: &str = "id, name, array_to_json(roles)::text AS roles, active, sessions_valid_after";

/// Users, platforms and sessions in one Postgres database.
pub struct PostgresDirectory {
    pool: Gate,
    connections: u32,
    /// How to reach the server itself, for the connection that listens.
    options: PgConnectOptions,
    watch: Watch,
    own: Arc<OwnQueries>,
    /// Whether there is a place for what is ours about foreign sessions.
    place: foreign::Place,
    /// Whether the people are in tables that are not ours.
    is_existing: bool,
    /// Whether statements may be kept on a connection.
    keeps: bool,
}

impl fmt::Debug for PostgresDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresDirectory")
            .field("connections", &self.pool.pool.size())
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Directory for PostgresDirectory {
    fn pool(&self) -> Option<PoolUse> {
        let idle = u32::try_from(self.pool.pool.num_idle()).unwrap_or(u32::MAX);
        let in_use = self.pool.pool.size().saturating_sub(idle);
        Some(PoolUse { in_use, idle, limit: self.connections })
    }

    async fn sessions(&self, ids: &[SessionId]) -> Result<Vec<SessionRow>, DirectoryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let query = concat!("SELECT ", session_columns!(), " FROM sessions WHERE id = ANY($1)");
        let query = sqlx::query_as::<_, SessionColumns>(query).bind(texts(ids));
        self.watch.within(async { all(query.persistent(self.keeps).fetch_all(&self.pool).await?) }).await
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, DirectoryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(own) = &self.own.user {
            return self.watch.within(self.users_of_application(own, ids)).await;
        }
        let sql = sqlx::AssertSqlSafe(format!("SELECT {USER_COLUMNS} FROM users WHERE id = ANY($1)"));
        let query = sqlx::query_as::<_, UserColumns>(sql).bind(texts(ids));
        self.watch.within(async { all(query.persistent(self.keeps).fetch_all(&self.pool).await?) }).await
    }

    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Platform>, DirectoryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(own) = &self.own.platform {
            return self.watch.within(self.own.platforms(own, &self.pool, ids)).await;
        }
        if self.is_existing {
            return Ok(Vec::new());
        }
        let query = concat!("SELECT ", platform_columns!(), " FROM platforms WHERE id = ANY($1)");
        let query = sqlx::query_as::<_, PlatformColumns>(query).bind(texts(ids));
        self.watch.within(async { all(query.persistent(self.keeps).fetch_all(&self.pool).await?) }).await
    }

    async fn user_platforms(&self, users: &[UserId]) -> Result<Vec<Platform>, DirectoryError> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(own) = &self.own.platforms {
            return self.watch.within(self.own.platforms_of(own, &self.pool, users)).await;
        }
        if self.is_existing {
            return Ok(Vec::new());
        }
        let query = concat!(
            "SELECT ",
            platform_columns!(),
            " FROM platforms WHERE user_id = ANY($1) AND active ",
            "ORDER BY user_id, is_default DESC, name COLLATE \"C\", id"
        );
        let query = sqlx::query_as::<_, PlatformColumns>(query).bind(texts(users));
        self.watch.within(async { all(query.persistent(self.keeps).fetch_all(&self.pool).await?) }).await
    }

    async fn settings_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, serde_json::Value)>, DirectoryError> {
        match &self.own.settings {
            _ if pairs.is_empty() => Ok(Vec::new()),
            Some(own) => self.watch.within(self.own.values(own, &self.pool, pairs)).await,
            None if self.is_existing => Ok(Vec::new()),
            None => self.watch.within(values::settings(&self.pool, pairs)).await,
        }
    }

    async fn stats_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, serde_json::Value)>, DirectoryError> {
        match &self.own.stats {
            _ if pairs.is_empty() => Ok(Vec::new()),
            Some(own) => self.watch.within(self.own.values(own, &self.pool, pairs)).await,
            None if self.is_existing => Ok(Vec::new()),
            None => self.watch.within(values::stats(&self.pool, pairs)).await,
        }
    }

    async fn table_sessions(
        &self,
        query: &SessionQuery,
        keys: &[&Secret],
    ) -> Result<Vec<TableSession>, DirectoryError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        self.watch.within(self.own.table_sessions(query, &self.pool, keys)).await
    }

    fn password_keys(&self) -> Option<&PasswordKeys> {
        self.is_existing.then(|| self.own.passwords())
    }

    fn mark_passwords_with(&self, keys: &PasswordKeys) -> bool {
        self.own.replace_passwords(keys)
    }

    fn tells_of(&self, query: &SessionQuery) -> bool {
        self.own.tells_of(query)
    }

    async fn delete_table_session(&self, query: &SessionQuery, key: &Secret) -> Result<(), DirectoryError> {
        self.watch.within(OwnQueries::delete_session(query, &self.pool, key)).await
    }

    fn keeps_foreign(&self) -> bool {
        self.place.may_be()
    }

    fn ends_users(&self) -> bool {
        !self.is_existing || self.place.people() == Some(foreign::People::Written)
    }

    async fn check_foreign(&self) -> Result<Result<(), String>, DirectoryError> {
        self.watch.within(self.place_of_foreign()).await
    }

    async fn foreign_records(&self, ids: &[SessionId]) -> Result<Vec<ForeignRecord>, DirectoryError> {
        self.of_foreign(self.read_foreign(ids)).await
    }

    async fn put_foreign(
        &self,
        records: &[ForeignRecord],
        how: PutForeign,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<ForeignRecord>, DirectoryError> {
        self.of_foreign(self.write_foreign(records, how, line)).await
    }

    async fn purge_foreign(&self, now: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        self.of_foreign(self.drop_foreign(now, limit)).await
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
        if self.own.settings.is_some() {
            return Err(DirectoryError::ReadOnly);
        }
        let query = query.bind(user.as_str()).bind(platform.as_str()).bind(settings).persistent(self.keeps);
        self.watch.within(query.persistent(self.keeps).execute(&self.pool)).await.map(drop)
    }

    async fn replace_settings(
        &self,
        user: &UserId,
        platform: &PlatformId,
        before: Option<&serde_json::Value>,
        after: &serde_json::Value,
        line: Option<&AuditEntry>,
    ) -> Result<Change<()>, DirectoryError> {
        if self.own.settings.is_some() {
            return Err(DirectoryError::ReadOnly);
        }
        self.watch.within(values::replace(&self.pool, (user, platform), before, after, line)).await
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
        self.watch.within(async { all(query.persistent(self.keeps).fetch_all(&self.pool).await?) }).await
    }

    async fn note_activity(&self, seen: &[(SessionId, Timestamp)]) -> Result<(), DirectoryError> {
        for some in seen.chunks(BATCH) {
            let ids: Vec<String> = some.iter().map(|(id, _)| id.to_string()).collect();
            let times: Vec<i64> = some.iter().map(|(_, at)| column(*at)).collect();
            // Rows are locked in the order of their ids, so that two proxies never wait for each other in a circle.
            let query = sqlx::query(
                "WITH seen AS (SELECT id, max(at) AS at FROM unnest($1::text[], $2::bigint[]) AS s (id, at) GROUP BY id), \
                 due AS (SELECT sessions.id, seen.at FROM sessions JOIN seen USING (id) \
                 WHERE last_seen IS NULL OR last_seen < seen.at ORDER BY sessions.id FOR NO KEY UPDATE OF sessions) \
                 UPDATE sessions SET last_seen = GREATEST(last_seen, due.at) FROM due WHERE sessions.id = due.id",
            );
            self.watch.within(query.bind(ids).bind(times).persistent(self.keeps).execute(&self.pool)).await?;
        }
        Ok(())
    }

    async fn audit(&self, entry: &AuditEntry) -> Result<(), DirectoryError> {
        self.watch.within(self.write_lines(&self.pool, [entry])).await
    }

    async fn purge(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        // Rows that another proxy purges at this moment are its business.
        let query = sqlx::query(
            "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE LEAST(expires_at, ended_at) < $1 \
             ORDER BY LEAST(expires_at, ended_at) LIMIT $2 FOR UPDATE SKIP LOCKED)",
        );
        let query = query.bind(column(before)).bind(i64::from(limit));
        Ok(self.watch.within(query.persistent(self.keeps).execute(&self.pool)).await?.rows_affected())
    }

    async fn changes_after(&self, after: Place, most: u32) -> Result<Page, DirectoryError> {
        let list = self.list_of_changes();
        self.watch.within(log::page(&self.pool, list, after, most)).await
    }

    async fn purge_changes(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        let list = self.list_of_changes();
        self.watch.within(log::purge(&self.pool, list, before, limit)).await
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
            .bind(&user.roles)
            .bind(user.active)
            .bind(user.sessions_valid_after.map(column));
        self.watch.within(query.persistent(self.keeps).execute(&self.pool)).await.map(drop)
    }

    async fn put_platform(&self, platform: &Platform) -> Result<(), DirectoryError> {
        let work = async {
            let mut transaction = self.pool.pool.begin().await?;
            if platform.default {
                let query = sqlx::query(
                    "UPDATE platforms SET is_default = false WHERE user_id = $1 AND id <> $2 AND is_default",
                );
                let query = query.bind(platform.user.as_str()).bind(platform.id.as_str());
                query.persistent(self.keeps).execute(&mut *transaction).await?;
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
            query.persistent(self.keeps).execute(&mut *transaction).await?;
            transaction.commit().await
        };
        self.watch.within(work).await
    }

    fn connections(&self) -> u32 {
        self.connections
    }

    fn changes(&self) -> Option<Changes> {
        let (options, breaker) = (self.options.clone(), self.watch.breaker().cloned());
        let wanted = listener::Wanted { own: Arc::clone(&self.own), ours: !self.is_existing };
        Some(Changes::told_by(|news| listener::listen(options, breaker, wanted, news)))
    }

    fn most_keys(&self, what: Asked) -> usize {
        let own = match what {
            Asked::Users => self.own.user.as_ref(),
            Asked::Platforms => self.own.platform.as_ref(),
            Asked::UserPlatforms => self.own.platforms.as_ref(),
            Asked::Settings => self.own.settings.as_ref(),
            Asked::Stats => self.own.stats.as_ref(),
            Asked::TableSessions => return self.own.most_session_keys(),
            Asked::Sessions | Asked::ForeignRecords => None,
        };
        if OwnQueries::takes_many(own) { usize::MAX } else { own::ONE_BY_ONE }
    }

    async fn check_queries(&self) -> Result<Vec<QueryReport>, DirectoryError> {
        // Not under the deadline of a lookup: nobody waits, and it takes many steps.
        let checked = tokio::time::timeout(CHECKING, self.own.check(&self.pool)).await;
        checked.map_err(|_| DirectoryError::Timeout)?.map_err(|error| self.watch.judge(&error))
    }

    fn observe_queries(&self, observer: QueryObserver) {
        self.own.observe(observer);
    }

    fn breaker(&self) -> Option<&Breaker> {
        self.watch.breaker().map(AsRef::as_ref)
    }

    async fn ping(&self) -> Result<String, DirectoryError> {
        let query = sqlx::query_scalar::<_, String>("SELECT current_setting('server_version')");
        let version = self.watch.within(query.persistent(self.keeps).fetch_one(&self.pool)).await?;
        Ok(format!("PostgreSQL {version}"))
    }
}
