//! Settings and stats as context headers, for routes that ask for them: covered by both signatures, within the byte
//! budget, and never left out because a store could not say.

use e2e::client::Client;
use e2e::eventually::{eventually, until};
use e2e::fixture::{ANA, BEN, CHO};
use e2e::stores::Stores;
use e2e::upstream::Recorded;
use e2e::verifier::from_base64url;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::setup::{Site, on_every_backend, percent_decoded};

async fn site(stores: Stores) -> Site {
    Site::with(stores, |builder| {
        builder
            .route("/both/", "app", "\"session\"", "context = [\"settings\", \"stats\"]")
            .route("/settings/", "app", "\"optional\"", "context = [\"settings\"]")
            .more("[context]\nbudget = \"4KiB\"")
    })
    .await
}

async fn write(site: &Site, user: &str, platform: &str, settings: &Value) {
    let text = settings.to_string().replace('\'', "''");
    let row = format!(
        "INSERT INTO user_settings (user_id, platform_id, settings) VALUES ('{user}', '{platform}', '{text}');"
    );
    site.stores.sql(&row).await;
}

fn claims(request: &Recorded) -> Value {
    let token = request.context("jwt").unwrap();
    serde_json::from_slice(&from_base64url(token.split('.').nth(1).unwrap())).unwrap()
}

/// Asserts that message signature and token both vouch for a header, and gives its JSON.
fn vouched(request: &Recorded, name: &str) -> Value {
    let value = request.context(name).unwrap();
    assert!(request.header("signature-input").unwrap().contains(&format!("\"x-context-{name}\"")));
    let digest = claims(request)["tctx"][format!("{name}_sha256")].as_str().map(from_base64url);
    assert_eq!(digest, Some(Sha256::digest(value.as_bytes()).to_vec()), "{name}");
    serde_json::from_str(&percent_decoded(value)).unwrap()
}

async fn arrives(site: &Site, browser: &Client, path: &str) -> Recorded {
    site.arrives(browser, path).await
}

on_every_backend! {
    async fn a_route_that_asks_receives_settings_and_stats_under_both_signatures(stores) {
        let site = site(stores).await;
        let settings = json!({"max_posts_per_run": 50, "greeting": "Grüße, \"Ana\"\r\nX-Context-Roles: admin", "unknown": null});
        write(&site, ANA, "11", &settings).await;
        let ana = site.logged_in(ANA).await;
        for _ in 0..2 {
            let request = arrives(&site, &ana, "/both/x").await;
            assert_eq!(vouched(&request, "settings"), settings);
            assert_eq!(vouched(&request, "stats")["sessions"], 1);
            let plain = arrives(&site, &ana, "/session/").await;
            assert_eq!((plain.context("settings"), plain.context("stats")), (None, None));
            assert_eq!(claims(&plain)["tctx"].get("settings_sha256"), None);
        }
        // Forged ones are replaced, or removed where there is nothing to say.
        let forged = |path: &'static str, browser: &Client| browser.get(path).header("x-context-settings", "{}");
        forged("/both/x", &ana).send().await.expect(200);
        assert_eq!(vouched(&site.app.last(), "settings"), settings);
        forged("/session/", &ana).send().await.expect(200);
        assert_eq!(site.app.last().context("settings"), None);
    }

    async fn without_settings_or_platform_or_session_nothing_is_sent(stores) {
        let site = site(stores).await;
        let (ben, cho, stranger) = (site.logged_in(BEN).await, site.logged_in(CHO).await, site.browser());
        assert_eq!(arrives(&site, &ben, "/settings/").await.context("settings"), None);
        assert_eq!(arrives(&site, &cho, "/both/").await.context("stats"), None);
        assert_eq!(arrives(&site, &stranger, "/settings/").await.context("authn"), Some("none"));
    }

    async fn settings_beyond_the_budget_are_an_error_and_never_cut_off(stores) {
        let site = site(stores).await;
        write(&site, ANA, "11", &json!({"long": "x".repeat(4096)})).await;
        let ana = site.logged_in(ANA).await;
        ana.get("/both/").send().await.expect_problem(431, "context_too_large");
        assert!(site.app.take().is_empty());
        assert_eq!(site.status(&ana).await, 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_nobody_can_read_are_no_reason_to_go_on_without() {
    let mut site = site(Stores::to_be_stopped()).await;
    write(&site, ANA, "11", &json!({"a": 1})).await;
    write(&site, ANA, "12", &json!({"b": 1})).await;
    let ana = site.logged_in(ANA).await;
    assert_eq!(vouched(&arrives(&site, &ana, "/both/").await, "settings"), json!({"a": 1}));
    site.direct(&ana, "platform;id=\"12\"").await.expect(200);
    assert_eq!(site.arrives(&ana, "/platform/").await.context("platform-id"), Some("12"));
    // What was forgotten just now is kept out of Redis for ten seconds; then it can stand in for Postgres.
    until("Redis holds user and platform", async || {
        site.arrives(&ana, "/platform/").await;
        let redis = site.stores.redis();
        let held = |key: &str| !["", "forgotten"].contains(&redis.command(&["GET", key]).as_str());
        held("cs:user:1") && held("cs:platform:12")
    })
    .await;
    site.stores.postgres().stop();
    let answer = eventually("settings cannot be read", async || {
        let answer = ana.get("/both/").send().await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(answer.header("retry-after").parse::<u32>().is_ok());
    assert_eq!(site.status(&ana).await, 200, "who does not ask for them is served");
    site.stores.postgres().restart();
    until("settings can be read again", async || ana.get("/both/").send().await.status == 200).await;
}
