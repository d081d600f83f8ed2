//! Every metric: name, labels, help. Nothing is counted anywhere else, and every label comes from a closed set
//! (route and upstream names of the configuration, words of our enums): never a path, user or session id.

use std::time::Instant;

use prometheus::core::Collector;
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
};

use super::effects::Effects;
use super::exemplars::Exemplars;
use super::open_metrics;
use super::recent::Recent;
pub use super::registration::Description;
use super::registration::{Kind, register, registry};
pub use super::spread::Counter;
use super::spread::{Busy, Counters, Durations, DurationsVec};
use crate::context::{Layer, SessionId};
use crate::reason::Reason;

/// Buckets for whole requests and answers of applications, in seconds: from a small answer over loopback (100 us
/// measured) to a slow report.
pub(super) const REQUEST_SECONDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// Buckets for lookups, in seconds: from one loopback round trip (20 us measured) to the budget (250 ms).
const LOOKUP_SECONDS: &[f64] =
    &[0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25];
/// Buckets for signing, in seconds: HMAC takes 0.3 us, an asymmetric JWT 10 to 30 us (measured).
const SIGNING_SECONDS: &[f64] =
    &[0.000_001, 0.000_002, 0.000_005, 0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.001];

/// Buckets for revocations, in seconds: typically under a millisecond in the store, at most the lease (100 ms) and the
/// write to the directory, and far longer over an outage.
const REVOCATION_SECONDS: &[f64] =
    &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0, 60.0];

/// Buckets for keys in one query: up to the largest batch (512).
const BATCH_KEYS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

/// One number that goes up and down, for those who count what is there.
pub type Level = IntGauge;

/// A number that no metric shows.
#[must_use]
pub fn unregistered() -> Level {
    IntGauge::with_opts(Opts::new("unregistered", "Not registered")).expect("the name is well formed")
}

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

