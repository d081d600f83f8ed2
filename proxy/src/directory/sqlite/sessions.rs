//! How sessions change in SQLite: each change and its line of the audit log in one transaction.

use sqlx::SqliteConnection;

use super::ledger::append;
use super::{SqliteDirectory, USER_COLUMNS, list};
use crate::clock::Timestamp;
use crate::context::{PlatformId, Session, SessionId, User, UserId};
use crate::directory::rows::{SessionColumns, UserColumns, column, number, session_columns, texts};
use crate::directory::{AuditEntry, Change, Replaced, SessionRow};

const INSERT: &str = "INSERT INTO sessions (id, user_id, platform_id, created_at, authenticated_at, expires_at, \
     predecessor, successor, actor_id, version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
/// Ends sessions together with those that a rotation joins them to: ending one ends both.
const END: &str = "UPDATE sessions SET ended_at = $2 WHERE ended_at IS NULL AND id IN \
     (SELECT value FROM json_each($1) \
     UNION SELECT predecessor FROM sessions WHERE id IN (SELECT value FROM json_each($1)) AND predecessor IS NOT NULL \
     UNION SELECT successor FROM sessions WHERE id IN (SELECT value FROM json_each($1)) AND successor IS NOT NULL)";
/// Without a grace the old session ends now; with one, its own end may still come first.
const ROTATE: &str = "UPDATE sessions SET version = version + 1, successor = $4, \
     expires_at = min(expires_at, ifnull($5, expires_at)), ended_at = CASE WHEN $5 IS NULL THEN $3 END \
     WHERE id = $1 AND version = $2 AND ended_at IS NULL AND expires_at > $3";
const SET_PLATFORM: &str = concat!(
    "UPDATE sessions SET platform_id = $4, version = version + 1 WHERE id = $1 AND version = $2 ",
    "AND ended_at IS NULL AND expires_at > $3 RETURNING ",
    session_columns!()
);

impl SqliteDirectory {
    pub(super) async fn create(
        &self,
        session: &Session,
        replaces: Option<Replaced<'_>>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let ended = match replaces {
            Some(old) => end(&mut transaction, &[old.id], now, old.line).await?,
            None => 0,
        };
        insert(&mut transaction, session).await?;
        append(&mut transaction, line).await?;
        transaction.commit().await?;
        Ok(ended)
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
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let query = sqlx::query(ROTATE)
            .bind(old.to_string())
            .bind(number(old_version))
            .bind(column(now))
            .bind(successor.id.to_string())
            .bind(grace_until.map(column));
        if query.execute(&mut *transaction).await?.rows_affected() == 0 {
            return refused(&mut transaction, old, now).await;
        }
        if grace_until.is_none() {
            // A change of privilege leaves no older copy valid either.
            let query = sqlx::query(
                "UPDATE sessions SET ended_at = $2 WHERE ended_at IS NULL \
                 AND id = (SELECT predecessor FROM sessions WHERE id = $1)",
            );
            query.bind(old.to_string()).bind(column(now)).execute(&mut *transaction).await?;
        }
        insert(&mut transaction, successor).await?;
        append(&mut transaction, line).await?;
        transaction.commit().await?;
        Ok(Change::Done(()))
    }

    pub(super) async fn choose(
        &self,
        id: &SessionId,
        version: u64,
        platform: Option<&PlatformId>,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Change<Session>, sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let query = sqlx::query_as::<_, SessionColumns>(SET_PLATFORM)
            .bind(id.to_string())
            .bind(number(version))
            .bind(column(now))
            .bind(platform.map(PlatformId::as_str));
        let Some(row) = query.fetch_optional(&mut *transaction).await? else {
            return refused(&mut transaction, id, now).await;
        };
        if let Some(platform) = platform {
            let query =
                sqlx::query("UPDATE platforms SET last_used = max(ifnull(last_used, 0), $2) WHERE id = $1");
            query.bind(platform.as_str()).bind(column(now)).execute(&mut *transaction).await?;
        }
        append(&mut transaction, line).await?;
        transaction.commit().await?;
        Ok(Change::Done(SessionRow::try_from(row)?.session))
    }

    pub(super) async fn end(
        &self,
        ids: &[SessionId],
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<u64, sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let ended = end(&mut transaction, ids, now, line).await?;
        transaction.commit().await?;
        Ok(ended)
    }

    pub(super) async fn end_all(
        &self,
        user: &UserId,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Option<User>, sqlx::Error> {
        let mut transaction = self.writer.begin_with("BEGIN IMMEDIATE").await?;
        let query = sqlx::query(
            "UPDATE users SET sessions_valid_after = $2 WHERE id = $1 AND ifnull(sessions_valid_after, -1) < $2",
        );
        let query = query.bind(user.as_str()).bind(column(now));
        let moved = query.execute(&mut *transaction).await?.rows_affected();
        let query = sqlx::query(
            "UPDATE sessions SET ended_at = $2 WHERE user_id = $1 AND ended_at IS NULL AND created_at <= $2",
        );
        let query = query.bind(user.as_str()).bind(column(now));
        let ended = query.execute(&mut *transaction).await?.rows_affected();
        if moved + ended > 0 {
            append(&mut transaction, line).await?;
        }
        let sql = sqlx::AssertSqlSafe(format!("SELECT {USER_COLUMNS} FROM users WHERE id = $1"));
        let query = sqlx::query_as::<_, UserColumns>(sql).bind(user.as_str());
        let stands = query.fetch_optional(&mut *transaction).await?;
        transaction.commit().await?;
        stands.map(User::try_from).transpose()
    }
}

async fn end(
    connection: &mut SqliteConnection,
    ids: &[SessionId],
    now: Timestamp,
    line: Option<&AuditEntry>,
) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(END).bind(list(&texts(ids))).bind(column(now));
    let ended = query.execute(&mut *connection).await?.rows_affected();
    if ended > 0 {
        append(connection, line).await?;
    }
    Ok(ended)
}

async fn insert(connection: &mut SqliteConnection, session: &Session) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT)
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
        .execute(connection)
        .await
        .map(drop)
}

/// Why a conditional change met no row: the session is over, or somebody else was faster.
async fn refused<T>(
    connection: &mut SqliteConnection,
    id: &SessionId,
    now: Timestamp,
) -> Result<Change<T>, sqlx::Error> {
    let live =
        "SELECT EXISTS (SELECT 1 FROM sessions WHERE id = $1 AND ended_at IS NULL AND expires_at > $2)";
    let query = sqlx::query_scalar(live).bind(id.to_string()).bind(column(now));
    Ok(if query.fetch_one(connection).await? { Change::Conflict } else { Change::Gone })
}
