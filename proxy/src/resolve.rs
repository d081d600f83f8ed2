//! Session id in, one of three outcomes out: session, user and platform from the store, the directory behind it.

use std::time::Duration;

use tokio::time::Instant;

use crate::context::{Resolution, SessionId};

/// How long resolving may take.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The budget of one request (250 ms).
    pub budget: Duration,
}

/// Resolves sessions; one per process, shared by all requests.
#[derive(Debug)]
pub struct Resolver(());

impl Resolver {
    /// Resolves one session by `deadline`.
    pub async fn resolve(&self, _id: &SessionId, _deadline: Instant) -> Resolution {
        todo!()
    }
}
