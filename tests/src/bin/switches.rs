//! A crowd of users who switch platforms at random, under load, on several proxies: no request may reach the application
//! with a platform that is not the user's or no longer chosen, and no switch may be lost. Prints what happened and ends
//! with the number of violations, which is also its exit code (0 or 1).
//!
//! `cargo build --workspace && cargo run -p e2e --bin switches -- --users 1000 --seconds 120 --seed 7`

use std::process::ExitCode;
use std::time::Duration;

use e2e::load::{Fleet, Setting, Switching, Tally, switch_at_random};

const USAGE: &str = "switches [--users N] [--seconds N] [--proxies N] [--tabs N] [--seed N]";

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Wanted {
    users: usize,
    seconds: u64,
    proxies: usize,
    tabs: usize,
    seed: u64,
}

impl Wanted {
    fn parse(words: &[String]) -> Result<Self, Failure> {
        let mut wanted = Self { users: 1000, seconds: 120, proxies: 2, tabs: 64, seed: 1 };
        for pair in words.chunks(2) {
            let [name, value] = pair else { return Err(USAGE.into()) };
            match name.as_str() {
                "--users" => wanted.users = value.parse()?,
                "--seconds" => wanted.seconds = value.parse()?,
                "--proxies" => wanted.proxies = value.parse()?,
                "--tabs" => wanted.tabs = value.parse()?,
                "--seed" => wanted.seed = value.parse()?,
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
    let tally = runtime.block_on(run(&wanted));
    say(&wanted, &tally);
    Ok(if tally.is_spotless() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn run(wanted: &Wanted) -> Tally {
    let setting = Setting { proxies: wanted.proxies, users: wanted.users, ..Setting::default() };
    let fleet = Fleet::start(&setting).await;
    let switching = Switching {
        users: wanted.users,
        tabs: wanted.tabs,
        lasts: Duration::from_secs(wanted.seconds),
        pause: Duration::from_millis(100),
        seed: wanted.seed,
    };
    switch_at_random(&fleet, switching).await
}

#[expect(clippy::print_stdout, reason = "what the person at the terminal waits for")]
fn say(wanted: &Wanted, tally: &Tally) {
    let Wanted { users, seconds, proxies, tabs, seed } = wanted;
    println!("{users} users in {tabs} tabs at {proxies} proxies for {seconds} s, seed {seed}");
    println!("{:>9} requests reached the application", tally.requests);
    println!("{:>9} switches were acknowledged", tally.switches);
    println!("{:>9} of them while another one of the same session was under way", tally.overlapping);
    println!("{:>9} of which nobody can say whether they were made", tally.unsure);
    println!("{:>9} lines of switches in the audit log", tally.written);
    for (what, count) in tally.report.requests.iter().chain(&tally.report.operations) {
        println!("{count:>9} {what}");
    }
    for violation in tally.report.violations.iter().take(20) {
        println!("{violation}");
    }
    for lost in tally.lost.iter().take(20) {
        println!("{lost}");
    }
    println!("{} violations, {} switches lost", tally.report.violations.len(), tally.lost.len());
}
