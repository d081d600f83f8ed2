//! A session gets a new token.

use super::{ATTEMPTS, LONGEST_CHAIN, Lifecycle, LifecycleError, Origin, SESSION_OVER, Started};
use crate::clock::Timestamp;
use crate::context::{Session, SessionId};
use crate::directory::{Change, SessionRow};
use crate::session::lifetime;
use crate::session::token::SessionToken;

impl Lifecycle {
    /// Puts a successor under a new token in the place of `current`; if that was rotated already, in the place of the
    /// one that took over. The absolute end stays: rotating prolongs nothing.
    ///
    /// On demand the old token stays valid for `rotation_grace`, so that requests under way do not log anyone out.
    /// With `authenticated` (login, change of privilege) the login time is renewed and the old token, with any before
    /// it, ends at once: whoever planted it must not share the new privilege.
    ///
    /// # Errors
    /// `Impossible` when the session is over, `Conflict` when others kept changing it, `Undetermined` when the
    /// directory could not say. A store that cannot be told is no error.
    pub async fn rotate(
        &self,
        current: &Session,
        authenticated: bool,
        origin: &Origin,
    ) -> Result<Started, LifecycleError> {
        if current.is_foreign() {
            return Err(LifecycleError::Impossible("the application's own framework rotates this session"));
        }
        // Taken before the user is read: whoever logs out everywhere in between ends the successor as well.
        let now = self.clock.now();
        let user = self.user(&current.user).await?.ok_or(SESSION_OVER)?;
        lifetime::check_user(current, &user).map_err(|_| SESSION_OVER)?;
        if let Some(actor) = &current.actor {
            let actor = self.user(actor).await?.ok_or(SESSION_OVER)?;
            lifetime::check_actor(current, &actor, &self.settings).map_err(|_| SESSION_OVER)?;
        }
        let mut old = current.clone();
        for _ in 0..ATTEMPTS {
            if old.successor.is_some() {
                old = self.newest(&old.id, now).await?;
            }
            lifetime::check_end(&old, &self.settings, now).map_err(|_| SESSION_OVER)?;
            let token = SessionToken::mint(&self.keys.load());
            let successor = self.successor(&old, token.id(), authenticated, now);
            let grace = (!authenticated).then(|| old.expires.min(now.plus(self.settings.rotation_grace)));
            let line = origin.line_about("session_rotated", &successor, now);
            let rotated =
                self.directory.rotate_session(&old.id, old.version, &successor, grace, now, Some(&line));
            match rotated.await? {
                Change::Done(()) => {
                    self.tell_rotated(&old, &successor, grace, now).await;
                    self.count("rotated");
                    return Ok(Started { token, session: successor });
                }
                Change::Gone => return Err(SESSION_OVER),
                Change::Conflict => old = self.newest(&old.id, now).await?,
            }
        }
        Err(LifecycleError::Conflict)
    }

    /// The successor begins now, so that it is not idle before its first use, but ends when the old session would.
    fn successor(&self, old: &Session, id: SessionId, authenticated: bool, now: Timestamp) -> Session {
        Session {
            id,
            user: old.user.clone(),
            platform: old.platform.clone(),
            created: now,
            authenticated: if authenticated { now } else { old.authenticated },
            expires: lifetime::absolute_end(old, &self.settings),
            predecessor: Some(Box::new(old.id)),
            successor: None,
            actor: old.actor.clone(),
            version: 1,
        }
    }

    async fn tell_rotated(
        &self,
        old: &Session,
        successor: &Session,
        grace: Option<Timestamp>,
        now: Timestamp,
    ) {
        if let Some(expires) = grace {
            let version = old.version + 1;
            let old = Session { expires, successor: Some(Box::new(successor.id)), version, ..old.clone() };
            self.tell_session(&old, now).await;
        } else {
            let mut ended = vec![old.id];
            ended.extend(self.end_predecessors(old, now).await);
            // A failure is counted there.
            let _told = self.tell_ended(&ended, now).await;
        }
        self.tell_session(successor, now).await;
    }

    /// Ends what lies before `session` and may still be in its grace, which is told as the rotation is. Answers what is
    /// over with it; the next one before is among that even if it could not be read.
    async fn end_predecessors(&self, session: &Session, now: Timestamp) -> Vec<SessionId> {
        let mut ended = Vec::new();
        let mut next = session.predecessor.as_deref().copied();
        while let Some(id) = next.filter(|_| ended.len() < LONGEST_CHAIN) {
            ended.push(id);
            // Over before this rotation: then so is whatever lies before it.
            let over =
                |row: &SessionRow| row.ended.is_some_and(|moment| moment < now) || row.session.expires <= now;
            next = match self.row(&id).await {
                Ok(row) => {
                    row.filter(|row| !over(row)).and_then(|row| row.session.predecessor.as_deref().copied())
                }
                Err(_) => None,
            };
        }
        if !ended.is_empty()
            && let Err(error) = self.directory.end_sessions(&ended, now, None).await
        {
            tracing::warn!(%error, "the session before a rotated one may live until the end of its grace");
        }
        ended
    }
}
