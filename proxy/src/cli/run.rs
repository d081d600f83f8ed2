//! `countersign run`: serves until told to stop.

use std::sync::Arc;

use crate::config::Snapshot;
use crate::server::{self, Options, Source};
use crate::telemetry::{self, Metrics};

/// Serves as `snapshot` says, which was read from `source`; with `core_dumps` its memory may be read by others.
pub(super) fn run(snapshot: Snapshot, source: Source, core_dumps: bool) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new());
    let (log, level) = telemetry::start_logging(snapshot.log.as_str(), Arc::clone(&metrics))?;
    for route in snapshot.routes.routes().iter().filter(|route| route.only_reports) {
        tracing::warn!(
            route = route.name,
            "this route only reports: it refuses nobody, whatever it requires"
        );
    }
    let (log, source, level) = (Some(log), Some(source), Some(level));
    server::run(snapshot, Options { log, metrics, source, level, core_dumps, ..Options::default() })
}
