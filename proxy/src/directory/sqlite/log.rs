//! The list of changes in SQLite: what the triggers write down (`migrations/sqlite/0003_changes.up.sql`). One writer at a
//! time, so that the lines are in the order of their commits.

use sqlx::SqlitePool;

use crate::clock::Timestamp;
use crate::directory::changes::FOREIGN_KEPT;
use crate::directory::rows::column;
use crate::directory::{Page, Place};

pub(super) async fn page(pool: &SqlitePool, after: Place, most: u32) -> Result<Page, sqlx::Error> {
    let mut connection = pool.acquire().await?;
    // First: what is written in between is found now or behind the horizon.
    let last: i64 =
        sqlx::query_scalar("SELECT ifnull(max(id), 0) FROM changes").fetch_one(&mut *connection).await?;
    let query = sqlx::query_as::<_, (i64, String)>(
        "SELECT id, what FROM changes WHERE id > $1 AND id <= $2 ORDER BY id LIMIT $3",
    );
    let query = query.bind(after.line).bind(last).bind(i64::from(most));
    let lines = query.fetch_all(&mut *connection).await?;
    let found = lines.into_iter().map(|(line, what)| (Place { transaction: 0, line }, what));
    Ok(Page::of(&found.collect::<Vec<_>>(), most, Place { transaction: 0, line: last }))
}

pub(super) async fn purge(pool: &SqlitePool, before: Timestamp, limit: u32) -> Result<u64, sqlx::Error> {
    let query = sqlx::query(
        "DELETE FROM changes WHERE id IN (SELECT id FROM changes WHERE at < $1 \
         AND (at < $3 OR what NOT LIKE 'foreign_session:%') ORDER BY at LIMIT $2)",
    );
    let query = query.bind(column(before)).bind(i64::from(limit)).bind(column(before.minus(FOREIGN_KEPT)));
    Ok(query.execute(pool).await?.rows_affected())
}
