//! Several proxies before one Redis and one Postgres, each with a relay of its own to either. Lives as long as its value.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;

use super::application::{Application, NAME};
use super::browser::{Browser, Wish};
use crate::eventually::until;
use crate::history::{Answer, Row};
use crate::proxy::{Builder, Proxy};
use crate::relay::Relay;
use crate::stores::{Deadlines, Stores};

/// How many users there are; see [`user`].
pub const USERS: usize = 24;
/// How many platforms each of them has; the first is the default.
pub const PLATFORMS: usize = 3;

/// How the fleet is set up.
#[derive(Clone, Debug)]
pub struct Setting {
    /// How many proxies.
    pub proxies: usize,
    /// Sections that are added to the configuration of each.
    pub more: String,
    /// How long they wait for their stores.
    pub deadlines: Deadlines,
}

impl Default for Setting {
    /// Two proxies with the documented bounds, and deadlines for a machine that is shared with the tests.
    fn default() -> Self {
        let [store, directory, budget] = [250, 1000, 2500].map(Duration::from_millis);
        Self { proxies: 2, more: String::new(), deadlines: Deadlines { store, directory, budget } }
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
            let mut builder = builder(setting, app.address()).people(&people());
            if let Some(first) = seats.first() {
                builder = builder.unseeded().token_key(&first.proxy.lock().await.secret("token"));
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

    /// A number for a request that no other has.
    pub fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Waits until every proxy does what this row of the table says. Nothing of this is noted down.
    ///
    /// # Panics
    /// When it does not happen.
    pub async fn until(&self, row: Row) {
        for (place, seat) in self.seats.iter().enumerate() {
            until(&format!("{row:?} at proxy {place}"), async || {
                for _ in 0..3 {
                    if !self.shows(seat, row).await {
                        return false;
                    }
                }
                true
            })
            .await;
        }
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
        let Some((login, token)) = self.ask(seat, &mut browser, None, "/auth/do", Some(&login)).await else {
            return false;
        };
        let status = is_old_served.map(|(answer, _)| answer.status);
        match (row, token) {
            (Row::Whole | Row::NoRedis, Some(token)) => {
                let session = self.ask(seat, &mut browser, Some(&token), "/platform/", None).await;
                let served = session.is_some_and(|(answer, _)| answer.status == 200);
                if old.is_none() {
                    *old = Some(token);
                    return served;
                }
                let end = self.ask(seat, &mut browser, Some(&token), "/auth/do", Some("end")).await;
                let ended = end.is_some_and(|(answer, _)| answer.status == 200);
                served && ended && status == Some(200)
            }
            (Row::NoPostgres, None) => status == Some(200) && login.status == 503,
            (Row::Nothing, None) => status == Some(503) && login.status == 503,
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
    ) -> Option<(Answer, Option<String>)> {
        let number = self.number();
        let answer = browser.ask(&Wish { path, number, token, directive }).await;
        let _ = seat.app.take(number);
        answer
    }
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

fn people() -> String {
    let mut statements = String::new();
    for number in 0..=USERS {
        let id = user(number);
        let _ = writeln!(
            statements,
            "INSERT INTO users (id, name, roles, active) VALUES ('{id}', 'User {number}', '{{reviewer}}', true);"
        );
        for place in 0..PLATFORMS {
            let platform = platform_of(number, place);
            let _ = writeln!(
                statements,
                "INSERT INTO platforms (id, user_id, type, name, url, active, is_default) VALUES ('{platform}', \
                 '{id}', 'mastodon', 'Platform {place}', 'https://{platform}.example', true, {});",
                place == 0
            );
        }
    }
    // As if they had been there for long: what has just changed is not kept for a while.
    statements + "TRUNCATE changes;"
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
