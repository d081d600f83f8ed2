//! Sessions: how they begin, rotate and end by the application's directives, and how they end by themselves.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use e2e::client::Client;
use e2e::eventually::until;
use e2e::fixture::{ANA, BEN, CHO};
use e2e::proxy::COOKIE;
use e2e::stores::Stores;
use e2e::upstream::Prepared;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::setup::{Site, on_every_backend};

on_every_backend! {
    async fn a_login_sets_a_careful_cookie_and_ends_the_browsers_old_session(stores) {
        let site = Site::start(stores).await;
        let browser = site.logged_in(ANA).await;
        let old = with_cookie(&site, &browser.cookie(COOKIE).unwrap());
        let answer = site.direct(&browser, "create;user=\"2\";platform=\"22\"").await.expect(200);
        let cookies = answer.set_cookies();
        assert_eq!(cookies.len(), 1, "{cookies:?}");
        for part in ["; HttpOnly", "; SameSite=Lax", "; Path=/"] {
            assert!(cookies[0].contains(part), "{}", cookies[0]);
        }
        assert!(answer.header("countersign-session").is_empty());
        assert_eq!(site.arrives(&browser, "/platform/").await.context("platform-id"), Some("22"));
        assert_eq!(site.status(&old).await, 401);
    }

    async fn rotation_leaves_the_predecessor_valid_for_a_short_grace(stores) {
        let site = Site::with(stores, |b| b.session("rotation_grace = \"2s\"")).await;
        let browser = site.logged_in(ANA).await;
        let old = with_cookie(&site, &browser.cookie(COOKIE).unwrap());
        site.direct(&browser, "rotate").await.expect(200);
        assert_ne!(browser.cookie(COOKIE), old.cookie(COOKIE));
        assert_eq!(site.status(&old).await, 200);
        assert_eq!(site.status(&browser).await, 200);
        until("the grace is over", async || site.status(&old).await == 401).await;
        assert_eq!(site.status(&browser).await, 200);
    }

    async fn rotation_after_a_new_login_leaves_no_grace_and_renews_the_login_time(stores) {
        let site = Site::start(stores).await;
        let browser = site.logged_in(ANA).await;
        let old = with_cookie(&site, &browser.cookie(COOKIE).unwrap());
        let before: u64 = site.arrives(&old, "/session/").await.context("auth-time").unwrap().parse().unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        site.direct(&browser, "rotate;authenticated").await.expect(200);
        assert_eq!(site.status(&old).await, 401);
        let after: u64 = site.arrives(&browser, "/session/").await.context("auth-time").unwrap().parse().unwrap();
        assert!(after > before);
    }

    async fn logging_out_ends_the_session_and_takes_the_cookie_away(stores) {
        let site = Site::start(stores).await;
        let browser = site.logged_in(ANA).await;
        let kept = with_cookie(&site, &browser.cookie(COOKIE).unwrap());
        let answer = site.direct(&browser, "end").await.expect(200);
        assert!(answer.set_cookies()[0].contains("Max-Age=0"), "{:?}", answer.set_cookies());
        assert_eq!(browser.cookie(COOKIE), None);
        kept.get("/session/").send().await.expect_problem(401, "session_ended");
    }

    async fn logging_out_after_a_rotation_ends_the_predecessor_too(stores) {
        let site = Site::start(stores).await;
        let browser = site.logged_in(ANA).await;
        let old = with_cookie(&site, &browser.cookie(COOKIE).unwrap());
        site.direct(&browser, "rotate").await.expect(200);
        site.direct(&browser, "end").await.expect(200);
        assert_eq!(site.status(&old).await, 401);
    }

    async fn end_all_ends_every_session_of_this_user_and_no_other(stores) {
        let site = Site::start(stores).await;
        let (first, second, ben) = (site.logged_in(ANA).await, site.logged_in(ANA).await, site.logged_in(BEN).await);
        site.direct(&first, "end-all").await.expect(200);
        assert_eq!(site.status(&second).await, 401);
        assert_eq!(site.status(&ben).await, 200);
        assert_eq!(site.status(&site.logged_in(ANA).await).await, 200);
    }

    async fn a_switch_of_platform_is_seen_by_the_next_request(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        site.direct(&ana, "platform;id=\"12\"").await.expect(200);
        assert_eq!(site.arrives(&ana, "/platform/").await.context("platform-id"), Some("12"));
        site.direct(&ana, "platform").await.expect(200);
        // Without a choice the default is in force again.
        assert_eq!(site.arrives(&ana, "/platform/").await.context("platform-id"), Some("11"));
    }

    async fn a_directive_from_elsewhere_is_ignored_and_removed(stores) {
        let site = Site::start(stores).await;
        for path in ["/public/x", "/optional/x", "/session/x"] {
            let browser = site.logged_in(CHO).await;
            site.app.direct(path, "create;user=\"1\"");
            let answer = browser.get(path).send().await.expect(200);
            assert!(answer.header("countersign-session").is_empty(), "the directive left the proxy");
            assert!(answer.set_cookies().is_empty());
            assert_eq!(site.arrives(&browser, "/session/").await.context("user-id"), Some(CHO));
        }
        assert!(site.proxy.metric("countersign_directives_total", &["ignored"]).await >= 3.0);
    }

    async fn an_impossible_directive_is_answered_with_502_and_without_the_applications_cookies(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        for directives in [
            &["create;user=\"99\""][..],
            &["create;user=\"4\""],
            &["create;user=\"1\";platform=\"21\""],
            &["create;user=\"1\";platform=\"13\""],
            &["create;user=\"1\";platform=\"99\""],
            &["platform;id=\"21\""],
            &["create"],
            &["create;user=1"],
            &["create;user=\"1\";usr=\"2\""],
            &["create;user=\"1\", end"],
            &["destroy"],
            &[""],
            &["end", "create;user=\"2\""],
        ] {
            let answer = directives
                .iter()
                .fold(Prepared::status(200), |answer, directive| answer.header("countersign-session", directive))
                .header("set-cookie", "application=secret")
                .body("the application's page");
            site.app.prepare("/auth/do", answer);
            let answer = ana.post("/auth/do", "").send().await.expect_problem(502, "directive_refused");
            assert!(answer.set_cookies().is_empty(), "{directives:?}");
            assert!(!answer.text().contains("the application's page"));
            assert_eq!(site.arrives(&ana, "/session/").await.context("platform-id"), Some("11"), "{directives:?}");
        }
        for directive in ["rotate", "platform;id=\"11\""] {
            site.direct(&site.browser(), directive).await.expect_problem(502, "directive_refused");
        }
    }

    async fn an_unused_session_times_out(stores) {
        let site = Site::with(stores, |b| b.session("idle_timeout = \"3s\"\ntouch_interval = \"1s\"\nrotation_grace = \"1s\"")).await;
        let (used, unused) = (site.logged_in(ANA).await, site.logged_in(BEN).await);
        until("the unused session times out", async || {
            assert_eq!(site.status(&used).await, 200, "a used session timed out");
            tokio::time::sleep(Duration::from_millis(3400)).await;
            let answer = unused.get("/session/").send().await;
            answer.status == 401 && answer.json()["code"] == "session_idle"
        })
        .await;
    }

    async fn a_session_ends_at_its_absolute_timeout_however_much_it_is_used(stores) {
        let site = Site::with(stores, |b| {
            b.session("absolute_timeout = \"3s\"\nidle_timeout = \"3s\"\ntouch_interval = \"1s\"\nrotation_grace = \"1s\"")
        })
        .await;
        let ana = site.logged_in(ANA).await;
        assert_eq!(site.status(&ana).await, 200);
        until("the session ends", async || site.status(&ana).await == 401).await;
        site.direct(&ana, "rotate").await.expect(502);
    }

    async fn two_different_session_cookies_are_no_session_and_no_redirect_loop(stores) {
        let site = Site::start(stores).await;
        let one = site.logged_in(ANA).await.cookie(COOKIE).unwrap();
        let two = site.logged_in(BEN).await.cookie(COOKIE).unwrap();
        let both = format!("{COOKIE}={one}; {COOKIE}={two}");
        let answer = site.browser().get("/page/").cookies(&both).navigating().send().await;
        assert!(answer.set_cookies().is_empty());
        assert_eq!(answer.status, 401, "{}", answer.text());
        let twice = format!("{COOKIE}={one}; {COOKIE}={one}");
        site.browser().get("/page/").cookies(&twice).send().await.expect(200);
        assert!(site.proxy.metric("countersign_rejected_tokens_total", &["conflicting_cookies"]).await >= 1.0);
    }

    async fn a_restarted_proxy_still_knows_everybody(stores) {
        let mut site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        site.proxy.restart().await;
        assert_eq!(site.arrives(&ana, "/platform/").await.context("user-id"), Some(ANA));
    }

    async fn a_broken_cookie_is_no_session_and_is_left_alone(stores) {
        let site = Site::start(stores).await;
        for value in ["", "x", "\"quoted\"", &"A".repeat(43), &"A".repeat(5000), "../../etc", "*", "cs:session:x"] {
            let answer = site.browser().get("/session/").cookies(format!("{COOKIE}={value}")).send().await.expect(401);
            assert!(answer.set_cookies().is_empty(), "{value}");
        }
        let answer = site.browser().get("/optional/").cookies(format!("{COOKIE}=x")).send().await.expect(200);
        assert!(answer.set_cookies().is_empty());
        assert_eq!(site.app.last().context("authn"), Some("none"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_token_reaches_no_store() {
    let (stores, to_redis, to_postgres) = Stores::behind_relays().await;
    let mut site = Site::with(stores, |b| b.session("touch_interval = \"20m\"")).await;
    let keyed = site.proxy.secret("token");
    to_redis.listen();
    to_postgres.listen();
    let mut ask = async |kind: &str, key: &[u8]| {
        let mut heard = (0, 0);
        for number in 0..50 {
            let token = token(&format!("{kind} {number}"), key);
            site.browser().get("/session/").cookies(format!("{COOKIE}={token}")).send().await.expect(401);
            assert!(
                !to_redis.has_heard(&token) && !to_postgres.has_heard(&token),
                "a store is told the hash only"
            );
            let id = URL_SAFE_NO_PAD.encode(Sha256::digest(&token));
            heard.0 += u32::from(to_redis.has_heard(&id));
            heard.1 += u32::from(to_postgres.has_heard(&id));
        }
        let reads = site.stores.redis().command(&["INFO", "commandstats"]);
        let reads = reads
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_get:calls=")?.split(',').next()?.parse().ok());
        (reads.unwrap_or(0), heard)
    };
    let (reads_before, _): (u64, _) = ask("warm-up", keyed.as_bytes()).await;
    // What else is said to the servers meanwhile is background work, of which a slow machine sees more.
    assert_eq!(
        ask("forged", b"not the key").await,
        (reads_before, (0, 0)),
        "reads, asked Redis and Postgres"
    );
    let (reads, heard) = ask("unknown", keyed.as_bytes()).await;
    assert_eq!(heard, (50, 50), "the relays hear whom a store is asked about");
    assert!(reads >= reads_before + 50, "{reads} reads");
}

/// A token that carries the tag of `key`.
fn token(seed: &str, key: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(seed.as_bytes()).unwrap();
    mac.update(b"random");
    let mut raw = mac.finalize().into_bytes()[..24].to_vec();
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(&raw);
    raw.extend_from_slice(&mac.finalize().into_bytes()[..8]);
    URL_SAFE_NO_PAD.encode(raw)
}

fn with_cookie(site: &Site, token: &str) -> Client {
    let browser = site.browser();
    browser.set_cookie(COOKIE, token);
    browser
}
