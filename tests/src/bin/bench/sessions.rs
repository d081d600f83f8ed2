//! Users, platforms and sessions, written straight into the directory's file in one transaction, and the cookies that
//! open the sessions. Logging in a hundred thousand times would take longer than everything that is measured.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::Failure;

/// Writes `count` sessions of as many users, each with a platform. Answers their tokens.
pub(super) fn write(database: &Path, token_key: &[u8], count: u64) -> Result<Vec<String>, Failure> {
    let tokens = tokens(token_key, count);
    #[expect(clippy::disallowed_methods, reason = "a program that measures has the time of its machine")]
    let moment = SystemTime::now();
    let now = u64::try_from(moment.duration_since(UNIX_EPOCH)?.as_millis())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(insert(database, &tokens, now))?;
    Ok(tokens)
}

async fn insert(database: &Path, tokens: &[String], now: u64) -> Result<(), Failure> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let pool = sqlx::SqlitePool::connect_with(options).await?;
    let mut transaction = pool.begin().await?;
    let created = i64::try_from(now)?;
    for (number, token) in tokens.iter().enumerate() {
        let id = number.to_string();
        sqlx::query("INSERT INTO users (id, name, roles, active) VALUES ($1, 'Ana Fern', '[\"admin\"]', 1)")
            .bind(&id)
            .execute(&mut *transaction)
            .await?;
        sqlx::query(
            "INSERT INTO platforms (id, user_id, type, name, url, active, is_default) \
             VALUES ($1, $1, 'mastodon', 'Ana on Mastodon', 'https://social.example.org', 1, 1)",
        )
        .bind(&id)
        .execute(&mut *transaction)
        .await?;
        sqlx::query(
            "INSERT INTO sessions (id, user_id, platform_id, created_at, authenticated_at, expires_at, last_seen, \
             version) VALUES ($1, $2, $2, $3, $3, $4, $3, 1)",
        )
        .bind(URL_SAFE_NO_PAD.encode(Sha256::digest(token)))
        .bind(&id)
        .bind(created)
        .bind(created + 8 * 3_600_000)
        .execute(&mut *transaction)
        .await?;
    }
    transaction.commit().await?;
    pool.close().await;
    Ok(())
}

/// Tokens as sessions have them.
pub(super) fn tokens(key: &[u8], count: u64) -> Vec<String> {
    (0..count).map(|number| token(key, number)).collect()
}

/// A token as the proxy mints it, but for its random bytes, which are a number here.
fn token(key: &[u8], number: u64) -> String {
    let mut random = [0; 24];
    random[..8].copy_from_slice(&number.to_be_bytes());
    let mut tag = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    tag.update(&random);
    URL_SAFE_NO_PAD.encode([&random[..], &tag.finalize().into_bytes()[..8]].concat())
}
