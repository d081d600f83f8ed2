//! A session gets another platform.

use super::{ATTEMPTS, Lifecycle, LifecycleError, Origin, SESSION_OVER};
use crate::context::{PlatformId, Session};
use crate::directory::Change;

impl Lifecycle {
    /// Chooses a platform for the session, or clears the choice. If the session was rotated meanwhile, the one that
    /// took its place is changed. Answers the session as it stands; from then on this process serves it so.
    ///
    /// # Errors
    /// `Impossible` when the session is over or the user may not use the platform, `Conflict` when others kept
    /// changing the session, `Undetermined` when the directory could not say.
    pub async fn set_platform(
        &self,
        session: &Session,
        platform: Option<&PlatformId>,
        origin: &Origin,
    ) -> Result<Session, LifecycleError> {
        let now = self.clock.now();
        if let Some(id) = platform {
            self.own_platform(&session.user, id).await?;
        }
        if session.is_foreign() {
            return self.choose_for_foreign(session, platform, origin).await;
        }
        let mut current = session.clone();
        for _ in 0..ATTEMPTS {
            if current.successor.is_some() {
                current = self.newest(&current.id, now).await?;
            }
            match self.directory.set_platform(&current.id, current.version, platform, now).await? {
                Change::Done(stands) => {
                    self.tell_session(&stands, now).await;
                    self.metrics.platform_switches.inc();
                    self.audit("platform_switched", &stands, origin, now).await;
                    return Ok(stands);
                }
                Change::Gone => return Err(SESSION_OVER),
                Change::Conflict => current = self.newest(&current.id, now).await?,
            }
        }
        Err(LifecycleError::Conflict)
    }
}
