//! The metrics as figures, for what shows them to people: counts by label, and how durations are spread. Reads what is
//! counted; counts nothing itself.

use prometheus::IntGaugeVec;
use prometheus::core::Collector;
use prometheus::proto::Metric;

use super::Metrics;

/// One line of a counter or gauge, with the values of its labels by name.
#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    labels: Vec<(String, String)>,
    /// What it counts.
    pub value: f64,
}

impl Line {
    /// The value as a count.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counters hold whole numbers"
    )]
    pub fn count(&self) -> u64 {
        self.value as u64
    }

    /// The value of a label; empty when there is no such label.
    #[must_use]
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// How durations are spread: how many were at most so long, bucket by bucket.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Spread {
    /// Upper bound in seconds, and how many were at most that; the last bound is infinite.
    buckets: Vec<(f64, u64)>,
}

impl Spread {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.last().map_or(0, |(_, count)| *count)
    }

    /// Those of `self` that were not there in `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |bound: f64| {
            let same = earlier.buckets.iter().find(|(known, _)| known.total_cmp(&bound).is_eq());
            same.map_or(0, |(_, count)| *count)
        };
        let rest = |(bound, count): &(f64, u64)| (*bound, count.saturating_sub(before(*bound)));
        Self { buckets: self.buckets.iter().map(rest).collect() }
    }

    /// The duration in seconds that a share of them did not exceed, interpolated within its bucket as Prometheus does
    /// (`histogram_quantile`); `None` when there were none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = share * self.count() as f64;
        let at = self.buckets.iter().position(|(_, count)| *count > 0 && *count as f64 >= rank)?;
        let (bound, count) = self.buckets[at];
        let (start, before) = at.checked_sub(1).map_or((0.0, 0), |below| self.buckets[below]);
        if bound.is_infinite() {
            return Some(start);
        }
        let within = (rank - before as f64) / (count - before).max(1) as f64;
        Some(start + (bound - start) * within.clamp(0.0, 1.0))
    }

    fn add(&mut self, metric: &Metric) {
        let histogram = metric.get_histogram();
        let finite =
            histogram.get_bucket().iter().map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()));
        let all = finite.filter(|(bound, _)| bound.is_finite());
        for (at, (bound, count)) in all.chain([(f64::INFINITY, histogram.get_sample_count())]).enumerate() {
            match self.buckets.get_mut(at) {
                Some(bucket) => bucket.1 += count,
                None => self.buckets.push((bound, count)),
            }
        }
    }
}

/// All lines of a counter.
#[must_use]
pub fn counts(counter: &impl Collector) -> Vec<Line> {
    lines(counter, |metric| metric.get_counter().value())
}

/// All lines of a gauge.
#[must_use]
pub fn levels(gauge: &IntGaugeVec) -> Vec<Line> {
    lines(gauge, |metric| metric.get_gauge().value())
}

/// The spread of a histogram over all lines that `chosen` takes.
#[must_use]
pub fn spread(histogram: &impl Collector, chosen: impl Fn(&Line) -> bool) -> Spread {
    let mut spread = Spread::default();
    for family in histogram.collect() {
        for metric in family.get_metric().iter().filter(|metric| chosen(&line(metric, 0.0))) {
            spread.add(metric);
        }
    }
    spread
}

impl Metrics {
    /// How the durations of all requests to routes are spread, or of those to one route.
    #[must_use]
    pub fn latency(&self, route: Option<&str>) -> Spread {
        spread(&self.request_seconds, |line| route.is_none_or(|route| line.label("route") == route))
    }
}

fn lines(collector: &impl Collector, value: impl Fn(&Metric) -> f64) -> Vec<Line> {
    let families = collector.collect();
    let metrics = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
    metrics.map(|metric| line(metric, value(metric))).collect()
}

fn line(metric: &Metric, value: f64) -> Line {
    let labels = metric.get_label().iter().map(|label| (label.name().to_owned(), label.value().to_owned()));
    Line { labels: labels.collect(), value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_by_their_labels() {
        let metrics = Metrics::new();
        metrics.sessions.with_label_values(&["started"]).inc_by(3);
        // All events are there from the start; what did not happen stands at zero.
        let lines = counts(&metrics.sessions);
        let started: Vec<_> = lines.iter().filter(|line| line.label("event") == "started").collect();
        assert_eq!((started.len(), started[0].label("else")), (1, ""));
        assert!((started[0].value - 3.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_quantile_lies_in_the_bucket_where_prometheus_finds_it() {
        let metrics = Metrics::new();
        assert_eq!(metrics.latency(None).quantile(0.5), None);
        let observe = |route: &str, seconds: f64, times: usize| {
            for _ in 0..times {
                metrics.request_seconds.with_label_values(&[route, "forwarded"]).observe(seconds);
            }
        };
        observe("a", 0.000_9, 99);
        observe("b", 20.0, 1);
        let all = metrics.latency(None);
        assert_eq!(all.count(), 100);
        let half = all.quantile(0.5).unwrap();
        assert!(half > 0.000_25 && half <= 0.001, "{half}");
        // Beyond the last bound nothing is known but that bound.
        assert!(
            (all.quantile(0.999).unwrap() - metrics.latency(Some("b")).quantile(0.5).unwrap()).abs() < 1e-9
        );
        observe("a", 0.2, 4);
        let later = metrics.latency(None).since(&all);
        assert_eq!(later.count(), 4);
        let half = later.quantile(0.5).unwrap();
        assert!(half > 0.05 && half <= 0.25, "{half}");
    }
}
