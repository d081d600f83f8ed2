//! Where the sessions and the directory of a test lie: a real Redis and a real Postgres, or the embedded default.

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use crate::pgbouncer::PgBouncer;
use crate::postgres::{Postgres, run_sql, shared_database};
use crate::redis::Redis;
use crate::relay::Relay;

/// The backends of one test. Each value is an installation of its own.
#[derive(Debug)]
pub enum Stores {
    /// Redis and Postgres.
    Real(Box<Real>),
    /// One `SQLite` file.
    Embedded(TempDir),
}

/// A Redis server of its own, and a database on the Postgres of all tests or on one of its own.
#[derive(Debug)]
pub struct Real {
    /// The Redis server.
    pub redis: Redis,
    /// The Postgres server, when the test wants to stop it.
    pub postgres: Option<Postgres>,
    /// The URL of the database.
    pub database: String,
    /// Where the proxy believes Redis to be, when there is something in between.
    pub redis_url: Option<String>,
    /// The keys of `[store]` instead of the URL, when the test wants to say it otherwise.
    pub store_keys: Option<String>,
    /// Where the proxy believes the database to be, when there is something in between.
    pub database_url: Option<String>,
    /// The URL of the database itself, when a pooler in transaction mode is in between.
    pub direct_url: Option<String>,
    /// The deadlines of the proxy, when the test has a reason for its own.
    pub deadlines: Option<Deadlines>,
}

/// How long a proxy waits for its stores.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For one request to Redis.
    pub store: Duration,
    /// For one query.
    pub directory: Duration,
    /// For resolving one request.
    pub budget: Duration,
}

impl Deadlines {
    /// Those of a configuration that says nothing of them (config/reference.md).
    pub const DOCUMENTED: Self = Self {
        store: Duration::from_millis(100),
        directory: Duration::from_millis(200),
        budget: Duration::from_millis(250),
    };
}

impl Stores {
    /// A Redis of its own and a database of its own on the Postgres that all tests share.
    #[must_use]
    pub fn real() -> Self {
        let database = shared_database();
        Self::Real(Box::new(Real {
            redis: Redis::start(),
            postgres: None,
            database,
            redis_url: None,
            database_url: None,
            direct_url: None,
            store_keys: None,
            deadlines: None,
        }))
    }

    /// A Redis and a Postgres that the test may stop.
    #[must_use]
    pub fn to_be_stopped() -> Self {
        let postgres = Postgres::start();
        let database = postgres.new_database();
        let postgres = Some(postgres);
        Self::Real(Box::new(Real {
            redis: Redis::start(),
            postgres,
            database,
            redis_url: None,
            database_url: None,
            direct_url: None,
            store_keys: None,
            deadlines: None,
        }))
    }

