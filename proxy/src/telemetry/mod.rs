//! What is counted and told. Everybody may count; nothing here knows HTTP types, stores or Pingora.

pub mod metrics;

pub use metrics::Metrics;
