//! Redis and Postgres behind a proxy that is measured with many sessions. A file tells of no changes, so that its users are
//! read again every 30 seconds: with a hundred thousand that would be measured, and not what a session in the process
//! costs.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::postgres::Postgres;
use e2e::redis::Redis;
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{Failure, sessions};

/// The servers of one proxy; they end with this value.
pub(super) struct Servers {
    redis: Redis,
    _postgres: Postgres,
    database: String,
}

impl Servers {
    pub(super) fn start() -> Self {
        let postgres = Postgres::start();
        Self { redis: Redis::start(), database: postgres.new_database(), _postgres: postgres }
    }

    /// A configuration with these servers in place of files. Tokens are used for half an hour instead of half a minute: to
    /// make 100,000 anew takes longer than a round.
    pub(super) fn instead_of_files(&self, configuration: &str) -> String {
        let (head, rest) = configuration.split_once("[directory]").expect("a directory");
        let (_file, rest) = rest.split_once("[resolve]").expect("what follows the directory");
        let redis = format!("kind = \"redis\"\nurl = \"{}\"\ntimeout = \"10s\"", self.redis.url());
        let head = head.replace("kind = \"embedded\"", &redis);
        let database = &self.database;
        format!(
            "{head}[directory]\nkind = \"postgres\"\nurl = \"{database}\"\ntimeout = \"10s\"\n[jwt]\nlifetime = \"1h\"\n[resolve]{rest}"
        )
    }

    /// Writes `count` sessions of as many users, each with a platform. Answers their tokens.
    pub(super) fn write(&self, token_key: &[u8], count: u64) -> Result<Vec<String>, Failure> {
        let tokens = sessions::tokens(token_key, count);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.insert(&tokens))?;
        Ok(tokens)
    }

    async fn insert(&self, tokens: &[String]) -> Result<(), Failure> {
        let ids: Vec<String> =
            tokens.iter().map(|token| URL_SAFE_NO_PAD.encode(Sha256::digest(token))).collect();
        #[expect(clippy::disallowed_methods, reason = "a program that measures has the time of its machine")]
        let moment = SystemTime::now();
        let now = i64::try_from(moment.duration_since(UNIX_EPOCH)?.as_millis())?;
        let options: PgConnectOptions = self.database.parse()?;
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
        // Without triggers: nobody listens yet, and nothing of it is a change.
        sqlx::query("SET session_replication_role = replica").execute(&pool).await?;
        let people = [
            "INSERT INTO users (id, name, roles) SELECT place - 1, 'Ana Fern', '{admin}' \
             FROM unnest($1::text[]) WITH ORDINALITY AS t (id, place) WHERE $2 > 0",
            "INSERT INTO platforms (id, user_id, type, name, url, is_default) SELECT place - 1, place - 1, 'mastodon', \
             'Ana on Mastodon', 'https://social.example.org', true \
             FROM unnest($1::text[]) WITH ORDINALITY AS t (id, place) WHERE $2 > 0",
            "INSERT INTO sessions (id, user_id, platform_id, created_at, authenticated_at, expires_at, last_seen, version) \
             SELECT id, place - 1, place - 1, $2, $2, $2 + 36000000, $2, 1 \
             FROM unnest($1::text[]) WITH ORDINALITY AS t (id, place)",
        ];
        for statement in people {
            sqlx::query(statement).bind(&ids).bind(now).execute(&pool).await?;
        }
        // Else the planner takes the tables for empty, and reads them whole.
        sqlx::query("ANALYZE").execute(&pool).await?;
        pool.close().await;
        Ok(())
    }
}