    /// Like [`Self::real`], with a relay in front of each server: Redis first.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn behind_relays() -> (Self, Relay, Relay) {
        let mut stores = Self::real();
        let real = stores.servers();
        let to_redis = Relay::to(SocketAddr::from(([127, 0, 0, 1], real.redis.port()))).await;
        real.redis_url = Some(format!("redis://{}/0", to_redis.address()));
        let (server, name) = real.database.rsplit_once('/').expect("a URL with a database");
        let port = server.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a URL with a port");
        let to_postgres = Relay::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
        real.database_url = Some(format!("postgres://postgres@{}/{name}", to_postgres.address()));
        (stores, to_redis, to_postgres)
    }

    /// Like [`Self::real`], with a pooler in transaction mode in front of Postgres, which has few connections for many.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn behind_a_pooler() -> (Self, PgBouncer) {
        let mut stores = Self::real();
        let real = stores.servers();
        let (server, name) = real.database.rsplit_once('/').expect("a URL with a database");
        let port = server.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a URL with a port");
        let pooler = PgBouncer::in_front_of(port);
        real.database_url = Some(pooler.url(name));
        real.direct_url = Some(real.database.clone());
        (stores, pooler)
    }

    /// The embedded default.
    ///
    /// # Panics
    /// When no directory can be made.
    #[must_use]
    pub fn embedded() -> Self {
        Self::Embedded(tempfile::tempdir().expect("a temporary directory"))
    }

    /// The Redis server.
    ///
    /// # Panics
    /// When the stores are embedded.
    pub fn redis(&mut self) -> &mut Redis {
        &mut self.servers().redis
    }

    /// The Postgres server.
    ///
    /// # Panics
    /// When the stores are embedded or the server is shared.
    pub fn postgres(&mut self) -> &mut Postgres {
        self.servers().postgres.as_mut().expect("stores made with `to_be_stopped`")
    }

    /// Both servers.
    ///
    /// # Panics
    /// When the stores are embedded.
    pub fn servers(&mut self) -> &mut Real {
        match self {
            Self::Real(real) => real,
            Self::Embedded(_) => panic!("the stores are embedded"),
        }
    }

    /// The sections `[store]` and `[directory]` of the configuration.
    #[must_use]
    pub fn configuration(&self) -> String {
        // The documented deadlines are made for servers that have a machine to themselves; tests share theirs. A test
        // that stops servers keeps the store's, which is how long it waits for each request.
        let own = match self {
            Self::Real(real) => real.deadlines.map(|own| [own.store, own.directory, own.budget]),
            Self::Embedded(_) => None,
        };
        let usual = match self {
            Self::Real(real) if real.postgres.is_some() => [100, 1000, 1200],
            _ => [1000, 3000, 4000],
        };
        let [store, durable, budget] =
            own.unwrap_or(usual.map(Duration::from_millis)).map(|time| format!("{}ms", time.as_millis()));
        let mut text = format!("[resolve]\nbudget = \"{budget}\"\n");
        match self {
            Self::Real(real) => {
                let redis = real.redis_url.clone().unwrap_or_else(|| real.redis.url());
                let keys = real.store_keys.clone().unwrap_or_else(|| format!("url = \"{redis}\""));
                let _ = writeln!(text, "[store]\nkind = \"redis\"\ntimeout = \"{store}\"\n{keys}");
                let database = real.database_url.as_ref().unwrap_or(&real.database);
                let _ = writeln!(text, "[directory]\nkind = \"postgres\"\nurl = \"{database}\"");
                let _ = writeln!(text, "timeout = \"{durable}\"");
                if let Some(direct) = &real.direct_url {
                    let _ = writeln!(text, "pooler = true\ndirect_url = \"{direct}\"");
                }
            }
            Self::Embedded(directory) => {
                let file = Self::file(directory.path());
                let _ = writeln!(text, "[store]\nkind = \"embedded\"");
                let _ = writeln!(text, "[directory]\nkind = \"sqlite\"\npath = \"{}\"", file.display());
                let _ = writeln!(text, "timeout = \"{durable}\"");
            }
        }
        text
    }

    /// Runs SQL on the directory, behind the proxy's back.
    ///
    /// # Panics
    /// When a statement fails.
    pub async fn sql(&self, statements: &str) {
        match self {
            Self::Real(real) => {
                let (url, statements) = (real.database.clone(), statements.to_owned());
                let done = tokio::task::spawn_blocking(move || run_sql(&url, &statements)).await;
                let _ = done.expect("psql ran");
            }
            Self::Embedded(directory) => {
                let file = Self::file(directory.path());
                let url = format!("sqlite://{}", file.display());
                let pool = sqlx::SqlitePool::connect(&url).await.expect("the file is there");
                let statements = sqlx::AssertSqlSafe(statements.to_owned());
                sqlx::raw_sql(statements).execute(&pool).await.expect("valid statements");
                pool.close().await;
            }
        }
    }

    fn file(directory: &Path) -> PathBuf {
        directory.join("countersign.sqlite")
    }
}
