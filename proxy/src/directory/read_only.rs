//! A directory over tables that are not ours: what is asked is asked there, and nothing is ever written there. There are
//! no sessions of our own in it and no audit log; what is done is told in the log. What is ours about foreign sessions is
//! kept if there is a table for it.

use std::fmt;

use async_trait::async_trait;
use serde_json::Value;

use super::ledger::{AuditPage, AuditRecord, Ledger, SessionPage};
use super::{
    Asked, AuditEntry, Change, Changed, Changes, Directory, DirectoryError, Page, Pair, Place, PoolUse,
    PostgresDirectory, PutForeign, QueryObserver, QueryReport, Replaced, SessionQuery, SessionRow,
    TableSession,
};
use crate::breaker::Breaker;
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, PasswordKeys, Platform, PlatformId, Session, SessionId, User, UserId};
use crate::secret::Secret;

/// Reads from the tables of an existing application.
pub(super) struct ReadOnly {
    tables: PostgresDirectory,
}

impl ReadOnly {
    pub(super) const fn over(tables: PostgresDirectory) -> Self {
        Self { tables }
    }
}

impl fmt::Debug for ReadOnly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadOnly").field("tables", &self.tables).finish()
    }
}

/// The audit log of a directory that keeps none.
fn tell(entry: &AuditEntry) {
    tracing::info!(
        event = entry.event,
        user = entry.user.as_ref().map(UserId::as_str),
        session = entry.session.map(|id| id.to_string()),
        platform = entry.platform.as_ref().map(PlatformId::as_str),
        by = entry.by,
        from = entry.from,
        request_id = entry.request_id,
        "audit"
    );
}

#[async_trait]
impl Directory for ReadOnly {
    async fn sessions(&self, _ids: &[SessionId]) -> Result<Vec<SessionRow>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn users(&self, ids: &[UserId]) -> Result<Vec<User>, DirectoryError> {
        self.tables.users(ids).await
    }

    async fn platforms(&self, ids: &[PlatformId]) -> Result<Vec<Platform>, DirectoryError> {
        self.tables.platforms(ids).await
    }

    async fn user_platforms(&self, users: &[UserId]) -> Result<Vec<Platform>, DirectoryError> {
        self.tables.user_platforms(users).await
    }

    async fn settings_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, DirectoryError> {
        self.tables.settings_of(pairs).await
    }

