//! Every metric: name, labels, help. Nothing is counted anywhere else, and every label comes from a closed set
//! (route and upstream names of the configuration, words of our enums): never a path, user or session id.

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use crate::context::Layer;
use crate::reason::Reason;

/// Buckets for whole requests, in seconds: from a static file on loopback to a slow report.
const REQUEST_SECONDS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// Buckets for lookups, in seconds: from one loopback round trip (20 us measured) to the budget (250 ms).
const LOOKUP_SECONDS: &[f64] =
    &[0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];
/// Buckets for signing, in seconds: HMAC takes 0.3 us, an asymmetric JWT 10 to 30 us (measured).
const SIGNING_SECONDS: &[f64] =
    &[0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.001];

/// Buckets for keys in one query: up to the largest batch (512).
const BATCH_KEYS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// One line of a counter, for those who count on every request and look their labels up once.
pub type Counter = IntCounter;

/// One number that goes up and down, for those who count what is there.
pub type Level = IntGauge;

/// A number that no metric shows.
#[must_use]
pub fn unregistered() -> Level {
    IntGauge::with_opts(opts("unregistered", "Not registered")).expect("the name is well formed")
}

/// One line of a histogram of durations, likewise.
pub type Timer = Histogram;

/// What one lookup in one layer came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LookupResult {
    /// A record.
    Found,
    /// Certainly none.
    Missing,
    /// A record that could not be read.
    Unreadable,
    /// The layer could not say.
    Failed,
}

impl LookupResult {
    /// The word used in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Failed => "failed",
        }
    }
}

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Requests by route and outcome (`forwarded`, `refused`, `answered`, `failed`).
    pub requests: IntCounterVec,
    /// Duration of requests by route and outcome.
    pub request_seconds: HistogramVec,
    /// Requests not let through, by route and reason.
    pub refusals: IntCounterVec,
    /// Requests being served now.
    pub in_flight: IntGauge,
    /// Lookups by what was looked up, layer and result.
    pub lookups: IntCounterVec,
    /// Duration of lookups by layer.
    pub lookup_seconds: HistogramVec,
    /// Resolutions by outcome (`known`, `unknown`, `undetermined`).
    pub resolutions: IntCounterVec,
    /// Session cookies refused before any store was asked, by reason.
    pub rejected_tokens: IntCounterVec,
    /// Request headers removed because they are ours or could be mistaken for ours.
    pub scrubbed_headers: IntCounter,
    /// Sessions by what happened to them (`started`, `rotated`, `ended`).
    pub sessions: IntCounterVec,
    /// Platform switches.
    pub platform_switches: IntCounter,
    /// Session directives by result (`carried_out`, `ignored`, `refused`, `undetermined`).
    pub directives: IntCounterVec,
    /// Unsafe requests refused because they may be forged, by place (`own`, `route`) and reason.
    pub csrf_rejections: IntCounterVec,
    /// Time to render and sign the context of one request.
    pub signing_seconds: Histogram,
    /// Upstream errors by upstream and kind.
    pub upstream_errors: IntCounterVec,
    /// Healthy servers by upstream.
    pub upstream_healthy: IntGaugeVec,
    /// Requests refused by the HTTP layer before they became requests to us, by kind.
    pub framework_refusals: IntCounterVec,
    /// Batches of activity written, by layer and result (`written`, `failed`).
    pub activity_batches: IntCounterVec,
    /// Changes that are durable in the directory but could not be told to the store, by what was to be written
    /// (`session`, `tombstone`, `entities`, `event`).
    pub store_writes_failed: IntCounterVec,
    /// Writes to the store that failed and wait to be tried again.
    pub store_writes_pending: IntGauge,
    /// Writes to the store that were made after they had failed, by what was written.
    pub store_writes_retried: IntCounterVec,
    /// Ends that were accepted while the directory was away and are not durable yet, as far as seen here.
    pub unconfirmed_ends: IntGauge,
    /// Whether what the store holds is in doubt: 1 until what changed was gone through, or 0.
    pub store_doubtful: IntGauge,
    /// Doubts about the store that were settled, by how: `settled` by what the directory wrote down, `trusted` because
    /// the directory is away and the server is the same.
    pub store_doubts: IntCounterVec,
    /// Changes of which the copies of this process were told, by what changed (`session`, `entity`, `everything`).
    pub invalidations: IntCounterVec,
    /// Seconds since it was last proven that no change in the store was missed; -1 while changes are not heard of.
    pub lease_age: Gauge,
    /// Copies of contexts, of users with platforms, and of unknown sessions.
    pub cache_entries: IntGauge,
    /// Weight of the copies.
    pub cache_bytes: IntGauge,
    /// Keys in one query of the directory, by what was looked up.
    pub loader_batch_keys: HistogramVec,
    /// Keys that wait for a query of the directory.
    pub loader_waiting_keys: IntGauge,
    /// Lookups not made because too many waited already, by what was looked up.
    pub loader_shed: IntCounterVec,
    /// Whether calls are let through to a server (`directory`, `store`): 0 all, 1 one probe, 2 none.
    pub breaker_state: IntGaugeVec,
    /// Changes that the directory told, by what changed.
    pub directory_changes: IntCounterVec,
    /// Whether changes of the directory are told: 1, or 0.
    pub directory_listening: IntGauge,
    /// Event streams of our own that are open, by kind (`sse`, `websocket`).
    pub event_streams: IntGaugeVec,
    /// Streams ended because their session was, by kind (`events`, `forwarded`).
    pub streams_ended: IntCounterVec,
    /// Panics caught.
    pub panics: IntCounter,
    /// Configurations read again, by result (`applied`, `refused`).
    pub reloads: IntCounterVec,
    /// How often a configuration was put into force since the start; the first one is 1.
    pub config_generation: IntGauge,
    /// When the configuration in force was put there, in seconds since the epoch.
    pub config_in_force_since: IntGauge,
    /// Whether the last configuration that was read was refused: 1, or 0.
    pub config_refused: IntGauge,
    /// Open connections of clients.
    pub connections_open: IntGauge,
    /// Connections closed before their first request, by reason (`too_many`, `too_many_from_address`, `proxy_header`).
    pub connections_refused: IntCounterVec,
}

