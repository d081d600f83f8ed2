//! The story of the seeds (row 103), from login to log-out, as their users live it: an application with a login form of
//! its own, Redis and Postgres, the paths that its pages already know, and the faults that once cost them their work.

use e2e::body::whole;
use e2e::client::{Answer, Client};
use e2e::eventually::until;
use e2e::proxy::{Builder, COOKIE, Proxy};
use e2e::stores::Stores;
use serde_json::{Value, json};

use crate::apps::{flask_behind, form};
use crate::setup::percent_decoded;

const MORE: &str = r#"
[[settings.field]]
name = "max_posts_per_run"
type = "integer"
min = 1
max = 500
default = 50
[[alias]]
path = "/api/switch_platform/{id}"
endpoint = "platform-switch"
[[alias]]
path = "/api/session/state"
endpoint = "session-state"
[[alias]]
path = "/api/session/heartbeat"
endpoint = "session-heartbeat"
[[alias]]
path = "/api/caption_settings"
endpoint = "settings"
[[alias]]
path = "/api/update_user_settings"
endpoint = "settings-change"
"#;

fn as_it_was(builder: Builder) -> Builder {
    let away = "login = \"/login\"\nchoose_platform = \"/platform_management\"";
    builder
        .route("/", "app", "\"platform\"", away)
        .route(
            "/caption_generation",
            "app",
            "\"platform\"",
            &format!("{away}\ncontext = [\"settings\", \"stats\"]"),
        )
        .route("/platform_management", "app", "\"session\"", "login = \"/login\"")
        .more(MORE)
}

async fn logged_in(proxy: &Proxy, name: &str) -> Client {
    let browser = proxy.client();
    let answer = form(&browser, "/login?return_to=/dashboard", &format!("name={name}&password=demo")).await;
    assert_eq!(answer.expect(303).header("location"), "/dashboard");
    browser
}

/// What the application is told on a page.
async fn told(browser: &Client, path: &str) -> Value {
    browser.get(path).send().await.expect(200).json()
}

/// What the page of the seeds sent: an empty body that calls itself JSON.
async fn switch(browser: &Client, platform: &str) -> Answer {
    let call = browser.post(&format!("/api/switch_platform/{platform}"), "");
    call.header("content-type", "application/json").header("sec-fetch-site", "same-origin").send().await
}