    async fn stats_of(&self, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, DirectoryError> {
        self.tables.stats_of(pairs).await
    }

    fn password_keys(&self) -> Option<&PasswordKeys> {
        self.tables.password_keys()
    }

    fn mark_passwords_with(&self, keys: &PasswordKeys) -> bool {
        self.tables.mark_passwords_with(keys)
    }

    async fn table_sessions(
        &self,
        query: &SessionQuery,
        keys: &[&Secret],
    ) -> Result<Vec<TableSession>, DirectoryError> {
        self.tables.table_sessions(query, keys).await
    }

    fn tells_of(&self, query: &SessionQuery) -> bool {
        self.tables.tells_of(query)
    }

    async fn delete_table_session(&self, query: &SessionQuery, key: &Secret) -> Result<(), DirectoryError> {
        self.tables.delete_table_session(query, key).await
    }

    fn keeps_foreign(&self) -> bool {
        self.tables.keeps_foreign()
    }

    fn ends_users(&self) -> bool {
        self.tables.ends_users()
    }

    async fn check_foreign(&self) -> Result<Result<(), String>, DirectoryError> {
        self.tables.check_foreign().await
    }

    async fn foreign_records(&self, ids: &[SessionId]) -> Result<Vec<ForeignRecord>, DirectoryError> {
        self.tables.foreign_records(ids).await
    }

    async fn put_foreign(
        &self,
        records: &[ForeignRecord],
        how: PutForeign,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<ForeignRecord>, DirectoryError> {
        let stand = self.tables.put_foreign(records, how, None).await?;
        line.into_iter().for_each(tell);
        Ok(stand)
    }

    async fn purge_foreign(&self, now: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        match self.tables.purge_foreign(now, limit).await {
            Err(DirectoryError::ReadOnly) => Ok(0),
            purged => purged,
        }
    }

    async fn put_settings(
        &self,
        _user: &UserId,
        _platform: &PlatformId,
        _settings: &Value,
    ) -> Result<(), DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    async fn replace_settings(
        &self,
        _user: &UserId,
        _platform: &PlatformId,
        _before: Option<&Value>,
        _after: &Value,
        _line: Option<&AuditEntry>,
    ) -> Result<Change<()>, DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    async fn create_session(
        &self,
        _session: &Session,
        _replaces: Option<Replaced<'_>>,
        _now: Timestamp,
        _line: Option<&AuditEntry>,
    ) -> Result<u64, DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    async fn rotate_session(
        &self,
        _old: &SessionId,
        _old_version: u64,
        _successor: &Session,
        _grace_until: Option<Timestamp>,
        _now: Timestamp,
        _line: Option<&AuditEntry>,
    ) -> Result<Change<()>, DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    async fn set_platform(
        &self,
        _id: &SessionId,
        _version: u64,
        _platform: Option<&PlatformId>,
        _now: Timestamp,
        _line: Option<&AuditEntry>,
    ) -> Result<Change<Session>, DirectoryError> {
        Ok(Change::Gone)
    }

    async fn end_sessions(
        &self,
        _ids: &[SessionId],
        _now: Timestamp,
        _line: Option<&AuditEntry>,
    ) -> Result<u64, DirectoryError> {
        Ok(0)
    }

    async fn end_user_sessions(
        &self,
        user: &UserId,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Option<User>, DirectoryError> {
        let Some(marked) = self.tables.mark_user(user, now).await? else { return Ok(None) };
        line.filter(|_| marked.is_new).into_iter().for_each(tell);
        Ok(Some(marked.user))
    }

    async fn sessions_of(&self, _user: &UserId, _now: Timestamp) -> Result<Vec<SessionRow>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn note_activity(&self, _seen: &[(SessionId, Timestamp)]) -> Result<(), DirectoryError> {
        Ok(())
    }

    async fn audit(&self, entry: &AuditEntry) -> Result<(), DirectoryError> {
        tell(entry);
        Ok(())
    }

    async fn purge(&self, _before: Timestamp, _limit: u32) -> Result<u64, DirectoryError> {
        Ok(0)
    }

    /// What was written down are ends and choices of foreign sessions. Where there is no place for them nothing that is
    /// asked for could have been lost: they are in the store alone, and people are read again in time.
    async fn changes_after(&self, after: Place, most: u32) -> Result<Page, DirectoryError> {
        // What is known to be missing is not asked for: a database that is away must keep nobody from Redis then.
        if self.tables.keeps_foreign() && self.tables.check_foreign().await?.is_ok() {
            return self.tables.changes_after(after, most).await;
        }
        Ok(Page::of(&[], 1, after))
    }

    async fn purge_changes(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        if self.tables.keeps_foreign() && self.tables.check_foreign().await?.is_ok() {
            return self.tables.purge_changes(before, limit).await;
        }
        Ok(0)
    }

    async fn put_user(&self, _user: &User) -> Result<(), DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    async fn put_platform(&self, _platform: &Platform) -> Result<(), DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    fn connections(&self) -> u32 {
        self.tables.connections()
    }

    fn is_server(&self) -> bool {
        self.tables.is_server()
    }

    fn pool(&self) -> Option<PoolUse> {
        self.tables.pool()
    }

    fn most_keys(&self, what: Asked) -> usize {
        self.tables.most_keys(what)
    }

    async fn check_queries(&self) -> Result<Vec<QueryReport>, DirectoryError> {
        self.tables.check_queries().await
    }

    fn observe_queries(&self, observer: QueryObserver) {
        self.tables.observe_queries(observer);
    }

    fn breaker(&self) -> Option<&Breaker> {
        self.tables.breaker()
    }

    fn changes(&self) -> Option<Changes> {
        self.tables.changes()
    }

    async fn ping(&self) -> Result<String, DirectoryError> {
        self.tables.ping().await
    }
}

#[async_trait]
impl Ledger for ReadOnly {
    async fn list_sessions(
        &self,
        _page: &SessionPage,
        _now: Timestamp,
    ) -> Result<Vec<SessionRow>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn sessions_like(&self, _prefix: &str, _limit: u32) -> Result<Vec<SessionRow>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn clear_platform(
        &self,
        _platform: &PlatformId,
        _limit: u32,
        _now: Timestamp,
        _line: Option<&AuditEntry>,
    ) -> Result<Vec<Session>, DirectoryError> {
        Ok(Vec::new())
    }

    async fn audit_log(&self, _page: &AuditPage) -> Result<Vec<AuditRecord>, DirectoryError> {
        Err(DirectoryError::ReadOnly)
    }

    async fn purge_audit(&self, _before: Timestamp, _limit: u32) -> Result<u64, DirectoryError> {
        Ok(0)
    }

    /// Notifying writes nothing, and every role may.
    async fn tell(&self, changed: &[Changed]) -> Result<(), DirectoryError> {
        self.tables.tell(changed).await
    }
}
