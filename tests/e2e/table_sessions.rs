//! Sessions that an application keeps in a table of Postgres: found there, never written, over at once when they are ended
//! through the proxy, and undetermined, not unknown, while the database is away.

use e2e::client::Client;
use e2e::eventually::until;
use e2e::fixture::{ANA, BEN};
use e2e::postgres::run_sql;
use e2e::proxy::{Proxy, run_to_end};
use e2e::stores::Stores;
use e2e::upstream::Upstream;

use crate::setup::{Site, routes};

/// A session of Express, as its own middleware signed it.
pub(crate) const ID: &str = "Kc3_PxlLu7hd1N4WhcGHrjgXbWdPCmtn";
pub(crate) const COOKIE: &str =
    "s%3AKc3_PxlLu7hd1N4WhcGHrjgXbWdPCmtn.D6NsJvJ0ho2eG%2FLtVWisGe6F5G23zxJVOHOhZMAJUM8";
pub(crate) const SECRET: &str = "byos-made-up-secret-express-2";
/// As connect-pg-simple makes it.
pub(crate) const TABLE: &str = "CREATE TABLE \"session\" (sid varchar NOT NULL COLLATE \"default\" PRIMARY KEY, sess json NOT NULL, \
     expire timestamp(6) NOT NULL)";
pub(crate) const FORMAT: &str =
    "format = { name = \"express\", stored_in = \"table\", secrets = [{ env = \"APP_SECRET\" }] }";

async fn site(format: &str, stores: Stores) -> Site {
    stores.sql(TABLE).await;
    let app = Upstream::start().await;
    let builder =
        Proxy::builder().upstream("app", app.address(), "").session(format).variable("APP_SECRET", SECRET);
    let proxy = routes(builder).start(&stores).await;
    Site { proxy, app, stores }
}

pub(crate) async fn put(site: &Site, user: &str) {
    let statement = format!(
        "INSERT INTO session VALUES ('{ID}', '{{\"cookie\":{{\"path\":\"/\"}},\"user_id\":{user}}}', \
         now() + interval '10 min') ON CONFLICT (sid) DO UPDATE SET sess = EXCLUDED.sess"
    );
    site.stores.sql(&statement).await;
}

fn browser(site: &Site) -> Client {
    let browser = site.browser();
    browser.set_cookie("connect.sid", COOKIE);
    browser
}

