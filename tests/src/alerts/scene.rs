//! What is watched: a proxy with routes of every kind, one application, and a relay to each of its stores.

use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::Signal;

use super::visitors::{Answer, Visitors, exchange, request};
use crate::certificate::Certificate;
use crate::eventually::eventually;
use crate::fixture::{ANA, BEN, CHO};
use crate::proxy::{COOKIE, Proxy, replace_file};
use crate::relay::Relay;
use crate::stores::{Deadlines, Stores};
use crate::upstream::{Prepared, Upstream};

/// The pause of clients that only want to be seen.
const CALM: Duration = Duration::from_millis(60);
/// The pause of clients who do what nobody should: below what an alert is for.
const RARELY: Duration = Duration::from_secs(5);
/// Where the application says what becomes of sessions.
const AUTHORITY: &str = "/auth/do";

/// The proxy and all around it. It ends before its stores.
pub struct Scene {
    /// The proxy.
    pub proxy: Proxy,
    /// Its application; `None` while it is away.
    pub app: Option<Upstream>,
    /// Redis and Postgres, which may be stopped.
    pub stores: Stores,
    /// The way to Redis.
    pub redis: Relay,
    /// The way to Postgres.
    pub postgres: Relay,
}

impl Scene {
    /// Everything is whole.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn start() -> Self {
        let mut stores = tokio::task::block_in_place(Stores::to_be_stopped);
        let real = stores.servers();
        let [store, directory, budget] = [2000, 5000, 6000].map(Duration::from_millis);
        real.deadlines = Some(Deadlines { store, directory, budget });
        let redis = Relay::to_redis(SocketAddr::from(([127, 0, 0, 1], real.redis.port()))).await;
        real.redis_url = Some(format!("redis://{}/0", redis.address()));
        let server = real.postgres.as_ref().expect("a server of its own");
        let postgres = Relay::to_postgres(SocketAddr::from(([127, 0, 0, 1], server.port()))).await;
        let name = real.database.rsplit('/').next().expect("a URL with a database");
        real.database_url = Some(format!("postgres://postgres@{}/{name}", postgres.address()));
        let app = Upstream::start().await;
        app.prepare("/public/order", Prepared::status(200).header("countersign-session", "end"));
        let nowhere = SocketAddr::from(([127, 0, 0, 1], crate::ports::free()));
        let builder = Proxy::builder()
            .upstream("app", app.address(), "health = { interval = \"200ms\" }")
            .upstream("missing", nowhere, "")
            .route("/auth/", "app", "\"nothing\"", "session_authority = true")
            .route("/public/", "app", "\"nothing\"", "")
            .route("/missing/", "missing", "\"nothing\"", "")
            .route("/session/", "app", "\"session\"", "")
            .route("/platform/", "app", "\"platform\"", "login = \"/auth/login\"")
            .route("/guarded/", "app", "\"session\"", "csrf = true")
            .session("touch_interval = \"1s\"");
        let proxy = builder.start(&stores).await;
        Self { proxy, app: Some(app), stores, redis, postgres }
    }

    /// Where browsers connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.proxy.addresses().http1
    }

    /// Has the application answer with a directive.
    pub async fn direct(&self, cookie: Option<&str>, directive: &str) -> Option<Answer> {
        self.app.as_ref()?.direct(AUTHORITY, directive);
        let cookie = cookie.map(|cookie| format!("cookie: {cookie}"));
        let more: Vec<&str> = cookie.iter().map(String::as_str).collect();
        exchange(self.address(), &request("POST", AUTHORITY, &more)).await
    }

    /// The cookie of a new session of this user, if there is one.
    pub async fn log_in(&self, user: &str) -> Option<String> {
        self.direct(None, &format!("create;user=\"{user}\"")).await?.cookie()
    }

    /// The same, when it must succeed.
    pub async fn logged_in(&self, user: &str) -> String {
        eventually("somebody is logged in", async || self.log_in(user).await).await
    }

    /// A visit with this cookie.
    pub async fn visit(&self, cookie: &str) -> Option<Answer> {
        exchange(self.address(), &request("GET", "/session/", &[&format!("cookie: {cookie}")])).await
    }

    /// A session begins and ends, as far as that is possible now.
    pub async fn end_one(&self) {
        if let Some(cookie) = self.log_in(BEN).await {
            let _ = self.direct(Some(&cookie), "end").await;
        }
    }

    /// Clients for as long as everything lasts: most of them do as they should, and some rarely do not.
    pub async fn calm(&self) -> Visitors {
        let (ana, cho) = (self.logged_in(ANA).await, self.logged_in(CHO).await);
        let at = self.address();
        let [ana, cho] = [ana, cho].map(|cookie| format!("cookie: {cookie}"));
        let forged = format!("cookie: {COOKIE}={}", "A".repeat(43));
        Visitors::default()
            .asking(at, request("GET", "/session/", &[&ana]), CALM)
            .asking(at, request("GET", "/platform/", &[&ana]), CALM)
            .asking(at, request("GET", "/session/", &[&cho]), CALM)
            .asking(at, request("GET", "/public/", &[]), CALM)
            .asking(at, request("GET", "/nowhere", &[]), CALM)
            .asking(at, request("GET", "/session/", &[&forged]), RARELY)
            .asking(at, request("POST", "/guarded/", &[&ana, "origin: http://app.test"]), RARELY)
            .asking(at, request("GET", "/public/%2e%2e/admin/", &[]), RARELY)
            .asking(at, b"neither HTTP\r\nnor anything else\r\n\r\n".to_vec(), RARELY)
    }

    /// What happens now and then: a session begins, changes its platform and ends, an application is not there, a name
    /// changes behind the proxy's back, and the configuration is read again.
    pub async fn stir(&self) {
        if let Some(cookie) = self.log_in(ANA).await {
            let _ = self.direct(Some(&cookie), "platform;id=\"12\"").await;
            let _ = self.direct(Some(&cookie), "end").await;
        }
        let _ = exchange(self.address(), &request("GET", "/missing/", &[])).await;
        self.stores.sql("UPDATE users SET name = name || '.' WHERE id = '2'").await;
        self.change(&[]).await;
        if let Some(app) = &self.app {
            // Nobody looks at what it recorded.
            let _ = app.take();
        }
    }

    /// Stops Redis.
    pub fn stop_redis(&mut self) {
        tokio::task::block_in_place(|| self.stores.redis().stop());
    }

    /// Starts Redis again, empty.
    pub fn restart_redis(&mut self) {
        tokio::task::block_in_place(|| self.stores.redis().restart());
    }

    /// Stops Postgres.
    pub fn stop_postgres(&mut self) {
        tokio::task::block_in_place(|| self.stores.postgres().stop());
    }

    /// Starts Postgres again.
    pub fn restart_postgres(&mut self) {
        tokio::task::block_in_place(|| self.stores.postgres().restart());
    }

    /// Changes the configuration and has it read again.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn change(&self, changes: &[(&str, &str)]) {
        for (from, to) in changes {
            self.proxy.edit(from, to);
        }
        let report = self.proxy.reload().await;
        assert_eq!(report["result"], "applied", "{report}");
    }

    /// Puts another certificate where the proxy finds its own.
    pub fn show_certificate(&self, certificate: &Certificate) {
        // The key first: a pair that does not fit is refused, and the next look finds both.
        replace_file(&self.proxy.directory().join("tls.key"), &certificate.key_pem);
        replace_file(&self.proxy.directory().join("tls.crt"), &certificate.pem);
    }

    /// Stops the process without ending it, or lets it go on.
    pub fn freeze(&self, frozen: bool) {
        self.proxy.signal(if frozen { Signal::STOP } else { Signal::CONT });
    }
}
