//! A session gets another platform.

use super::{ATTEMPTS, Lifecycle, LifecycleError, Origin, SESSION_OVER, STALE};
use crate::context::{Platform, PlatformId, Session};
use crate::directory::{AuditEntry, Change};
use crate::store::Event;

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
        if let Some(id) = platform {
            self.own_platform(&session.user, id).await?;
            self.count_switch(&session.user).await?;
        }
        self.change_platform(session, platform, None, origin).await
    }

    /// The same for a person in front of a page, who is told what was chosen. Two that switch at once come one after
    /// the other; the later one stays. With `version`, the session must still be at it: whoever saw an older one is
    /// told so instead.
    ///
    /// # Errors
    /// As [`Self::set_platform`]; `STALE` when the session is at another version.
    pub async fn switch_platform(
        &self,
        session: &Session,
        platform: &PlatformId,
        version: Option<u64>,
        origin: &Origin,
    ) -> Result<(Session, Platform), LifecycleError> {
        let chosen = self.own_platform(&session.user, platform).await?;
        self.count_switch(&session.user).await?;
        let stands = self.change_platform(session, Some(platform), version, origin).await?;
        Ok((stands, chosen))
    }

    async fn change_platform(
        &self,
        session: &Session,
        platform: Option<&PlatformId>,
        version: Option<u64>,
        origin: &Origin,
    ) -> Result<Session, LifecycleError> {
        if session.is_foreign() {
            return self.choose_for_foreign(session, platform, origin).await;
        }
        let now = self.clock.now();
        let mut current = session.clone();
        for _ in 0..ATTEMPTS {
            if current.successor.is_some() {
                current = self.newest(&current.id, now).await?;
            }
            let seen = version.unwrap_or(current.version);
            let line = AuditEntry {
                platform: platform.cloned(),
                ..origin.line_about("platform_switched", &current, now)
            };
            match self.directory.set_platform(&current.id, seen, platform, now, Some(&line)).await? {
                Change::Done(stands) => {
                    // Joined in this order, so that no tab hears of the switch before the store has it.
                    let told = self.tell_session(&stands, now);
                    let announced = self.announce(&stands.user, [Event::platform_switched(&stands)]);
                    futures_util::join!(told, announced);
                    self.metrics.platform_switches.inc();
                    return Ok(stands);
                }
                Change::Gone => return Err(SESSION_OVER),
                Change::Conflict if version.is_some() => return Err(STALE),
                Change::Conflict => current = self.newest(&current.id, now).await?,
            }
        }
        Err(LifecycleError::Conflict)
    }
}
