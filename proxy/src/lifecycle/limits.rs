//! What a user may have and do: sessions at once, switches within an hour, acting for somebody else.

use std::time::Duration;

use super::{Lifecycle, LifecycleError, Origin, Start};
use crate::clock::Timestamp;
use crate::context::{Session, SessionId, User, UserId};
use crate::session::WhenExceeded;
use crate::store::{Allowance, Event};

/// The window in which switches are counted; it begins with the first one.
const HOUR: Duration = Duration::from_hours(1);

impl Lifecycle {
    /// Whether there is room for the session that is to begin, before anything is done for it: what is refused is not
    /// carried out in part. Two at the same moment may both find room; [`Self::make_room`] sees that.
    ///
    /// # Errors
    /// `TooManySessions` when nobody's place may be taken.
    pub(super) async fn check_room(&self, start: &Start, now: Timestamp) -> Result<(), LifecycleError> {
        let allowances = &self.settings.allowances;
        let Some(most) = allowances.sessions_per_user.filter(|_| start.actor.is_none()) else {
            return Ok(());
        };
        if allowances.when_exceeded == WhenExceeded::EndOldest {
            return Ok(());
        }
        let others = self.sessions_beside(&start.user, start.replaces.as_ref(), now).await?;
        if others.len() < most { Ok(()) } else { Err(LifecycleError::TooManySessions) }
    }

    /// The user's sessions in use that take up a place, but for `one` and what it was rotated from; newest first.
    async fn sessions_beside(
        &self,
        user: &UserId,
        one: Option<&SessionId>,
        now: Timestamp,
    ) -> Result<Vec<Session>, LifecycleError> {
        let mut rows = self.directory.sessions_of(user, now).await?;
        rows.retain(|row| {
            let session = &row.session;
            let seen = row.last_seen.unwrap_or_default().max(session.created);
            let in_use = now.since(seen) < self.settings.idle_timeout;
            let is_beside =
                one.is_none_or(|one| session.id != *one && session.predecessor.as_deref() != Some(one));
            is_beside && session.successor.is_none() && session.actor.is_none() && in_use
        });
        Ok(rows.into_iter().map(|row| row.session).collect())
    }

    /// Makes room for `new`, which the directory holds already: so that of two that begin at the same moment each sees
    /// the other, and only those are ended or refused that are too many.
    ///
    /// # Errors
    /// `TooManySessions` when nobody's place may be taken; `new` is ended then.
    pub(super) async fn make_room(
        &self,
        new: &Session,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(), LifecycleError> {
        let allowances = &self.settings.allowances;
        // Somebody else's work in the user's name takes nobody's place.
        let Some(most) = allowances.sessions_per_user.filter(|_| new.actor.is_none()) else { return Ok(()) };
        let others = self.sessions_beside(&new.user, Some(&new.id), now).await?;
        match allowances.when_exceeded {
            WhenExceeded::EndOldest => {
                let too_many: Vec<Session> = others.into_iter().skip(most.saturating_sub(1)).collect();
                self.end_crowd(new, &too_many, &by_proxy(origin), now).await
            }
            WhenExceeded::Refuse => {
                // All of them, whoever began first: the last one to be written sees all others. Of two at the same
                // moment both may be refused, but never are there too many.
                if others.len() < most {
                    return Ok(());
                }
                let line = by_proxy(origin).line_about("session_ended", new, now);
                self.directory.end_sessions(&[new.id], now, Some(&line)).await?;
                Err(LifecycleError::TooManySessions)
            }
        }
    }

    async fn end_crowd(
        &self,
        new: &Session,
        too_many: &[Session],
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(), LifecycleError> {
        for session in too_many {
            let line = origin.line_about("session_ended", session, now);
            let ended = self.end_family(&session.id, now, Some(&line)).await?.ids;
            let events = ended.iter().map(|id| Event::SessionEnded { session: *id });
            let announced = self.announce(&new.user, events.collect::<Vec<_>>());
            // A failure is counted there.
            let _told = futures_util::join!(self.tell_ended(&ended, now), announced);
            self.count("ended");
        }
        Ok(())
    }

    /// Counts one more switch of the user. When the store cannot count, nobody is kept from working.
    ///
    /// # Errors
    /// `TooManySwitches` with the seconds until the window ends.
    pub(super) async fn count_switch(&self, user: &UserId) -> Result<(), LifecycleError> {
        let Some(most) = self.settings.allowances.switches_per_hour else { return Ok(()) };
        match self.store.count_use(user, Allowance::PlatformSwitches, HOUR).await {
            Ok(counted) if counted.count > most => {
                Err(LifecycleError::TooManySwitches { retry_after: counted.ends_in.as_secs() + 1 })
            }
            Ok(_) => Ok(()),
            Err(error) => {
                tracing::warn!(%error, "switches of platforms are not counted at the moment");
                Ok(())
            }
        }
    }

    /// Whether the actor of a session that is to begin may act for somebody else: with a role for it, and never out of a
    /// session in which somebody acts already.
    pub(super) fn check_actor(&self, start: &Start, people: &[User]) -> Result<(), LifecycleError> {
        let Some(actor) = &start.actor else { return Ok(()) };
        let Some(actor) = people.iter().find(|user| user.id == *actor && user.active) else {
            return Err(LifecycleError::Impossible("the actor is unknown or inactive"));
        };
        if start.acted {
            return Err(LifecycleError::Impossible("somebody acts in this session already"));
        }
        let roles = &self.settings.allowances.impersonation_roles;
        if actor.roles.iter().any(|role| roles.contains(role)) {
            Ok(())
        } else {
            Err(LifecycleError::Impossible("the actor has no role that may act for others"))
        }
    }
}

/// Nobody asked for it: the login that came later caused it.
fn by_proxy(cause: &Origin) -> Origin {
    Origin { by: "proxy".to_owned(), ..cause.clone() }
}
