//! How sessions change in Postgres. Each change is one statement, which writes its line of the audit log as well: there
//! is no moment at which one of them is there without the other, and nothing waits inside a transaction.

use sqlx::PgExecutor;

use super::lines::{lines, write_lines};
use super::{PostgresDirectory, USER_COLUMNS};
use crate::clock::Timestamp;
use crate::context::{PlatformId, Session, SessionId, User, UserId};
use crate::directory::rows::{SessionColumns, UserColumns, column, number, session_columns, texts};
use crate::directory::{AuditEntry, Change, Replaced, SessionRow};

/// Sessions together with those that a rotation joins them to: ending one ends both. Not `OR`, which would read the
/// whole table.
macro_rules! with_relatives {
    ($ids:literal) => {
        concat!(
            "id IN (SELECT unnest(",
            $ids,
            ") UNION SELECT unnest(ARRAY[predecessor, successor]) FROM sessions WHERE id = ANY(",
            $ids,
            "))"
        )
    };
}

const CREATE: &str = concat!(
    "WITH ended AS (UPDATE sessions SET ended_at = $12 WHERE ended_at IS NULL AND ",
    with_relatives!("$11::text[]"),
    " RETURNING id), \
     begun AS (INSERT INTO sessions (id, user_id, platform_id, created_at, authenticated_at, expires_at, \
     predecessor, successor, actor_id, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)), \
     told AS (",
    write_lines!("CASE WHEN EXISTS (SELECT FROM ended) THEN $13::jsonb || $14 ELSE $14 END", "true"),
    ") SELECT count(*) FROM ended"
);

/// Without a grace the old session ends now, and no older copy stays valid either; with one, its own end may still come
/// first.
const ROTATE: &str = concat!(
    "WITH rotated AS (UPDATE sessions SET version = version + 1, successor = $4, \
     expires_at = LEAST(expires_at, $5), ended_at = CASE WHEN $5 IS NULL THEN $3 END \
     WHERE id = $1 AND version = $2 AND ended_at IS NULL AND expires_at > $3 RETURNING predecessor), \
     ended AS (UPDATE sessions SET ended_at = $3 WHERE $5 IS NULL AND ended_at IS NULL \
     AND id = (SELECT predecessor FROM rotated)), \
     begun AS (INSERT INTO sessions (id, user_id, platform_id, created_at, authenticated_at, expires_at, \
     predecessor, successor, actor_id, version) SELECT $4, $6, $7, $8, $9, $10, $11, $12, $13, $14 \
     WHERE EXISTS (SELECT FROM rotated)), \
     told AS (",
    write_lines!("$15", "EXISTS (SELECT FROM rotated)"),
    ") SELECT count(*) FROM rotated"
);

const SET_PLATFORM: &str = concat!(
    "WITH changed AS (UPDATE sessions SET platform_id = $4, version = version + 1 WHERE id = $1 AND version = $2 \
     AND ended_at IS NULL AND expires_at > $3 RETURNING ",
    session_columns!(),
    "), used AS (UPDATE platforms SET last_used = GREATEST(last_used, $3) WHERE id = $4 \
     AND EXISTS (SELECT FROM changed)), told AS (",
    write_lines!("$5", "EXISTS (SELECT FROM changed)"),
    ") SELECT ",
    session_columns!(),
    " FROM changed"
);

const END: &str = concat!(
    "WITH ended AS (UPDATE sessions SET ended_at = $2 WHERE ended_at IS NULL AND ",
    with_relatives!("$1::text[]"),
    " RETURNING id), told AS (",
    write_lines!("$3", "EXISTS (SELECT FROM ended)"),
    ") SELECT count(*) FROM ended"
);

impl PostgresDirectory {
    pub(super) async fn create(
        &self,
        session: &Session,
        replaces: Option<Replaced<'_>>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, sqlx::Error> {
        let query = sqlx::query_scalar::<_, i64>(CREATE)
            .bind(session.id.to_string())
            .bind(session.user.as_str())
            .bind(session.platform.as_ref().map(PlatformId::as_str))
            .bind(column(session.created))
            .bind(column(session.authenticated))
            .bind(column(session.expires))
            .bind(session.predecessor.as_ref().map(ToString::to_string))
            .bind(session.successor.as_ref().map(ToString::to_string))
            .bind(session.actor.as_ref().map(UserId::as_str))
            .bind(number(session.version))
            .bind(texts(&Vec::from_iter(replaces.map(|replaced| replaced.id))))
            .bind(column(now))
            .bind(lines(replaces.and_then(|replaced| replaced.line)))
            .bind(lines(line));
        Ok(query.persistent(self.keeps).fetch_one(&self.pool).await?.unsigned_abs())
    }

