//! Random faults for as long as wanted: several proxies under the load of 64 connections, every request and every change
//! noted down and judged. Prints what it does, keeps it in a log, and ends with the number of violations, which is also
//! its exit code (0 or 1).
//!
//! `cargo build --workspace && cargo run -p e2e --bin chaos -- --minutes 10 --seed 7`

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::dice::Dice;
use e2e::environment::keepsakes;
use e2e::history::{Bounds, History, Moment, Report, Row, Rule, check, check_part};
use e2e::load::{Crowd, Fault, Fleet, Pace, Setting};

const USAGE: &str = "chaos [--minutes N] [--seed N] [--proxies N] [--log FILE]";
/// How often progress is printed.
const PROGRESS: Duration = Duration::from_secs(30);
/// Nothing is under way for longer; what is older can be judged.
const SETTLED: Duration = Duration::from_secs(20);

/// How long everything may take to be whole again.
const PATIENCE: Duration = Duration::from_mins(3);

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Wanted {
    minutes: f64,
    seed: u64,
    proxies: usize,
    log: PathBuf,
}

impl Wanted {
    fn parse(words: &[String]) -> Result<Self, Failure> {
        let log = keepsakes("chaos").join("chaos.log");
        let mut wanted = Self { minutes: 1.0, seed: 1, proxies: 3, log };
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err(USAGE.into()) };
            match name.as_str() {
                "--minutes" => wanted.minutes = value.parse()?,
                "--seed" => wanted.seed = value.parse()?,
                "--proxies" => wanted.proxies = value.parse()?,
                "--log" => wanted.log = value.into(),
                _ => return Err(USAGE.into()),
            }
        }
        Ok(wanted)
    }
}

fn main() -> Result<ExitCode, Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted = Wanted::parse(&words)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let violations = runtime.block_on(run(&wanted))?;
    Ok(if violations == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Where everything is said: on the terminal and in the log.
struct Log {
    file: File,
    begin: Instant,
}

impl Log {
    #[expect(clippy::print_stdout, reason = "progress is what the person at the terminal waits for")]
    fn say(&mut self, text: &str) -> Result<(), Failure> {
        let line = format!("{:8.3} {text}", self.begin.elapsed().as_secs_f64());
        println!("{line}");
        writeln!(self.file, "{line}")?;
        Ok(())
    }
}

async fn run(wanted: &Wanted) -> Result<usize, Failure> {
    let mut log = Log { file: File::create(&wanted.log)?, begin: Instant::now() };
    log.say(&format!("seed {}, {} proxies, {} minutes", wanted.seed, wanted.proxies, wanted.minutes))?;
    let fleet = Fleet::start(&Setting { proxies: wanted.proxies, ..Setting::default() }).await;
    let history = Arc::new(History::default());
    // Moments of the log are those of the history.
    log.begin = Instant::now();
    let pace = Pace { seed: wanted.seed, ..Pace::default() };
    let crowd = Crowd::start(&fleet, &history, pace).await;
    let mut dice = Dice::seeded(wanted.seed);
    let end = Instant::now() + Duration::from_secs_f64(wanted.minutes * 60.0);
    let (mut faults, mut judged, mut next) = (0, Moment::ZERO, Instant::now() + PROGRESS);
    while Instant::now() < end {
        faults += episode(&fleet, &history, &mut dice, &mut log).await?;
        if Instant::now() > next {
            next = Instant::now() + PROGRESS;
            judged = progress(&history, judged, &mut log)?;
        }
    }
    crowd.stop().await;
    let mut report = check(&history.book(), &Bounds::default());
    let refused = forgive_refusals(&mut report);
    log.say(&format!("{refused} requests and changes were refused with 503 while everything was whole"))?;
    conclude(&report, &history, faults, &mut log)?;
    if !report.violations.is_empty() {
        for (place, seat) in fleet.seats.iter().enumerate() {
            let kept = keepsakes("chaos").join(format!("proxy-{place}.log"));
            std::fs::write(kept, seat.proxy.lock().await.output())?;
        }
    }
    Ok(report.violations.len())
}

/// One to three faults that overlap, mended in any order; then everything must be whole again, and stay so for a while.
async fn episode(fleet: &Fleet, history: &History, dice: &mut Dice, log: &mut Log) -> Result<usize, Failure> {
    let mut faults: Vec<Fault> = Vec::new();
    for _ in 0..=dice.below(3) {
        let fault = Fault::any(dice, fleet.seats.len());
        if faults.iter().all(|other| other.agrees_with(fault)) {
            faults.push(fault);
        }
    }
    let mut wounds = Vec::new();
    for fault in &faults {
        log.say(&format!("make {fault:?}"))?;
        wounds.push(fleet.make(*fault, history).await);
        tokio::time::sleep(dice.between(Duration::ZERO, Duration::from_millis(1500))).await;
    }
    tokio::time::sleep(dice.between(Duration::from_millis(100), Duration::from_secs(4))).await;
    while !wounds.is_empty() {
        let wound = wounds.swap_remove(dice.below(wounds.len()));
        log.say(&format!("mend {:?}", wound.fault()))?;
        fleet.mend(wound, history).await;
        tokio::time::sleep(dice.between(Duration::ZERO, Duration::from_secs(1))).await;
    }
    let took = fleet.becomes(Row::Whole, PATIENCE).await?;
    let phase = history.settled(Row::Whole);
    log.say(&format!("whole after {took:.1?}"))?;
    tokio::time::sleep(dice.between(Duration::from_millis(200), Duration::from_secs(3))).await;
    history.over(phase);
    Ok(faults.len())
}

fn progress(history: &History, judged: Moment, log: &mut Log) -> Result<Moment, Failure> {
    let until = history.now().saturating_sub(SETTLED);
    let mut report = check_part(&history.book(), &Bounds::default(), judged..until);
    forgive_refusals(&mut report);
    let (requests, operations) =
        (report.requests.values().sum::<usize>(), report.operations.values().sum::<usize>());
    let violations = report.violations.len();
    log.say(&format!("judged {requests} more requests and {operations} changes: {violations} violations"))?;
    for violation in report.violations.iter().take(5) {
        log.say(&violation.to_string())?;
    }
    Ok(until)
}

/// A machine that is too busy misses deadlines, and 503 is then the right answer: counted, but no violation.
fn forgive_refusals(report: &mut Report) -> usize {
    let before = report.violations.len();
    report.violations.retain(|violation| violation.rule != Rule::AgainstTheTable);
    before - report.violations.len()
}

fn conclude(report: &Report, history: &History, faults: usize, log: &mut Log) -> Result<(), Failure> {
    for (what, count) in report.requests.iter().chain(&report.operations) {
        log.say(&format!("{count:>9} {what}"))?;
    }
    let book = history.book();
    let (requests, operations) = (book.requests.len(), book.operations.len());
    log.say(&format!("{faults} faults, {requests} requests, {operations} changes of sessions"))?;
    log.say(&format!(
        "{} requests with a session whose end was in force; the longest that one was served after its end was \
         acknowledged: {:?}",
        report.after_end, report.longest_served
    ))?;
    for violation in &report.violations {
        log.say(&violation.to_string())?;
    }
    log.say(&format!("{} violations", report.violations.len()))
}
