//! Settings and figures in SQLite: JSON by user and platform, many pairs in one query.

use serde_json::Value;
use sqlx::SqlitePool;

use crate::directory::Pair;
use crate::directory::rows::{ValueColumns, all};

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

async fn ask(
    pool: &SqlitePool,
    query: &'static str,
    pairs: &[Pair],
) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    let pairs: Vec<_> = pairs.iter().map(|(user, platform)| [user.as_str(), platform.as_str()]).collect();
    let query = sqlx::query_as::<_, ValueColumns<String>>(query).bind(serde_json::json!(pairs).to_string());
    all(query.fetch_all(pool).await?)
}
