//! What is ours about an application's sessions outlasts Redis: that they were ended here, and which platform was chosen.
//! So a session in a table is served while Redis is away, and none comes back that was ended.

use std::collections::HashSet;
use std::process::Output;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use e2e::client::Client;
use e2e::eventually::until;
use e2e::fixture::{ANA, BEN};
use e2e::postgres::run_sql;
use e2e::proxy::Proxy;
use e2e::stores::Stores;
use e2e::upstream::Upstream;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::setup::{Site, routes};
use crate::table_sessions::{FORMAT, SECRET, TABLE};

const PLACE: &str = include_str!("../../migrations/existing/foreign_sessions.sql");
const RIGHTS: &str = "GRANT SELECT, INSERT, UPDATE, DELETE ON countersign_foreign_sessions, countersign_foreign_changes TO reader; \
     GRANT SELECT, INSERT, UPDATE ON countersign_foreign_users TO reader";

const IN_REDIS: &str = "format = { name = \"express\", secrets = [{ env = \"APP_SECRET\" }] }";

/// A browser with a session of Express, signed as its middleware does.
fn browser(site: &Site, id: &str) -> Client {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key of any length");
    mac.update(id.as_bytes());
    let signature = STANDARD_NO_PAD.encode(mac.finalize().into_bytes());
    let signature = signature.replace('+', "%2B").replace('/', "%2F");
    let browser = site.browser();
    browser.set_cookie("connect.sid", &format!("s%3A{id}.{signature}"));
    browser
}

fn id(number: u8) -> String {
    format!("kept-beside-the-session-{number:08}")
}

async fn log_in(site: &Site, number: u8, user: &str) -> Client {
    let sess = format!("{{\"cookie\":{{\"path\":\"/\"}},\"user_id\":{user}}}");
    let row = format!("INSERT INTO session VALUES ('{}', '{sess}', now() + interval '10 min')", id(number));
    site.stores.sql(&row).await;
    browser(site, &id(number))
}

/// Asks until `wanted` is answered, and nothing meanwhile but that and `allowed`.
async fn becomes(site: &Site, browser: &Client, wanted: u16, allowed: &[u16]) {
    until("it becomes what it has to", async || {
        let status = site.status(browser).await;
        assert!(status == wanted || allowed.contains(&status), "{status}, waiting for {wanted}");
        status == wanted
    })
    .await;
}

