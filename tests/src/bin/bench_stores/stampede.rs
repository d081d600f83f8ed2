//! Ten thousand cold sessions at once, Redis away, five connections to Postgres: through the proxy, and beside it the
//! naive way, in which each request takes a connection of the pool for its three queries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::{JoinHandle, JoinSet};

use e2e::proxy::COOKIE;
use e2e::relay::{Mode, Relay};
use e2e::stores::Deadlines;

use crate::site::{People, Site, id_of};
use crate::unrelated::{self, Asked, Stranger};
use crate::{Failure, percentile, shown};

const PEOPLE: usize = 10_000;
const CONNECTIONS: usize = 100;
/// The deadline of everything (DESIGN section 14).
const DEADLINE: Duration = Duration::from_secs(2);

struct Figures {
    what: &'static str,
    served: usize,
    refused: usize,
    took: Duration,
    times: Vec<Duration>,
    queries: u64,
    unrelated: Vec<Duration>,
    unrelated_failed: usize,
    /// How much too late a thread woke meanwhile that asked nothing: what the machine alone adds.
    late: Duration,
}

pub(crate) async fn run() -> Result<(), Failure> {
    let people = People { count: PEOPLE, sessions_each: 1 };
    let deadlines = Deadlines { store: Duration::from_millis(100), directory: DEADLINE, budget: DEADLINE };
    let site = Site::start(1, &people, deadlines, |builder| builder).await?;
    site.seats[0].redis.set(Mode::Cut);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ours = through_the_proxy(&site, &people).await?;
    let naive = naively(&site, &people).await?;
    println!(
        "{PEOPLE} cold sessions at once, Redis away, 5 connections, deadline {} s.\n",
        DEADLINE.as_secs()
    );
    println!(
        "| way | served | failed | all done after | p50 | max | queries | \
         an unrelated query meanwhile, p50 / p99 / max | \
         a thread that asks nothing woke too late by at most |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |");
    for mut figures in [ours, naive] {
        figures.print();
    }
    println!();
    if is_shared_out_by_session() {
        println!(
            "Processors are shared out among sessions of processes here, and each connection of Postgres is one: one that is \
             seldom used waits for tens of milliseconds. That concerns the root control group alone, by sched(7); \
             `sysctl kernel.sched_autogroup_enabled=0` measures that.\n"
        );
    }
    Ok(())
}

/// Whether Linux shares processors out among sessions of processes first (`sched(7)`, "The autogroup feature"). Whoever seldom
/// runs in a group of its own waits long there.
fn is_shared_out_by_session() -> bool {
    let setting = std::fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled");
    setting.is_ok_and(|setting| setting.trim() == "1")
}

impl Figures {
    fn of(
        what: &'static str,
        (times, refused): (Vec<Duration>, usize),
        took: Duration,
        queries: u64,
        (unrelated, unrelated_failed): Asked,
        late: Duration,
    ) -> Self {
        let served = times.len();
        Self { what, served, refused, took, times, queries, unrelated, unrelated_failed, late }
    }

    fn print(&mut self) {
        self.times.sort_unstable();
        self.unrelated.sort_unstable();
        let part = |times: &[Duration], part| {
            if times.is_empty() { "-".to_owned() } else { shown(percentile(times, part)) }
        };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} / {} / {}{} | {} |",
            self.what,
            self.served,
            self.refused,
            shown(self.took),
            part(&self.times, 0.5),
            part(&self.times, 1.0),
            self.queries,
            part(&self.unrelated, 0.5),
            part(&self.unrelated, 0.99),
            part(&self.unrelated, 1.0),
            if self.unrelated_failed > 0 {
                format!(", {} failed", self.unrelated_failed)
            } else {
                String::new()
            },
            shown(self.late),
        );
    }
}

