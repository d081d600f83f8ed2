//! SQLite: what operators ask. Pages are read by index from where the page before ended, never by offset.

use async_trait::async_trait;
use sqlx::SqliteConnection;

use super::SqliteDirectory;
use crate::clock::Timestamp;
use crate::context::{PlatformId, Session, UserId};
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
    "UPDATE sessions SET platform_id = NULL, version = version + 1 WHERE id IN ",
    "(SELECT id FROM sessions WHERE platform_id = $1 AND ended_at IS NULL AND expires_at > $2 ",
    "ORDER BY id LIMIT $3) RETURNING ",
    session_columns!()
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

/// Appends lines to the audit log.
pub(super) async fn append<'a>(
    connection: &mut SqliteConnection,
    entries: impl IntoIterator<Item = &'a AuditEntry> + Send,
) -> Result<(), sqlx::Error> {
    let entries: Vec<&AuditEntry> = entries.into_iter().collect();
    for entry in entries {
        sqlx::query(
            "INSERT INTO audit (at, event, user_id, session_id, platform_id, done_by, address, request_id) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        )
        .bind(column(entry.at))
        .bind(entry.event)
        .bind(entry.user.as_ref().map(UserId::as_str))
        .bind(entry.session.as_ref().map(ToString::to_string))
        .bind(entry.platform.as_ref().map(PlatformId::as_str))
        .bind(&entry.by)
        .bind(&entry.from)
        .bind(&entry.request_id)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

#[async_trait]
impl Ledger for SqliteDirectory {
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
        self.watch.within(async { all(query.fetch_all(&self.reader).await?) }).await
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
        self.watch.within(async { all(query.fetch_all(&self.reader).await?) }).await
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
            .bind(i64::from(limit));
        let work = async {
            let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
            let rows: Vec<SessionRow> = all(query.fetch_all(&mut *transaction).await?)?;
            let sessions: Vec<Session> = rows.into_iter().map(|row| row.session).collect();
            let of = |session: &Session, line: &AuditEntry| AuditEntry {
                user: Some(session.user.clone()),
                session: Some(session.id),
                ..line.clone()
            };
            let lines = sessions.iter().filter_map(|session| Some(of(session, line?)));
            append(&mut transaction, &lines.collect::<Vec<_>>()).await?;
            transaction.commit().await?;
            Ok(sessions)
        };
        self.watch.within(work).await
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
        self.watch.within(async { all(query.fetch_all(&self.reader).await?) }).await
    }

    async fn purge_audit(&self, before: Timestamp, limit: u32) -> Result<u64, DirectoryError> {
        let query = sqlx::query(
            "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < $1 ORDER BY at LIMIT $2)",
        );
        let query = query.bind(column(before)).bind(i64::from(limit));
        Ok(self.watch.within(query.execute(&self.writer)).await?.rows_affected())
    }

    async fn tell(&self, _: &[Changed]) -> Result<(), DirectoryError> {
        Ok(())
    }
}
