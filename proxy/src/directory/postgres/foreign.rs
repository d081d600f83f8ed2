//! What is ours about sessions of other frameworks, in a table of ours: one of the migrations, or, beside tables of an
//! application that are only read, one that its owner has made and let us write to. Where neither is there, nothing is kept.

use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use sqlx::PgExecutor;
use tokio::time::Instant;

use super::PostgresDirectory;
use super::lines::{lines, write_lines};
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, PlatformId, SessionId, UserId};
use crate::directory::rows::{ForeignColumns, all, column, foreign_columns, texts};
use crate::directory::{AuditEntry, DirectoryError, PutForeign};

/// How long it is not asked again whether there is a place.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Which rights of the ones that are needed are there. The list of changes is our own one, or that of the other script.
/// What is asked of a table that is not there is NULL.
const PLACE: &str = "SELECT pg_is_in_recovery(), kept IS NOT NULL AND list IS NOT NULL, \
     kept IS NOT NULL AND list IS NOT NULL AND has_table_privilege(kept, 'SELECT') AND has_table_privilege(kept, 'INSERT') \
     AND has_table_privilege(kept, 'UPDATE') AND has_table_privilege(kept, 'DELETE') \
     AND has_table_privilege(list, 'SELECT') AND has_table_privilege(list, 'DELETE'), \
     COALESCE(has_table_privilege(people, 'SELECT'), false), COALESCE(has_table_privilege(people, 'SELECT') \
     AND has_table_privilege(people, 'INSERT') AND has_table_privilege(people, 'UPDATE'), false) \
     FROM (SELECT to_regclass('countersign_foreign_sessions')::oid AS kept, to_regclass($1)::oid AS list, \
     to_regclass('countersign_foreign_users')::oid AS people) AS place";

/// Together with what is kept. Locked in the order of the ids, so that two proxies never wait for each other in a circle.
macro_rules! put {
    ($told:expr) => {
        concat!(
            "WITH given AS (SELECT * FROM jsonb_to_recordset($1) AS g (id text, user_id text, seen_at bigint, has_choice boolean, \
             platform_id text, ended_at bigint, kept_until bigint)), \
             before AS (SELECT id, version FROM countersign_foreign_sessions WHERE id IN (SELECT id FROM given)), \
             written AS (INSERT INTO countersign_foreign_sessions AS kept \
             (id, user_id, seen_at, has_choice, platform_id, ended_at, kept_until) \
             SELECT id, user_id, seen_at, has_choice, platform_id, ended_at, kept_until FROM given ORDER BY id \
             ON CONFLICT (id) DO UPDATE SET user_id = COALESCE(kept.user_id, EXCLUDED.user_id), \
             seen_at = LEAST(kept.seen_at, EXCLUDED.seen_at), has_choice = kept.has_choice OR EXCLUDED.has_choice, \
             platform_id = CASE WHEN EXCLUDED.has_choice AND ($2 OR NOT kept.has_choice) THEN EXCLUDED.platform_id \
             ELSE kept.platform_id END, \
             ended_at = COALESCE(kept.ended_at, EXCLUDED.ended_at), \
             kept_until = GREATEST(kept.kept_until, EXCLUDED.kept_until), \
             version = kept.version + CASE WHEN EXCLUDED.has_choice AND ($2 OR NOT kept.has_choice) \
             OR EXCLUDED.ended_at IS NOT NULL AND kept.ended_at IS NULL THEN 1 ELSE 0 END RETURNING ",
            foreign_columns!(),
            "), told AS (",
            $told,
            ") SELECT ",
            foreign_columns!(),
            " FROM written"
        )
    };
}

const PUT: &str = put!(write_lines!(
    "$3",
    "EXISTS (SELECT FROM written LEFT JOIN before USING (id) WHERE written.version IS DISTINCT FROM before.version)"
));
/// Where there is no audit log.
const PUT_UNTOLD: &str = put!("SELECT $3::jsonb");

/// Whether there is a place for it.
#[derive(Debug, Default)]
pub(super) struct Place(Mutex<Option<Known>>);

/// What was found out about it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    /// Why there is none for sessions, where there is none.
    sessions: Result<(), String>,
    /// What may be done with the moments at which people logged out everywhere.
    pub(super) people: People,
    since: Instant,
}

/// Rights to the table of those moments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum People {
    /// It is not there, or may not be read.
    Nowhere,
    /// It may be read.
    Read,
    /// It may be written to as well.
    Written,
}

impl Known {
    fn is_whole(&self) -> bool {
        self.sessions.is_ok() && self.people == People::Written
    }
}

impl Place {
    /// As far as is known. Where there was none, whoever watches over it finds the new one, and no lookup does.
    pub(super) fn may_be(&self) -> bool {
        self.0.lock().as_ref().is_none_or(|known| known.sessions.is_ok())
    }

    /// The rights to the moments of people, if they were ever asked for.
    pub(super) fn people(&self) -> Option<People> {
        self.0.lock().as_ref().map(|known| known.people)
    }

    fn fresh(&self) -> Option<Known> {
        let is_fresh = |known: &&Known| known.is_whole() || known.since.elapsed() < LOOK_AGAIN;
        self.0.lock().as_ref().filter(is_fresh).cloned()
    }

    pub(super) fn forget(&self) {
        *self.0.lock() = None;
    }
}

