//! In front of an existing schema: users and platforms by the operator's own SQL, sessions of the application, and nothing
//! written anywhere in Postgres.

use e2e::client::Client;
use e2e::eventually::until;
use e2e::proxy::{Builder, Proxy, run_to_end};
use e2e::stores::Stores;
use e2e::upstream::Upstream;

use crate::setup::{Site, routes};

/// A session of Express, as its own middleware signed it.
const ID: &str = "Kc3_PxlLu7hd1N4WhcGHrjgXbWdPCmtn";
const COOKIE: &str = "s%3AKc3_PxlLu7hd1N4WhcGHrjgXbWdPCmtn.D6NsJvJ0ho2eG%2FLtVWisGe6F5G23zxJVOHOhZMAJUM8";
const SECRET: &str = "byos-made-up-secret-express-2";
const EXPRESS: &str = "format = { name = \"express\", secrets = [{ env = \"APP_SECRET\" }] }";

const TABLES: &str = include_str!("../schemas/captions.sql");
const MAPPING: &str = include_str!("../../config/mappings/captions.toml");

async fn site(format: &str, tables: &str, mapping: &str) -> Site {
    site_with(format, tables, mapping, |builder| builder).await
}

async fn site_with(
    format: &str,
    tables: &str,
    mapping: &str,
    change: impl FnOnce(Builder) -> Builder,
) -> Site {
    let stores = Stores::real();
    stores.sql(tables).await;
    let app = Upstream::start().await;
    let builder = Proxy::builder().upstream("app", app.address(), "").session(format);
    let builder = builder.variable("APP_SECRET", SECRET).unseeded().more(&without_comments(mapping));
    let proxy = change(routes(builder)).start(&stores).await;
    Site { proxy, app, stores }
}

/// The builder looks at how a text begins.
fn without_comments(mapping: &str) -> String {
    mapping.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n")
}

