//! What the stores cost: the start with and without them, misses with their round trips, ten thousand cold sessions at once, and the time from a
//! revocation to its effect in another process, with and without faults. Real servers and proxies on this machine; prints
//! tables in Markdown. What it measured last is in docs/performance-stores.md.
//!
//! `cargo build --release --workspace --bins && cargo run --release -p e2e --bin bench_stores`, with `start`,
//! `misses`, `stampede`, `revocation` or `faults` for one part of it, and `amounts` for what docs/capacity.md has.

#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]

mod amounts;
mod connection;
mod faults;
mod misses;
mod proxy_amounts;
mod revocation;
mod site;
mod stampede;
mod start;
mod unrelated;

use std::time::Duration;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let [word, database] = &wanted[..]
        && word == unrelated::WORD
    {
        return unrelated::run(database);
    }
    let wants = |part: &str| wanted.is_empty() || wanted.iter().any(|word| word == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    println!("{} build, {} cores\n", profile(), std::thread::available_parallelism()?);
    runtime.block_on(async {
        if wants("start") {
            start::run().await?;
        }
        if wants("misses") {
            misses::run().await?;
        }
        if wants("stampede") {
            stampede::run().await?;
        }
        if wants("revocation") {
            revocation::run().await?;
        }
        if wants("faults") {
            faults::run().await?;
        }
        // Counts, not times: a page of its own has them.
        if wanted.iter().any(|word| word == "amounts") {
            amounts::run().await?;
        }
        Ok(())
    })
}

const fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

/// The value below which this part of the sorted times lies.
fn percentile(sorted: &[Duration], part: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index, not negative, far below 2^52"
    )]
    let place = ((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len());
    sorted[place - 1]
}

/// A time in milliseconds with three places, or in microseconds below one.
fn shown(time: Duration) -> String {
    if time < Duration::from_millis(1) {
        format!("{:.0} us", time.as_secs_f64() * 1e6)
    } else {
        format!("{:.2} ms", time.as_secs_f64() * 1e3)
    }
}