fn rows(site: &mut Site) -> String {
    run_sql(&site.stores.servers().database, "SELECT count(*) FROM session")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_a_session_until_it_is_gone_and_is_never_written() {
    let mut site = site(FORMAT, Stores::real()).await;
    let browser = browser(&site);
    until("there is no such session", async || {
        browser.get("/session/").send().await.text().contains("session_not_found")
    })
    .await;
    put(&site, ANA).await;
    until("the application's login is seen", async || site.status(&browser).await == 200).await;
    let seen = site.arrives(&browser, "/session/").await;
    assert_eq!((seen.context("user-id"), seen.context("platform-id")), (Some(ANA), Some("11")));
    assert!(site.proxy.metric("countersign_directory_query_usable", &["session.format.table"]).await > 0.5);
    let config = site.proxy.config().display().to_string();
    let mut check = tokio::process::Command::new(e2e::environment::binary());
    check.args(["check", "--connect", &config]).env("APP_SECRET", SECRET);
    let said = e2e::environment::run(&mut check, b"").await;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(
        said.contains("ok      session.format.table: (text[]) -> id varchar, expires timestamptz, data json"),
        "{said}"
    );
    assert!(said.contains("changes are seen within 1 s, for want of triggers on public.session"), "{said}");
    // Without triggers the row is looked at again within a second, with them at once.
    put(&site, BEN).await;
    until("another login under the same id is seen", async || {
        site.arrives(&browser, "/session/").await.context("user-id") == Some(BEN)
    })
    .await;
    site.direct(&browser, "platform;id=\"21\"").await.expect(200);
    assert_eq!(site.arrives(&browser, "/session/").await.context("platform-id"), Some("21"));
    let row = run_sql(
        &site.stores.servers().database,
        "SELECT sess->>'user_id' || (sess->>'platform_id' IS NULL) FROM session",
    );
    assert_eq!(row.trim(), format!("{BEN}true"), "the choice lies in a key of ours");
    site.stores.sql("DELETE FROM session").await;
    until("the application's logout is seen", async || site.status(&browser).await == 401).await;
    put(&site, ANA).await;
    until("known again", async || site.status(&browser).await == 200).await;
    site.stores.sql("UPDATE session SET expire = now() - interval '1 s'").await;
    until("its end is seen", async || site.status(&browser).await == 401).await;
    tried(&site, 3, "its row says").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ended_through_us_is_over_whatever_the_row_says_and_deleted_where_that_is_allowed() {
    let deletes = FORMAT.replace("name = \"express\"", "name = \"express\", delete_on_logout = true");
    for (format, left) in [(FORMAT, "1"), (deletes.as_str(), "0")] {
        let mut site = site(format, Stores::real()).await;
        put(&site, ANA).await;
        let browser = browser(&site);
        until("the session is known", async || site.status(&browser).await == 200).await;
        site.direct(&browser, "end").await.expect(200);
        assert_eq!(rows(&mut site).trim(), left);
        put(&site, ANA).await;
        browser.set_cookie("connect.sid", COOKIE);
        browser.get("/session/").send().await.expect_problem(401, "session_ended");
        tried(&site, 3, "the mark that the session was ended").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_nobody_can_say() {
    let mut site = site(FORMAT, Stores::to_be_stopped()).await;
    put(&site, ANA).await;
    let browser = browser(&site);
    until("the session is known", async || site.status(&browser).await == 200).await;
    let undetermined = async |site: &Site| {
        until("nobody can say", async || {
            let status = site.status(&browser).await;
            assert!(matches!(status, 200 | 503), "{status}");
            status == 503
        })
        .await;
    };
    site.stores.postgres().stop();
    undetermined(&site).await;
    tried(&site, 4, "directory").await;
    site.stores.postgres().restart();
    until("known again", async || site.status(&browser).await == 200).await;
    // Redis alone away: kept_beside.rs. Both:
    site.stores.redis().kill();
    site.stores.postgres().stop();
    undetermined(&site).await;
    browser.get("/public/").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_operator_s_own_query_finds_sessions_and_triggers_tell_of_them() {
    let stores = Stores::real();
    stores.sql("CREATE TABLE visits (token varchar PRIMARY KEY, person text NOT NULL, until timestamptz NOT NULL)").await;
    stores.sql(include_str!("../../migrations/existing/tell.sql")).await;
    stores
        .sql(
            "CREATE TRIGGER countersign_visit AFTER INSERT OR UPDATE OR DELETE ON visits \
             FOR EACH ROW EXECUTE FUNCTION countersign_tell_row('session', 'token')",
        )
        .await;
    let app = Upstream::start().await;
    let query = "[directory.queries]\nsessions = \"SELECT token AS id, person AS user_id, until AS expires FROM visits \
                 WHERE token = ANY($1)\"\n";
    let format = "format = { name = \"json\", cookie = \"visit\", stored_in = \"table\" }";
    let builder = Proxy::builder().upstream("app", app.address(), "").session(format).more(query);
    let proxy = routes(builder).start(&stores).await;
    let site = Site { proxy, app, stores };
    let browser = site.browser();
    browser.set_cookie("visit", "0123456789abcdef-0123");
    site.stores
        .sql(&format!("INSERT INTO visits VALUES ('0123456789abcdef-0123', '{ANA}', now() + interval '1 h')"))
        .await;
    until("the session is known", async || site.status(&browser).await == 200).await;
    until("changes are told", async || site.proxy.metric("countersign_directory_listening", &[]).await > 0.5)
        .await;
    until("the session is kept", async || {
        let before = queries(&site).await;
        for _ in 0..20 {
            assert_eq!(site.status(&browser).await, 200);
        }
        (queries(&site).await - before).abs() < 0.5
    })
    .await;
    site.stores.sql("DELETE FROM visits").await;
    until("the row is gone", async || site.status(&browser).await == 401).await;
    assert!(site.proxy.metric("countersign_directory_changes_total", &["table_session"]).await > 0.5);
}

async fn queries(site: &Site) -> f64 {
    site.proxy.metric("countersign_lookups_total", &["what=\"session\"", "layer=\"directory\""]).await
}

#[test]
fn what_cannot_be_a_table_is_refused_with_what_to_write() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("c.toml");
    for (session, said) in [
        ("format = { name = \"flask\", stored_in = \"table\" }", "write `directory.queries.sessions`"),
        ("format = { name = \"django\", stored_in = \"table\" }", "`secrets` are needed"),
        ("format = { name = \"django\", table = \"t\" }", "`stored_in = \"table\"` says"),
        (
            "format = [{ name = \"starsessions\" }, { name = \"spring\", stored_in = \"table\" }, { name = \"spring\" }]",
            "stored_in = \"redis-then-table\"",
        ),
        ("format = { name = \"spring\", stored_in = \"table\", table = \"a b\" }", "`schema.sessions`"),
    ] {
        std::fs::write(
            &config,
            format!(
                "[[listen]]\naddress = \"127.0.0.1:1\"\n[store]\nkind = \"redis\"\nurl = \"redis://127.0.0.1/0\"\n\
                 [directory]\nkind = \"postgres\"\nurl = \"postgres://127.0.0.1/x\"\n[session]\n{session}\n"
            ),
        )
        .unwrap();
        let output = run_to_end(&["check", &config.display().to_string()]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(text.contains(said), "{session}\n{text}");
    }
}

/// What the one command says of the cookie.
async fn tried(site: &Site, code: i32, said: &str) {
    let mut command = tokio::process::Command::new(e2e::environment::binary());
    command.arg("test-session").arg(site.proxy.config()).args(["--cookie", "-"]).env("APP_SECRET", SECRET);
    let output = e2e::environment::run(&mut command, format!("connect.sid={COOKIE}").as_bytes()).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(said), "{said} is not in:\n{text}");
    assert!(!text.contains(ID), "{text}");
}
