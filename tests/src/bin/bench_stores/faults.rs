//! The same with faults: how long after an acknowledged log-out the other proxy still lets the session in, when Redis is
//! frozen, cut off, killed or failed over just before.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use e2e::dice::Dice;
use e2e::eventually::until;
use e2e::redis::Redis;
use e2e::relay::Mode;

use crate::connection::Connection;
use crate::site::{DEADLINES, People, Site};
use crate::{Failure, percentile, shown};

/// Sessions of one round; each is asked for by a connection of its own.
const SESSIONS: usize = 24;
const ROUNDS: usize = 12;
/// How long the other proxy is asked after the fault; more than any bound.
const WATCHED: Duration = Duration::from_millis(1800);
/// The pause between two requests of one session.
const PAUSE: Duration = Duration::from_millis(2);

/// What goes wrong, with the bound of DESIGN section 6.
#[derive(Clone, Copy)]
enum Trouble {
    Frozen,
    CutOff,
    CutOffFromBoth,
    Killed,
    FailedOver,
    RevokerCutOff,
}

impl Trouble {
    const ALL: [Self; 6] = [
        Self::Frozen,
        Self::CutOff,
        Self::CutOffFromBoth,
        Self::Killed,
        Self::FailedOver,
        Self::RevokerCutOff,
    ];

    const fn words(self) -> &'static str {
        match self {
            Self::Frozen => "Redis frozen (SIGSTOP)",
            Self::CutOff => "the other's way to Redis drops everything",
            Self::CutOffFromBoth => "the other's ways to Redis and to Postgres drop everything",
            Self::Killed => "Redis killed",
            Self::FailedOver => "Redis killed, its replica promoted",
            Self::RevokerCutOff => "the revoker's way to Redis drops everything",
        }
    }

    /// The other has not heard: it serves what its lease allows. Or it asks Postgres, and leases the answer.
    const fn bound(self) -> (&'static str, Duration) {
        match self {
            Self::CutOffFromBoth => ("max_staleness, 100 ms", Duration::from_millis(100)),
            _ => ("degraded_lease, 1 s", Duration::from_secs(1)),
        }
    }
}

#[derive(Default)]
struct Figures {
    /// Of ends that Postgres had confirmed when they were answered.
    late: Vec<Duration>,
    /// Ends that only Redis held when they were answered (202): Postgres had not confirmed them in time. Whoever has only
    /// Postgres learns of them when that knows, which is what DESIGN section 6 says of them.
    accepted: usize,
    refused: usize,
}

pub(crate) async fn run() -> Result<(), Failure> {
    println!(
        "How long after its log-out was acknowledged at one proxy a session was last let in by another; \
         {ROUNDS} rounds of {SESSIONS} sessions each.\n"
    );
    println!(
        "| fault, just before | log-outs durable, accepted (202), refused | let in later | p50 | p99 | max | \
         bound | beyond it |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    for trouble in Trouble::ALL {
        let people = People { count: SESSIONS, sessions_each: ROUNDS };
        let mut site = Site::start(2, &people, DEADLINES, |builder| builder).await?;
        let mut figures = Figures::default();
        for round in 0..ROUNDS {
            let tokens: Vec<_> = (0..SESSIONS).map(|person| People::token(person, round)).collect();
            one_round(&mut site, trouble, &tokens, round as u64, &mut figures).await?;
        }
        print(trouble, figures);
    }
    println!();
    Ok(())
}

fn print(trouble: Trouble, mut figures: Figures) {
    let (what, (words, bound)) = (trouble.words(), trouble.bound());
    figures.late.sort_unstable();
    let later = figures.late.iter().filter(|late| !late.is_zero()).count();
    let part = |part| {
        if figures.late.is_empty() { "-".to_owned() } else { shown(percentile(&figures.late, part)) }
    };
    let beyond = figures.late.iter().filter(|late| **late > bound).count();
    println!(
        "| {what} | {}, {}, {} | {later} | {} | {} | {} | {words} | {beyond} |",
        figures.late.len(),
        figures.accepted,
        figures.refused,
        part(0.5),
        part(0.99),
        part(1.0)
    );
}