impl PostgresDirectory {
    /// Does `work` where there is a place for it; `ReadOnly` where there is none.
    pub(super) async fn of_foreign<T>(
        &self,
        work: impl Future<Output = Result<T, sqlx::Error>> + Send,
    ) -> Result<T, DirectoryError> {
        if self.watch.within(self.place_of_foreign()).await?.is_err() {
            return Err(DirectoryError::ReadOnly);
        }
        let done = self.watch.within(work).await;
        if matches!(done, Err(DirectoryError::Unreadable)) {
            // The table or a right may be gone: looked at again before the next call.
            self.place.forget();
        }
        done
    }

    /// Why there is no place for it; the outer error says that this could not be found out.
    pub(super) async fn place_of_foreign(&self) -> Result<Result<(), String>, sqlx::Error> {
        Ok(self.known_place().await?.sessions)
    }

    /// What there is a place for; asked again after a second as long as something is missing.
    pub(super) async fn known_place(&self) -> Result<Known, sqlx::Error> {
        if let Some(known) = self.place.fresh() {
            return Ok(known);
        }
        let query = sqlx::query_as::<_, (bool, bool, bool, bool, bool)>(PLACE).bind(self.list_of_changes());
        let (is_replica, is_there, may, may_read_people, may_write_people) =
            query.persistent(self.keeps).fetch_one(&self.pool).await?;
        let sessions = match (is_there, is_replica, may) {
            (false, ..) if self.is_existing => {
                Err("there is no table `countersign_foreign_sessions`: apply \
                 migrations/existing/foreign_sessions.sql")
            }
            (false, ..) => {
                Err("there is no table `countersign_foreign_sessions`: run `countersign migrate up`")
            }
            (_, true, _) => {
                Err("the server is a replica, which is only read: name the primary in `[directory]`")
            }
            (_, _, false) => Err(
                "the role may not SELECT, INSERT, UPDATE and DELETE in `countersign_foreign_sessions` and \
                 the list of its changes: see migrations/existing/foreign_sessions.sql",
            ),
            (true, false, true) => Ok(()),
        };
        let people = match (may_read_people, may_write_people && !is_replica) {
            // Their own row has a place for it.
            _ if !self.is_existing => People::Written,
            (false, _) => People::Nowhere,
            (true, false) => People::Read,
            (true, true) => People::Written,
        };
        let known = Known { sessions: sessions.map_err(str::to_owned), people, since: Instant::now() };
        *self.place.0.lock() = Some(known.clone());
        Ok(known)
    }

    /// The table that lists what changed.
    pub(super) const fn list_of_changes(&self) -> &'static str {
        if self.is_existing { "countersign_foreign_changes" } else { "changes" }
    }

    pub(super) async fn read_foreign(&self, ids: &[SessionId]) -> Result<Vec<ForeignRecord>, sqlx::Error> {
        let sql =
            concat!("SELECT ", foreign_columns!(), " FROM countersign_foreign_sessions WHERE id = ANY($1)");
        let query = sqlx::query_as::<_, ForeignColumns>(sql).bind(texts(ids));
        all(query.persistent(self.keeps).fetch_all(&self.pool).await?)
    }

    pub(super) async fn write_foreign(
        &self,
        records: &[ForeignRecord],
        how: PutForeign,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<ForeignRecord>, sqlx::Error> {
        if !self.is_existing {
            return self.put(PUT, &self.pool, records, how, line).await;
        }
        // What is not of the application may be written on a connection that is made for reading.
        let mut transaction = self.pool.pool.begin_with("BEGIN READ WRITE").await?;
        let stand = self.put(PUT_UNTOLD, &mut *transaction, records, how, None).await?;
        transaction.commit().await?;
        Ok(stand)
    }

    async fn put(
        &self,
        sql: &'static str,
        executor: impl PgExecutor<'_>,
        records: &[ForeignRecord],
        how: PutForeign,
        line: Option<&AuditEntry>,
    ) -> Result<Vec<ForeignRecord>, sqlx::Error> {
        let query = sqlx::query_as::<_, ForeignColumns>(sql);
        let query = query.bind(given(records)).bind(how == PutForeign::Change).bind(lines(line));
        all(query.persistent(self.keeps).fetch_all(executor).await?)
    }

    pub(super) async fn drop_foreign(&self, now: Timestamp, limit: u32) -> Result<u64, sqlx::Error> {
        let query = sqlx::query(
            "DELETE FROM countersign_foreign_sessions WHERE id IN (SELECT id FROM countersign_foreign_sessions \
             WHERE kept_until < $1 ORDER BY kept_until LIMIT $2 FOR UPDATE SKIP LOCKED)",
        );
        let query = query.bind(column(now)).bind(i64::from(limit)).persistent(self.keeps);
        let mut transaction = self.pool.pool.begin_with("BEGIN READ WRITE").await?;
        let deleted = query.execute(&mut *transaction).await?.rows_affected();
        transaction.commit().await?;
        Ok(deleted)
    }
}

fn given(records: &[ForeignRecord]) -> Value {
    let row = |record: &ForeignRecord| {
        json!({
            "id": record.id.to_string(),
            "user_id": record.user.as_ref().map(UserId::as_str),
            "seen_at": column(record.seen),
            "has_choice": record.platform.is_some(),
            "platform_id": record.platform.as_ref().and_then(Option::as_ref).map(PlatformId::as_str),
            "ended_at": record.ended.map(column),
            "kept_until": column(record.kept_until),
        })
    };
    records.iter().map(row).collect()
}
