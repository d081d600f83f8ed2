//! What is ours about sessions of other frameworks, in SQLite.

use super::ledger::append;
use super::{SqliteDirectory, list};
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, PlatformId, SessionId, UserId};
use crate::directory::rows::{ForeignColumns, all, column, foreign_columns, texts};
use crate::directory::{AuditEntry, PutForeign};

const READ: &str = concat!(
    "SELECT ",
    foreign_columns!(),
    " FROM countersign_foreign_sessions WHERE id IN (SELECT value FROM json_each($1))"
);
/// Together with what is kept.
const PUT: &str = concat!(
    "INSERT INTO countersign_foreign_sessions (id, user_id, seen_at, has_choice, platform_id, ended_at, kept_until) \
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (id) DO UPDATE SET user_id = ifnull(user_id, excluded.user_id), \
     seen_at = min(seen_at, excluded.seen_at), has_choice = has_choice OR excluded.has_choice, \
     platform_id = CASE WHEN excluded.has_choice AND ($8 OR NOT has_choice) THEN excluded.platform_id ELSE platform_id END, \
     ended_at = ifnull(ended_at, excluded.ended_at), kept_until = max(kept_until, excluded.kept_until), \
     version = version + CASE WHEN excluded.has_choice AND ($8 OR NOT has_choice) \
     OR excluded.ended_at IS NOT NULL AND ended_at IS NULL THEN 1 ELSE 0 END RETURNING ",
    foreign_columns!()
);

impl SqliteDirectory {
    pub(super) async fn read_foreign(&self, ids: &[SessionId]) -> Result<Vec<ForeignRecord>, sqlx::Error> {
        all(sqlx::query_as::<_, ForeignColumns>(READ).bind(list(&texts(ids))).fetch_all(&self.reader).await?)
    }

    pub(super) async fn write_foreign(
        &self,
        records: &[ForeignRecord],
        how: PutForeign,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<ForeignRecord>, sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let ids: Vec<SessionId> = records.iter().map(|record| record.id).collect();
        let before = sqlx::query_as::<_, ForeignColumns>(READ).bind(list(&texts(&ids)));
        let before: Vec<ForeignRecord> = all(before.fetch_all(&mut *transaction).await?)?;
        let mut stand = Vec::with_capacity(records.len());
        for record in records {
            let platform = record.platform.as_ref().and_then(Option::as_ref);
            let query = sqlx::query_as::<_, ForeignColumns>(PUT)
                .bind(record.id.to_string())
                .bind(record.user.as_ref().map(UserId::as_str))
                .bind(column(record.seen))
                .bind(record.platform.is_some())
                .bind(platform.map(PlatformId::as_str))
                .bind(record.ended.map(column))
                .bind(column(record.kept_until))
                .bind(how == PutForeign::Change);
            stand.push(query.fetch_one(&mut *transaction).await?);
        }
        let stand: Vec<ForeignRecord> = all(stand)?;
        let is_changed = stand
            .iter()
            .any(|record| !before.iter().any(|old| old.id == record.id && old.version == record.version));
        if is_changed {
            append(&mut transaction, line).await?;
        }
        transaction.commit().await?;
        Ok(stand)
    }

    pub(super) async fn drop_foreign(&self, now: Timestamp, limit: u32) -> Result<u64, sqlx::Error> {
        let query = sqlx::query(
            "DELETE FROM countersign_foreign_sessions WHERE id IN (SELECT id FROM countersign_foreign_sessions \
             WHERE kept_until < $1 ORDER BY kept_until LIMIT $2)",
        );
        Ok(query.bind(column(now)).bind(i64::from(limit)).execute(&self.writer).await?.rows_affected())
    }
}
