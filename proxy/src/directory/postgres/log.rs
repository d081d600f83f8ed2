//! The list of changes in Postgres: what the triggers write down (`migrations/postgres/0003_changes.up.sql`).

use sqlx::FromRow;

use super::gate::Gate;

use crate::clock::Timestamp;
use crate::directory::rows::column;
use crate::directory::{Page, Place};

/// One statement, so that the changes and the oldest transaction under way belong to one snapshot. A transaction that
/// is committed later was under way then: it lies behind the horizon.
const PAGE: &str = "WITH page AS (SELECT transaction, id, what FROM changes WHERE (transaction, id) > ($1, $2) \
     ORDER BY transaction, id LIMIT $3) \
     SELECT now.horizon, page.transaction, page.id, page.what \
     FROM (SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS horizon) AS now \
     LEFT JOIN page ON true ORDER BY page.transaction, page.id";

#[derive(FromRow)]
struct Line {
    horizon: i64,
    transaction: Option<i64>,
    id: Option<i64>,
    what: Option<String>,
}

pub(super) async fn page(pool: &Gate, after: Place, most: u32) -> Result<Page, sqlx::Error> {
    let query = sqlx::query_as::<_, Line>(PAGE);
    let query = query.bind(after.transaction).bind(after.line).bind(i64::from(most));
    let lines = query.persistent(pool.keeps()).fetch_all(pool).await?;
    // Lines are numbered from 1 on, so that all of that transaction come after this place.
    let horizon = Place { transaction: lines.first().map_or(0, |line| line.horizon), line: 0 };
    let found = lines
        .into_iter()
        .filter_map(|line| Some((Place { transaction: line.transaction?, line: line.id? }, line.what?)));
    Ok(Page::of(&found.collect::<Vec<_>>(), most, horizon))
}

pub(super) async fn purge(pool: &Gate, before: Timestamp, limit: u32) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(
        "DELETE FROM changes WHERE (transaction, id) IN (SELECT transaction, id FROM changes WHERE at < $1 \
         ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)",
    );
    Ok(query
        .bind(column(before))
        .bind(i64::from(limit))
        .persistent(pool.keeps())
        .execute(pool)
        .await?
        .rows_affected())
}
