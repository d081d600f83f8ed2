//! Settings and figures in SQLite: JSON by user and platform, many pairs in one query.

use serde_json::Value;
use sqlx::SqlitePool;

use super::ledger::append;
use crate::context::{PlatformId, UserId};
use crate::directory::rows::{ValueColumns, all, unreadable};
use crate::directory::{AuditEntry, Change, Pair};

const SETTINGS: &str = "SELECT user_id, platform_id, settings AS value FROM user_settings \
     WHERE (user_id, platform_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))";
const STATS: &str = "SELECT user_id, platform_id, stats AS value FROM platform_stats \
     WHERE (user_id, platform_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each($1))";

pub(super) async fn settings(pool: &SqlitePool, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    ask(pool, SETTINGS, pairs).await
}

pub(super) async fn stats(pool: &SqlitePool, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    ask(pool, STATS, pairs).await
}

/// Writes settings where `before` still stands, compared as JSON and not as text.
pub(super) async fn replace(
    pool: &SqlitePool,
    user: &UserId,
    platform: &PlatformId,
    before: Option<&Value>,
    after: &Value,
    line: Option<&AuditEntry>,
) -> Result<Change<()>, sqlx::Error> {
    const READ: &str = "SELECT settings FROM user_settings WHERE user_id = $1 AND platform_id = $2";
    const THERE: &str = "SELECT EXISTS (SELECT 1 FROM users WHERE id = $1) AND EXISTS (SELECT 1 FROM platforms WHERE id = $2)";
    const WRITE: &str = "INSERT INTO user_settings (user_id, platform_id, settings) VALUES ($1, $2, $3) \
         ON CONFLICT (user_id, platform_id) DO UPDATE SET settings = excluded.settings, \
         updated_at = excluded.updated_at";
    let mut transaction = pool.begin_with("BEGIN IMMEDIATE").await?;
    let (user, platform) = (user.as_str(), platform.as_str());
    let there = sqlx::query_scalar(THERE).bind(user).bind(platform);
    if !there.fetch_one(&mut *transaction).await? {
        return Ok(Change::Gone);
    }
    let read = sqlx::query_scalar::<_, String>(READ).bind(user).bind(platform);
    let stands = read.fetch_optional(&mut *transaction).await?;
    let stands = stands.map(|text| serde_json::from_str::<Value>(&text)).transpose().map_err(unreadable)?;
    if stands.unwrap_or_default() != before.cloned().unwrap_or_default() {
        return Ok(Change::Conflict);
    }
    let write = sqlx::query(WRITE).bind(user).bind(platform).bind(after.to_string());
    write.execute(&mut *transaction).await?;
    append(&mut transaction, line).await?;
    transaction.commit().await?;
    Ok(Change::Done(()))
}

async fn ask(
    pool: &SqlitePool,
    query: &'static str,
    pairs: &[Pair],
) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    let pairs: Vec<_> = pairs.iter().map(|(user, platform)| [user.as_str(), platform.as_str()]).collect();
    let query = sqlx::query_as::<_, ValueColumns<String>>(query).bind(serde_json::json!(pairs).to_string());
    all(query.fetch_all(pool).await?)
}
