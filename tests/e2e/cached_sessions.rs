//! Sessions that lie in Redis and in a table at once: whichever of the two has one says so, and neither alone says that
//! there is none.

use std::net::SocketAddr;

use e2e::client::Client;
use e2e::eventually::until;
use e2e::fixture::ANA;
use e2e::ports;
use e2e::postgres::run_sql;
use e2e::proxy::Proxy;
use e2e::stores::Stores;
use e2e::upstream::Upstream;

use crate::framework_sessions::{configured, form, proven, python_app, settled, started};
use crate::setup::{Site, routes};
use crate::table_sessions::{COOKIE, FORMAT, ID, SECRET, TABLE, put};

/// What Django's `cached_db` puts in front of the id.
const KEYS: &str = ":1:django.contrib.sessions.cached_db*";

async fn status(browser: &Client) -> u16 {
    settled(|| browser.get("/")).await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_sessions_in_redis_and_a_table_are_found_in_whichever_has_them() {
    let mut stores = Stores::to_be_stopped();
    let mut command = python_app("django_app.py");
    command.env("DATABASE_URL", &stores.servers().database).env("SESSION_ENGINE", "cached_db");
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let redis = format!("redis://127.0.0.1:{}", stores.redis().port());
    let _app = started(command, &redis, address).await;
    let proxy = configured("Django, in Redis and its database", address).start(&stores).await;
    let browser = proxy.client();
    until("nobody is logged in", async || browser.get("/").send().await.status == 401).await;
    assert!(form(&browser, "/login", "name=ana&password=demo").await.status.is_redirection());
    until("the application's login is known", async || browser.get("/").send().await.status == 200).await;
    let cookie = format!("sessionid={}", browser.cookie("sessionid").unwrap());

    // Redis has lost it, and nobody has asked Django, which would put it back.
    let key = stores.redis().command(&["KEYS", KEYS]);
    assert!(key.starts_with(":1:"), "{key}");
    assert_eq!(stores.redis().command(&["DEL", &key]), "1");
    proven(&proxy, &cookie, 0, "the table is asked").await;
    assert_eq!(status(&browser).await, 200);
    until("Django has put it back", async || stores.redis().command(&["KEYS", KEYS]) == key).await;

    // While Redis is away the row says whose it is; Django itself asks Redis first, and fails.
    stores.redis().kill();
    until("the request comes as far as Django", async || {
        let status = browser.get("/").send().await.status;
        assert!(status == 200 || status == 503 || status == 500, "{status}");
        status == 500
    })
    .await;
    let stranger = browser.stranger();
    let unknown = stranger.get("/").cookies("sessionid=0123456789abcdefghijklmnopqrstuv");
    assert_eq!(unknown.send().await.status, 503, "there is no row, and nobody can say that there is no key");
    stores.redis().restart();
    until("an empty Redis logs nobody out", async || {
        let status = browser.get("/").send().await.status;
        assert!(status != 401, "{status}");
        status == 200
    })
    .await;

    // A log-out in the application takes it out of both.
    assert!(form(&browser, "/logout", "").await.status.is_redirection());
    let again = settled(|| stranger.get("/").cookies(cookie.clone())).await;
    assert_eq!(again.status, 401, "the log-out counts at the next request");
    assert_eq!(stores.redis().command(&["KEYS", KEYS]), "");
    assert_eq!(run_sql(&stores.servers().database, "SELECT count(*) FROM django_session").trim(), "0");
    proven(&proxy, &cookie, 3, "no").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ended_through_us_is_over_in_both_places_and_deleted_in_both_where_that_is_allowed() {
    let both = FORMAT.replace("\"table\"", "\"redis-then-table\"");
    for (format, left) in
        [(both.clone(), "1"), (both.replace("secrets", "delete_on_logout = true, secrets"), "0")]
    {
        let stores = Stores::real();
        stores.sql(TABLE).await;
        let app = Upstream::start().await;
        let builder = Proxy::builder()
            .upstream("app", app.address(), "")
            .session(&format)
            .variable("APP_SECRET", SECRET);
        let proxy = routes(builder).start(&stores).await;
        let mut site = Site { proxy, app, stores };
        put(&site, ANA).await;
        let key = format!("sess:{ID}");
        let value = format!("{{\"cookie\":{{\"path\":\"/\"}},\"user_id\":{ANA}}}");
        assert_eq!(site.stores.redis().command(&["SET", &key, &value, "EX", "600"]), "OK");
        let browser = site.browser();
        browser.set_cookie("connect.sid", COOKIE);
        until("the session is known", async || site.status(&browser).await == 200).await;
        site.direct(&browser, "end").await.expect(200);
        assert_eq!(site.stores.redis().command(&["EXISTS", &key]), left);
        let rows = run_sql(&site.stores.servers().database, "SELECT count(*) FROM session");
        assert_eq!(rows.trim(), left);
        let _ = site.stores.redis().command(&["DEL", &key]);
        put(&site, ANA).await;
        browser.set_cookie("connect.sid", COOKIE);
        browser.get("/session/").send().await.expect_problem(401, "session_ended");
    }
}
