//! Panics: counted, and told by their place alone. A panic ends the connection it happened on, never the process (THREATS
//! O9); its message is kept back, because it may show what it stumbled over.

use std::sync::Arc;

use super::Metrics;

/// From now on every panic of this process is counted and told.
pub fn count(metrics: &Arc<Metrics>) {
    let metrics = Arc::clone(metrics);
    std::panic::set_hook(Box::new(move |panic| {
        metrics.panics.inc();
        let (file, line) = panic.location().map_or(("", 0), |at| (at.file(), at.line()));
        tracing::error!(file, line, "panicked");
    }));
}
