//! Several proxies before one Redis and one Postgres, each with a relay of its own to either. Lives as long as its value.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use super::application::{Application, NAME};
use super::browser::{Browser, Reply, Wish};
use crate::history::Row;
use crate::proxy::{Builder, Proxy};
use crate::relay::Relay;
use crate::stores::{Deadlines, Stores};

/// How long a row of the table may take to come, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_mins(1);
const STEP: Duration = Duration::from_millis(20);
/// How many users there are; see [`user`].
pub const USERS: usize = 24;
/// How many platforms each of them has; the first is the default.
pub const PLATFORMS: usize = 3;

/// How the fleet is set up.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many proxies.
    pub proxies: usize,
    /// How many users, at the least [`USERS`].
    pub users: usize,
    /// Sections that are added to the configuration of each.
    pub more: String,
    /// How long they wait for their stores.
    pub deadlines: Deadlines,
}

impl Default for Setting {
    /// Two proxies with the documented bounds, and deadlines for a machine that is shared with the tests.
    fn default() -> Self {
        let [store, directory, budget] = [500, 2000, 5000].map(Duration::from_millis);
        Self {
            proxies: 2,
            users: USERS,
            more: String::new(),
            deadlines: Deadlines { store, directory, budget },
        }
    }
}

/// One proxy with all that is its own.
pub struct Seat {
    /// The process.
    pub proxy: Mutex<Proxy>,
    /// Where browsers connect to.
    pub address: SocketAddr,
    /// The application behind it.
    pub app: Application,
    /// The way to Redis.
    pub redis: Relay,
    /// The way to Postgres.
    pub postgres: Relay,
}

/// The fleet. The proxies end before the stores.
pub struct Fleet {
    /// The proxies, by number.
    pub seats: Vec<Seat>,
    /// The servers.
    pub stores: Mutex<Stores>,
    next: AtomicU64,
    /// A session that [`Self::until`] tries again and again.
    old: Mutex<Option<String>>,
}

impl Fleet {
    /// Starts the servers, fills the directory, starts the proxies and waits until they serve.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start(setting: &Setting) -> Arc<Self> {
        let mut stores = tokio::task::block_in_place(Stores::to_be_stopped);
        let real = stores.servers();
        real.deadlines = Some(setting.deadlines);
        let redis = SocketAddr::from(([127, 0, 0, 1], real.redis.port()));
        let (server, name) = real.database.rsplit_once('/').expect("a URL with a database");
        let port = server.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a URL with a port");
        let name = name.to_owned();
        let postgres = SocketAddr::from(([127, 0, 0, 1], port));
        let mut seats: Vec<Seat> = Vec::new();
        for _ in 0..setting.proxies {
            let (redis, postgres) = (Relay::to_redis(redis).await, Relay::to_postgres(postgres).await);
            let real = stores.servers();
            real.redis_url = Some(format!("redis://{}/0", redis.address()));
            real.database_url = Some(format!("postgres://postgres@{}/{name}", postgres.address()));
            let app = Application::start().await;
            let mut builder = builder(setting, app.address()).people(&people(setting.users.max(USERS)));
            if let Some(first) = seats.first() {
                let first = first.proxy.lock().await;
                builder =
                    builder.unseeded().token_key(&first.secret("token")).csrf_key(&first.secret("csrf"));
            }
            let proxy = builder.start(&stores).await;
            app.believe(&proxy).await;
            let address = proxy.addresses().http1;
            seats.push(Seat { proxy: Mutex::new(proxy), address, app, redis, postgres });
        }
        let fleet =
            Self { seats, stores: Mutex::new(stores), next: AtomicU64::new(0), old: Mutex::default() };
        fleet.until(Row::Whole).await;
        Arc::new(fleet)
    }

    /// What Postgres answers to a query, without headings.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn query(&self, statement: &str) -> String {
        let mut stores = self.stores.lock().await;
        let real = stores.servers();
        let (_, name) = real.database.rsplit_once('/').expect("a URL with a database");
        let (server, name) = (real.postgres.as_ref().expect("a server of its own"), name.to_owned());
        tokio::task::block_in_place(|| server.sql(&name, statement))
    }

    /// A number for a request that no other has.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until every proxy does what this row of the table says. Nothing of this is noted down.
    ///
    /// # Panics
    /// When it does not happen; the message holds what the proxy said.
    pub async fn until(&self, row: Row) {
        if let Err(said) = self.becomes(row, PATIENCE).await {
            panic!("{said}");
        }
    }

    /// The same with a patience of one's own; answers how long it took.
    ///
    /// # Errors
    /// What the proxy said that did not come to it.
    pub async fn becomes(&self, row: Row, patience: Duration) -> Result<Duration, String> {
        let begin = Instant::now();
        for (place, seat) in self.seats.iter().enumerate() {
            let mut shown = 0;
            while shown < 3 {
                shown = if self.shows(seat, row).await { shown + 1 } else { 0 };
                if begin.elapsed() > patience {
                    let said = last_words(&seat.proxy.lock().await.output());
                    return Err(format!(
                        "waited {patience:?} in vain for {row:?} at proxy {place}, which said:\n{said}"
                    ));
                }
                tokio::time::sleep(STEP).await;
            }
        }
        Ok(begin.elapsed())
    }

    /// Whether a session of old, a login, the first request of its session and its log-out are answered as this row
    /// says.
    async fn shows(&self, seat: &Seat, row: Row) -> bool {
        let mut browser = Browser::new(seat.address);
        let mut old = self.old.lock().await;
        let is_old_served = match old.as_deref() {
            Some(token) => self.ask(seat, &mut browser, Some(token), "/platform/", None).await,
            None => None,
        };
        let login = format!("create;user=\"{}\"", user(USERS));
        let Some(login) = self.ask(seat, &mut browser, None, "/auth/do", Some(&login)).await else {
            return false;
        };
        let status = is_old_served.map(|reply| reply.answer.status);
        match (row, login.token) {
            (Row::Whole | Row::NoRedis, Some(token)) => {
                let session = self.ask(seat, &mut browser, Some(&token), "/platform/", None).await;
                let served = session.is_some_and(|reply| reply.answer.status == 200);
                if old.is_none() {
                    *old = Some(token);
                    return served;
                }
                let end = self.ask(seat, &mut browser, Some(&token), "/auth/do", Some("end")).await;
                let ended = end.is_some_and(|reply| reply.answer.status == 200);
                served && ended && status == Some(200)
            }
            (Row::NoPostgres, None) => status == Some(200) && login.answer.status == 503,
            (Row::Nothing, None) => status == Some(503) && login.answer.status == 503,
            _ => false,
        }
    }

    async fn ask(
        &self,
        seat: &Seat,
        browser: &mut Browser,
        token: Option<&str>,
        path: &str,
        directive: Option<&str>,
    ) -> Option<Reply> {
        let number = self.number();
        let answer = browser.ask(&Wish { path, number, token, directive, forgery: None }).await;
        let _ = seat.app.take(number);
        answer
    }
}

