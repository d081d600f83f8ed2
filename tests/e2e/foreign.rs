//! Sessions that an existing application keeps in Redis: read where they lie, never written, believed as long as Redis
//! tells of every change, and undetermined, not unknown, while it is away.

use std::time::Duration;

use e2e::client::Client;
use e2e::eventually::until;
use e2e::fixture::{ANA, BEN};
use e2e::proxy::Proxy;
use e2e::stores::Stores;
use e2e::upstream::Upstream;

use crate::own::Tab;
use crate::setup::{Site, routes};

/// A session of Express, as its own middleware signed it: id, cookie and the secret of the application.
const ID: &str = "Kc3_PxlLu7hd1N4WhcGHrjgXbWdPCmtn";
const COOKIE: &str = "s%3AKc3_PxlLu7hd1N4WhcGHrjgXbWdPCmtn.D6NsJvJ0ho2eG%2FLtVWisGe6F5G23zxJVOHOhZMAJUM8";
const SECRET: &str = "byos-made-up-secret-express-2";
const EXPRESS: &str = "format = { name = \"express\", secrets = [{ env = \"APP_SECRET\" }] }";

async fn site(format: &str, stores: Stores) -> Site {
    let app = Upstream::start().await;
    let builder =
        Proxy::builder().upstream("app", app.address(), "").session(format).variable("APP_SECRET", SECRET);
    let proxy = routes(builder).start(&stores).await;
    Site { proxy, app, stores }
}

fn express(user: &str, platform: Option<&str>) -> String {
    let platform = platform.map(|id| format!(",\"platform_id\":{id}")).unwrap_or_default();
    format!("{{\"cookie\":{{\"originalMaxAge\":null,\"path\":\"/\"}},\"user_id\":{user}{platform}}}")
}

fn put(site: &mut Site, value: &str) {
    let key = format!("sess:{ID}");
    assert_eq!(site.stores.redis().command(&["SET", &key, value, "EX", "600"]), "OK");
}

