//! `countersign run`: serves until told to stop.

use std::sync::Arc;

use crate::config::Snapshot;
use crate::config::snapshot::LogLevel;
use crate::server::{self, Options};
use crate::telemetry::{self, Metrics};

/// Serves as `snapshot` says.
pub(super) fn run(snapshot: Snapshot) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let log = telemetry::start_logging(snapshot.log.as_str(), Arc::clone(&metrics))?;
    // The line of a request is information; whoever asks for less does not get it.
    let requests = !matches!(snapshot.log, LogLevel::Error | LogLevel::Warn);
    server::run(snapshot, Options { log: requests.then_some(log), metrics, seed: None })
}
