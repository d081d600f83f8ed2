//! Mirror of what the configuration file says about traces.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{SecretSource, Span};

/// `[traces]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Traces {
    /// Where records of requests are sent: the URL of a collector that speaks OTLP over HTTP (protobuf), such as
    /// `"http://127.0.0.1:4318/v1/traces"`. Without it nothing is recorded, and trace context passes as any other header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// The share of requests that are recorded, from 0 to 1. Trusted proxies (`trusted_proxies` of the listener) decide
    /// for the requests in which they send trace context.
    pub(crate) sample: f64,
    /// Headers that the collector asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) headers: Vec<TraceHeader>,
    /// PEM file of the authority of the collector's certificate. Default: those that browsers trust.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    /// What the proxy is called in traces (`service.name`).
    pub(crate) service: String,
    /// The longest that the collector may take to answer. Requests never wait for it.
    pub(crate) timeout: Span,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample: 0.01,
            headers: Vec::new(),
            ca: None,
            service: "countersign".to_owned(),
            timeout: Span::from_secs(5),
        }
    }
}

/// A header for the collector.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TraceHeader {
    /// Its name.
    pub(crate) name: String,
    /// Where its value is found.
    pub(crate) value: SecretSource,
}
