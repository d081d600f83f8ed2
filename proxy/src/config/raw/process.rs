//! Mirror of what describes the process in the configuration file: its limits, its log, how it is reloaded and ended.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{Size, Span, SpanOrZero};

/// `[limits]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    /// Largest request target (path and query).
    pub(crate) target_bytes: Size,
    /// Largest header section.
    pub(crate) head_bytes: Size,
    /// Largest number of header fields; the HTTP library beneath ends at 256.
    #[schemars(range(min = 1, max = 256))]
    pub(crate) head_fields: usize,
    /// The largest number of open connections of clients; further ones are closed at once. Default: without limit.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections: Option<usize>,
    /// The largest number of open connections from one address, but for `trusted_proxies`. Behind the PROXY protocol the
    /// client's address counts. Default: without limit.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) connections_per_address: Option<usize>,
    /// The largest number of requests under way on one HTTP/2 connection.
    #[schemars(range(min = 1, max = 1000))]
    pub(crate) streams: u32,
    /// How long clients of HTTP/1.1 are waited for: the longest silence within a body or while an answer is read, and the
    /// longest that a connection stays open without a request. Over HTTP/2: while an answer is read, and within what is
    /// left of a body whose answer has begun. Also how long any body may take; one that takes longer
    /// must bring 64 bytes a second, but where the route has a `read_timeout` of its own. From 1 second to an hour.
    pub(crate) patience: Span,
}

impl Default for Limits {
    fn default() -> Self {
        let crate::policy::Limits { target_bytes, head_bytes, head_fields } =
            crate::policy::Limits::default();
        Self {
            target_bytes: Size(target_bytes as u64),
            head_bytes: Size(head_bytes as u64),
            head_fields,
            connections: None,
            connections_per_address: None,
            streams: 100,
            patience: Span::from_secs(60),
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Log {
    /// The least that is logged. The line of each request is `info`.
    pub(crate) level: Level,
    /// The share of successful requests that get their line, from 0 to 1. Whatever was refused, failed, answered with a
    /// status of 400 or more, or was slow, always gets it.
    pub(crate) successes: f64,
    /// Requests that take at least this long are warnings, and their lines say how long each step took. Streams are
    /// never slow. Default: the steps are not timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) slow: Option<Span>,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: Level::Info, successes: 1.0, slow: None }
    }
}

/// `[reload]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reload {
    /// Whether a change of this file, of what it includes, or of a file with a secret or a certificate makes the proxy
    /// read all of them again. SIGHUP and the admin API always do.
    pub(crate) watch: bool,
}

impl Default for Reload {
    fn default() -> Self {
        Self { watch: true }
    }
}

/// `[shutdown]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shutdown {
    /// How long after SIGTERM requests are still accepted while readiness is false, so that balancers can look elsewhere.
    /// SIGINT skips it.
    pub(crate) lame_duck: SpanOrZero,
    /// How long requests under way may take to finish once no new ones are accepted; WebSockets too.
    pub(crate) grace: SpanOrZero,
}

impl Default for Shutdown {
    fn default() -> Self {
        let secs = |secs| SpanOrZero(std::time::Duration::from_secs(secs));
        Self { lame_duck: secs(5), grace: secs(30) }
    }
}

/// A level of logging.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    /// What needs somebody.
    Error,
    /// What may need somebody soon.
    Warn,
    /// One line a request, and what changes.
    Info,
    /// For finding a fault.
    Debug,
    /// Everything; slow.
    Trace,
}