async fn status(client: &Client) -> u16 {
    client.get("/session/").send().await.status.as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_of_the_application_is_read_where_it_lies_and_never_written() {
    let mut site = site(EXPRESS, Stores::real()).await;
    let browser = site.browser();
    browser.get("/session/").send().await.expect_problem(401, "no_cookie");
    browser.set_cookie("connect.sid", COOKIE);
    // Undetermined at first: a store has to be proven before its silence means anything.
    until("there is no such session", async || {
        browser.get("/session/").send().await.text().contains("session_not_found")
    })
    .await;

    let value = express(ANA, Some("12"));
    put(&mut site, &value);
    until("the application's login is seen", async || status(&browser).await == 200).await;
    let seen = site.arrives(&browser, "/session/").await;
    assert_eq!((seen.context("user-id"), seen.context("platform-id")), (Some(ANA), Some("12")));
    assert_eq!(
        seen.header("cookie"),
        Some(format!("connect.sid={COOKIE}").as_str()),
        "the application needs its cookie"
    );

    put(&mut site, &express(BEN, None));
    until("another login under the same id is seen", async || {
        site.arrives(&browser, "/session/").await.context("user-id") == Some(BEN)
    })
    .await;
    put(&mut site, &value);
    until("and back", async || site.arrives(&browser, "/session/").await.context("user-id") == Some(ANA))
        .await;

    let redis = site.stores.redis();
    assert_eq!(redis.command(&["GET", &format!("sess:{ID}")]), value);
    let _ = redis.command(&["DEL", &format!("sess:{ID}")]);
    until("the application's logout is seen", async || status(&browser).await == 401).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_and_conflicting_cookies_of_the_application_are_refused_and_one_is_forwarded() {
    let mut site = site(EXPRESS, Stores::real()).await;
    put(&mut site, &express(ANA, None));
    let browser = site.browser();
    let ask = |line: String| browser.stranger().get("/session/").cookies(line).send();
    until("the session is known", async || ask(format!("connect.sid={COOKIE}")).await.status == 200).await;
    let forged = COOKIE.replace("JUM8", "JAAA");
    ask(format!("connect.sid={forged}")).await.expect_problem(401, "forged_token");
    ask(format!("connect.sid={ID}")).await.expect_problem(401, "forged_token");
    ask(format!("connect.sid={COOKIE}; connect.sid={forged}"))
        .await
        .expect_problem(401, "conflicting_cookies");
    ask(format!("a=1; connect.sid={COOKIE}; connect.sid={COOKIE}; b=2")).await.expect(200);
    assert_eq!(site.app.last().header("cookie"), Some(format!("a=1; connect.sid={COOKIE}; b=2").as_str()));
    let public =
        browser.stranger().get("/public/").cookies(format!("connect.sid={COOKIE}; connect.sid=x; b=2"));
    public.send().await.expect(200);
    assert_eq!(site.app.last().header("cookie"), Some("b=2"), "nobody chooses for the application");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ours_about_a_foreign_session_lies_beside_it() {
    let mut site = site(EXPRESS, Stores::real()).await;
    let value = express(ANA, None);
    put(&mut site, &value);
    let browser = site.browser();
    browser.set_cookie("connect.sid", COOKIE);
    until("the session is known", async || status(&browser).await == 200).await;
    assert_eq!(site.arrives(&browser, "/session/").await.context("platform-id"), Some("11"), "the default");
    site.direct(&browser, "platform;id=\"12\"").await.expect(200);
    assert_eq!(site.arrives(&browser, "/session/").await.context("platform-id"), Some("12"));
    site.direct(&browser, "platform;id=\"21\"").await.expect(502);
    site.direct(&browser, "rotate").await.expect(502);
    site.direct(&browser, "create;user=\"2\"").await.expect(502);
    site.direct(&browser, "end").await.expect(200);
    browser.set_cookie("connect.sid", COOKIE);
    browser.get("/session/").send().await.expect_problem(401, "session_ended");
    let redis = site.stores.redis();
    assert_eq!(
        redis.command(&["GET", &format!("sess:{ID}")]),
        value,
        "the application's session is untouched"
    );
    put(&mut site, &express(BEN, None));
    for _ in 0..20 {
        assert_eq!(status(&browser).await, 401, "what was ended stays ended, whatever is written there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_a_foreign_session_is_undetermined_and_never_unknown() {
    let mut site = site(EXPRESS, Stores::to_be_stopped()).await;
    put(&mut site, &express(ANA, None));
    let browser = site.browser();
    browser.set_cookie("connect.sid", COOKIE);
    until("the session is known", async || status(&browser).await == 200).await;
    site.stores.redis().freeze();
    until("the lease lapses", async || {
        let status = status(&browser).await;
        assert!(matches!(status, 200 | 503), "{status}");
        status == 503
    })
    .await;
    browser.get("/public/").send().await.expect(200);
    site.stores.redis().thaw();
    until("known again", async || {
        let status = status(&browser).await;
        assert!(matches!(status, 200 | 503), "{status}");
        status == 200
    })
    .await;
    site.stores.redis().kill();
    for _ in 0..50 {
        let status = status(&browser).await;
        assert!(matches!(status, 200 | 503), "{status}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(status(&browser).await, 503);
}

/// A proxy that has just started does not know its stores yet; what it cannot find out is no answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_first_moment_on_a_foreign_session_is_known_or_undetermined() {
    let mut site = site(EXPRESS, Stores::real()).await;
    put(&mut site, &express(ANA, None));
    for _ in 0..3 {
        site.proxy.restart().await;
        let browser = site.browser();
        browser.set_cookie("connect.sid", COOKIE);
        let mut known = 0;
        until("the session is known, and stays so", async || {
            let answer = browser.get("/session/").send().await;
            assert!(matches!(answer.status.as_u16(), 200 | 503), "{}: {}", answer.status, answer.text());
            known = if answer.status == 200 { known + 1 } else { 0 };
            known == 20
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_formats_are_tried_in_order_and_a_hash_is_read_too() {
    let formats = "format = [{ name = \"hash\", cookie = \"session_id\", prefix = \"app:session:\", \
                   platform = [\"/active_platform_id\"], ends = \"/expires_at\", active = \"/is_active\" }, \
                   { name = \"express\", secrets = [{ env = \"APP_SECRET\" }] }, { name = \"native\" }]";
    let mut site = site(formats, Stores::real()).await;
    let id = "3f85fe62-0000-4000-8000-00000000002a";
    let key = format!("app:session:{id}");
    let redis = site.stores.redis();
    let fields = [
        "user_id",
        ANA,
        "active_platform_id",
        "12",
        "is_active",
        "true",
        "expires_at",
        "2126-11-23T01:00:00+00:00",
    ];
    let _ = redis.command(&[["HSET", &key].as_slice(), &fields].concat());
    let _ = redis.command(&["EXPIRE", &key, "600"]);
    put(&mut site, &express(BEN, None));
    let both = site.browser();
    both.set_cookie("session_id", id);
    until("the hash is read", async || status(&both).await == 200).await;
    let seen = site.arrives(&both, "/session/").await;
    assert_eq!((seen.context("user-id"), seen.context("platform-id")), (Some(ANA), Some("12")));
    both.set_cookie("connect.sid", COOKIE);
    assert_eq!(site.arrives(&both, "/session/").await.context("user-id"), Some(ANA), "the first that holds");
    let _ = site.stores.redis().command(&["HSET", &key, "is_active", "false"]);
    until("the second format is tried", async || {
        site.arrives(&both, "/session/").await.context("user-id") == Some(BEN)
    })
    .await;
    let native = site.logged_in(ANA).await;
    assert_eq!(site.arrives(&native, "/session/").await.context("user-id"), Some(ANA));
    let _ = native.get("/public/").send().await.expect(200);
    assert!(!site.app.last().header("cookie").unwrap_or_default().contains(e2e::proxy::COOKIE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_out_through_us_deletes_the_record_where_that_is_allowed_and_takes_the_cookie_away() {
    let deletes = EXPRESS.replace("name = \"express\"", "name = \"express\", delete_on_logout = true");
    for (format, is_deleted) in [(EXPRESS, false), (deletes.as_str(), true)] {
        let mut site = site(format, Stores::real()).await;
        put(&mut site, &express(ANA, None));
        let browser = site.browser();
        browser.set_cookie("connect.sid", COOKIE);
        until("the session is known", async || status(&browser).await == 200).await;
        let answer = site.direct(&browser, "end").await.expect(200);
        let cleared = answer.set_cookies().into_iter().find(|cookie| cookie.starts_with("connect.sid="));
        assert!(cleared.is_some_and(|cookie| cookie.contains("Max-Age=0")), "{:?}", answer.set_cookies());
        assert_eq!(browser.cookie("connect.sid"), None, "the next login begins with a new id");
        let left = site.stores.redis().command(&["EXISTS", &format!("sess:{ID}")]);
        assert_eq!(left.contains('0'), is_deleted, "{left}");
        // Written again by the application, it is over all the same.
        put(&mut site, &express(ANA, None));
        browser.set_cookie("connect.sid", COOKIE);
        browser.get("/session/").send().await.expect_problem(401, "session_ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_logout_endpoint_ends_a_session_of_the_application_too() {
    let deletes = EXPRESS.replace("name = \"express\"", "name = \"express\", delete_on_logout = true");
    let mut site = site(&deletes, Stores::real()).await;
    put(&mut site, &express(ANA, None));
    let browser = site.browser();
    browser.set_cookie("connect.sid", COOKIE);
    until("the session is known", async || status(&browser).await == 200).await;
    let tab = Tab::open(&browser).await;
    tab.post("logout").await.expect(200);
    assert_eq!(browser.cookie("connect.sid"), None);
    let left = site.stores.redis().command(&["EXISTS", &format!("sess:{ID}")]);
    assert!(left.contains('0'), "{left}");
    browser.set_cookie("connect.sid", COOKIE);
    browser.get("/session/").send().await.expect_problem(401, "session_ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_session_says_which_setting_is_wrong() {
    let mut site = site(EXPRESS, Stores::real()).await;
    put(&mut site, &express(ANA, None));
    let right = "name = \"express\", secrets";
    let cookie = format!("connect.sid={COOKIE}");
    // A bare value is that of the application's cookie.
    tried(&site, COOKIE, 0, &["there is one cookie `connect.sid`", "user 1"]).await;
    tried(&site, &cookie, 0, &["genuine", "the string under `sess:`"]).await;
    for (wrong, code, said) in [
        (
            "name = \"express\", prefix = \"app:\", secrets",
            3,
            &["there is no string under `app:`", "`prefix`"][..],
        ),
        ("name = \"express\", user = [\"/account/id\"], secrets", 3, &["looked at /account/id", "/user_id"]),
        ("name = \"express\", cookie = \"sid\", secrets", 3, &["there is no cookie `sid`"]),
        (
            "name = \"express\", id = { characters = \"hex\", shortest = 32, longest = 32 }, secrets",
            3,
            &["`id`"],
        ),
    ] {
        site.proxy.edit(right, wrong);
        tried(&site, &cookie, code, said).await;
        site.proxy.edit(wrong, right);
    }
    let forged = cookie.replace("JUM8", "JAAA");
    tried(&site, &forged, 3, &["fits none of the secrets", "`secrets`"]).await;
    tried(&site, &format!("connect.sid={ID}"), 3, &["not signed"]).await;
    tried(&site, &format!("{cookie}; {forged}"), 3, &["`express`"]).await;
    let key = format!("sess:{ID}");
    for (commands, said) in [
        (
            &["SET", key.as_str(), "\u{4}\u{8}{", "EX", "600"][..],
            &["not well-formed JSON", "Marshal", "`serializer`"][..],
        ),
        (&["SET", key.as_str(), "{\"cookie\":{}}", "EX", "600"], &["nobody is logged in", "/cookie"]),
        (&["SET", key.as_str(), "{\"user_id\":1}"], &["no end", "`endless = true`"]),
        (&["SET", key.as_str(), "{\"user_id\":true}", "EX", "600"], &["cannot be used"]),
        (&["DEL", key.as_str()], &["there is no string"]),
    ] {
        let _ = site.stores.redis().command(commands);
        tried(&site, &cookie, 3, said).await;
    }
    let _ = site.stores.redis().command(&["HSET", &key, "user_id", "1"]);
    tried(&site, &cookie, 3, &["of another type"]).await;
}

/// The command's exit code and what it says; never the cookie itself.
async fn tried(site: &Site, cookie: &str, code: i32, said: &[&str]) {
    let mut command = tokio::process::Command::new(e2e::environment::binary());
    command.arg("test-session").arg(site.proxy.config()).args(["--cookie", "-"]).env("APP_SECRET", SECRET);
    let output = e2e::environment::run(&mut command, cookie.as_bytes()).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for part in said {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
    assert!(!text.contains(ID) && !text.contains("JUM8"), "{text}");
}
