//! The operator's own queries: described before they are first used, described again after they failed, and asked for many
//! keys at once where they take an array. One that does not fit the database answers nothing: its lookups are
//! undetermined, and it says why.

mod describe;
mod ids;
#[cfg(test)]
mod mapping_tests;
mod rows;
#[cfg(test)]
mod session_tests;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::query::QueryAs;
use sqlx::{AssertSqlSafe, Error, FromRow, Postgres};
use tokio::time::Instant;

use self::describe::{Description, Plan};
use self::rows::{PlatformRow, SessionColumns, UserRow, ValueRow};
use self::shape::Shape;
use super::gate::Gate;
use crate::context::{PasswordKeys, Platform, PlatformId, User, UserId};
use crate::directory::queries::{Queries, QueryFacts, QueryObserver, QueryReport, SessionQuery};
use crate::directory::{Pair, TableSession};
use crate::secret::Secret;

/// How long a query that did not fit is not described again.
const RETRY: Duration = Duration::from_secs(1);
/// What is wrong is said again after this long, if nothing else is.
const SAY_AGAIN: Duration = Duration::from_mins(5);
/// Keys of a query that takes one: what one call asks for, one after the other, on one connection.
pub(super) const ONE_BY_ONE: usize = 16;

/// All queries of the operator's own.
pub(super) struct OwnQueries {
    pub(super) user: Option<OwnQuery>,
    pub(super) platforms: Option<OwnQuery>,
    pub(super) platform: Option<OwnQuery>,
    pub(super) settings: Option<OwnQuery>,
    pub(super) stats: Option<OwnQuery>,
    /// By their SQL: a reload may bring further ones.
    sessions: Mutex<HashMap<String, Arc<OwnQuery>>>,
    observer: OnceLock<QueryObserver>,
    /// With which users are marked.
    passwords: Arc<PasswordKeys>,
}

/// One of them.
pub(super) struct OwnQuery {
    key: String,
    sql: String,
    shape: &'static Shape,
    /// Whether triggers can tell of what it reads.
    is_told: bool,
    state: Mutex<State>,
    said: Mutex<Option<(String, Instant)>>,
}

enum State {
    Unknown,
    Ready(Arc<Plan>),
    Broken { why: String, since: Instant },
}

impl OwnQuery {
    fn new(key: &str, sql: &str, shape: &'static Shape, is_told: bool) -> Self {
        let state = Mutex::new(State::Unknown);
        Self { key: key.to_owned(), sql: sql.to_owned(), shape, is_told, state, said: Mutex::default() }
    }

    fn ready(&self) -> Option<Arc<Plan>> {
        match &*self.state.lock() {
            State::Ready(plan) => Some(Arc::clone(plan)),
            _ => None,
        }
    }

    /// Why it cannot be used, if that was found out a moment ago.
    fn broken(&self) -> Option<String> {
        match &*self.state.lock() {
            State::Broken { why, since } if since.elapsed() < RETRY => Some(why.clone()),
            _ => None,
        }
    }

    /// Says it in the log, once in a while. What is said comes from the query, never from what is stored.
    fn say(&self, problem: &str) {
        let mut said = self.said.lock();
        let is_new = said.as_ref().is_none_or(|(known, at)| known != problem || at.elapsed() > SAY_AGAIN);
        if is_new {
            tracing::warn!(
                query = self.key,
                problem,
                "a query of the configuration does not fit the database: what it is for cannot be found out"
            );
            *said = Some((problem.to_owned(), Instant::now()));
        }
    }
}