fn log_in(site: &mut Site, user: &str) -> Client {
    let value = format!("{{\"cookie\":{{\"path\":\"/\"}},\"user_id\":{user}}}");
    let key = format!("sess:{ID}");
    assert_eq!(site.stores.redis().command(&["SET", &key, &value, "EX", "600"]), "OK");
    let browser = site.browser();
    browser.set_cookie("connect.sid", COOKIE);
    browser
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_and_platforms_come_from_the_tables_of_the_application() {
    let mut site = site(EXPRESS, TABLES, MAPPING).await;
    let browser = log_in(&mut site, "42");
    until("the session is known", async || site.status(&browser).await == 200).await;
    let seen = site.arrives(&browser, "/platform/").await;
    assert_eq!(
        ["user-id", "user-name", "roles", "platform-id", "platform-name"].map(|name| seen.context(name)),
        [Some("42"), Some("ana"), Some("reviewer"), Some("2"), Some("Art")]
    );
    // What is ours about the session lies in Redis; Postgres is only read.
    site.direct(&browser, "platform;id=\"4\"").await.expect(200);
    assert_eq!(site.arrives(&browser, "/platform/").await.context("platform-id"), Some("4"));
    site.direct(&browser, "platform;id=\"3\"").await.expect(502);
    site.direct(&browser, "create;user=\"42\"").await.expect(502);
    site.direct(&browser, "end-all").await.expect(502);
    site.direct(&browser, "end").await.expect(200);
    // The application's cookie was taken away; who kept a copy of it is told that it is over.
    browser.set_cookie("connect.sid", COOKIE);
    browser.get("/session/").send().await.expect_problem(401, "session_ended");
    let locked = log_in(&mut site, "43");
    assert_eq!(site.status(&locked).await, 401, "what was ended stays ended");
    until("the audit log is the log", async || site.proxy.output().contains("\"event\":\"session_ended\""))
        .await;
}

/// Tokens as the caption application sealed them, with its key (proxy/tests/session-samples/seed-app-platform-cache.json).
const SEALED: &str = include_str!("../../proxy/tests/session-samples/seed-app-platform-cache.json");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_the_application_sealed_is_opened_through_the_mapping() {
    let sealed: serde_json::Value = serde_json::from_str(SEALED).unwrap();
    let text = |pointer: &str| sealed.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let key = text("/fernet/key");
    let mut site = site_with(EXPRESS, TABLES, MAPPING, |builder| {
        let asks = "platform_authorization = true";
        builder.route("/credential/", "app", "\"platform\"", asks).variable("PLATFORM_ENCRYPTION_KEY", &key)
    })
    .await;
    for (platform, token) in [("2", text("/fernet/tokens/access_token")), ("4", text("/fernet/tampered"))] {
        let update =
            format!("UPDATE platform_connections SET access_token = '{token}' WHERE id = {platform}");
        site.stores.sql(&update).await;
    }
    let browser = log_in(&mut site, "42");
    until("the session is known", async || site.status(&browser).await == 200).await;
    let seen = site.arrives(&browser, "/credential/").await;
    assert_eq!(seen.context("platform-id"), Some("2"));
    let opened = text("/fernet/plaintexts/access_token");
    assert_eq!(seen.context("platform-authorization"), Some(opened.as_str()));
    assert_eq!(site.arrives(&browser, "/platform/").await.context("platform-authorization"), None);
    site.direct(&browser, "platform;id=\"4\"").await.expect(200);
    browser.get("/credential/").send().await.expect_problem(503, "credential_unreadable");
    assert!(!site.proxy.output().contains(&opened) && !site.proxy.output().contains(&key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_that_does_not_fit_makes_its_lookups_undetermined_until_it_does() {
    let wrong = MAPPING.replace("instance_url AS url", "instance AS url");
    let mut site = site(EXPRESS, TABLES, &wrong).await;
    let browser = log_in(&mut site, "42");
    until("the query was described", async || {
        site.proxy
            .metrics()
            .await
            .contains("countersign_directory_query_usable{query=\"directory.queries.platforms\"} 0")
    })
    .await;
    assert!(site.proxy.metric("countersign_directory_query_usable", &["queries.user"]).await > 0.5);
    browser.get("/session/").send().await.expect_problem(503, "store_unavailable");
    browser.get("/public/").send().await.expect(200);
    until("the log names the column", async || {
        site.proxy.output().contains("column \\\"instance\\\" does not exist")
    })
    .await;
    let config = site.proxy.config().display().to_string();
    let check = std::process::Command::new(e2e::environment::binary())
        .args(["check", "--connect", &config])
        .env("APP_SECRET", SECRET)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(said.contains("failed  directory.queries.platforms: the server refuses it: column \"instance\" does not exist (42703)"), "{said}");
    assert!(
        said.contains("ok      directory.queries.user: (integer[]) -> id integer, name varchar"),
        "{said}"
    );
    assert!(said.contains("changes are seen within 30 s, for want of triggers on public.users"), "{said}");
    assert!(!check.status.success());
    site.stores
        .sql("ALTER TABLE platform_connections ADD COLUMN instance text NOT NULL DEFAULT 'https://x.example'")
        .await;
    until("the query fits", async || site.status(&browser).await == 200).await;
}

#[test]
fn sessions_of_our_own_are_refused_beside_users_of_others() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("c.toml");
    let text = format!(
        "[[listen]]\naddress = \"127.0.0.1:1\"\n[directory]\nkind = \"postgres\"\nurl = \"postgres://127.0.0.1/x\"\n{}",
        without_comments(MAPPING).replace("platform = \"\"\"", "stats = \"\"\"")
    );
    std::fs::write(&config, text).unwrap();
    let output = run_to_end(&["check", &config.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("sessions of our own need users of our own"), "{said}");
    assert!(
        said.contains("`directory.queries.platform` is needed beside `directory.queries.platforms`"),
        "{said}"
    );
}