impl Metrics {
    /// A registry of its own with every metric in it.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "one entry per metric")]
    pub fn new() -> Self {
        let registry = Registry::new();
        let r = &registry;
        Self {
            requests: counters(r, "requests_total", "Requests by route and outcome", &["route", "outcome"]),
            request_seconds: histograms(
                r,
                "request_duration_seconds",
                "Duration of requests by route and outcome",
                &["route", "outcome"],
                REQUEST_SECONDS,
            ),
            refusals: counters(
                r,
                "refusals_total",
                "Requests not let through, by route and reason",
                &["route", "reason"],
            ),
            in_flight: register(
                r,
                IntGauge::with_opts(opts("requests_in_flight", "Requests being served now")),
            ),
            lookups: counters(
                r,
                "context_lookups_total",
                "Context lookups by what was looked up, layer and result",
                &["what", "layer", "result"],
            ),
            lookup_seconds: histograms(
                r,
                "context_lookup_duration_seconds",
                "Duration of context lookups by layer",
                &["layer"],
                LOOKUP_SECONDS,
            ),
            resolutions: counters(r, "resolutions_total", "Resolved sessions by outcome", &["outcome"]),
            rejected_tokens: counters(
                r,
                "rejected_tokens_total",
                "Session cookies refused before any store was asked, by reason",
                &["reason"],
            ),
            scrubbed_headers: register(
                r,
                IntCounter::with_opts(opts(
                    "scrubbed_headers_total",
                    "Request headers removed because they are ours or could be mistaken for ours",
                )),
            ),
            sessions: counters(r, "sessions_total", "Sessions by what happened to them", &["event"]),
            platform_switches: register(
                r,
                IntCounter::with_opts(opts("platform_switches_total", "Platform switches")),
            ),
            directives: counters(r, "directives_total", "Session directives by result", &["result"]),
            csrf_rejections: counters(
                r,
                "csrf_rejections_total",
                "Unsafe requests refused because they may be forged, by place and reason",
                &["place", "reason"],
            ),
            signing_seconds: register(
                r,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "countersign_signing_duration_seconds",
                        "Time to render and sign the context of one request",
                    )
                    .buckets(SIGNING_SECONDS.to_vec()),
                ),
            ),
            upstream_errors: counters(
                r,
                "upstream_errors_total",
                "Upstream errors by upstream and kind",
                &["upstream", "kind"],
            ),
            upstream_healthy: register(
                r,
                IntGaugeVec::new(
                    opts("upstream_healthy_servers", "Healthy servers by upstream"),
                    &["upstream"],
                ),
            ),
            framework_refusals: counters(
                r,
                "framework_refusals_total",
                "Requests refused by the HTTP layer before policy saw them, by kind",
                &["kind"],
            ),
            activity_batches: counters(
                r,
                "activity_batches_total",
                "Batches of last-seen times written, by layer and result",
                &["layer", "result"],
            ),
            store_writes_failed: counters(
                r,
                "store_writes_failed_total",
                "Changes durable in the directory that could not be told to the store, by what was to be written",
                &["what"],
            ),
            store_writes_pending: register(
                r,
                IntGauge::with_opts(opts(
                    "store_writes_pending",
                    "Writes to the store that failed and wait to be tried again",
                )),
            ),
            store_writes_retried: counters(
                r,
                "store_writes_retried_total",
                "Writes to the store that were made after they had failed, by what was written",
                &["what"],
            ),
            unconfirmed_ends: register(
                r,
                IntGauge::with_opts(opts(
                    "unconfirmed_ends",
                    "Ends of sessions that were accepted while the directory was away and are not durable yet",
                )),
            ),
            store_doubtful: register(
                r,
                IntGauge::with_opts(opts(
                    "store_doubtful",
                    "Whether what the store holds is not believed until missed changes were gone through: 1, or 0",
                )),
            ),
            store_doubts: counters(
                r,
                "store_doubts_total",
                "Doubts about the store that were settled, by how",
                &["how"],
            ),
            invalidations: counters(
                r,
                "invalidations_total",
                "Changes of which the copies of this process were told, by what changed",
                &["what"],
            ),
            lease_age: register(
                r,
                Gauge::with_opts(opts(
                    "lease_age_seconds",
                    "Time since it was proven that no change in the store was missed; -1 while none are heard of",
                )),
            ),
            cache_entries: register(
                r,
                IntGauge::with_opts(opts(
                    "cache_entries",
                    "Copies of contexts, entities and unknown sessions",
                )),
            ),
            cache_bytes: register(
                r,
                IntGauge::with_opts(opts("cache_bytes", "Weight of the copies in this process")),
            ),
            loader_batch_keys: histograms(
                r,
                "loader_batch_keys",
                "Keys in one query of the directory, by what was looked up",
                &["what"],
                BATCH_KEYS,
            ),
            loader_waiting_keys: register(
                r,
                IntGauge::with_opts(opts(
                    "loader_waiting_keys",
                    "Keys that wait for a query of the directory",
                )),
            ),
            loader_shed: counters(
                r,
                "loader_shed_total",
                "Lookups not made because too many waited already, by what was looked up",
                &["what"],
            ),
            breaker_state: register(
                r,
                IntGaugeVec::new(
                    opts(
                        "breaker_state",
                        "Whether calls are let through to a server: 0 all, 1 one probe, 2 none",
                    ),
                    &["server"],
                ),
            ),
            directory_changes: counters(
                r,
                "directory_changes_total",
                "Changes that the directory told, by what changed",
                &["what"],
            ),
            directory_listening: register(
                r,
                IntGauge::with_opts(opts(
                    "directory_listening",
                    "Whether changes of the directory are told: 1, or 0",
                )),
            ),
            event_streams: register(
                r,
                IntGaugeVec::new(
                    opts("event_streams_open", "Event streams of our own that are open, by kind"),
                    &["kind"],
                ),
            ),
            streams_ended: counters(
                r,
                "streams_ended_total",
                "Streams ended because their session was, by kind",
                &["kind"],
            ),
            panics: register(r, IntCounter::with_opts(opts("panics_total", "Panics caught"))),
            reloads: counters(r, "reloads_total", "Configurations read again, by result", &["result"]),
            config_generation: register(
                r,
                IntGauge::with_opts(opts(
                    "config_generation",
                    "How often a configuration was put into force since the start",
                )),
            ),
            config_in_force_since: register(
                r,
                IntGauge::with_opts(opts(
                    "config_in_force_since_seconds",
                    "When the configuration in force was put there, since the epoch",
                )),
            ),
            config_refused: register(
                r,
                IntGauge::with_opts(opts(
                    "config_refused",
                    "Whether the last configuration that was read was refused: 1, or 0",
                )),
            ),
            connections_open: register(
                r,
                IntGauge::with_opts(opts("connections_open", "Open connections of clients")),
            ),
            connections_refused: counters(
                r,
                "connections_refused_total",
                "Connections closed before their first request, by reason",
                &["reason"],
            ),
            registry,
        }
    }

    /// What every breaker lets through now, by the server it stands in front of.
    pub fn breakers(&self) -> Vec<(String, &'static str)> {
        let families = self.breaker_state.collect();
        let all = families.iter().flat_map(prometheus::proto::MetricFamily::get_metric);
        let state = |metric: &prometheus::proto::Metric| {
            let server = metric.get_label().first().map(|label| label.value().to_owned());
            let value = metric.get_gauge().value();
            let word = if value < 0.5 {
                "closed"
            } else if value < 1.5 {
                "half_open"
            } else {
                "open"
            };
            (server.unwrap_or_default(), word)
        };
        all.map(state).collect()
    }

    /// Counts one lookup of `what` (`session`, `user`, `platform`, `user_platforms`, `settings`).
    pub fn count_lookup(&self, what: &str, layer: Layer, result: LookupResult) {
        self.lookups.with_label_values(&[what, layer.as_str(), result.as_str()]).inc();
    }

    /// Counts a session cookie that was refused without I/O.
    pub fn count_rejected_token(&self, reason: Reason) {
        self.rejected_tokens.with_label_values(&[reason.code()]).inc();
    }

    /// Everything in the text format of Prometheus.
    ///
    /// # Errors
    /// When a metric is inconsistent, which is a fault of ours.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(registry, IntCounterVec::new(opts(name, help), labels))
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let opts = HistogramOpts::new(format!("countersign_{name}"), help).buckets(buckets.to_vec());
    register(registry, HistogramVec::new(opts, labels))
}

fn opts(name: &str, help: &str) -> Opts {
    Opts::new(format!("countersign_{name}"), help)
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, metric: prometheus::Result<C>) -> C {
    let metric = metric.expect("names and labels are constants of this file, checked by its test");
    registry.register(Box::new(metric.clone())).expect("each name is registered once");
    metric
}

#[cfg(test)]
mod tests {
    use super::Metrics;

    #[test]
    fn every_metric_can_be_made_and_rendered() {
        let metrics = Metrics::new();
        metrics.scrubbed_headers.inc();
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(text.contains("countersign_scrubbed_headers_total 1"));
    }
}
