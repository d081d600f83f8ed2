//! A proxy that starts into full traffic with nothing in its cache: every session is asked for, several times at once, as
//! soon as it accepts connections. What its stores are asked is counted at the stores.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use e2e::client::Client;
use e2e::eventually::until;
use e2e::fixture::{ANA, BEN};
use e2e::postgres::run_sql;
use e2e::proxy::COOKIE;
use e2e::stores::Stores;

use crate::setup::Site;

const SESSIONS: usize = 100;
/// Requests that are under way at the same time, and how often each session is asked for.
const CONNECTIONS: usize = 10;
const TIMES: usize = 10;
const REQUESTS: u64 = (SESSIONS * TIMES) as u64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_into_full_traffic_asks_little_and_soon_nothing() {
    let mut site = Site::with(Stores::real(), |b| b.session("touch_interval = \"20m\"")).await;
    let mut tokens = Vec::new();
    for number in 0..SESSIONS {
        let user = if number % 2 == 0 { ANA } else { BEN };
        tokens.push(site.logged_in(user).await.cookie(COOKIE).expect("a cookie was set"));
    }
    let tokens: Arc<[String]> = tokens.into();
    let database = site.stores.servers().database.clone();
    let queries = || -> u64 {
        let count = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()";
        run_sql(&database, count).trim().parse().expect("a number")
    };
    let queries_before = queries();
    let before = readings(&mut site);
    site.proxy.restart_under_load().await;
    let begin = Instant::now();
    everybody_asks(&site, &tokens).await;
    // Before reports of changes are proven to arrive a copy is good for as long as changes may go unnoticed, and no longer.
    let times = 1 + u64::try_from(begin.elapsed().as_millis()).expect("a short time") / 100;
    let (read, queries) = (readings(&mut site) - before, queries() - queries_before);
    assert!(
        read <= SESSIONS as u64 * times,
        "{read} readings of {SESSIONS} sessions in {:?}",
        begin.elapsed()
    );
    // Until missed changes were gone through, the directory is asked instead, for many at a time: naively it would be asked
    // for session, user and platform with every request.
    assert!(queries * 5 <= 3 * REQUESTS, "{queries} transactions for {REQUESTS} requests");
    // On a busy machine the proof that nothing was missed can lapse in between; then sessions are read once more.
    until("all traffic is served from the process", async || {
        let before = readings(&mut site);
        everybody_asks(&site, &tokens).await;
        (readings(&mut site) - before) * 4 < REQUESTS
    })
    .await;
}

/// Asks for every session several times, over many connections at once.
async fn everybody_asks(site: &Site, tokens: &Arc<[String]>) {
    let each = SESSIONS * TIMES / CONNECTIONS;
    let asking = (0..CONNECTIONS).map(|number| {
        tokio::spawn(ask(site.browser(), Arc::clone(tokens), number * each..(number + 1) * each))
    });
    for task in asking.collect::<Vec<_>>() {
        task.await.expect("everybody was served");
    }
}

/// Asks in an order in which several ask for the same session at once.
async fn ask(browser: Client, tokens: Arc<[String]>, numbers: Range<usize>) {
    let mut connection = browser.connect().await;
    for number in numbers {
        let cookie = format!("{COOKIE}={}", tokens[number / 2 % SESSIONS]);
        let answer = browser.get("/session/").cookies(cookie).send_on(&mut connection).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// How many sessions Redis was asked for so far: with each goes the question when it was last used.
fn readings(site: &mut Site) -> u64 {
    let statistics = site.stores.redis().command(&["INFO", "commandstats"]);
    let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_zscore:calls="));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}