impl OwnQueries {
    pub(super) fn new(queries: &Queries) -> Self {
        let query = |name: &str, sql: &Option<String>, shape: &'static Shape, is_told: bool| {
            sql.as_deref().map(|sql| OwnQuery::new(&format!("directory.queries.{name}"), sql, shape, is_told))
        };
        let own = Self {
            user: query("user", &queries.user, &shape::USER, true),
            platforms: query("platforms", &queries.platforms, &shape::PLATFORMS, true),
            platform: query("platform", &queries.platform, &shape::PLATFORM, true),
            settings: query("settings", &queries.settings, &shape::SETTINGS, true),
            stats: query("stats", &queries.stats, &shape::STATS, false),
            sessions: Mutex::default(),
            observer: OnceLock::new(),
            passwords: Arc::clone(&queries.passwords),
        };
        for query in &queries.sessions {
            let _ = own.for_sessions(query);
        }
        own
    }

    pub(super) fn passwords(&self) -> &PasswordKeys {
        &self.passwords
    }

    /// Takes other keys. Whether there are any says what the query for users has to answer.
    pub(super) fn replace_passwords(&self, keys: &PasswordKeys) -> bool {
        let (were_empty, is_other) = (self.passwords.is_empty(), self.passwords.replace(keys));
        if let Some(user) = &self.user
            && were_empty != self.passwords.is_empty()
        {
            *user.state.lock() = State::Unknown;
        }
        is_other
    }

    pub(super) fn observe(&self, observer: QueryObserver) {
        // Set once, when the stores are put together.
        let _ = self.observer.set(observer);
    }

    fn for_sessions(&self, query: &SessionQuery) -> Arc<OwnQuery> {
        let mut sessions = self.sessions.lock();
        let known = sessions.entry(query.sql.clone());
        Arc::clone(
            known.or_insert_with(|| Arc::new(OwnQuery::new(&query.key, &query.sql, &shape::SESSIONS, true))),
        )
    }

    /// Describes every query that is not ready, and says what each came to. Errors are those of the connection.
    pub(super) async fn check(&self, pool: &Gate) -> Result<Vec<QueryReport>, Error> {
        let mut reports = Vec::new();
        let fixed = [&self.user, &self.platforms, &self.platform, &self.settings, &self.stats];
        let sessions: Vec<Arc<OwnQuery>> = self.sessions.lock().values().cloned().collect();
        let all = fixed.into_iter().flatten().chain(sessions.iter().map(AsRef::as_ref));
        for query in all {
            let plan = self.describe(query, pool).await?;
            let result = plan.map(|plan| QueryFacts {
                shape: plan.words(),
                untold: query.is_told.then(|| plan.untold.clone()),
                finds_sessions: std::ptr::eq(query.shape, &raw const shape::SESSIONS),
            });
            reports.push(QueryReport { key: query.key.clone(), result });
        }
        Ok(reports)
    }

    /// Whether triggers tell of every change of what this query reads.
    pub(super) fn tells_of(&self, query: &SessionQuery) -> bool {
        self.for_sessions(query).ready().is_some_and(|plan| plan.untold.is_empty())
    }

    /// The tables without triggers that tell of changes; `None` while that is not known. Those of sessions are not
    /// among them: each of their copies has an age of its own.
    pub(super) fn untold(&self) -> Option<Vec<String>> {
        let told = [&self.user, &self.platforms, &self.platform, &self.settings];
        let mut untold = Vec::new();
        for query in told.into_iter().flatten() {
            untold.extend(query.ready()?.untold.iter().cloned());
        }
        untold.sort();
        untold.dedup();
        Some(untold)
    }

    /// Whether a query for `one` takes many keys; as long as that is not known, it is not believed to.
    pub(super) fn takes_many(one: Option<&OwnQuery>) -> bool {
        one.is_none_or(|query| query.ready().is_some_and(|plan| plan.is_batched()))
    }

    /// The most keys of sessions in one call, whichever query is meant.
    pub(super) fn most_session_keys(&self) -> usize {
        let sessions = self.sessions.lock();
        if sessions.values().all(|query| Self::takes_many(Some(query))) { usize::MAX } else { ONE_BY_ONE }
    }

    /// The inner error says why the query does not fit, the outer one that this could not be found out.
    async fn describe(&self, query: &OwnQuery, pool: &Gate) -> Result<Result<Arc<Plan>, String>, Error> {
        let mut connection = pool.pool.acquire().await?;
        let described =
            describe::describe(&mut connection, query, !self.passwords.is_empty(), pool.keeps()).await;
        let described = match described {
            Ok(Description::Fits(plan)) => Ok(Arc::new(plan)),
            Ok(Description::Unfit(why)) => Err(why),
            Err(error) => {
                // Half a conversation may lie on it.
                connection.close_on_drop();
                return Err(error);
            }
        };
        *query.state.lock() = match &described {
            Ok(plan) => State::Ready(Arc::clone(plan)),
            Err(why) => State::Broken { why: why.clone(), since: Instant::now() },
        };
        self.note(query, described.is_ok());
        match &described {
            Err(why) => query.say(why),
            Ok(_) => {
                if query.said.lock().take().is_some() {
                    tracing::info!(query = query.key, "the query fits the database now");
                }
            }
        }
        Ok(described)
    }

    fn note(&self, query: &OwnQuery, is_usable: bool) {
        if let Some(observer) = self.observer.get() {
            observer(&query.key, is_usable);
        }
    }

    async fn plan(&self, query: &OwnQuery, pool: &Gate) -> Result<Arc<Plan>, Error> {
        if let Some(plan) = query.ready() {
            return Ok(plan);
        }
        if let Some(why) = query.broken() {
            return Err(unfit(why));
        }
        self.describe(query, pool).await?.map_err(unfit)
    }

    /// Asks for the keys that could be there. `columns` has for each parameter as many texts as there are keys.
    async fn ask<R>(&self, query: &OwnQuery, pool: &Gate, columns: &[Vec<&str>]) -> Result<Vec<R>, Error>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let plan = self.plan(query, pool).await?;
        let columns = plan.possible(columns);
        let keys = columns.first().map_or(0, Vec::len);
        if keys == 0 {
            return Ok(Vec::new());
        }
        let mut rows = Vec::new();
        let work = async {
            let run = |arguments| Self::run(&plan, arguments, pool.keeps());
            if plan.is_batched() {
                rows.extend(run(plan.arguments(&columns)?).fetch_all(pool).await?);
                return Ok(());
            }
            for at in 0..keys {
                let one: Vec<Vec<&str>> = columns.iter().map(|column| vec![column[at]]).collect();
                rows.extend(run(plan.arguments(&one)?).fetch_all(pool).await?);
            }
            Ok(())
        };
        if let Err(error) = work.await {
            if is_about_the_query(&error) {
                // Tables change; what was described is looked at again before the next answer, which says what is wrong.
                *query.state.lock() = State::Unknown;
                self.note(query, false);
                return Err(unfit("the server refuses it".to_owned()));
            }
            return Err(error);
        }
        Ok(rows)
    }

    fn run<R>(plan: &Plan, arguments: PgArguments, keeps: bool) -> QueryAs<'static, Postgres, R, PgArguments>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let sql = AssertSqlSafe(Arc::clone(&plan.sql));
        sqlx::query_as_with::<_, R, _>(sql, arguments).persistent(keeps)
    }

    pub(super) async fn users(
        &self,
        query: &OwnQuery,
        pool: &Gate,
        ids: &[UserId],
    ) -> Result<Vec<User>, Error> {
        let ids = ids.iter().map(UserId::as_str).collect();
        let rows: Vec<UserRow> = self.ask(query, pool, &[ids]).await?;
        read(query, rows::users(rows, &self.passwords))
    }

    pub(super) async fn platforms_of(
        &self,
        query: &OwnQuery,
        pool: &Gate,
        users: &[UserId],
    ) -> Result<Vec<Platform>, Error> {
        let ids = users.iter().map(UserId::as_str).collect();
        let rows: Vec<PlatformRow> = self.ask(query, pool, &[ids]).await?;
        let mut platforms = read(query, rows::platforms(rows))?;
        platforms.retain(|platform| platform.active);
        rows::default_first(&mut platforms);
        Ok(platforms)
    }

    pub(super) async fn platforms(
        &self,
        query: &OwnQuery,
        pool: &Gate,
        ids: &[PlatformId],
    ) -> Result<Vec<Platform>, Error> {
        let ids = ids.iter().map(PlatformId::as_str).collect();
        let rows: Vec<PlatformRow> = self.ask(query, pool, &[ids]).await?;
        read(query, rows::platforms(rows))
    }

    pub(super) async fn values(
        &self,
        query: &OwnQuery,
        pool: &Gate,
        pairs: &[Pair],
    ) -> Result<Vec<(Pair, serde_json::Value)>, Error> {
        let users = pairs.iter().map(|(user, _)| user.as_str()).collect();
        let platforms = pairs.iter().map(|(_, platform)| platform.as_str()).collect();
        let rows: Vec<ValueRow> = self.ask(query, pool, &[users, platforms]).await?;
        read(query, rows::values(rows))
    }

    /// Deletes a session as its framework would, though the directory may be one that is only read.
    pub(super) async fn delete_session(query: &SessionQuery, pool: &Gate, key: &Secret) -> Result<(), Error> {
        let (Some(sql), Ok(key)) = (&query.delete, key.expose_text()) else {
            return Err(unfit(format!("`{}` does not say how to delete a session", query.key)));
        };
        let mut transaction = pool.pool.begin_with("BEGIN READ WRITE").await?;
        let deletion = sqlx::query(AssertSqlSafe(sql.as_str())).bind(key).persistent(pool.keeps());
        deletion.execute(&mut *transaction).await?;
        transaction.commit().await
    }

    pub(super) async fn table_sessions(
        &self,
        query: &SessionQuery,
        pool: &Gate,
        keys: &[&Secret],
    ) -> Result<Vec<TableSession>, Error> {
        let query = self.for_sessions(query);
        let keys = keys.iter().filter_map(|key| key.expose_text().ok()).collect();
        let rows: Vec<SessionColumns> = self.ask(&query, pool, &[keys]).await?;
        read(&query, rows::sessions(rows))
    }
}

/// What is in a row that cannot be used makes the whole answer unreadable: leaving the row out would say that it is not
/// there.
fn read<T>(query: &OwnQuery, rows: Result<Vec<T>, &'static str>) -> Result<Vec<T>, Error> {
    rows.map_err(|why| {
        query.say(why);
        unfit(format!("`{}`: {why}", query.key))
    })
}

fn unfit(why: String) -> Error {
    Error::Configuration(why.into())
}

/// Whether the server refused the query itself: syntax, names, types and rights (PostgreSQL, appendix A).
fn is_about_the_query(error: &Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code.starts_with("42") || code.starts_with("0A"))
}
