//! Settings and figures in Postgres: JSON by user and platform, many pairs in one query.

use serde_json::Value;
use sqlx::PgPool;

use crate::directory::Pair;
use crate::directory::rows::{ValueColumns, all};

const SETTINGS: &str = "SELECT user_id, platform_id, settings AS value FROM user_settings \
     JOIN unnest($1::text[], $2::text[]) AS wanted (user_id, platform_id) USING (user_id, platform_id)";
const STATS: &str = "SELECT user_id, platform_id, stats AS value FROM platform_stats \
     JOIN unnest($1::text[], $2::text[]) AS wanted (user_id, platform_id) USING (user_id, platform_id)";

pub(super) async fn settings(pool: &PgPool, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    ask(pool, SETTINGS, pairs).await
}

pub(super) async fn stats(pool: &PgPool, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    ask(pool, STATS, pairs).await
}

async fn ask(pool: &PgPool, query: &'static str, pairs: &[Pair]) -> Result<Vec<(Pair, Value)>, sqlx::Error> {
    let (users, platforms): (Vec<&str>, Vec<&str>) =
        pairs.iter().map(|(user, platform)| (user.as_str(), platform.as_str())).unzip();
    let query = sqlx::query_as::<_, ValueColumns<Value>>(query).bind(users).bind(platforms);
    all(query.fetch_all(pool).await?)
}
