//! Watching the proxy: metrics, alerts, logs and traces.

mod alerts;
mod labels;
mod logging;
mod traces;
