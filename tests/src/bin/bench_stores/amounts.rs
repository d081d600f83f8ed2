//! What capacity is planned with, as far as it is counted and not timed: what each kind of event asks of Redis and Postgres,
//! and how much room a session takes there. docs/capacity.md has the figures.

use std::time::Duration;

use e2e::postgres::run_sql;
use e2e::stores::Stores;

use crate::connection::Connection;
use crate::site::{DEADLINES, People, Site};
use crate::{Failure, proxy_amounts};

const PEOPLE: usize = 500;
/// After which everything that is done beside a request is done.
const QUIET: Duration = Duration::from_secs(2);
/// What proves that Redis is there, and what looks at it.
const NOT_COUNTED: [&str; 3] = ["ping", "info", "eval"];

pub(crate) async fn run() -> Result<(), Failure> {
    let people = People { count: PEOPLE, sessions_each: 1 };
    let mut site = Site::start(1, &people, DEADLINES, |builder| builder).await?;
    let second = "INSERT INTO platforms (id, user_id, type, name, url) SELECT 'b' || n || '-q', 'b' || n, 'mastodon', \
                  'Second', 'https://q' || n || '.example' FROM generate_series(0, 499) n";
    site.stores.sql(second).await;
    let tokens = people.tokens();
    let empty = redis_memory(&mut site.stores);
    println!("What each of {PEOPLE} events asks of the stores, with all that is done beside it.\n");
    println!("| event | Redis commands | bytes to Redis | bytes from Redis | Postgres queries |");
    println!("| --- | --- | --- | --- | --- |");
    measure(&mut site, "first request of a session, all three in Postgres only", &tokens, Kind::Get).await?;
    let filled = redis_memory(&mut site.stores);
    // What was looked up shortly after a change is not kept in the process: it is now.
    measure(&mut site, "", &tokens, Kind::Get).await?;
    measure(&mut site, "request, served from the process", &tokens, Kind::Get).await?;
    site.renew("cs:*");
    tokio::time::sleep(QUIET).await;
    measure(&mut site, "request, all three in Redis", &tokens, Kind::Get).await?;
    let people = |what: fn(usize) -> String| (0..PEOPLE).map(what).collect::<Vec<_>>();
    let choose = people(|n| format!("platform;id=\"b{n}-q\""));
    measure(&mut site, "switch of the platform", &tokens, Kind::Direct(&choose)).await?;
    let log_in = people(|n| format!("create;user=\"b{n}\""));
    measure(&mut site, "login", &vec![String::new(); PEOPLE], Kind::Direct(&log_in)).await?;
    let log_out = people(|_| "end".to_owned());
    measure(&mut site, "log-out", &tokens, Kind::Direct(&log_out)).await?;
    idle(&mut site).await;

    println!("\n| room | bytes |\n| --- | --- |");
    println!(
        "| Redis, a session with a user and a platform of its own | {} |",
        filled.saturating_sub(empty) / PEOPLE
    );
    for (table, what) in [("sessions", "a session"), ("audit", "a line of the audit log")] {
        let query =
            format!("SELECT pg_total_relation_size('{table}') / greatest(1, (SELECT count(*) FROM {table}))");
        let database = site.stores.servers().database.clone();
        let bytes = tokio::task::block_in_place(|| run_sql(&database, &query));
        println!("| Postgres, {what}, with its indexes | {bytes} |");
    }
    println!();
    drop(site);
    proxy_amounts::run().await
}

/// What is done with each session.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Get,
    Direct(&'a [String]),
}

async fn measure(site: &mut Site, what: &str, tokens: &[String], kind: Kind<'_>) -> Result<(), Failure> {
    let mut connection = Connection::to(site.address(0)).await?;
    tokio::time::sleep(QUIET).await;
    let before = (Redis::look(&mut site.stores), site.seats[0].postgres.queries());
    for (number, token) in tokens.iter().enumerate() {
        let status = match kind {
            Kind::Get => connection.get("/platform/", token).await?,
            Kind::Direct(directives) => connection.direct(token, &directives[number]).await?,
        };
        if status != 200 {
            return Err(format!("{what}: {status}").into());
        }
    }
    tokio::time::sleep(QUIET).await;
    let after = (Redis::look(&mut site.stores), site.seats[0].postgres.queries());
    if !what.is_empty() {
        let each = |before: u64, after: u64| per_event(after - before, tokens.len());
        let (was, is) = (&before.0, &after.0);
        println!(
            "| {what} | {} | {} | {} | {} |",
            each(was.commands, is.commands),
            each(was.input, is.input),
            each(was.output, is.output),
            each(before.1, after.1),
        );
    }
    Ok(())
}

/// What a proxy without requests asks, each second.
async fn idle(site: &mut Site) {
    const SECONDS: u64 = 20;
    tokio::time::sleep(5 * QUIET).await;
    tokio::time::sleep(5 * QUIET).await;
    let before = (Redis::look(&mut site.stores), site.seats[0].postgres.queries());
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let after = (Redis::look(&mut site.stores), site.seats[0].postgres.queries());
    println!(
        "\nWithout a request, each second: {} PING and {} other commands to Redis, {} queries to Postgres.",
        (after.0.pings - before.0.pings) / SECONDS,
        per_event(after.0.commands - before.0.commands, 20),
        per_event(after.1 - before.1, 20),
    );
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
fn per_event(all: u64, events: usize) -> String {
    format!("{:.2}", all as f64 / events as f64)
}

/// What the server says that it was asked so far.
struct Redis {
    commands: u64,
    pings: u64,
    /// Without what PINGs bring.
    input: u64,
    output: u64,
}

impl Redis {
    fn look(stores: &mut Stores) -> Self {
        /// `*1`, `$4`, `PING` and `+PONG`, each with its line end.
        const PING: (u64, u64) = (14, 7);
        let said = tokio::task::block_in_place(|| stores.redis().command(&["INFO", "everything"]));
        let (mut commands, mut pings) = (0, 0);
        for line in said.lines().filter_map(|line| line.strip_prefix("cmdstat_")) {
            let Some((name, rest)) = line.split_once(":calls=") else { continue };
            let calls: u64 = rest.split(',').next().and_then(|calls| calls.parse().ok()).unwrap_or(0);
            if name == "ping" {
                pings = calls;
            }
            if !NOT_COUNTED.contains(&name) {
                commands += calls;
            }
        }
        let figure = |name: &str| -> u64 {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            commands,
            pings,
            input: figure("total_net_input_bytes:").saturating_sub(pings * PING.0),
            output: figure("total_net_output_bytes:").saturating_sub(pings * PING.1),
        }
    }
}

fn redis_memory(stores: &mut Stores) -> usize {
    let said = tokio::task::block_in_place(|| stores.redis().command(&["INFO", "memory"]));
    let used = said.lines().find_map(|line| line.strip_prefix("used_memory_dataset:"));
    used.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}