async fn through_the_proxy(site: &Site, people: &People) -> Result<Figures, Failure> {
    let seat = &site.seats[0];
    let address = seat.proxy.addresses().http2;
    let tokens = people.tokens();
    let start = Arc::new(Barrier::new(CONNECTIONS + 1));
    let mut crowd = JoinSet::new();
    for tokens in tokens.chunks(PEOPLE / CONNECTIONS) {
        crowd.spawn(tab(connect(address).await?, tokens.to_vec(), start.clone()));
    }
    let stranger = Stranger::start(&database(site)).await?;
    let over = Arc::new(AtomicBool::new(false));
    let woken = wake_again(over.clone());
    let before = seat.postgres.queries();
    start.wait().await;
    let begin = Instant::now();
    let (mut times, mut refused) = (Vec::new(), 0);
    while let Some(done) = crowd.join_next().await {
        for (time, status) in done?? {
            if status == 200 { times.push(time) } else { refused += 1 }
        }
    }
    let took = begin.elapsed();
    let queries = seat.postgres.queries() - before;
    over.store(true, Ordering::Relaxed);
    let asked = stranger.end().await?;
    let late = woken.await?;
    let what = "Countersign";
    Ok(Figures::of(what, (times, refused), took, queries, asked, late))
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, Failure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// All requests of one connection at once.
async fn tab(
    sender: SendRequest<Empty<Bytes>>,
    tokens: Vec<String>,
    start: Arc<Barrier>,
) -> Result<Vec<(Duration, u16)>, Failure> {
    start.wait().await;
    let mut requests = JoinSet::new();
    for token in tokens {
        let mut sender = sender.clone();
        requests.spawn(async move {
            let request = Request::get("http://bench.test/platform/")
                .header("cookie", format!("{COOKIE}={token}"))
                .body(Empty::new())?;
            let begin = Instant::now();
            let answer = sender.send_request(request).await?;
            Ok::<_, Failure>((begin.elapsed(), answer.status().as_u16()))
        });
    }
    let mut answers = Vec::new();
    while let Some(answer) = requests.join_next().await {
        answers.push(answer??);
    }
    Ok(answers)
}

/// Each request takes a connection of the pool for its three queries.
async fn naively(site: &Site, people: &People) -> Result<Figures, Failure> {
    let url = database(site);
    let port =
        url.rsplit_once('/').and_then(|(server, _)| server.rsplit(':').next()).ok_or("a URL with a port")?;
    let relay = Relay::to_postgres(SocketAddr::from(([127, 0, 0, 1], port.parse()?))).await;
    let name = url.rsplit('/').next().ok_or("a URL with a database")?;
    let url = format!("postgres://postgres@{}/{name}", relay.address());
    let pool = PgPoolOptions::new()
        .max_connections(5)
        .min_connections(5)
        .acquire_timeout(DEADLINE)
        .connect(&url)
        .await?;
    let (over, asked) = ask_beside(pool.clone());
    let woken = wake_again(over.clone());
    let mut crowd = JoinSet::new();
    let before = relay.queries();
    let begin = Instant::now();
    for token in people.tokens() {
        let pool = pool.clone();
        crowd.spawn(async move {
            let begin = Instant::now();
            let found = tokio::time::timeout(DEADLINE, look_up(&pool, &id_of(&token))).await;
            (begin.elapsed(), matches!(found, Ok(Ok(()))))
        });
    }
    let (mut times, mut refused) = (Vec::new(), 0);
    while let Some(done) = crowd.join_next().await {
        let (time, found) = done?;
        if found { times.push(time) } else { refused += 1 }
    }
    let took = begin.elapsed();
    let queries = relay.queries() - before;
    over.store(true, Ordering::Relaxed);
    let asked = asked.await?;
    let late = woken.await?;
    let what = "a connection of the pool per request, nothing else done";
    Ok(Figures::of(what, (times, refused), took, queries, asked, late))
}

async fn look_up(pool: &PgPool, id: &str) -> Result<(), Failure> {
    let (user, platform): (String, String) =
        sqlx::query_as("SELECT user_id, platform_id FROM sessions WHERE id = $1 AND ended_at IS NULL")
            .bind(id)
            .fetch_one(pool)
            .await?;
    sqlx::query("SELECT name, roles FROM users WHERE id = $1").bind(user).fetch_one(pool).await?;
    sqlx::query("SELECT type, name, url FROM platforms WHERE id = $1").bind(platform).fetch_one(pool).await?;
    Ok(())
}

/// Asks for something unrelated with the pool that everybody uses.
fn ask_beside(pool: PgPool) -> (Arc<AtomicBool>, JoinHandle<Asked>) {
    let over = Arc::new(AtomicBool::new(false));
    let stop = over.clone();
    let asked = tokio::spawn(async move {
        let (mut times, mut failed) = (Vec::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            let answer = tokio::time::timeout(DEADLINE, unrelated::ask(&pool)).await;
            note(&mut times, &mut failed, answer.ok().flatten());
            unrelated::pause().await;
        }
        (times, failed)
    });
    (over, asked)
}

fn note(times: &mut Vec<Duration>, failed: &mut usize, answer: Option<Duration>) {
    match answer {
        Some(time) => times.push(time),
        None => *failed += 1,
    }
}

/// Sleeps for a millisecond again and again, in a thread of its own, and says by how much the latest awakening was too late.
fn wake_again(stop: Arc<AtomicBool>) -> JoinHandle<Duration> {
    const NAP: Duration = Duration::from_millis(1);
    tokio::task::spawn_blocking(move || {
        let mut latest = Duration::ZERO;
        while !stop.load(Ordering::Relaxed) {
            let begin = Instant::now();
            std::thread::sleep(NAP);
            latest = latest.max(begin.elapsed().saturating_sub(NAP));
        }
        latest
    })
}

fn database(site: &Site) -> String {
    match &site.stores {
        e2e::stores::Stores::Real(real) => real.database.clone(),
        e2e::stores::Stores::Embedded(_) => String::new(),
    }
}