async fn save(browser: &Client, settings: &Value) -> Answer {
    let call = browser.post("/api/update_user_settings", "").body(whole(settings.to_string()));
    call.header("sec-fetch-site", "same-origin").send().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_log_in_work_switch_and_log_out_as_before_and_better() {
    let mut stores = Stores::to_be_stopped();
    let (proxy, _app) = flask_behind(&stores, as_it_was).await;
    let (ana, other) = they_log_in(&proxy).await;
    they_work_with_their_settings(&ana).await;
    they_switch(&ana, &other).await;
    outages_are_bridged(&mut stores, &ana).await;
    they_log_out(&proxy, &ana, &other).await;
}

async fn they_log_in(proxy: &Proxy) -> (Client, Client) {
    let nobody = proxy.client();
    let sent = nobody.get("/dashboard").navigating().send().await.expect(303);
    assert_eq!(sent.header("location"), "/login?return_to=/dashboard");
    assert!(form(&nobody, "/login", "name=ana&password=wrong").await.expect(403).set_cookies().is_empty());
    nobody.get("/api/session/state").send().await.expect(200);
    // A cookie that somebody planted is not taken over.
    let planted = "A".repeat(43);
    nobody.set_cookie(COOKIE, &planted);
    form(&nobody, "/login", "name=ana&password=demo").await.expect(303);
    assert_ne!(nobody.cookie(COOKIE), Some(planted));
    let (ana, other) = (nobody, logged_in(proxy, "ana").await);
    let dashboard = told(&ana, "/dashboard").await;
    assert_eq!((&dashboard["user-id"], &dashboard["user-name"]), (&json!("1"), &json!("Ana Kovac")));
    assert_eq!((&dashboard["platform-id"], &dashboard["roles"]), (&json!("11"), &json!("admin,reviewer")));
    // Somebody without a platform is sent to where one can be added, which works without one.
    let cho = logged_in(proxy, "cho").await;
    let sent = cho.get("/dashboard").navigating().send().await.expect(303);
    assert_eq!(sent.header("location"), "/platform_management?return_to=/dashboard");
    cho.get("/dashboard").send().await.expect_problem(403, "platform_missing");
    assert_eq!(told(&cho, "/platform_management").await["user-id"], "3");
    (ana, other)
}

async fn they_work_with_their_settings(ana: &Client) {
    assert_eq!(told(ana, "/api/caption_settings").await["settings"], json!({"max_posts_per_run": 50}));
    save(ana, &json!({"max_posts_per_run": 20, "tone": "dry"})).await.expect(200);
    // One field more leaves the others as they are; one beyond its limits leaves all of them.
    save(ana, &json!({"optimal_min_length": 80})).await.expect(200);
    save(ana, &json!({"max_posts_per_run": 501})).await.expect_problem(422, "invalid_fields");
    let expected = json!({"max_posts_per_run": 20, "tone": "dry", "optimal_min_length": 80});
    assert_eq!(told(ana, "/api/caption_settings").await["settings"], expected);
    let page = told(ana, "/caption_generation").await;
    let settings: Value = serde_json::from_str(&percent_decoded(page["settings"].as_str().unwrap())).unwrap();
    assert_eq!(settings, expected, "the application is told the same: {page}");
    assert!(page["stats"].is_string(), "{page}");
}

async fn they_switch(ana: &Client, other: &Client) {
    let answer = switch(ana, "12").await.expect(200).json();
    assert_eq!((&answer["success"], &answer["platform"]["id"]), (&json!(true), &json!("12")));
    assert_eq!(told(ana, "/dashboard").await["platform-id"], "12");
    assert_eq!(told(ana, "/api/session/state").await["platform"]["id"], "12");
    assert_eq!(told(other, "/dashboard").await["platform-id"], "11", "another browser keeps its own");
    // Settings belong to the platform.
    assert_eq!(told(ana, "/api/caption_settings").await["settings"], json!({"max_posts_per_run": 50}));
    for (platform, status, code) in [
        ("21", 404, "platform_not_found"),
        ("99", 404, "platform_not_found"),
        ("13", 409, "platform_inactive"),
    ] {
        switch(ana, platform).await.expect_problem(status, code);
    }
    assert_eq!(told(ana, "/dashboard").await["platform-id"], "12");
    ana.get("/api/switch_platform/11").send().await.expect_problem(405, "method_not_allowed");
    ana.post("/api/switch_platform/11", "").send().await.expect_problem(403, "origin_unproven");
}

async fn outages_are_bridged(stores: &mut Stores, ana: &Client) {
    stores.redis().stop();
    until("Postgres answers alone", async || {
        let answer = ana.get("/dashboard").send().await;
        answer.status == 200 && answer.json()["platform-id"] == "12"
    })
    .await;
    stores.redis().restart();
    until("Redis is trusted again", async || ana.get("/dashboard").send().await.status == 200).await;
    switch(ana, "11").await.expect(200);
    stores.postgres().stop();
    // An outage is no missing platform and no missing session, and changes nothing.
    until("the outage is noticed", async || switch(ana, "12").await.status == 503).await;
    let refused = switch(ana, "12").await;
    assert!(
        refused.status == 503
            && !refused.header("retry-after").is_empty()
            && refused.set_cookies().is_empty()
    );
    stores.postgres().restart();
    until("Postgres is back", async || switch(ana, "12").await.status == 200).await;
    assert_eq!(told(ana, "/dashboard").await["platform-id"], "12");
}

async fn they_log_out(proxy: &Proxy, ana: &Client, other: &Client) {
    let heartbeat = ana.post("/api/session/heartbeat", "").header("sec-fetch-site", "same-origin");
    heartbeat.send().await.expect(200);
    let kept = ana.cookie(COOKIE).unwrap();
    form(ana, "/logout", "").await.expect(303);
    assert_eq!(ana.cookie(COOKIE), None);
    // The session is over, and not only the cookie gone.
    ana.get("/dashboard")
        .cookies(format!("{COOKIE}={kept}"))
        .send()
        .await
        .expect_problem(401, "session_ended");
    assert_eq!(told(other, "/dashboard").await["user-id"], "1");
    let third = logged_in(proxy, "ana").await;
    let token = told(&third, "/.countersign/session").await["csrf_token"].as_str().unwrap().to_owned();
    let everywhere = third.post("/.countersign/logout/everywhere", "").header("x-csrf-token", token);
    everywhere.header("sec-fetch-site", "same-origin").send().await.expect(200);
    other.get("/dashboard").send().await.expect(401);
    third.get("/dashboard").send().await.expect(401);
}
