//! Postgres: what operators ask. Pages are read by index from where the page before ended, never by offset.

use async_trait::async_trait;

use super::PostgresDirectory;
use super::lines::lines;
use crate::clock::Timestamp;
use crate::context::{PlatformId, Session};
use crate::directory::ledger::{AuditPage, AuditRecord, Ledger, SessionPage};
use crate::directory::rows::{
    AuditColumns, LAST_ID, SessionColumns, all, audit_columns, column, number, session_columns,
};
use crate::directory::{AuditEntry, Changed, DirectoryError, SessionRow};

const PAGE: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM sessions WHERE ended_at IS NULL AND expires_at > $1 AND (created_at, id) < ($2, $3) ",
    "ORDER BY created_at DESC, id DESC LIMIT $4"
);
const PAGE_OF_USER: &str = concat!(
    "SELECT ",
    session_columns!(),
    " FROM sessions WHERE user_id = $5 AND ended_at IS NULL AND expires_at > $1 AND (created_at, id) < ($2, $3) ",
    "ORDER BY created_at DESC, id DESC LIMIT $4"
);
const CLEAR: &str = concat!(
    "WITH cleared AS (UPDATE sessions SET platform_id = NULL, version = version + 1 WHERE platform_id = $1 ",
    "AND id IN (SELECT id FROM sessions WHERE platform_id = $1 AND ended_at IS NULL AND expires_at > $2 ",
    "ORDER BY id LIMIT $3 FOR UPDATE) RETURNING ",
    session_columns!(),
    "), told AS (INSERT INTO audit (at, event, user_id, session_id, platform_id, done_by, address, request_id) ",
    "SELECT line.at, line.event, cleared.user_id, cleared.id, line.platform_id, line.done_by, line.address, ",
    "line.request_id FROM cleared, jsonb_populate_recordset(NULL::audit, $4) AS line) SELECT ",
    session_columns!(),
    " FROM cleared"
);
const AUDIT: &str = concat!(
    "SELECT ",
    audit_columns!(),
    " FROM audit WHERE at >= $1 AND at <= $2 AND (at, id) < ($2, $3) ORDER BY at DESC, id DESC LIMIT $4"
);
const AUDIT_OF_USER: &str = concat!(
    "SELECT ",
    audit_columns!(),
    " FROM audit WHERE user_id = $5 AND at >= $1 AND at <= $2 AND (at, id) < ($2, $3) ",
    "ORDER BY at DESC, id DESC LIMIT $4"
);

#[async_trait]
impl Ledger for PostgresDirectory {
    async fn list_sessions(
        &self,
        page: &SessionPage,
        now: Timestamp,
    ) -> Result<Vec<SessionRow>, DirectoryError> {
        let (at, id) =
            page.after.map_or((i64::MAX, LAST_ID.to_owned()), |(at, id)| (column(at), id.to_string()));
        let sql = if page.user.is_some() { PAGE_OF_USER } else { PAGE };
        let mut query = sqlx::query_as::<_, SessionColumns>(sql)
            .bind(column(now))
            .bind(at)
            .bind(id)
            .bind(i64::from(page.limit));
        if let Some(user) = &page.user {
            query = query.bind(user.as_str());
        }
        self.watch.within(async { all(query.persistent(self.keeps).fetch_all(&self.pool).await?) }).await
    }

    async fn sessions_like(&self, prefix: &str, limit: u32) -> Result<Vec<SessionRow>, DirectoryError> {
        let query = concat!(
            "SELECT ",
            session_columns!(),
            " FROM sessions WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3"
        );
        let query = sqlx::query_as::<_, SessionColumns>(query)
            .bind(prefix)
            .bind(format!("{prefix}{LAST_ID}"))
            .bind(i64::from(limit));
        self.watch.within(async { all(query.persistent(self.keeps).fetch_all(&self.pool).await?) }).await
    }

    async fn clear_platform(
        &self,
        platform: &PlatformId,
        limit: u32,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<Session>, DirectoryError> {
        let query = sqlx::query_as::<_, SessionColumns>(CLEAR)
            .bind(platform.as_str())
            .bind(column(now))
            .bind(i64::from(limit))
            .bind(lines(line));
        let rows: Vec<SessionRow> = self
            .watch
            .within(async { all(query.persistent(self.keeps).fetch_all(&self.pool).await?) })
            .await?;
        Ok(rows.into_iter().map(|row| row.session).collect())
    }

    async fn audit_log(&self, page: &AuditPage) -> Result<Vec<AuditRecord>, DirectoryError> {
        let (at, line) = page.after.map_or((i64::MAX, i64::MAX), |(at, line)| (column(at), number(line)));
        let sql = if page.user.is_some() { AUDIT_OF_USER } else { AUDIT };
        let mut query = sqlx::query_as::<_, AuditColumns>(sql)
            .bind(page.since.map_or(0, column))
            .bind(at)
            .bind(line)
            .bind(i64::from(page.limit));
        if let Some(user) = &page.user {
            query = query.bind(user.as_str());
        }
        self.watch.within(async { all(query.persistent(self.keeps).fetch_all(&self.pool).await?) }).await
    }

    async fn purge_audit(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        // Rows that another proxy purges at this moment are its business.
        let query = sqlx::query(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2 \
             FOR UPDATE SKIP LOCKED)",
        );
        let query = query.bind(column(before)).bind(i64::from(limit));
        Ok(self.watch.within(query.persistent(self.keeps).execute(&self.pool)).await?.rows_affected())
    }

    async fn tell(&self, changed: &[Changed]) -> Result<(), DirectoryError> {
        let payloads: Vec<String> = changed.iter().map(Changed::payload).collect();
        let query =
            sqlx::query("SELECT pg_notify('countersign', payload) FROM unnest($1::text[]) AS payload");
        self.watch.within(query.bind(payloads).persistent(self.keeps).execute(&self.pool)).await.map(drop)
    }
}
