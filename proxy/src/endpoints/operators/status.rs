//! How this proxy is doing, in one document: what it can reach, how fresh its copies are, what waits, which configuration
//! is in force and whether a newer one was refused.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::OperatorState;
use super::console::history::Percentiles;
use crate::endpoints::health::Phase;
use crate::lifecycle::operators::Neighbours;
use crate::telemetry::figures::{self, Line};

/// The status of one proxy.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Status {
    version: &'static str,
    phase: &'static str,
    at: String,
    started: String,
    configuration: ConfigurationView,
    store: NeighbourView,
    directory: NeighbourView,
    /// Whether the directory tells of changes.
    directory_listening: bool,
    /// `closed`, `half_open` or `open`, by the server they stand in front of.
    breakers: BTreeMap<String, &'static str>,
    cache: CacheView,
    /// Lookups since the start by layer and what they came to.
    lookups: BTreeMap<String, BTreeMap<String, u64>>,
    /// Keys that wait for a query of the directory.
    loader_waiting_keys: i64,
    requests_in_flight: i64,
    connections_open: i64,
    /// Requests since the start by what they came to.
    requests: BTreeMap<String, u64>,
    /// How long requests took in the last minute.
    latency_milliseconds: Percentiles,
    /// Sessions since the start by what happened to them.
    sessions: BTreeMap<String, u64>,
}

/// Which configuration is in force, and what the last reading of it came to.
#[derive(Debug, Serialize, JsonSchema)]
struct ConfigurationView {
    generation: u64,
    in_force_since: String,
    /// `applied`, or `refused`: then the one before stays in force, and `error` says why.
    last_read: &'static str,
    last_read_at: String,
    last_read_because: &'static str,
    error: Option<String>,
    needs_restart: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct NeighbourView {
    reachable: bool,
    says: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct CacheView {
    entries: i64,
    bytes: i64,
    limit_bytes: u64,
    /// Seconds since it was last proven that no change was missed; absent while changes are not heard of.
    lease_age_seconds: Option<f64>,
    /// The share of contexts found in the process since the start; absent when none was looked for.
    hit_rate: Option<f64>,
    max_staleness_seconds: f64,
}

/// The status now; the gauges are at most a second old.
pub(super) fn status(state: &OperatorState<'_>, neighbours: &Neighbours) -> Status {
    let metrics = state.metrics;
    let lookups = lookups(&figures::counts(&metrics.lookups));
    Status {
        version: env!("CARGO_PKG_VERSION"),
        phase: match state.phase {
            Phase::Starting => "starting",
            Phase::Serving => "serving",
            Phase::Draining => "draining",
        },
        at: state.now.to_string(),
        started: state.console.since.to_string(),
        configuration: ConfigurationView::of(state),
        store: NeighbourView::of(&neighbours.store),
        directory: NeighbourView::of(&neighbours.directory),
        directory_listening: metrics.directory_listening.get() == 1,
        breakers: metrics.breakers().into_iter().collect(),
        cache: CacheView::of(state, lookups.get("process")),
        lookups,
        loader_waiting_keys: metrics.loader_waiting_keys.get(),
        requests_in_flight: metrics.in_flight.get(),
        connections_open: metrics.connections_open.get(),
        requests: sums(&figures::counts(&metrics.requests), "outcome"),
        latency_milliseconds: state.console.history.last_minute(metrics),
        sessions: sums(&figures::counts(&metrics.sessions), "event"),
    }
}

fn sums(lines: &[Line], label: &str) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for line in lines {
        *sums.entry(line.label(label).to_owned()).or_default() += line.count();
    }
    sums
}

fn lookups(lines: &[Line]) -> BTreeMap<String, BTreeMap<String, u64>> {
    let mut layers = BTreeMap::<String, BTreeMap<String, u64>>::new();
    for line in lines {
        let results = layers.entry(line.label("layer").to_owned()).or_default();
        *results.entry(line.label("result").to_owned()).or_default() += line.count();
    }
    layers
}

/// The share of the first in both, to a thousandth.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn share(found: u64, missing: u64) -> Option<f64> {
    let all = found + missing;
    (all > 0).then(|| (found as f64 / all as f64 * 1000.0).round() / 1000.0)
}

impl ConfigurationView {
    fn of(state: &OperatorState<'_>) -> Self {
        let report = state.report;
        Self {
            generation: report.generation,
            in_force_since: report.in_force_since.to_string(),
            last_read: report.result(),
            last_read_at: report.at.to_string(),
            last_read_because: report.cause.as_str(),
            error: report.error.clone(),
            needs_restart: report.needs_restart.clone(),
            notes: report.notes.clone(),
        }
    }
}

impl CacheView {
    fn of(state: &OperatorState<'_>, results: Option<&BTreeMap<String, u64>>) -> Self {
        let (metrics, settings) = (state.metrics, &state.snapshot.cache);
        let lease_age = metrics.lease_age.get();
        let count = |result: &str| results.and_then(|results| results.get(result)).copied().unwrap_or(0);
        Self {
            entries: metrics.cache_entries.get(),
            bytes: metrics.cache_bytes.get(),
            limit_bytes: settings.bytes,
            lease_age_seconds: (lease_age >= 0.0).then_some(lease_age),
            hit_rate: share(count("found"), count("missing")),
            max_staleness_seconds: settings.max_staleness.as_secs_f64(),
        }
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
