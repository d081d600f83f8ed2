//! Latency that a proxy adds at half load: a fixed rate of half of what Countersign can serve here, the same for all,
//! latencies counted from the moment at which each request was due.

use std::time::{Duration, Instant};

use super::Failure;
use super::load::{self, open_loop};
use super::setup::{Contender, Wanted, bare, countersign, start_upstream};
use super::table::{Figures, line};

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(4);
/// Connections, each with a thread that sleeps until its next request is due.
const CONNECTIONS: u32 = 16;
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

pub(super) fn run() -> Result<(), Failure> {
    let upstream = start_upstream()?;
    let ours = Wanted {
        name: "Countersign, 1,000 sessions",
        path: "/",
        sessions: 1000,
        h2c: false,
        under: &[],
        servers: None,
    };
    let contenders =
        [bare("bare Pingora, same settings", "bare_proxy", upstream, false)?, countersign(&ours, upstream)?];
    let rate = capacity(&contenders[1])? / 2;
    let mut figures = vec![[(); 3].map(|()| Figures::default()); contenders.len()];
    for _ in 0..ROUNDS {
        for (contender, figures) in contenders.iter().zip(&mut figures) {
            let latencies = round(contender, rate)?;
            for ((_, share), figures) in PERCENTILES.iter().zip(figures) {
                figures.push(percentile(&latencies, *share));
            }
            eprint!(".");
        }
    }
    eprintln!();
    print(&contenders, &figures, rate);
    Ok(())
}

/// Requests a second, as fast as they are answered.
fn capacity(contender: &Contender) -> Result<u32, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(load::closed_loop(contender, Instant::now(), true))?;
    let start = Instant::now();
    let served = runtime.block_on(load::closed_loop(contender, start + ROUND, false))?;
    Ok(u32::try_from(served)? / u32::try_from(ROUND.as_secs())?)
}

fn round(contender: &Contender, rate: u32) -> Result<Vec<Duration>, Failure> {
    let interval = Duration::from_secs(1) * CONNECTIONS / rate;
    let count = u32::try_from(ROUND.as_nanos() / interval.as_nanos())?;
    let start = Instant::now() + Duration::from_millis(50);
    let mut latencies = Vec::new();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|number| {
                let requests = load::requests(contender, number as usize, CONNECTIONS as usize);
                let start = start + interval * number / CONNECTIONS;
                scope.spawn(move || open_loop(contender.address, &requests, start, interval, count))
            })
            .collect();
        for client in clients {
            latencies.extend(client.join().map_err(|_| "a client panicked")??);
        }
        Ok::<_, Failure>(())
    })?;
    latencies.sort();
    Ok(latencies)
}

fn percentile(sorted: &[Duration], share: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a place in a list of some hundred thousand"
    )]
    let place = (sorted.len() as f64 * share) as usize;
    sorted[place.min(sorted.len() - 1)].as_secs_f64() * 1e6
}

fn print(contenders: &[Contender], figures: &[[Figures; 3]], rate: u32) {
    line(&format!("\nLatency at {rate} requests a second, us (median of {ROUNDS} rounds)\n"));
    line("| proxy | p50 | p99 | p99.9 |");
    line("| --- | --- | --- | --- |");
    let medians = |figures: &[Figures; 3]| figures.each_ref().map(|figures| figures.spread().1);
    for (contender, figures) in contenders.iter().zip(figures) {
        let [p50, p99, p999] = medians(figures);
        line(&format!("| {} | {p50:.0} | {p99:.0} | {p999:.0} |", contender.name));
    }
    let (bare, ours) = (medians(&figures[0]), medians(&figures[1]));
    let added = [0, 1, 2].map(|place| ours[place] - bare[place]);
    line(&format!("| added by Countersign | {:.0} | {:.0} | {:.0} |", added[0], added[1], added[2]));
}
