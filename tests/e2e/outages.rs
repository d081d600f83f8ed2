//! Stores that restart empty, stop, freeze and come back: nobody is logged out, nobody is let in.

use std::time::{Duration, Instant};

use e2e::client::{Answer, Client};
use e2e::eventually::until;
use e2e::fixture::{ANA, BEN};
use e2e::proxy::{COOKIE, Proxy};
use e2e::stores::Stores;

use crate::setup::{Site, routes};

/// The longest that a request may take while a store hangs: the budget of 250 ms, and all that a busy machine adds.
const GENEROUS: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_of_a_bad_day() {
    let mut site = Site::start(Stores::to_be_stopped()).await;
    let (ana, ben) = (site.logged_in(ANA).await, site.logged_in(BEN).await);
    site.direct(&ana, "platform;id=\"12\"").await.expect(200);
    both_are_served(&site, &ana, "12", &ben).await;

    // It comes back empty. Not that it holds nothing: the proxies fill it again at once.
    assert_eq!(site.stores.redis().command(&["SET", "from before", "1"]), "OK");
    site.stores.redis().restart();
    assert_eq!(site.stores.redis().command(&["EXISTS", "from before"]), "0");
    both_are_served(&site, &ana, "12", &ben).await;

    site.stores.redis().kill();
    both_are_served(&site, &ana, "12", &ben).await;

    site.stores.redis().restart();
    until_redis_holds_all(&mut site, &ana, "12", &ben).await;
    site.stores.postgres().stop();
    both_are_served(&site, &ana, "12", &ben).await;

    site.stores.redis().kill();
    until("Redis is known to be gone", async || ana.get("/session/").send().await.status == 503).await;
    undetermined(&site, &ana).await;

    site.stores.postgres().restart();
    site.stores.redis().restart();
    until("normal again", async || both_get_in(&ana, &ben).await).await;
    both_are_served(&site, &ana, "12", &ben).await;
    // Sessions are served from Redis a moment before Postgres is asked again to take new ones.
    let browser = site.browser();
    let login = format!("create;user=\"{ANA}\"");
    until("people can log in", async || is_served(&site.direct(&browser, &login).await)).await;
    assert!(browser.cookie(COOKIE).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frozen_stores_are_outages_within_the_budget() {
    let mut site = Site::start(Stores::to_be_stopped()).await;
    let (ana, ben) = (site.logged_in(ANA).await, site.logged_in(BEN).await);
    both_are_served(&site, &ana, "11", &ben).await;

    site.stores.redis().freeze();
    both_are_served(&site, &ana, "11", &ben).await;
    site.stores.postgres().freeze();
    until("the sessions cannot be found out", async || ana.get("/session/").send().await.status == 503).await;
    undetermined(&site, &ana).await;
    site.stores.redis().thaw();
    site.stores.postgres().thaw();
    until("normal again", async || both_get_in(&ana, &ben).await).await;
    both_are_served(&site, &ana, "11", &ben).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_starts_with_both_stores_down_and_is_whole_once_they_are_up() {
    let mut stores = Stores::to_be_stopped();
    // Migrated and filled by a first proxy, which also starts the session.
    let first = Site::start(stores).await;
    let token = first.logged_in(ANA).await.cookie(COOKIE).unwrap();
    let Site { proxy, app, stores: kept } = first;
    let key = proxy.secret("token");
    drop(proxy);
    stores = kept;
    stores.redis().kill();
    stores.postgres().stop();

    let builder = Proxy::builder().unseeded().token_key(&key).upstream("app", app.address(), "");
    let begin = Instant::now();
    let proxy = routes(builder).launch(&stores).await;
    let address = proxy.addresses().http1;
    until("the port is open", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
    proxy.client().get("/public/").send().await.expect(200);
    println!("first request served {:?} after the start, both stores down", begin.elapsed());

    let site = Site { proxy, app, stores };
    let ana = site.browser();
    ana.set_cookie(COOKIE, &token);
    undetermined(&site, &ana).await;
    let mut site = site;
    site.stores.postgres().restart();
    site.stores.redis().restart();
    until("normal again", async || ana.get("/session/").send().await.status == 200).await;
    assert_eq!(site.arrives(&ana, "/session/").await.context("user-id"), Some(ANA));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreadable_record_in_redis_is_counted_and_postgres_is_asked() {
    let mut site = Site::start(Stores::real()).await;
    let ana = site.logged_in(ANA).await;
    let redis = site.stores.redis();
    let keys = redis.command(&["KEYS", "cs:*"]);
    for key in keys.lines().filter(|key| !key.contains("activity") && !key.contains("events")) {
        if redis.command(&["TYPE", key]) != "string" {
            continue;
        }
        for record in ["", "not json", "{\"v\":999}", "[[[[[[[[", "{}", "null", "\u{e4}\0"] {
            if !record.contains('\0') {
                let _ = redis.command(&["SET", key, record]);
            }
            assert_eq!(ana.get("/session/").send().await.status, 200, "{key} = {record:?}");
        }
        let _ = redis.command(&["DEL", key]);
        let _ = redis.command(&["LPUSH", key, "of another type"]);
        assert_eq!(ana.get("/session/").send().await.status, 200, "{key} of another type");
    }
    assert!(site.proxy.metric("countersign_context_lookups_total", &["unreadable"]).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_while_postgres_is_down_is_obeyed_at_once_and_becomes_durable() {
    let mut site = Site::start(Stores::to_be_stopped()).await;
    let (ana, ben) = (site.logged_in(ANA).await, site.logged_in(BEN).await);
    let token = ana.cookie(COOKIE).unwrap();
    until_redis_holds_all(&mut site, &ana, "11", &ben).await;
    let database = site.stores.servers().database.clone();
    let ended = "SELECT count(*) FROM sessions WHERE ended_at IS NOT NULL";
    assert_eq!(e2e::postgres::run_sql(&database, ended).trim(), "0");

    site.stores.postgres().stop();
    assert_eq!(site.direct(&ana, "end").await.status, 200, "accepted");
    let again = site.browser();
    again.set_cookie(COOKIE, &token);
    for _ in 0..20 {
        assert_eq!(again.get("/session/").send().await.status, 401, "it is over");
    }
    site.stores.postgres().restart();
    until("the end is durable", async || e2e::postgres::run_sql(&database, ended).trim() == "1").await;
    assert_eq!(again.get("/session/").send().await.status, 401);
    until("normal again", async || ben.get("/session/").send().await.status == 200).await;
}

/// Whether both get what needs session, user and platform.
async fn both_get_in(ana: &Client, ben: &Client) -> bool {
    is_served(&ana.get("/platform/").send().await) && is_served(&ben.get("/platform/").send().await)
}

/// Whether this came through. While stores come back nothing else may be said than that they cannot say.
fn is_served(answer: &Answer) -> bool {
    if answer.status == 200 {
        return true;
    }
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(
        answer.headers.contains_key("retry-after") && answer.set_cookies().is_empty(),
        "{:?}",
        answer.headers
    );
    false
}

/// Until sessions, users and platforms lie in Redis; what was forgotten just now is kept out for ten seconds. Ana works with
/// the platform `of_ana`, as in [`both_are_served`].
pub(crate) async fn until_redis_holds_all(site: &mut Site, ana: &Client, of_ana: &str, ben: &Client) {
    until("Redis holds sessions, users and platforms", async || {
        both_are_served(site, ana, of_ana, ben).await;
        let redis = site.stores.redis();
        let held = |key: &&str| redis.command(&["GET", key]) != "forgotten";
        let count = |keys: &str| redis.command(&["KEYS", keys]).lines().filter(held).count();
        count("cs:session:*") >= 2 && count("cs:user:*") >= 2 && count("cs:platform:*") >= 2
    })
    .await;
}

async fn both_are_served(site: &Site, ana: &Client, of_ana: &str, ben: &Client) {
    for (browser, user, platform) in [(ana, ANA, of_ana), (ben, BEN, "21")] {
        let begin = Instant::now();
        let request = site.arrives(browser, "/platform/").await;
        assert!(begin.elapsed() < GENEROUS, "took {:?}", begin.elapsed());
        assert_eq!(
            (request.context("user-id"), request.context("platform-id")),
            (Some(user), Some(platform))
        );
    }
}

/// What everybody gets while the stores cannot say.
async fn undetermined(site: &Site, browser: &Client) {
    let refused = async |path| -> Answer {
        let begin = Instant::now();
        let answer = browser.get(path).navigating().send().await;
        assert!(begin.elapsed() < GENEROUS, "{path} took {:?}", begin.elapsed());
        assert_eq!(answer.status, 503, "{path}: {}", answer.text());
        assert!(answer.set_cookies().is_empty(), "the cookie was touched");
        assert!(answer.headers.contains_key("retry-after"));
        answer
    };
    for path in ["/session/", "/page/", "/platform/", "/admin/"] {
        refused(path).await;
    }
    for (path, authn) in [("/public/", "unchecked"), ("/optional/", "undetermined")] {
        let request = site.arrives(browser, path).await;
        assert_eq!(request.context("authn"), Some(authn), "{path}");
        assert_eq!(request.context("user-id"), None);
    }
    site.app.direct("/auth/do", "create;user=\"1\"");
    let answer =
        site.browser().post("/auth/do", "").send().await.expect_problem(503, "directive_undetermined");
    assert!(answer.set_cookies().is_empty());
}