/// The end of a log, without the lines about requests.
fn last_words(output: &str) -> String {
    let quiet = ["\"message\":\"request\"", "countersign::lifecycle", "gateway::directive"];
    let said = output.lines().filter(|line| quiet.iter().all(|word| !line.contains(word)));
    let last: Vec<_> = said.rev().take(30).collect();
    last.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// The id of a user; the one after the last is kept for [`Fleet::until`].
#[must_use]
pub fn user(number: usize) -> String {
    format!("u{number}")
}

/// The id of one of a user's platforms.
#[must_use]
pub fn platform_of(user: usize, number: usize) -> String {
    format!("u{user}-p{number}")
}

/// Users and platforms as [`user`] and [`platform_of`] call them; made by the server, however many there are.
/// As if they had been there for long: what has just changed is not kept for a while.
fn people(users: usize) -> String {
    let last = PLATFORMS - 1;
    format!(
        "INSERT INTO users (id, name, roles, active) \
         SELECT 'u' || n, 'User ' || n, '{{reviewer}}', true FROM generate_series(0, {users}) n; \
         INSERT INTO platforms (id, user_id, type, name, url, active, is_default) \
         SELECT 'u' || n || '-p' || p, 'u' || n, 'mastodon', 'Platform ' || p, \
         'https://u' || n || '-p' || p || '.example', true, p = 0 \
         FROM generate_series(0, {users}) n, generate_series(0, {last}) p; \
         TRUNCATE changes;"
    )
}

fn builder(setting: &Setting, app: SocketAddr) -> Builder {
    let builder = Proxy::builder()
        .upstream(NAME, app, "")
        .route("/auth/", NAME, "\"nothing\"", "session_authority = true")
        .route("/public/", NAME, "\"nothing\"", "")
        .route("/optional/", NAME, "\"optional\"", "")
        .route("/session/", NAME, "\"session\"", "")
        .route("/page/", NAME, "\"session\"", "login = \"/auth/login\"")
        .route("/platform/", NAME, "\"platform\"", "login = \"/auth/login\"");
    if setting.more.is_empty() { builder } else { builder.more(&setting.more) }
}
