//! Counters that every request uses, looked up once per route and outcome instead of by labels for each request.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use super::state::Outcome;
use crate::telemetry::Metrics;
use crate::telemetry::spread::{Counter, Durations};

/// The counters of whatever stands for a route, under one configuration.
#[derive(Default)]
pub(super) struct Meters {
    routes: ArcSwap<HashMap<String, Arc<Meter>>>,
}

/// The counters of one route, by outcome.
#[derive(Debug, Default)]
pub(super) struct Meter {
    outcomes: [OnceLock<(Counter, Durations)>; Outcome::COUNT],
}

impl Meters {
    /// Counts one request, with its duration unless it was a stream, which lasts as long as somebody listens. Route names
    /// come from the configuration, so there are never many.
    pub(super) fn count(&self, route: &str, outcome: Outcome, seconds: Option<f64>, metrics: &Metrics) {
        let routes = self.routes.load();
        match routes.get(route) {
            Some(meter) => meter.count(route, outcome, seconds, metrics),
            None => self.add(route).count(route, outcome, seconds, metrics),
        }
    }

    fn add(&self, route: &str) -> Arc<Meter> {
        let meter = Arc::new(Meter::default());
        self.routes.rcu(|routes| {
            let mut more = HashMap::clone(routes);
            more.entry(route.to_owned()).or_insert_with(|| Arc::clone(&meter));
            more
        });
        meter
    }
}

impl Meter {
    /// Counts one request on `route`, which is always the same.
    pub(super) fn count(&self, route: &str, outcome: Outcome, seconds: Option<f64>, metrics: &Metrics) {
        let (requests, duration) = self.outcomes[outcome as usize].get_or_init(|| {
            let labels = [route, outcome.as_str()];
            (metrics.requests.with_label_values(&labels), metrics.request_seconds.with_label_values(&labels))
        });
        requests.inc();
        if let Some(seconds) = seconds {
            duration.observe(seconds);
        }
    }
}
