//! What is measured: people with sessions in Postgres, and proxies that know none of them yet.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use e2e::load::Application;
use e2e::proxy::{Builder, Proxy};
use e2e::relay::Relay;
use e2e::stores::{Deadlines, Stores};

use crate::Failure;

/// The key of all tokens.
const TOKEN_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
/// The documented deadlines.
pub(crate) const DEADLINES: Deadlines = Deadlines {
    store: Duration::from_millis(100),
    directory: Duration::from_millis(250),
    budget: Duration::from_millis(250),
};

/// One proxy, and its ways to the servers.
pub(crate) struct Seat {
    pub(crate) proxy: Proxy,
    pub(crate) redis: Relay,
    pub(crate) postgres: Relay,
}

/// Servers, people and proxies; the proxies end first.
pub(crate) struct Site {
    pub(crate) seats: Vec<Seat>,
    _app: Application,
    pub(crate) stores: Stores,
}

/// The people of one measurement: each with a platform of their own, and with as many sessions as wanted.
pub(crate) struct People {
    pub(crate) count: usize,
    pub(crate) sessions_each: usize,
}

impl People {
    /// The token of one of somebody's sessions.
    pub(crate) fn token(person: usize, session: usize) -> String {
        let mut random = Sha256::digest(format!("{person} {session}")).to_vec();
        random.truncate(24);
        let mut tag = Hmac::<Sha256>::new_from_slice(TOKEN_KEY.as_bytes()).expect("HMAC takes any key");
        tag.update(&random);
        random.extend_from_slice(&tag.finalize().into_bytes()[..8]);
        URL_SAFE_NO_PAD.encode(random)
    }

    /// Everybody's tokens.
    pub(crate) fn tokens(&self) -> Vec<String> {
        let each =
            (0..self.count).flat_map(|person| (0..self.sessions_each).map(move |number| (person, number)));
        each.map(|(person, number)| Self::token(person, number)).collect()
    }
}

/// The id of the session that a token opens.
pub(crate) fn id_of(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()))
}

impl Site {
    /// Fills the directory first, so that no proxy has heard of anybody.
    pub(crate) async fn start(
        proxies: usize,
        people: &People,
        deadlines: Deadlines,
        change: impl Fn(Builder) -> Builder,
    ) -> Result<Self, Failure> {
        let mut stores = tokio::task::block_in_place(Stores::to_be_stopped);
        let app = Application::start().await;
        stores.servers().deadlines = Some(deadlines);
        drop(builder(&app).token_key(TOKEN_KEY).start(&stores).await);
        fill(&stores.servers().database, people).await?;
        let (redis, postgres) = addresses(&mut stores)?;
        let mut seats = Vec::new();
        for _ in 0..proxies {
            let (redis, postgres) = (Relay::to_redis(redis).await, Relay::to_postgres(postgres).await);
            let real = stores.servers();
            let name = real.database.rsplit('/').next().ok_or("a URL with a database")?;
            real.database_url = Some(format!("postgres://postgres@{}/{name}", postgres.address()));
            real.redis_url = Some(format!("redis://{}/0", redis.address()));
            let proxy = change(builder(&app)).unseeded().token_key(TOKEN_KEY).start(&stores).await;
            seats.push(Seat { proxy, redis, postgres });
        }
        // Let listeners and trackers be in place before anything is measured.
        tokio::time::sleep(Duration::from_millis(500)).await;
        Ok(Self { seats, _app: app, stores })
    }

    /// Where browsers connect to a proxy.
    pub(crate) fn address(&self, proxy: usize) -> SocketAddr {
        self.seats[proxy].proxy.addresses().http1
    }

    /// Writes keys of Redis anew with what they hold, so that no process keeps what it had read from them.
    pub(crate) fn renew(&mut self, pattern: &str) {
        let script = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do \
                      if redis.call('TYPE', key).ok == 'string' then \
                      redis.call('SET', key, redis.call('GET', key), 'KEEPTTL') end end return 'done'";
        let done =
            tokio::task::block_in_place(|| self.stores.redis().command(&["EVAL", script, "0", pattern]));
        assert_eq!(done, "done");
    }
}

fn builder(app: &Application) -> Builder {
    Proxy::builder()
        .upstream("bench", app.address(), "")
        .route("/auth/", "bench", "\"nothing\"", "session_authority = true")
        .route("/public/", "bench", "\"nothing\"", "")
        .route("/platform/", "bench", "\"platform\"", "")
        // What is measured are requests, not what is noted beside them.
        .session("touch_interval = \"20m\"")
        .more("[log]\nlevel = \"warn\"")
}

fn addresses(stores: &mut Stores) -> Result<(SocketAddr, SocketAddr), Failure> {
    let real = stores.servers();
    let port = real.redis.port();
    let server = real.database.rsplit_once('/').and_then(|(server, _)| server.rsplit(':').next());
    let postgres: u16 = server.ok_or("a URL with a port")?.parse()?;
    Ok((SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from(([127, 0, 0, 1], postgres))))
}

async fn fill(database: &str, people: &People) -> Result<(), Failure> {
    let options: PgConnectOptions = database.parse()?;
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await?;
    let last = i64::try_from(people.count)? - 1;
    sqlx::query("INSERT INTO users (id, name, roles) SELECT 'b' || n, 'Person ' || n, '{reviewer}' FROM generate_series(0, $1) n")
        .bind(last)
        .execute(&pool)
        .await?;
    sqlx::query(
        "INSERT INTO platforms (id, user_id, type, name, url, is_default) SELECT 'b' || n || '-p', 'b' || n, \
         'mastodon', 'Platform', 'https://' || n || '.example', true FROM generate_series(0, $1) n",
    )
    .bind(last)
    .execute(&pool)
    .await?;
    #[expect(clippy::disallowed_methods, reason = "a program that measures has the time of its machine")]
    let moment = SystemTime::now();
    let now = i64::try_from(moment.duration_since(UNIX_EPOCH)?.as_millis())?;
    let ids: Vec<String> = people.tokens().iter().map(|token| id_of(token)).collect();
    let each = i64::try_from(people.sessions_each)?;
    sqlx::query(
        "INSERT INTO sessions (id, user_id, platform_id, created_at, authenticated_at, expires_at, last_seen, version) \
         SELECT id, 'b' || (place - 1) / $2, 'b' || (place - 1) / $2 || '-p', $3, $3, $3 + 36000000, $3, 1 \
         FROM unnest($1::text[]) WITH ORDINALITY AS t (id, place)",
    )
    .bind(ids)
    .bind(each)
    .bind(now)
    .execute(&pool)
    .await?;
    // As if they had been there for long: what has just changed is not kept for a while.
    sqlx::query("TRUNCATE changes").execute(&pool).await?;
    sqlx::query("ANALYZE").execute(&pool).await?;
    pool.close().await;
    Ok(())
}
