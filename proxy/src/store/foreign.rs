//! What the store says of a session that another framework keeps there: the session itself, which is only ever read, and
//! what is ours about it, which lies under keys of our own.

use std::time::Duration;

use super::Lookup;
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, PlatformId, SessionId};
use crate::formats::decode::Raw;
use crate::secret::Secret;

/// Where a foreign session lies.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    /// Our name for it.
    pub id: SessionId,
    /// The framework's key; `None` where the session itself lies elsewhere, and only what is ours about it lies here.
    pub key: Option<Secret>,
    /// Whether it is a hash.
    pub is_hash: bool,
}

/// The answer to one lookup of a foreign session.
#[derive(Clone, Debug)]
pub struct ForeignAnswer {
    /// What the framework keeps.
    pub session: Lookup<Raw>,
    /// How long it still lives; `None` when Redis would keep it for ever.
    pub lives: Option<Duration>,
    /// We ended it, whatever the framework says.
    pub ended: bool,
    /// How long the word of that still lives.
    pub ended_lives: Option<Duration>,
    /// What is ours about it.
    pub own: Own,
}

/// What is ours about a foreign session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Own {
    /// When a proxy first saw it.
    pub seen: Option<Timestamp>,
    /// The platform that was chosen through a proxy; the inner `None` is the user's default.
    pub platform: Option<Option<PlatformId>>,
    /// How long this still lives.
    pub lives: Option<Duration>,
    /// The version of the directory's record that it was written from; `None` when the directory has not confirmed it.
    pub version: Option<u64>,
}

impl ForeignAnswer {
    /// Nothing is known: what a store that is away comes to.
    pub const NOTHING: Self = Self {
        session: Lookup::Missing,
        lives: None,
        ended: false,
        ended_lives: None,
        own: Own { seen: None, platform: None, lives: None, version: None },
    };
}

impl Own {
    /// What the directory keeps, where this store has nothing that the directory confirmed.
    pub fn complete(&mut self, record: &ForeignRecord) {
        if self.version.is_none() {
            self.seen = Some(self.seen.map_or(record.seen, |seen| seen.min(record.seen)));
            // What the store alone knows was chosen where nothing was kept elsewhere.
            self.platform = record.platform.clone().or(self.platform.take());
        }
    }
}

/// The shortest time that what is ours about a foreign session is kept: applications renew their sessions without
/// telling us (31 days).
pub const OWN_KEPT: Duration = Duration::from_hours(31 * 24);

/// How long what is ours is kept beside a session that lives for `lives`.
#[must_use]
pub fn kept_beside(lives: Option<Duration>) -> Duration {
    lives.map_or(OWN_KEPT, |lives| OWN_KEPT.max(lives.saturating_mul(2)))
}

/// Whether something that lives for `own` has to be renewed to outlive a session that lives for `lives`. Renewing is a
/// write, of which every process is told; so it is done seldom.
#[must_use]
pub fn needs_renewal(own: Option<Duration>, lives: Option<Duration>) -> bool {
    own.is_some_and(|own| own < kept_beside(lives) / 2)
}
