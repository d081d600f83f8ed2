//! The list of changes in Postgres: what the triggers write down (`migrations/postgres/0003_changes.up.sql`).

use sqlx::{AssertSqlSafe, FromRow};

use super::gate::Gate;

use crate::clock::Timestamp;
use crate::directory::changes::FOREIGN_KEPT;
use crate::directory::rows::column;
use crate::directory::{Page, Place};

/// One statement, so that the changes and the oldest transaction under way belong to one snapshot. A transaction that
/// is committed later was under way then: it lies behind the horizon.
fn page_of(list: &str) -> String {
    format!(
        "WITH page AS (SELECT transaction, id, what FROM {list} WHERE (transaction, id) > ($1, $2) \
         ORDER BY transaction, id LIMIT $3) \
         SELECT now.horizon, page.transaction, page.id, page.what \
         FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon) AS now \
         LEFT JOIN page ON true ORDER BY page.transaction, page.id"
    )
}

#[derive(FromRow)]
struct Line {
    horizon: i64,
    transaction: Option<i64>,
    id: Option<i64>,
    what: Option<String>,
}

/// `list` is the name of the table.
pub(super) async fn page(
    pool: &Gate,
    list: &'static str,
    after: Place,
    most: u32,
) -> Result<Page, sqlx::Error> {
    let query = sqlx::query_as::<_, Line>(AssertSqlSafe(page_of(list)));
    let query = query.bind(after.transaction).bind(after.line).bind(i64::from(most));
    let lines = query.persistent(pool.keeps()).fetch_all(pool).await?;
    // Lines are numbered from 1 on, so that all of that transaction come after this place.
    let horizon = Place { transaction: lines.first().map_or(0, |line| line.horizon), line: 0 };
    let found = lines
        .into_iter()
        .filter_map(|line| Some((Place { transaction: line.transaction?, line: line.id? }, line.what?)));
    Ok(Page::of(&found.collect::<Vec<_>>(), most, horizon))
}

/// What was written about foreign sessions stays as long as they may: `FOREIGN_KEPT` longer.
pub(super) async fn purge(
    pool: &Gate,
    list: &'static str,
    before: Timestamp,
    limit: u32,
) -> Result<u64, sqlx::Error> {
    let sql = format!(
        "DELETE FROM {list} WHERE (transaction, id) IN (SELECT transaction, id FROM {list} WHERE at < $1 \
         AND (at < $3 OR NOT starts_with(what, 'foreign_session:')) ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)"
    );
    let query = sqlx::query(AssertSqlSafe(sql)).bind(column(before)).bind(i64::from(limit));
    let query = query.bind(column(before.minus(FOREIGN_KEPT))).persistent(pool.keeps());
    let mut transaction = pool.pool.begin_with("BEGIN READ WRITE").await?;
    let deleted = query.execute(&mut *transaction).await?.rows_affected();
    transaction.commit().await?;
    Ok(deleted)
}
