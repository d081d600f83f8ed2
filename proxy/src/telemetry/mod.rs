//! What is counted and told. Everybody may count; nothing here knows HTTP types, stores or Pingora.

mod ascii;
mod effects;
pub mod exemplars;
pub mod figures;
pub mod log_bridge;
pub mod log_sink;
pub mod metrics;
mod open_metrics;
pub mod panics;
pub mod recent;
mod registration;
pub mod request_line;
pub mod spread;
mod steps;
pub mod traces;

use std::sync::Arc;

pub use log_sink::LogSink;
pub use metrics::Metrics;
pub use recent::{Recent, Refusal};
pub use request_line::RequestFacts;
pub use steps::{Step, Steps};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Changes the least that is logged, while the process runs.
#[derive(Clone, Debug)]
pub struct LevelSwitch(reload::Handle<EnvFilter, Registry>);

impl LevelSwitch {
    /// From now on our own messages are logged from `level` on.
    pub fn set(&self, level: &str) {
        // Fails only when nothing is logged any more.
        let _ = self.0.reload(filter(level));
    }
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("warn,countersign={level}"))
}

/// Starts logging: JSON lines on standard output, `level` for our own messages, libraries from `warn`.
///
/// # Errors
/// When logging was started before, or the writing thread cannot be started.
pub fn start_logging(level: &str, metrics: Arc<Metrics>) -> anyhow::Result<(LogSink, LevelSwitch)> {
    let sink = LogSink::to_stdout()?;
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_writer(sink.clone());
    tracing_subscriber::registry().with(filter).with(lines).try_init()?;
    log_bridge::install(metrics)?;
    Ok((sink, LevelSwitch(handle)))
}
