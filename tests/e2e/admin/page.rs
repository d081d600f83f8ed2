//! The page for people on the admin listener: what its cookie opens, and the page itself in headless Chromium.

use e2e::client::{Call, Client};
use e2e::environment::{self, keepsakes, node_script};
use e2e::eventually::until;
use e2e::fixture::ANA;
use e2e::proxy::replace_file;
use e2e::stores::Stores;
use tokio::process::Command;

use super::{get, said};
use crate::setup::Site;

const COOKIE: &str = "countersign-admin";

fn log_in(site: &Site, browser: &Client, token: &str, origin: Option<&str>) -> Call {
    let own = format!("http://{}", site.proxy.addresses().admin);
    let call = browser.post("/login", format!("token={token}"));
    call.header("content-type", "application/x-www-form-urlencoded").header("origin", origin.unwrap_or(&own))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cookie_of_the_page_opens_what_the_page_needs_and_nothing_else() {
    let site = Site::start(Stores::embedded()).await;
    let (browser, token) = (site.proxy.admin(), site.proxy.secret("admin-token"));
    let own = format!("http://{}", site.proxy.addresses().admin);
    for path in ["/", "/login", "/page.js", "/plots.js", "/page.css", "/mark.svg"] {
        let answer = browser.get(path).send().await.expect(200);
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{path}: {policy}");
        assert!(
            !answer.text().contains("://") || path == "/mark.svg" || path == "/plots.js",
            "{path} names another place"
        );
    }
    browser.get("/v1/overview").send().await.expect(401);

    let wrong = log_in(&site, &browser, "not the token at all", None).send().await.expect(403);
    assert!(wrong.set_cookies().is_empty() && wrong.text().contains("This is not the admin token"));
    for foreign in ["http://evil.example", "null"] {
        log_in(&site, &browser, &token, Some(foreign)).send().await.expect_problem(403, "foreign_origin");
    }
    browser.post("/login", format!("token={token}")).send().await.expect_problem(403, "foreign_origin");

    let answer = log_in(&site, &browser, &token, None).send().await.expect(303);
    assert_eq!(answer.header("location"), "/");
    let cookie = &answer.set_cookies()[0];
    assert!(
        cookie.contains("; HttpOnly; SameSite=Strict; Max-Age=3600") && !cookie.contains(&token),
        "{cookie}"
    );
    let overview = browser.get("/v1/overview").send().await.expect(200).json();
    assert_eq!(overview["status"]["phase"], "serving", "{overview}");
    // A page of another site that the browser shows beside ours gets nothing, and the cookie opens nothing else.
    browser
        .get("/v1/overview")
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .expect_problem(403, "foreign_origin");
    for path in ["/v1/sessions", "/v1/config", "/v1/audit", "/v1/status", "/v1/reload"] {
        browser.get(path).send().await.expect_problem(401, "token_needed");
    }
    browser
        .post("/v1/sessions", "{}")
        .header("origin", &own)
        .send()
        .await
        .expect_problem(401, "token_needed");
    browser.post("/v1/reload", "").send().await.expect_problem(401, "token_needed");
    browser.post("/v1/reload", "").header("origin", "http://evil.example").send().await.expect(403);
    browser.post("/v1/reload", "").header("origin", &own).send().await.expect(200);

    let kept = browser.cookie(COOKIE).unwrap();
    browser.post("/logout", "").header("origin", "http://evil.example").send().await.expect(403);
    browser.post("/logout", "").header("origin", &own).send().await.expect(303);
    let thief = site.proxy.admin();
    thief.set_cookie(COOKIE, &kept);
    thief.get("/v1/overview").send().await.expect(401);

    log_in(&site, &browser, &token, None).send().await.expect(303);
    browser.get("/v1/overview").send().await.expect(200);
    replace_file(&site.proxy.directory().join("admin-token"), "a token that is quite new");
    until("the login ends with its token", async || browser.get("/v1/overview").send().await.status == 401)
        .await;
    assert!(!site.proxy.output().contains(&kept));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_configuration_and_a_refused_request_are_told_to_people() {
    let site = Site::start(Stores::embedded()).await;
    let ana = site.logged_in(ANA).await;
    ana.get("/session/").send().await.expect(200);
    ana.get("/session/").send().await.expect(200);
    site.browser().get("/session/").send().await.expect(401);
    site.proxy.edit("path = \"/public/\"", "paht = \"/public/\"");
    assert_eq!(site.proxy.reload().await["result"], "refused");

    let overview = get(&site, "/v1/overview").await.expect(200).json();
    let routes = overview["routes"].as_array().unwrap();
    let route = routes.iter().find(|route| route["path"] == "/session/").unwrap();
    assert_eq!(
        (&route["requests"]["forwarded"], &route["requests"]["refused"]),
        (&2.into(), &1.into()),
        "{route}"
    );
    assert!(route["latency"]["p99"].as_f64().unwrap() > 0.0, "{route}");
    let recent = &overview["recent"][0];
    assert_eq!((&recent["code"], &recent["status"]), (&"no_cookie".into(), &401.into()), "{recent}");
    let line = site.proxy.request_lines().into_iter().find(|line| line["request_id"] == recent["request_id"]);
    assert_eq!(line.unwrap()["reason"], "no_cookie");
    assert_eq!(overview["status"]["sessions"]["started"], 1);

    let shown = status_of(&site).await;
    for expected in [
        "configuration.last_read",
        "refused",
        "did you mean `path`?",
        "number 1 stays in force",
        "sessions.started",
    ] {
        assert!(shown.contains(expected), "{expected} is missing:\n{shown}");
    }
}

/// What `countersign status` says; the configuration file is broken meanwhile, so the flags say where to ask.
async fn status_of(site: &Site) -> String {
    let mut command = Command::new(environment::binary());
    command.args(["status", "--admin", &site.proxy.addresses().admin.to_string(), "--token-file"]);
    command.arg(site.proxy.directory().join("admin-token")).env_remove("COUNTERSIGN_ADMIN_TOKEN");
    let output = environment::run(&mut command, b"").await;
    assert!(output.status.success(), "{}", said(&output));
    said(&output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_works_in_a_browser() {
    let site = Site::start(Stores::embedded()).await;
    let ana = site.logged_in(ANA).await;
    for _ in 0..40 {
        ana.get("/session/").send().await.expect(200);
    }
    site.browser().get("/session/").send().await.expect(401);
    site.browser().get("/nowhere").send().await.expect(404);
    let profile = tempfile::tempdir().unwrap();
    let mut script = Command::new("node");
    script.arg(node_script("browser/page.mjs"));
    script.env("ADMIN", format!("http://{}", site.proxy.addresses().admin)).env("PROFILE", profile.path());
    script.env("TOKEN", site.proxy.secret("admin-token")).env("CONFIG", site.proxy.config());
    script.env("SCREENSHOTS", keepsakes("screenshots"));
    let output = environment::run(&mut script, b"").await;
    println!("{}", said(&output));
    assert!(output.status.success(), "{}", said(&output));
    let (metric, value) =
        ("countersign_reloads_total", site.proxy.metric("countersign_reloads_total", &["refused"]).await);
    assert!(value >= 1.0, "{metric} {value}");
}
