//! Event streams of the proxy's own, and what befalls a user with too many sessions, as written in the file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::Span;

/// `[events]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Events {
    /// Event streams that one session may have open: one for each tab.
    #[schemars(range(min = 1))]
    pub(crate) streams_per_session: usize,
    /// Event streams that one user may have open.
    #[schemars(range(min = 1))]
    pub(crate) streams_per_user: usize,
    /// Event streams that this process keeps open.
    pub(crate) streams: usize,
    /// How often a silent stream says that it lives; proxies in between cut silent connections.
    pub(crate) heartbeat: Span,
    /// How long before its end a session is said to be about to expire.
    pub(crate) expiry_warning: Span,
}

impl Default for Events {
    fn default() -> Self {
        Self {
            streams_per_session: 16,
            streams_per_user: 64,
            streams: 10_000,
            heartbeat: Span::from_secs(15),
            expiry_warning: Span::from_secs(300),
        }
    }
}

/// What happens when a user begins more sessions than are allowed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WhenExceeded {
    /// The oldest session ends.
    EndOldest,
    /// The new session does not begin: 409.
    Refuse,
}