async fn one_round(
    site: &mut Site,
    trouble: Trouble,
    tokens: &[String],
    seed: u64,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let replica = match trouble {
        Trouble::FailedOver => Some(replica_of(site.stores.redis()).await),
        _ => None,
    };
    leased(site, tokens).await?;
    let mut pages = Vec::new();
    for token in tokens {
        let mut connection = Connection::to(site.address(0)).await?;
        let forgery = connection.forgery(token).await?;
        pages.push((connection, forgery));
    }
    let watched: Vec<_> =
        tokens.iter().map(|token| tokio::spawn(watch(site.address(1), token.clone()))).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let new = make(site, trouble, replica);
    let mut log_outs = JoinSet::new();
    let mut dice = Dice::seeded(seed);
    for (place, (token, (mut connection, forgery))) in tokens.iter().zip(pages).enumerate() {
        let token = token.clone();
        let pause = dice.between(Duration::ZERO, Duration::from_millis(150));
        log_outs.spawn(async move {
            tokio::time::sleep(pause).await;
            let status = connection.log_out(&token, &forgery).await?;
            Ok::<_, Failure>((place, status, Instant::now()))
        });
    }
    let mut durable = vec![None; tokens.len()];
    while let Some(done) = log_outs.join_next().await {
        let (place, status, at) = done??;
        match status {
            200 => durable[place] = Some(at),
            202 => figures.accepted += 1,
            _ => figures.refused += 1,
        }
    }
    for (watched, durable) in watched.into_iter().zip(durable) {
        let last_served = watched.await??;
        figures.late.extend(durable.map(|at| last_served.saturating_duration_since(at)));
    }
    mend(site, trouble, new).await;
    Ok(())
}

/// Asks for one session without pause; answers when the last request began that was let in.
async fn watch(address: std::net::SocketAddr, token: String) -> Result<Instant, Failure> {
    let mut connection = Connection::to(address).await?;
    let end = Instant::now() + WATCHED;
    let mut last_served = Instant::now();
    while Instant::now() < end {
        let begin = Instant::now();
        if connection.get("/platform/", &token).await? == 200 {
            last_served = begin;
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(last_served)
}

/// The longest that a session is served which Postgres alone confirmed (`cache.degraded_lease`), and a little.
const UNLEASED: Duration = Duration::from_millis(1200);

/// Waits until the other proxy serves all of them from the process, for longer than while Redis was away to it.
async fn leased(site: &Site, tokens: &[String]) -> Result<(), Failure> {
    let proxy = &site.seats[1].proxy;
    for _ in 0..100 {
        let mut connection = Connection::to(site.address(1)).await?;
        for token in tokens {
            connection.get("/platform/", token).await?;
        }
        tokio::time::sleep(UNLEASED).await;
        let hits = async || {
            proxy
                .metric("countersign_context_lookups_total", &["layer=\"process\"", "result=\"found\""])
                .await
        };
        let before = hits().await;
        let mut all_served = true;
        for token in tokens {
            all_served &= connection.get("/platform/", token).await? == 200;
        }
        #[expect(clippy::cast_precision_loss, reason = "a few dozen")]
        if all_served && hits().await - before >= tokens.len() as f64 {
            return Ok(());
        }
    }
    Err("the sessions are not served from the process".into())
}

fn make(site: &mut Site, trouble: Trouble, replica: Option<Redis>) -> Option<Redis> {
    match trouble {
        Trouble::Frozen => site.stores.redis().freeze(),
        Trouble::CutOff => site.seats[1].redis.set(Mode::Stall),
        Trouble::CutOffFromBoth => {
            site.seats[1].redis.set(Mode::Stall);
            site.seats[1].postgres.set(Mode::Stall);
        }
        Trouble::Killed => tokio::task::block_in_place(|| site.stores.redis().kill()),
        Trouble::RevokerCutOff => site.seats[0].redis.set(Mode::Stall),
        Trouble::FailedOver => {
            let replica = replica.expect("made for this trouble");
            let address = std::net::SocketAddr::from(([127, 0, 0, 1], replica.port()));
            tokio::task::block_in_place(|| {
                site.stores.redis().kill();
                assert_eq!(replica.command(&["REPLICAOF", "NO", "ONE"]), "OK");
            });
            for seat in &site.seats {
                seat.redis.lead_to(address);
            }
            return Some(replica);
        }
    }
    None
}

async fn mend(site: &mut Site, trouble: Trouble, new: Option<Redis>) {
    match trouble {
        Trouble::Frozen => site.stores.redis().thaw(),
        Trouble::Killed => tokio::task::block_in_place(|| site.stores.redis().restart()),
        Trouble::FailedOver => {
            site.stores.servers().redis = new.expect("the replica that was promoted");
        }
        Trouble::CutOff | Trouble::CutOffFromBoth | Trouble::RevokerCutOff => {
            for seat in &site.seats {
                seat.redis.set(Mode::Pass);
                seat.postgres.set(Mode::Pass);
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
}

/// A server that has everything which the other has.
async fn replica_of(primary: &Redis) -> Redis {
    let replica = tokio::task::block_in_place(Redis::start);
    let port = primary.port().to_string();
    assert_eq!(tokio::task::block_in_place(|| replica.command(&["REPLICAOF", "127.0.0.1", &port])), "OK");
    until("the replica follows", async || {
        let state = tokio::task::block_in_place(|| replica.command(&["INFO", "replication"]));
        state.contains("master_link_status:up")
    })
    .await;
    replica
}
