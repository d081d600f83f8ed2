//! What Countersign costs, measured as ratios of one run on one machine: beside Pingora and nginx with Lua, in latency,
//! in memory, in instructions. Prints tables; `docs/performance.md` says how to read them.
//!
//! `target/dist/bench [PART ...]` (built as CONTRIBUTING.md says) with the parts `cpu`, `latency`, `memory` (all of these without arguments), `cpu-nginx` (nginx as well), `cpu-all`
//! (100,000 sessions in Redis and Postgres and nginx as well), `foreign` (sessions of other frameworks beside ours), `instructions` and, to write today's number down as the one to compare with, `instructions-write`.

mod cpu;
mod foreign;
mod http2;
mod instructions;
mod latency;
mod load;
mod memory;
mod nginx;
mod plot;
mod process;
mod servers;
mod sessions;
mod setup;
mod table;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut parts: Vec<String> = std::env::args().skip(1).collect();
    if parts.is_empty() {
        parts = ["cpu", "latency", "memory"].map(str::to_owned).to_vec();
    }
    for part in parts {
        match part.as_str() {
            "cpu" => cpu::run(false, false)?,
            "cpu-nginx" => cpu::run(false, true)?,
            "cpu-all" => cpu::run(true, true)?,
            "latency" => latency::run()?,
            "memory" => memory::run()?,
            "instructions" => instructions::check()?,
            "foreign" => foreign::check()?,
            "instructions-write" => instructions::write()?,
            other => {
                let known = "cpu, cpu-nginx, cpu-all, latency, memory, foreign, instructions";
                return Err(format!("no part `{other}`; try {known}").into());
            }
        }
    }
    Ok(())
}
