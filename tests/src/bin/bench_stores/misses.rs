//! What a request costs that is not served from the process: latency seen by the client, and round trips to the stores
//! seen by the relays.

use std::time::{Duration, Instant};

use e2e::relay::Mode;

use crate::connection::Connection;
use crate::site::{DEADLINES, People, Site};
use crate::{Failure, percentile, shown};

const PEOPLE: usize = 1000;
/// The time after which writes beside the requests are done.
const QUIET: Duration = Duration::from_millis(800);

/// One kind of request, one after the other on one connection.
struct Figures {
    what: &'static str,
    times: Vec<Duration>,
    round_trips: u64,
    queries: u64,
    later: u64,
}

pub(crate) async fn run() -> Result<(), Failure> {
    let different = People { count: PEOPLE, sessions_each: 1 };
    let mut all = Vec::new();
    {
        let mut site = Site::start(1, &different, DEADLINES, |builder| builder).await?;
        let tokens = different.tokens();
        all.push(measure(&site, "nothing cached anywhere: Postgres behind Redis", &tokens).await?);
        // What Postgres answered is kept in Redis; the process keeps what it finds there.
        let _ = measure(&site, "", &tokens).await?;
        all.push(measure(&site, "session, user and platform in the process", &tokens).await?);
        site.renew("cs:*");
        all.push(measure(&site, "all three in Redis, nothing in the process", &tokens).await?);
        site.renew("cs:session:*");
        all.push(measure(&site, "session in Redis, user and platform in the process", &tokens).await?);
        site.seats[0].redis.set(Mode::Cut);
        // What was read while Redis was there is over when the connection is known to be lost.
        tokio::time::sleep(2 * QUIET).await;
        all.push(measure(&site, "Redis away: Postgres alone, first request of each session", &tokens).await?);
    }
    {
        let one = People { count: 1, sessions_each: PEOPLE };
        let site = Site::start(1, &one, DEADLINES, |builder| builder).await?;
        let mut warm = Connection::to(site.address(0)).await?;
        warm.get("/platform/", &People::token(0, 0)).await?;
        tokio::time::sleep(QUIET).await;
        let tokens: Vec<String> = one.tokens().into_iter().skip(1).collect();
        let what = "session in Postgres only, its user and platform in the process";
        all.push(measure(&site, what, &tokens).await?);
    }
    println!(
        "Misses: {PEOPLE} sessions one after the other, latency seen by the client, round trips per request.\n"
    );
    println!(
        "| where it lies | p50 | p99 | max | Redis round trips | Postgres queries | writes to Redis beside |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for mut figures in all {
        figures.print();
    }
    println!();
    Ok(())
}

async fn measure(site: &Site, what: &'static str, tokens: &[String]) -> Result<Figures, Failure> {
    let seat = &site.seats[0];
    let mut connection = Connection::to(site.address(0)).await?;
    let mut times = Vec::with_capacity(tokens.len());
    let (mut round_trips, mut queries, mut later) = (0, 0, 0);
    for token in tokens {
        let before = (seat.redis.round_trips(), seat.postgres.queries());
        let begin = Instant::now();
        let status = connection.get("/platform/", token).await?;
        times.push(begin.elapsed());
        if status != 200 {
            return Err(format!("{what}: {status}").into());
        }
        // A refill begins when the answer has been found; it is not waited for, and counted apart as far as possible.
        round_trips += seat.redis.round_trips() - before.0;
        queries += seat.postgres.queries() - before.1;
        let answered = seat.redis.round_trips();
        tokio::time::sleep(Duration::from_millis(2)).await;
        later += seat.redis.round_trips() - answered;
    }
    tokio::time::sleep(QUIET).await;
    Ok(Figures { what, times, round_trips, queries, later })
}

impl Figures {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
    fn print(&mut self) {
        self.times.sort_unstable();
        let count = self.times.len() as f64;
        println!(
            "| {} | {} | {} | {} | {:.2} | {:.2} | {:.2} |",
            self.what,
            shown(percentile(&self.times, 0.5)),
            shown(percentile(&self.times, 0.99)),
            shown(percentile(&self.times, 1.0)),
            self.round_trips as f64 / count,
            self.queries as f64 / count,
            self.later as f64 / count,
        );
    }
}
