//! `countersign run`: serves until told to stop.

use std::sync::Arc;

use crate::config::Snapshot;
use crate::server::{self, Options, Source};
use crate::telemetry::{self, Metrics};

/// Serves as `snapshot` says, which was read from `source`.
pub(super) fn run(snapshot: Snapshot, source: Source) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let (log, level) = telemetry::start_logging(snapshot.log.as_str(), Arc::clone(&metrics))?;
    for route in snapshot.routes.routes().iter().filter(|route| route.only_reports) {
        tracing::warn!(
            route = route.name,
            "this route only reports: it refuses nobody, whatever it requires"
        );
    }
    let (source, level) = (Some(source), Some(level));
    server::run(snapshot, Options { log: Some(log), metrics, seed: None, source, level })
}