async fn platform(site: &Site, browser: &Client) -> Option<String> {
    site.arrives(browser, "/session/").await.context("platform-id").map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_is_a_session_while_redis_is_away_unless_it_was_ended_here() {
    let stores = Stores::to_be_stopped();
    stores.sql(TABLE).await;
    let app = Upstream::start().await;
    let builder =
        Proxy::builder().upstream("app", app.address(), "").session(FORMAT).variable("APP_SECRET", SECRET);
    let proxy = routes(builder).start(&stores).await;
    let mut site = Site { proxy, app, stores };
    let (stays, ended, ended_before) =
        (log_in(&site, 1, ANA).await, log_in(&site, 2, BEN).await, log_in(&site, 3, BEN).await);
    for one in [&stays, &ended, &ended_before] {
        becomes(&site, one, 200, &[503, 401]).await;
    }
    site.direct(&stays, "platform;id=\"12\"").await.expect(200);
    site.direct(&ended_before, "end").await.expect(200);
    let database = site.stores.servers().database.clone();
    until("all are noted", async || {
        site.proxy.metric("countersign_foreign_notes_waiting", &[]).await < 0.5
            && run_sql(&database, "SELECT count(*) FROM countersign_foreign_sessions").trim() == "3"
    })
    .await;

    site.stores.redis().kill();
    becomes(&site, &stays, 200, &[503]).await;
    for _ in 0..20 {
        assert_eq!(platform(&site, &stays).await.as_deref(), Some("12"), "the choice is kept elsewhere too");
    }
    let ended_before = browser(&site, &id(3));
    ended_before.get("/session/").send().await.expect_problem(401, "session_ended");
    // Log out, log in and switch meanwhile.
    becomes(&site, &ended, 200, &[503]).await;
    site.direct(&ended, "end").await.expect(200);
    let ended = browser(&site, &id(2));
    ended.get("/session/").send().await.expect_problem(401, "session_ended");
    let new = log_in(&site, 4, BEN).await;
    becomes(&site, &new, 200, &[401]).await;
    site.direct(&stays, "platform;id=\"11\"").await.expect(200);
    assert_eq!(platform(&site, &stays).await.as_deref(), Some("11"));

    // Of whom has logged out everywhere once, a session that nobody noted could be older than that.
    until("the new session is noted", async || {
        run_sql(&database, "SELECT count(*) FROM countersign_foreign_sessions").trim() == "4"
    })
    .await;
    site.stores.sql(&format!("UPDATE users SET sessions_valid_after = 1 WHERE id = '{BEN}'")).await;
    let unnoted = log_in(&site, 5, BEN).await;
    for _ in 0..5 {
        assert_eq!((site.status(&unnoted).await, site.status(&new).await), (503, 200));
    }

    // Another process knows it from the directory alone.
    site.proxy.restart().await;
    ended.get("/session/").send().await.expect_problem(401, "session_ended");
    becomes(&site, &stays, 200, &[503]).await;
    assert_eq!(platform(&site, &stays).await.as_deref(), Some("11"));

    site.stores.redis().restart();
    until("Redis is believed again", async || {
        site.proxy.metric("countersign_store_doubtful", &[]).await < 0.5
            && site.proxy.metric("countersign_lease_age_seconds", &[]).await >= 0.0
    })
    .await;
    for _ in 0..10 {
        ended.get("/session/").send().await.expect_problem(401, "session_ended");
        ended_before.get("/session/").send().await.expect_problem(401, "session_ended");
        assert_eq!(site.status(&new).await, 200);
    }
    becomes(&site, &unnoted, 200, &[503]).await;
    assert_eq!(platform(&site, &stays).await.as_deref(), Some("11"));
    let keys = site.stores.redis().command(&["--scan", "--pattern", "cs:session:*"]);
    assert!(keys.lines().collect::<HashSet<_>>().len() >= 2, "both ends lie in Redis again: {keys}");
    // A Redis that loses it all once more changes nothing, also when the directory goes next.
    let _ = site.stores.redis().command(&["FLUSHALL"]);
    becomes(&site, &stays, 200, &[503]).await;
    ended.get("/session/").send().await.expect_problem(401, "session_ended");
    assert_eq!(platform(&site, &stays).await.as_deref(), Some("11"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_was_set_back_brings_no_session_to_life_and_no_choice_back() {
    let stores = Stores::to_be_stopped();
    let app = Upstream::start().await;
    let builder =
        Proxy::builder().upstream("app", app.address(), "").session(IN_REDIS).variable("APP_SECRET", SECRET);
    let proxy = routes(builder).start(&stores).await;
    let mut site = Site { proxy, app, stores };
    let (stays, ended) = (browser(&site, &id(1)), browser(&site, &id(2)));
    for (number, user) in [(1, ANA), (2, BEN)] {
        let sess = format!("{{\"cookie\":{{\"path\":\"/\"}},\"user_id\":{user}}}");
        let key = format!("sess:{}", id(number));
        assert_eq!(site.stores.redis().command(&["SET", &key, &sess, "EX", "600"]), "OK");
    }
    for one in [&stays, &ended] {
        becomes(&site, one, 200, &[503, 401]).await;
    }
    site.direct(&stays, "platform;id=\"12\"").await.expect(200);
    assert_eq!(site.stores.redis().command(&["SAVE"]), "OK");
    site.direct(&stays, "platform;id=\"11\"").await.expect(200);
    site.direct(&ended, "end").await.expect(200);
    let ended = browser(&site, &id(2));
    site.stores.redis().kill();
    // What Redis alone has is undetermined; what was ended is over.
    becomes(&site, &stays, 503, &[200]).await;
    ended.get("/session/").send().await.expect_problem(401, "session_ended");
    site.stores.redis().restart();
    assert_eq!(site.stores.redis().command(&["EXISTS", &format!("sess:{}", id(2))]), "1", "as it was saved");
    becomes(&site, &stays, 200, &[503]).await;
    assert_eq!(platform(&site, &stays).await.as_deref(), Some("11"));
    for _ in 0..20 {
        ended.get("/session/").send().await.expect_problem(401, "session_ended");
    }
}

async fn checked(site: &Site) -> Output {
    let mut check = tokio::process::Command::new(e2e::environment::binary());
    check.args(["check", "--connect"]).arg(site.proxy.config()).env("APP_SECRET", SECRET);
    e2e::environment::run(&mut check, b"").await
}

/// A site whose people and sessions are in tables of others, and which may only read them, after `further` SQL.
async fn in_front_of_people(further: &str) -> Site {
    let mut stores = Stores::to_be_stopped();
    let people = "CREATE TABLE people (id integer PRIMARY KEY, name text NOT NULL); \
                  INSERT INTO people VALUES (1, 'Ana'), (2, 'Ben')";
    let rights = "CREATE ROLE reader LOGIN; GRANT SELECT ON session, people TO reader";
    stores.sql(&format!("{TABLE}; {people}; {rights}; {further}")).await;
    let real = stores.servers();
    real.database_url = Some(real.database.replace("postgres@", "reader@"));
    let app = Upstream::start().await;
    let queries = "[directory.queries]\nuser = \"SELECT id, name FROM people WHERE id = ANY($1)\"\n";
    let builder = Proxy::builder().upstream("app", app.address(), "").session(FORMAT);
    let builder = builder.variable("APP_SECRET", SECRET).unseeded().more(queries);
    let proxy = routes(builder).start(&stores).await;
    Site { proxy, app, stores }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_tables_of_others_it_is_kept_where_their_owner_made_room_and_else_that_is_said() {
    let mut site = in_front_of_people("").await;
    let stays = log_in(&site, 1, "1").await;
    becomes(&site, &stays, 200, &[503, 401]).await;
    let said = checked(&site).await;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(text.contains("ok      foreign sessions: log-outs and platform choices of foreign sessions are kept in Redis alone"), "{text}");
    assert!(text.contains("apply migrations/existing/foreign_sessions.sql"), "{text}");
    until("the log says it too", async || site.proxy.output().contains("are kept in Redis alone")).await;
    site.direct(&stays, "end-all").await.expect_problem(502, "directive_refused");
    site.stores.redis().kill();
    becomes(&site, &stays, 503, &[200]).await;

    site.stores.sql(&format!("{PLACE};{RIGHTS}")).await;
    // Found without a restart.
    becomes(&site, &stays, 200, &[503]).await;
    let ended = log_in(&site, 2, "1").await;
    becomes(&site, &ended, 200, &[401]).await;
    site.direct(&ended, "end").await.expect(200);
    let ended = browser(&site, &id(2));
    ended.get("/session/").send().await.expect_problem(401, "session_ended");
    until("the audit log is the log", async || site.proxy.output().contains("\"event\":\"session_ended\""))
        .await;
    site.stores.redis().restart();
    until("the end has come to Redis", async || {
        site.stores.redis().command(&["--scan", "--pattern", "cs:session:*"]).lines().count() == 1
    })
    .await;
    site.proxy.restart().await;
    becomes(&site, &ended, 401, &[503]).await;
    let text = String::from_utf8_lossy(&checked(&site).await.stdout).into_owned();
    assert!(
        text.contains(
            "ok      foreign sessions: log-outs and platform choices are kept in the directory too"
        ),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_others_log_out_everywhere_and_no_outage_undoes_it() {
    let mut site = in_front_of_people(&format!("{PLACE};{RIGHTS}")).await;
    let (here, there, others) =
        (log_in(&site, 1, "1").await, log_in(&site, 2, "1").await, log_in(&site, 3, "2").await);
    for one in [&here, &there, &others] {
        becomes(&site, one, 200, &[503, 401]).await;
    }
    site.direct(&here, "end-all").await.expect(200);
    until("the audit log is the log", async || site.proxy.output().contains("\"event\":\"sessions_ended\""))
        .await;
    let both = [browser(&site, &id(1)), browser(&site, &id(2))];
    for over in &both {
        over.get("/session/").send().await.expect_problem(401, "session_superseded");
    }
    assert_eq!(site.status(&others).await, 200, "nobody else's");
    let new = log_in(&site, 4, "1").await;
    becomes(&site, &new, 200, &[401]).await;
    // Neither a Redis that loses everything, nor one that is away, nor a new process brings them back.
    let _ = site.stores.redis().command(&["FLUSHALL"]);
    becomes(&site, &new, 200, &[503]).await;
    becomes(&site, &both[1], 401, &[503]).await;
    site.stores.redis().kill();
    becomes(&site, &new, 200, &[503]).await;
    site.proxy.restart().await;
    becomes(&site, &new, 200, &[503]).await;
    for over in &both {
        becomes(&site, over, 401, &[503]).await;
    }
    // Logged out everywhere while Redis is away: another process has to learn it too.
    site.direct(&new, "end-all").await.expect(200);
    let new = browser(&site, &id(4));
    becomes(&site, &new, 401, &[503]).await;
    site.stores.redis().restart();
    becomes(&site, &others, 200, &[503]).await;
    for over in both.iter().chain([&new]) {
        becomes(&site, over, 401, &[503]).await;
    }
}
