//! How those who learn of a change tell what this process keeps of it. Calls are quick and never wait.

use crate::context::{PlatformId, SessionId, UserId};

/// Something that keeps copies of records in this process.
pub trait Invalidate: Send + Sync + 'static {
    /// Drops what is kept of a user, the choice of a default platform included.
    fn user(&self, id: &UserId);

    /// Drops what is kept of a platform.
    fn platform(&self, id: &PlatformId);

    /// Drops what is kept of a user's settings for a platform.
    fn user_settings(&self, user: &UserId, platform: &PlatformId);

    /// Drops what is kept of a session.
    fn session(&self, id: &SessionId);

    /// Drops everything: some changes were not told.
    fn everything(&self);
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NothingKept;

impl Invalidate for NothingKept {
    fn user(&self, _: &UserId) {}

    fn platform(&self, _: &PlatformId) {}

    fn user_settings(&self, _: &UserId, _: &PlatformId) {}

    fn session(&self, _: &SessionId) {}

    fn everything(&self) {}
}
