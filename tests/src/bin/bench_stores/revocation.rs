//! From a revocation at one proxy to its effect at another, while nothing is wrong: somebody logs out at the first while
//! requests of the same session never stop at the second.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::connection::Connection;
use crate::site::{DEADLINES, People, Site};
use crate::{Failure, percentile, shown};

const PEOPLE: People = People { count: 100, sessions_each: 100 };

/// What the second proxy did.
struct Seen {
    last_served: Instant,
    refused: Instant,
}

pub(crate) async fn run() -> Result<(), Failure> {
    let site = Site::start(2, &PEOPLE, DEADLINES, |builder| builder).await?;
    let mut first = Connection::to(site.address(0)).await?;
    let mut second = Connection::to(site.address(1)).await?;
    let (mut after, mut whole, mut served_after) = (Vec::new(), Vec::new(), 0);
    for token in PEOPLE.tokens() {
        for _ in 0..2 {
            let status = second.get("/platform/", &token).await?;
            if status != 200 {
                return Err(format!("a session that nobody ended: {status}").into());
            }
        }
        let (sent, acknowledged, seen, connection) = one(&mut first, second, &token).await?;
        second = connection;
        let late = seen.last_served.saturating_duration_since(acknowledged);
        served_after += usize::from(!late.is_zero());
        after.push(late);
        whole.push(seen.refused.saturating_duration_since(sent));
    }
    println!(
        "From a log-out at one proxy to its effect at another; {} sessions, one after the other.\n",
        after.len()
    );
    println!("| from | to | p50 | p99 | p99.9 | max |");
    println!("| --- | --- | --- | --- | --- | --- |");
    row("the log-out is acknowledged", "the last request that the other let in", after);
    row("the log-out is sent", "the first refusal by the other has arrived", whole);
    println!("\n{served_after} sessions were let in once more after the acknowledgement.\n");
    Ok(())
}

fn row(from: &str, to: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|part| shown(percentile(&times, part)));
    println!("| {from} | {to} | {p50} | {p99} | {p999} | {most} |");
}

async fn one(
    first: &mut Connection,
    mut second: Connection,
    token: &str,
) -> Result<(Instant, Instant, Seen, Connection), Failure> {
    let (ready, mut is_ready) = watch::channel(false);
    let asked = token.to_owned();
    let polling = tokio::spawn(async move {
        let mut last_served = Instant::now();
        loop {
            let begin = Instant::now();
            match second.get("/platform/", &asked).await? {
                200 => last_served = begin,
                401 => return Ok::<_, Failure>((Seen { last_served, refused: Instant::now() }, second)),
                status => return Err(format!("neither served nor over: {status}").into()),
            }
            ready.send_replace(true);
        }
    });
    let _ = is_ready.wait_for(|ready| *ready).await;
    let sent = Instant::now();
    let status = first.direct(token, "end").await?;
    let acknowledged = Instant::now();
    if status != 200 {
        return Err(format!("the log-out: {status}").into());
    }
    let (seen, second) = polling.await??;
    Ok((sent, acknowledged, seen, second))
}
