//! Every alert of `dashboards/` at rest, firing for its fault and over after it, as a real Prometheus sees it; every
//! expression of rules and panels with data at some time. Prints what it sees and a table of it. The exit code is 0 only
//! if nothing is missing. Names of stages as arguments run those alone, and something is missing then.
//!
//! `cargo build --workspace --bins --example panicking && cargo run -p e2e --bin alerts`

use std::process::ExitCode;
use std::time::{Duration, Instant};

use e2e::alerts::{Aside, Kind, Scene, Stage, Watch};

/// How long expressions are waited for at the end.
const PATIENCE: Duration = Duration::from_mins(1);

/// All stages, in their order.
const STAGES: [&str; 9] = [
    "strangers",
    "limits",
    "redis",
    "slow-postgres",
    "outages",
    "slow-application",
    "no-application",
    "frozen",
    "aside",
];

fn main() -> std::io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    Ok(runtime.block_on(run(&wanted)))
}

#[expect(clippy::print_stdout, reason = "progress is what the person at the terminal waits for")]
fn say(line: &str) {
    println!("{line}");
}

async fn run(wanted: &[String]) -> ExitCode {
    let begin = Instant::now();
    let mut scene = Scene::start().await;
    let (log, patient, panicking) =
        (Aside::with_unread_log().await, Aside::with_patience().await, Aside::with_panics().await);
    let proxies = [&scene.proxy, &log.proxy, &patient.proxy, &panicking.proxy];
    let mut watch = Watch::start(&proxies.map(|proxy| proxy.addresses().admin), say).await;
    let _calm = scene.calm().await;
    let mut stage = Stage { scene: &mut scene, watch: &mut watch };
    stage.data(PATIENCE).await;
    let all: Vec<String> = STAGES.map(str::to_owned).to_vec();
    for name in if wanted.is_empty() { &all } else { wanted } {
        match name.as_str() {
            "strangers" => stage.strangers().await,
            "limits" => stage.limits().await,
            "redis" => stage.redis().await,
            "slow-postgres" => stage.slow_postgres().await,
            "outages" => stage.outages().await,
            "slow-application" => stage.slow_application().await,
            "no-application" => stage.no_application().await,
            "frozen" => stage.frozen().await,
            "aside" => stage.aside(&log, &patient, &panicking).await,
            _ => panic!("{name} is none of {STAGES:?}"),
        }
    }
    for aside in [&log, &patient, &panicking] {
        assert!(aside.serves().await, "a proxy does not serve any more:\n{}", aside.proxy.output());
    }
    conclude(&watch, begin.elapsed()).await
}

/// The table, and what is missing from it.
async fn conclude(watch: &Watch, took: Duration) -> ExitCode {
    say("\n| Alert | fired after, s | over after, s |\n|---|---|---|");
    for (alert, (fired, ended)) in watch.seen() {
        say(&format!("| `{alert}` | {:.1} | {:.1} |", fired.as_secs_f64(), ended.as_secs_f64()));
    }
    let unseen = watch.unseen().await;
    let silent = watch.expressions.without_data(&[Kind::Panel, Kind::Record, Kind::Alert]);
    say(&format!(
        "\n{} alerts fired and ended, {} did not; {} expressions, {} without data; {:.0} s",
        watch.seen().len(),
        unseen.len(),
        watch.expressions.count(),
        silent.len(),
        took.as_secs_f64()
    ));
    for missing in unseen.iter().chain(&silent) {
        say(&format!("missing: {missing}"));
    }
    if unseen.is_empty() && silent.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
