//! A user looks at their sessions, and ends one of them.

use super::{Ended, Lifecycle, LifecycleError, NO_SUCH_SESSION, Origin};
use crate::context::{SessionId, UserId};
use crate::directory::SessionRow;

impl Lifecycle {
    /// The sessions of a user that stand, newest first. One that was replaced by rotation is not told beside its
    /// successor, and one that idled too long is over.
    ///
    /// # Errors
    /// `Undetermined` when the directory could not say.
    pub async fn standing_sessions(&self, user: &UserId) -> Result<Vec<SessionRow>, LifecycleError> {
        let now = self.clock.now();
        let mut rows = self.directory.sessions_of(user, now).await?;
        rows.retain(|row| {
            let session = &row.session;
            // Written uses are behind by up to two intervals.
            let seen = row.last_seen.unwrap_or(session.created).max(session.created);
            let idle_end = seen.plus(self.settings.idle_timeout + 2 * self.settings.touch_interval);
            session.user == *user && session.successor.is_none() && session.expires > now && idle_end > now
        });
        Ok(rows)
    }

    /// Ends one session of a user, named by its id.
    ///
    /// # Errors
    /// `NO_SUCH_SESSION` when it is unknown, over, or somebody else's, which nobody can tell apart; `Undetermined` as
    /// for [`Self::end`].
    pub async fn end_of_user(
        &self,
        user: &UserId,
        id: &SessionId,
        origin: &Origin,
    ) -> Result<Ended, LifecycleError> {
        let now = self.clock.now();
        let row = self.row(id).await?.ok_or(NO_SUCH_SESSION)?;
        if row.session.user != *user || row.ended.is_some() || row.session.expires <= now {
            return Err(NO_SUCH_SESSION);
        }
        self.end(&row.session, origin).await
    }
}
