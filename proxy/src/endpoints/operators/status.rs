//! How this proxy is doing, in one document: what it can reach, how fresh its copies are, what waits.

use serde::Serialize;

use super::OperatorState;
use crate::endpoints::health::Phase;
use crate::lifecycle::operators::Neighbours;

/// The status of one proxy.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    version: &'static str,
    phase: &'static str,
    at: String,
    store: NeighbourView,
    directory: NeighbourView,
    /// Whether the directory tells of changes.
    directory_listening: bool,
    /// `closed`, `half_open` or `open`, by the server they stand in front of.
    breakers: std::collections::BTreeMap<String, &'static str>,
    cache: CacheView,
    /// Keys that wait for a query of the directory.
    loader_waiting_keys: i64,
    requests_in_flight: i64,
}

#[derive(Debug, Serialize)]
struct NeighbourView {
    reachable: bool,
    says: String,
}

#[derive(Debug, Serialize)]
struct CacheView {
    entries: i64,
    bytes: i64,
    limit_bytes: u64,
    /// Seconds since it was last proven that no change was missed; absent while changes are not heard of.
    lease_age_seconds: Option<f64>,
    max_staleness_seconds: f64,
}

/// The status now; the gauges are at most a second old.
pub(super) fn status(state: &OperatorState<'_>, neighbours: &Neighbours) -> Status {
    let metrics = state.metrics;
    let lease_age = metrics.lease_age.get();
    Status {
        version: env!("CARGO_PKG_VERSION"),
        phase: match state.phase {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        },
        at: state.now.to_string(),
        store: NeighbourView::of(&neighbours.store),
        directory: NeighbourView::of(&neighbours.directory),
        directory_listening: metrics.directory_listening.get() == 1,
        breakers: metrics.breakers().into_iter().collect(),
        cache: CacheView {
            entries: metrics.cache_entries.get(),
            bytes: metrics.cache_bytes.get(),
            limit_bytes: state.snapshot.cache.bytes,
            lease_age_seconds: (lease_age >= 0.0).then_some(lease_age),
            max_staleness_seconds: state.snapshot.cache.max_staleness.as_secs_f64(),
        },
        loader_waiting_keys: metrics.loader_waiting_keys.get(),
        requests_in_flight: metrics.in_flight.get(),
    }
}

impl NeighbourView {
    fn of<E: std::fmt::Display>(answer: &Result<String, E>) -> Self {
        match answer {
            Ok(says) => Self { reachable: true, says: says.clone() },
            Err(error) => Self { reachable: false, says: error.to_string() },
        }
    }
}
