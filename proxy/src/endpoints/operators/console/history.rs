//! How the last quarter of an hour went: what the metrics said every few seconds, and what follows from two of these
//! for the time between them.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::telemetry::Metrics;
use crate::telemetry::figures::{self, Spread};

/// How often the metrics are looked at.
pub const EVERY: Duration = Duration::from_secs(5);
/// How many looks are kept: a quarter of an hour.
const KEPT: usize = 181;
/// How many looks back a minute lies.
const MINUTE: usize = 12;
/// The shortest time that a rate is told for.
const SHORTEST: Duration = Duration::from_secs(1);

/// What the metrics said at one moment.
#[derive(Clone, Debug)]
struct Sample {
    at: Timestamp,
    forwarded: f64,
    answered: f64,
    refused: f64,
    failed: f64,
    hits: f64,
    misses: f64,
    latency: Spread,
    lease_age: f64,
    waiting: i64,
    in_flight: i64,
}

impl Sample {
    fn take(metrics: &Metrics, at: Timestamp) -> Self {
        let requests = figures::counts(&metrics.requests);
        let of = |outcome: &str| {
            requests.iter().filter(|line| line.label("outcome") == outcome).map(|line| line.value).sum()
        };
        let lookups = figures::counts(&metrics.lookups);
        let process = |result: &str| {
            let here = lookups.iter().filter(|line| line.label("layer") == "process");
            here.filter(|line| line.label("result") == result).map(|line| line.value).sum()
        };
        Self {
            at,
            forwarded: of("forwarded"),
            answered: of("answered"),
            refused: of("refused"),
            failed: of("failed") + of("dropped"),
            hits: process("found"),
            misses: process("missing"),
            latency: metrics.latency(None),
            lease_age: metrics.lease_age.get(),
            waiting: metrics.loader_waiting_keys.get(),
            in_flight: metrics.in_flight.get(),
        }
    }
}

/// The last looks, oldest first. Invariant: never more than [`KEPT`].
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Sample>>);

/// What happened between two looks: requests a second by outcome, durations in milliseconds.
#[derive(Clone, PartialEq, Debug, Serialize, JsonSchema)]
pub(in crate::endpoints::operators) struct Point {
    /// Milliseconds since the epoch, at the end.
    at: u64,
    forwarded: f64,
    answered: f64,
    refused: f64,
    failed: f64,
    #[serde(flatten)]
    latency: Percentiles,
    /// The share of contexts found in the process; absent when none was looked for.
    hit_rate: Option<f64>,
    /// Seconds; absent while no changes are heard of.
    lease_age: Option<f64>,
    waiting: i64,
    in_flight: i64,
}

/// Durations that a half, nine tenths and 99 of 100 requests did not exceed, in milliseconds; absent without requests.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, JsonSchema)]
pub(in crate::endpoints::operators) struct Percentiles {
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
}

impl Percentiles {
    pub(in crate::endpoints::operators) fn of(spread: &Spread) -> Self {
        let millis = |share| spread.quantile(share).map(|seconds| (seconds * 1_000_000.0).round() / 1000.0);
        Self { p50: millis(0.5), p90: millis(0.9), p99: millis(0.99) }
    }
}

impl History {
    /// Looks at the metrics.
    pub fn look(&self, metrics: &Metrics, now: Timestamp) {
        let sample = Sample::take(metrics, now);
        let mut kept = self.0.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(sample);
    }

    /// What happened between the looks, and since the last one.
    pub(in crate::endpoints::operators) fn points(&self, metrics: &Metrics, now: Timestamp) -> Vec<Point> {
        let mut samples: Vec<Sample> = self.0.lock().iter().cloned().collect();
        if samples.last().is_some_and(|last| now.since(last.at) >= SHORTEST) {
            samples.push(Sample::take(metrics, now));
        }
        samples.windows(2).map(|pair| between(&pair[0], &pair[1])).collect()
    }

    /// How long requests took in the last minute.
    pub(in crate::endpoints::operators) fn last_minute(&self, metrics: &Metrics) -> Percentiles {
        let kept = self.0.lock();
        let earlier = kept.len().checked_sub(MINUTE).or(Some(0)).and_then(|at| kept.get(at));
        let now = metrics.latency(None);
        Percentiles::of(&earlier.map_or_else(|| now.clone(), |earlier| now.since(&earlier.latency)))
    }
}

fn between(earlier: &Sample, later: &Sample) -> Point {
    let seconds = later.at.since(earlier.at).as_secs_f64().max(0.001);
    let rate = |count: fn(&Sample) -> f64| (count(later) - count(earlier)).max(0.0) / seconds;
    let (hits, misses) = (rate(|sample| sample.hits), rate(|sample| sample.misses));
    Point {
        at: later.at.as_millis(),
        forwarded: rate(|sample| sample.forwarded),
        answered: rate(|sample| sample.answered),
        refused: rate(|sample| sample.refused),
        failed: rate(|sample| sample.failed),
        latency: Percentiles::of(&later.latency.since(&earlier.latency)),
        hit_rate: (hits + misses > 0.0).then(|| hits / (hits + misses)),
        lease_age: (later.lease_age >= 0.0).then_some(later.lease_age),
        waiting: later.waiting,
        in_flight: later.in_flight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_tells_what_happened_between_two_looks() {
        let (history, metrics) = (History::default(), Metrics::new());
        let at = Timestamp::from_secs;
        history.look(&metrics, at(0));
        metrics.requests.with_label_values(&["r", "forwarded"]).inc_by(10);
        metrics.request_seconds.with_label_values(&["r", "forwarded"]).observe(0.004);
        metrics.lookups.with_label_values(&["context", "process", "found"]).inc_by(3);
        metrics.lookups.with_label_values(&["context", "process", "missing"]).inc();
        metrics.lookups.with_label_values(&["session", "store", "missing"]).inc_by(50);
        history.look(&metrics, at(5));
        history.look(&metrics, at(10));
        let points = history.points(&metrics, at(10));
        assert_eq!(points.len(), 2);
        assert!((points[0].forwarded - 2.0).abs() < 1e-9 && points[1].forwarded.abs() < 1e-9);
        assert!((points[0].hit_rate.unwrap() - 0.75).abs() < 1e-9);
        assert_eq!((points[1].hit_rate, points[1].latency.p99), (None, None));
        let p50 = points[0].latency.p50.unwrap();
        assert!(p50 > 2.5 && p50 <= 5.0, "{p50}");
        assert_eq!(
            history.points(&metrics, at(12)).len(),
            3,
            "what happened since the last look is shown too"
        );
        assert_eq!(history.last_minute(&metrics).p50, Some(p50));
    }

    #[test]
    fn only_a_quarter_of_an_hour_is_kept() {
        let (history, metrics) = (History::default(), Metrics::new());
        for look in 0..400 {
            history.look(&metrics, Timestamp::from_secs(look * 5));
        }
        let points = history.points(&metrics, Timestamp::from_secs(399 * 5));
        assert_eq!(points.len(), KEPT - 1);
        assert_eq!(points[0].at, (400 - 180) * 5000);
    }
}