    pub(super) async fn rotate(
        &self,
        old: &SessionId,
        old_version: u64,
        successor: &Session,
        grace_until: Option<Timestamp>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Change<()>, sqlx::Error> {
        let query = sqlx::query_scalar::<_, i64>(ROTATE)
            .bind(old.to_string())
            .bind(number(old_version))
            .bind(column(now))
            .bind(successor.id.to_string())
            .bind(grace_until.map(column))
            .bind(successor.user.as_str())
            .bind(successor.platform.as_ref().map(PlatformId::as_str))
            .bind(column(successor.created))
            .bind(column(successor.authenticated))
            .bind(column(successor.expires))
            .bind(successor.predecessor.as_ref().map(ToString::to_string))
            .bind(successor.successor.as_ref().map(ToString::to_string))
            .bind(successor.actor.as_ref().map(UserId::as_str))
            .bind(number(successor.version))
            .bind(lines(line));
        match query.persistent(self.keeps).fetch_one(&self.pool).await? {
            0 => self.refused(old, now).await,
            _ => Ok(Change::Done(())),
        }
    }

    pub(super) async fn choose(
        &self,
        id: &SessionId,
        version: u64,
        platform: Option<&PlatformId>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Change<Session>, sqlx::Error> {
        let query = sqlx::query_as::<_, SessionColumns>(SET_PLATFORM)
            .bind(id.to_string())
            .bind(number(version))
            .bind(column(now))
            .bind(platform.map(PlatformId::as_str))
            .bind(lines(line));
        match query.persistent(self.keeps).fetch_optional(&self.pool).await? {
            Some(row) => Ok(Change::Done(SessionRow::try_from(row)?.session)),
            None => self.refused(id, now).await,
        }
    }

    pub(super) async fn end(
        &self,
        ids: &[SessionId],
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, sqlx::Error> {
        let query = sqlx::query_scalar::<_, i64>(END).bind(texts(ids)).bind(column(now)).bind(lines(line));
        Ok(query.persistent(self.keeps).fetch_one(&self.pool).await?.unsigned_abs())
    }

    /// In steps: the moment comes first, and whoever began a session before it is seen by the step that ends them.
    pub(super) async fn end_all(
        &self,
        user: &UserId,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Option<User>, sqlx::Error> {
        let mut transaction = self.pool.pool.begin().await?;
        let sql = sqlx::AssertSqlSafe(format!(
            "UPDATE users SET sessions_valid_after = $2 WHERE id = $1 \
             AND (sessions_valid_after IS NULL OR sessions_valid_after < $2) RETURNING {USER_COLUMNS}"
        ));
        let query = sqlx::query_as::<_, UserColumns>(sql).bind(user.as_str()).bind(column(now));
        let moved = query.persistent(self.keeps).fetch_optional(&mut *transaction).await?;
        let query = sqlx::query(
            "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL AND created_at <= $2",
        );
        let query = query.bind(user.as_str()).bind(column(now)).persistent(self.keeps);
        let ended = query.execute(&mut *transaction).await?.rows_affected();
        if moved.is_some() || ended > 0 {
            self.write_lines(&mut *transaction, line).await?;
        }
        transaction.commit().await?;
        if let Some(row) = moved {
            return User::try_from(row).map(Some);
        }
        let sql = sqlx::AssertSqlSafe(format!("SELECT {USER_COLUMNS} FROM users WHERE id = $1"));
        let query = sqlx::query_as::<_, UserColumns>(sql).bind(user.as_str()).persistent(self.keeps);
        query.fetch_optional(&self.pool).await?.map(User::try_from).transpose()
    }

    pub(super) async fn write_lines<'a>(
        &self,
        executor: impl PgExecutor<'_>,
        entries: impl IntoIterator<Item = &'a AuditEntry>,
    ) -> Result<(), sqlx::Error> {
        let query = sqlx::query(write_lines!("$1", "true")).bind(lines(entries));
        query.persistent(self.keeps).execute(executor).await.map(drop)
    }

    /// Why a conditional change met no row: the session is over, or somebody else was faster.
    async fn refused<T>(&self, id: &SessionId, now: Timestamp) -> Result<Change<T>, sqlx::Error> {
        let live =
            "SELECT EXISTS (SELECT 1 FROM sessions WHERE id = $1 AND ended_at IS NULL AND expires_at > $2)";
        let query = sqlx::query_scalar(live).bind(id.to_string()).bind(column(now));
        let is_live = query.persistent(self.keeps).fetch_one(&self.pool).await?;
        Ok(if is_live { Change::Conflict } else { Change::Gone })
    }
}
