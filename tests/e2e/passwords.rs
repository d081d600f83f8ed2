//! Who changes the password in Django ends the user's other sessions, in Django and at the proxy.

use std::net::SocketAddr;

use e2e::eventually::until;
use e2e::ports;
use e2e::postgres::run_sql;
use e2e::stores::Stores;

use crate::framework_sessions::{configured_with, form, guide_lines, proven, python_app, settled, started};

const CHECK: &str = "check_password = true\n\
                     secrets = [{ env = \"SESSION_SECRET\" }, { env = \"OLD_SESSION_SECRET\" }]\n";
const MAPPING: &str = include_str!("../../config/mappings/django.toml");
const TRIGGERS: [&str; 2] = [
    include_str!("../../migrations/existing/tell.sql"),
    include_str!("../../migrations/existing/django.sql"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_changes_the_password_in_django_ends_the_other_sessions_at_once() {
    let mut stores = Stores::real();
    let database = stores.servers().database.clone();
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let redis = format!("redis://127.0.0.1:{}", stores.redis().port());
    let mut command = python_app("django_app.py");
    command.env("DATABASE_URL", &database).env("SESSION_ENGINE", "cache");
    let _app = started(command, &redis, address).await;
    for triggers in TRIGGERS {
        stores.sql(triggers).await;
    }
    let mapping = MAPPING.replace("-- u.password", "u.password");
    let lines: Vec<&str> = mapping.lines().filter(|line| !line.starts_with('#')).collect();
    let builder = configured_with(&format!("{}{CHECK}{}", guide_lines("Django"), lines.join("\n")), address);
    let builder = builder.unseeded().route("/password", "app", "\"session\"", "");
    let proxy = builder.start(&stores).await;
    until("changes are told", async || proxy.metric("countersign_directory_listening", &[]).await > 0.5)
        .await;

    let (one, other) = (proxy.client(), proxy.client());
    for browser in [&one, &other] {
        let login = form(browser, "/login", "name=ana&password=demo").await;
        assert!(login.status.is_redirection(), "{}", login.status);
        until("the login is known", async || browser.get("/").send().await.status == 200).await;
        assert_eq!(settled(|| browser.get("/")).await.expect(200).json()["user"], 1);
    }
    let cookie =
        |browser: &e2e::client::Client| format!("sessionid={}", browser.cookie("sessionid").unwrap());
    let before = cookie(&other);
    proven(&proxy, &before, 0, "has the password with which the session began").await;

    // The one who changes it goes on, under a new id; the other is over. Nobody touched the other's session.
    let changed = form(&other, "/password", "password=another").await;
    assert!(changed.status.is_redirection(), "{}", changed.status);
    until("the other session is over", async || settled(|| one.get("/")).await.status == 401).await;
    one.get("/").send().await.expect_problem(401, "password_changed");
    assert_ne!(cookie(&other), before);
    for _ in 0..3 {
        assert_eq!(settled(|| other.get("/")).await.expect(200).json()["user"], 1);
    }
    proven(&proxy, &cookie(&one), 3, "the user has another password").await;
    proven(&proxy, &cookie(&other), 0, "has the password with which the session began").await;
    form(&one, "/login", "name=ana&password=another").await;
    until("who logs in again is known", async || settled(|| one.get("/")).await.status == 200).await;

    // The column is nowhere but in its table.
    let column = run_sql(&database, "SELECT password FROM auth_user WHERE id = 1").trim().to_owned();
    let hash = column.rsplit('$').next().unwrap();
    assert!(hash.len() > 20 && !proxy.output().contains(hash));
    let redis = stores.redis();
    assert!(redis.command(&["GET", "cs:user:1"]).contains("\"passwords\""));
    for key in redis.command(&["KEYS", "*"]).split_whitespace() {
        assert!(!redis.command(&["DUMP", key]).contains(hash), "{key}");
    }
}