registry! {
    requests: Counters "requests_total" ["route", "outcome"]
        "Requests by route and outcome (`forwarded`, `refused`, `answered`, `failed`, `dropped`)";
    request_seconds: DurationsVec "request_duration_seconds" ["route", "outcome"] in REQUEST_SECONDS
        "Duration of requests that are no streams, by route and outcome";
    upstream_seconds: DurationsVec "upstream_response_duration_seconds" ["upstream"] in REQUEST_SECONDS
        "Time from the sending of a request to the head of its answer, by upstream";
    refusals: IntCounterVec "refusals_total" ["route", "reason"]
        "Requests not let through, by route and reason";
    reported: IntCounterVec "reported_refusals_total" ["route", "reason"]
        "Requests let through by routes that only report and would otherwise have refused them, by route and reason";
    in_flight: Busy "requests_in_flight" []
        "Requests being served now";
    lookups: Counters "context_lookups_total" ["what", "layer", "result"]
        "Context lookups by what was looked up, layer and result";
    lookup_seconds: HistogramVec "context_lookup_duration_seconds" ["layer"] in LOOKUP_SECONDS
        "Duration of context lookups by layer";
    resolutions: Counters "resolutions_total" ["outcome"] = ["known", "unknown", "undetermined"]
        "Resolved sessions by outcome";
    rejected_tokens: IntCounterVec "rejected_tokens_total" ["reason"]
        "Session cookies refused before any store was asked, by reason";
    scrubbed_headers: IntCounter "scrubbed_headers_total" []
        "Request headers removed because they are ours or could be mistaken for ours";
    sessions: IntCounterVec "sessions_total" ["event"] = ["started", "rotated", "ended", "end_accepted"]
        "Sessions by what happened to them; `end_accepted` was not durable yet when it was answered";
    platform_switches: IntCounter "platform_switches_total" []
        "Platform switches";
    directives: IntCounterVec "directives_total" ["result"] = ["carried_out", "ignored", "refused", "undetermined"]
        "Session directives by result";
    csrf_rejections: IntCounterVec "csrf_rejections_total" ["place", "reason"]
        "Unsafe requests refused because they may be forged, by place and reason";
    signing_seconds: Durations "signing_duration_seconds" [] in SIGNING_SECONDS
        "Time to render and sign the context of one request";
    upstream_errors: IntCounterVec "upstream_errors_total" ["upstream", "kind"]
        "Upstream errors by upstream and kind";
    upstream_healthy: IntGaugeVec "upstream_healthy_servers" ["upstream"]
        "Healthy servers by upstream";
    framework_refusals: IntCounterVec "framework_refusals_total" ["kind"] = ["malformed_head", "tls_handshake", "http2_handshake"]
        "Requests refused by the HTTP layer before policy saw them, by kind";
    activity_batches: IntCounterVec "activity_batches_total" ["layer", "result"]
        "Batches of last-seen times written, by layer and result";
    store_writes_failed: IntCounterVec "store_writes_failed_total" ["what"] = ["session", "tombstone", "entities", "event", "record"]
        "Changes durable in the directory that could not be told to the store, by what was to be written";
    store_writes_pending: IntGauge "store_writes_pending" []
        "Writes to the store that failed and wait to be tried again";
    store_writes_retried: IntCounterVec "store_writes_retried_total" ["what"] = ["session", "tombstone", "entities"]
        "Writes to the store that were made after they had failed, by what was written";
    unconfirmed_ends: IntGauge "unconfirmed_ends" []
        "Ends of sessions that were accepted while the directory was away and are not durable yet";
    foreign_notes_waiting: IntGauge "foreign_notes_waiting" []
        "Sessions of other frameworks that were first seen here and are not noted in the directory yet";
    store_doubtful: IntGauge "store_doubtful" []
        "Whether what the store holds is not believed until missed changes were gone through: 1, or 0";
    store_doubts: IntCounterVec "store_doubts_total" ["how"] = ["settled", "trusted"]
        "Doubts about the store that were settled, by how";
    invalidations: Counters "invalidations_total" ["what"] = ["session", "entity", "everything"]
        "Changes of which the copies of this process were told, by what changed";
    lease_age: Gauge "lease_age_seconds" []
        "Time since it was proven that no change in the store was missed; -1 while none are heard of";
    cache_entries: IntGauge "cache_entries" []
        "Copies of contexts, entities and unknown sessions";
    cache_bytes: IntGauge "cache_bytes" []
        "Weight of the copies in this process";
    loader_batch_keys: HistogramVec "loader_batch_keys" ["what"] in BATCH_KEYS
        "Keys in one query of the directory, by what was looked up";
    loader_waiting_keys: IntGauge "loader_waiting_keys" []
        "Keys that wait for a query of the directory";
    loader_shed: IntCounterVec "loader_shed_total" ["what"] = ["session", "foreign_session", "user", "platform", "user_platforms", "settings", "stats"]
        "Lookups not made because too many waited already, by what was looked up";
    breaker_state: IntGaugeVec "breaker_state" ["server"]
        "Whether calls are let through to a server: 0 all, 1 one probe, 2 none";
    directory_changes: IntCounterVec "directory_changes_total" ["what"]
        "Changes that the directory told, by what changed";
    directory_listening: IntGauge "directory_listening" []
        "Whether changes of the directory are told: 1, or 0";
    directory_query_usable: IntGaugeVec "directory_query_usable" ["query"]
        "Whether a query of the configuration fits the database, by its key: 1, or 0";
    event_streams: IntGaugeVec "event_streams_open" ["kind"] = ["sse", "websocket"]
        "Event streams of our own that are open, by kind";
    streams_ended: Counters "streams_ended_total" ["kind"] = ["events", "forwarded"]
        "Streams ended because their session was, by kind";
    panics: IntCounter "panics_total" []
        "Panics caught";
    reloads: IntCounterVec "reloads_total" ["result"] = ["applied", "refused"]
        "Configurations read again, by result";
    config_generation: IntGauge "config_generation" []
        "How often a configuration was put into force since the start";
    config_in_force_since: IntGauge "config_in_force_since_seconds" []
        "When the configuration in force was put there, since the epoch";
    config_refused: IntGauge "config_refused" []
        "Whether the last configuration that was read was refused: 1, or 0";
    connections_open: IntGauge "connections_open" []
        "Open connections of clients";
    directory_connections: IntGaugeVec "directory_connections" ["state"] = ["in_use", "idle"]
        "Connections of the pool of the directory, by state";
    directory_connections_limit: IntGauge "directory_connections_limit" []
        "The most connections that the pool of the directory may have; 0 where there is no pool";
    revocation_seconds: Histogram "revocation_effect_duration_seconds" [] in REVOCATION_SECONDS
        "Time from the order to end a session until this process heard of it from the store, as every proxy does";
    key_age: GaugeVec "key_age_seconds" ["purpose", "key"]
        "How long a key has been in use: since its `active_from`, else since this process first had it; negative before";
    certificate_expiry: GaugeVec "certificate_expiry_seconds" ["listener"]
        "When the first of the certificates of a listener expires, since the epoch";
    log_lines_dropped: IntCounter "log_lines_dropped_total" []
        "Log lines dropped because whoever reads the log was too slow";
    spans: IntCounterVec "trace_spans_total" ["result"] = ["exported", "dropped", "failed"]
        "Spans of sampled requests by result: `dropped` found the queue full, `failed` were not taken by the collector";
    build_info: IntGaugeVec "build_info" ["version"]
        "1, with the version of this program";
    connections_refused: IntCounterVec "connections_refused_total" ["reason"] = ["too_many", "too_many_from_address", "proxy_header"]
        "Connections closed before their first request, by reason";
}

impl Metrics {
    /// Facts that never change, and what the kernel knows of this process under the names that everybody uses.
    fn about_the_process(self) -> Self {
        self.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        #[cfg(target_os = "linux")]
        self.registry
            .register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))
            .expect("no name of ours begins with `process_`");
        self
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

    /// Counts one lookup of `what` (`session`, `foreign_session`, `user`, `platform`, `user_platforms`, `settings`).
    pub fn count_lookup(&self, what: &str, layer: Layer, result: LookupResult) {
        self.lookups.with_label_values(&[what, layer.as_str(), result.as_str()]).inc();
    }

    /// Counts a session cookie that was refused without I/O.
    pub fn count_rejected_token(&self, reason: Reason) {
        self.rejected_tokens.with_label_values(&[reason.code()]).inc();
    }

    /// Notes that the end of a session was ordered at `began` and is durable.
    pub fn end_ordered(&self, id: &SessionId, began: Instant) {
        self.effects.expect(id, began);
    }

    /// Notes that the store told of a change of a session.
    pub fn session_told(&self, id: &SessionId) {
        if let Some(took) = self.effects.arrived(id) {
            self.revocation_seconds.observe(took.as_secs_f64());
        }
    }

    /// Everything in the format of OpenMetrics 1.0, with traces as exemplars.
    pub fn render_open_metrics(&self) -> Vec<u8> {
        open_metrics::render(&self.registry.gather(), &self.exemplars)
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
