//! How anybody who learns of a change tells the copies of this process: the store's own reports, notices of the
//! directory, and whoever changes something here.

use crate::context::{PlatformId, SessionId, UserId};

/// Drops copies. Each call takes effect before it returns, neither waits nor does I/O, and may be made at any time.
pub trait Invalidate: Send + Sync {
    /// A user, or which platforms they have, changed.
    fn user(&self, id: &UserId);

    /// A platform changed. Whoever owns it is told by [`Self::user`] when platforms come, go or become the default.
    fn platform(&self, id: &PlatformId);

    /// A session began, changed or ended.
    fn session(&self, id: &SessionId);

    /// Nobody can say what changed.
    fn everything(&self);
}
