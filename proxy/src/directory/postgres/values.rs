//! Settings and figures in Postgres: JSON by user and platform, many pairs in one query.

use serde_json::Value;

use super::gate::Gate;
use super::lines::{lines, write_lines};
use crate::context::{PlatformId, UserId};
use crate::directory::rows::{ValueColumns, all};
use crate::directory::{AuditEntry, Change, Pair};

const SETTINGS: &str = "SELECT user_id, platform_id, settings AS value FROM user_settings \
     JOIN unnest($1::text[], $2::text[]) AS wanted (user_id, platform_id) USING (user_id, platform_id)";
const STATS: &str = "SELECT user_id, platform_id, stats AS value FROM platform_stats \
     JOIN unnest($1::text[], $2::text[]) AS wanted (user_id, platform_id) USING (user_id, platform_id)";

pub(super) async fn settings(pool: &Gate, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    ask(pool, SETTINGS, pairs).await
}

pub(super) async fn stats(pool: &Gate, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    ask(pool, STATS, pairs).await
}

const WRITE: &str = concat!(
    "WITH written AS (INSERT INTO user_settings AS old (user_id, platform_id, settings) SELECT $1, $2, $4 \
     WHERE EXISTS (SELECT FROM users WHERE id = $1) AND EXISTS (SELECT FROM platforms WHERE id = $2) \
     AND ($3::jsonb IS NULL OR EXISTS (SELECT FROM user_settings WHERE user_id = $1 AND platform_id = $2)) \
     ON CONFLICT (user_id, platform_id) DO UPDATE \
     SET settings = excluded.settings, updated_at = excluded.updated_at \
     WHERE old.settings = coalesce($3, 'null'::jsonb) RETURNING user_id), told AS (",
    write_lines!("$5", "EXISTS (SELECT FROM written)"),
    ") SELECT count(*) FROM written"
);

/// Writes settings where `before` still stands, compared as JSON and not as text.
pub(super) async fn replace(
    pool: &Gate,
    (user, platform): (&UserId, &PlatformId),
    before: Option<&Value>,
    after: &Value,
    line: Option<&AuditEntry>,
) -> Result<Change<()>, sqlx::Error> {
    let query = sqlx::query_scalar::<_, i64>(WRITE)
        .bind(user.as_str())
        .bind(platform.as_str())
        .bind(before)
        .bind(after)
        .bind(lines(line));
    if query.persistent(pool.keeps()).fetch_one(pool).await? > 0 {
        return Ok(Change::Done(()));
    }
    let there =
        "SELECT EXISTS (SELECT FROM users WHERE id = $1) AND EXISTS (SELECT FROM platforms WHERE id = $2)";
    let there = sqlx::query_scalar(there).bind(user.as_str()).bind(platform.as_str());
    Ok(if there.persistent(pool.keeps()).fetch_one(pool).await? { Change::Conflict } else { Change::Gone })
}

async fn ask(pool: &Gate, query: &'static str, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    let (users, platforms): (Vec<&str>, Vec<&str>) =
        pairs.iter().map(|(user, platform)| (user.as_str(), platform.as_str())).unzip();
    let query = sqlx::query_as::<_, ValueColumns<Value>>(query).bind(users).bind(platforms);
    all(query.persistent(pool.keeps()).fetch_all(pool).await?)
}
