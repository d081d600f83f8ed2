//! The site that most tests look at: one recording application behind the proxy, with a route of every kind.

use e2e::client::{Answer, Client};
use e2e::proxy::{Builder, COOKIE, Proxy};
use e2e::stores::Stores;
use e2e::upstream::{Recorded, Upstream};

/// Makes of each test two: one with Redis and Postgres, one with the embedded default.
macro_rules! on_every_backend {
    ($($(#[$attribute:meta])* async fn $name:ident($stores:ident) $body:block)+) => {$(
        mod $name {
            use super::*;

            $(#[$attribute])*
            async fn test($stores: e2e::stores::Stores) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn with_redis_and_postgres() {
                test(e2e::stores::Stores::real()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn embedded() {
                test(e2e::stores::Stores::embedded()).await;
            }
        }
    )+};
}
pub(crate) use on_every_backend;

/// Stores, application and proxy. They end in this order: the proxy first.
pub(crate) struct Site {
    pub(crate) proxy: Proxy,
    pub(crate) app: Upstream,
    pub(crate) stores: Stores,
}

impl Site {
    /// The site with the documented defaults.
    pub(crate) async fn start(stores: Stores) -> Self {
        Self::with(stores, |builder| builder).await
    }

    /// The site with something changed or added.
    pub(crate) async fn with(stores: Stores, change: impl FnOnce(Builder) -> Builder) -> Self {
        let app = Upstream::start().await;
        let builder = routes(Proxy::builder().upstream("app", app.address(), ""));
        let proxy = change(builder).start(&stores).await;
        Self { proxy, app, stores }
    }

    /// A new browser.
    pub(crate) fn browser(&self) -> Client {
        self.proxy.client()
    }

    /// A new browser in which this person is logged in.
    pub(crate) async fn logged_in(&self, user: &str) -> Client {
        let browser = self.browser();
        self.direct(&browser, &format!("create;user=\"{user}\"")).await.expect(200);
        assert!(browser.cookie(COOKIE).is_some(), "no cookie was set");
        browser
    }

    /// Lets the application answer a request of this browser with a directive.
    pub(crate) async fn direct(&self, browser: &Client, directive: &str) -> Answer {
        self.app.direct("/auth/do", directive);
        let answer = browser.post("/auth/do", "").send().await;
        let _ = self.app.take();
        answer
    }

    /// What arrives at the application when this browser asks for `path`.
    pub(crate) async fn arrives(&self, browser: &Client, path: &str) -> Recorded {
        let _ = self.app.take();
        browser.get(path).send().await.expect(200);
        self.app.last()
    }

    /// The status that this browser gets for `/session/`.
    pub(crate) async fn status(&self, browser: &Client) -> u16 {
        browser.get("/session/").send().await.status.as_u16()
    }
}

/// A route of every kind, all to the upstream `app`.
pub(crate) fn routes(builder: Builder) -> Builder {
    builder
        .route("/auth/", "app", "\"nothing\"", "session_authority = true")
        .route("/public/", "app", "\"nothing\"", "")
        .route("/optional/", "app", "\"optional\"", "")
        .route("/session/", "app", "\"session\"", "")
        .route("/page/", "app", "\"session\"", "login = \"/auth/login\"")
        .route(
            "/platform/",
            "app",
            "\"platform\"",
            "login = \"/auth/login\"\nchoose_platform = \"/session/platforms\"",
        )
        .route("/admin/", "app", "{ roles = [\"admin\"] }", "")
}

/// What a percent-encoded text says.
pub(crate) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = (*first == b'%').then(|| std::str::from_utf8(after.get(..2)?).ok()).flatten();
        let decoded = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        bytes.push(decoded.unwrap_or(*first));
        rest = if decoded.is_some() { &after[2..] } else { after };
    }
    String::from_utf8(bytes).unwrap()
}
