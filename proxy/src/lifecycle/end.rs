//! Sessions end: one with its relatives, or all of a user.

use super::{Ended, LONGEST_CHAIN, Lifecycle, LifecycleError, Origin};
use crate::cache::Invalidate;
use crate::clock::Timestamp;
use crate::context::{Session, SessionId, User, UserId};
use crate::directory::{AuditEntry, SessionRow};
use crate::store::{Entity, EntityKey, Event};

/// A session with those before and after it, which are all over.
pub(super) struct Family {
    pub(super) ids: Vec<SessionId>,
    /// Whether the directory knows any of them; else its log has no line either.
    pub(super) is_known: bool,
}

impl Lifecycle {
    /// Ends a session with its predecessor and successor. From then on no proxy that reaches the store serves it; whether
    /// the end is durable already says the answer.
    ///
    /// # Errors
    /// `Undetermined` when neither the directory could confirm nor the store accept it. The tombstone was tried all the
    /// same; nothing is claimed.
    pub async fn end(&self, session: &Session, origin: &Origin) -> Result<Ended, LifecycleError> {
        if session.is_foreign() {
            return self.end_foreign(session, origin).await;
        }
        let (now, began) = (self.clock.now(), std::time::Instant::now());
        let line = origin.line_about("session_ended", session, now);
        let Family { ids: ended, is_known } = match self.end_family(&session.id, now, Some(&line)).await {
            Ok(family) => {
                self.metrics.end_ordered(&session.id, began);
                family
            }
            Err(error) => {
                let known: Vec<_> = session.family().collect();
                if self.accept(Some(session.id), &session.user, &known, origin, now).await.is_err() {
                    // Whoever asks the store shall see it all the same, as far as that goes.
                    let _told = self.tell_ended(&known, now).await;
                    return Err(error);
                }
                let events = known.iter().map(|id| Event::SessionEnded { session: *id }).collect::<Vec<_>>();
                self.announce(&session.user, events).await;
                self.count("ended");
                return Ok(Ended::Accepted);
            }
        };
        let events = ended.iter().map(|id| Event::SessionEnded { session: *id }).collect::<Vec<_>>();
        let _told = futures_util::join!(self.tell_ended(&ended, now), self.announce(&session.user, events));
        self.count("ended");
        if !is_known {
            self.audit(&line).await;
        }
        Ok(Ended::Durable)
    }

    /// Ends all sessions of a user, those that nobody can enumerate too: whatever began before now is over.
    ///
    /// # Errors
    /// `Impossible` for an unknown user, `Undetermined` when neither the directory could confirm nor the store accept it.
    pub async fn end_all(&self, user: &UserId, origin: &Origin) -> Result<Ended, LifecycleError> {
        let now = self.clock.now();
        let (listed, stands) = match self.end_everywhere(user, origin, now).await {
            Ok(ended) => ended,
            Err(error @ LifecycleError::Impossible(_)) => return Err(error),
            // Nothing is accepted that could not be made durable afterwards.
            Err(error) if !self.directory.ends_users() => return Err(error),
            Err(error) => return self.accept_all(user, origin, now).await.map_err(|_| error),
        };
        self.tell_all_ended(stands, &listed, now).await;
        for _ in &listed {
            self.count("ended");
        }
        Ok(Ended::Durable)
    }

    /// The sessions that were listed, and the user as it stands.
    pub(super) async fn end_everywhere(
        &self,
        user: &UserId,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(Vec<SessionRow>, User), LifecycleError> {
        let listed = self.directory.sessions_of(user, now).await?;
        let line = AuditEntry { user: Some(user.clone()), ..origin.line("sessions_ended", now) };
        let stands = self.directory.end_user_sessions(user, now, Some(&line)).await?;
        Ok((listed, stands.ok_or(LifecycleError::Impossible("the user is unknown"))?))
    }

    /// Tombstones for every session anybody knows of, and the user's new moment: an older copy of the user that is
    /// written back by a proxy which read it just before would bring the listed sessions to life again.
    pub(super) async fn tell_all_ended(&self, user: User, listed: &[SessionRow], now: Timestamp) {
        let mut ids: Vec<_> = listed.iter().map(|row| row.session.id).collect();
        ids.extend(self.remembered_and_over(&user.id).await);
        ids.sort_unstable();
        ids.dedup();
        self.copies.user(&user.id);
        let _told = self.tell_ended(&ids, now).await;
        let entities = [Entity::User(user.clone())];
        let told = self.store.put_entities(&entities);
        let (told, ()) = futures_util::join!(told, self.announce(&user.id, [Event::SessionsEnded]));
        if !told.as_ref().is_ok_and(|written| written.len() == entities.len()) {
            // Kept and tried again, as a filling of the cache is not; a failure is known already. A user who was read just
            // before, and is kept there by a change of a moment ago, must not stay.
            let _ = self.store.forget(&[EntityKey::User(user.id.clone())]).await;
        }
        self.note_telling("entities", told.map(drop));
        self.copies.user(&user.id);
        self.copies.flights().forget_all();
    }

    /// What the store remembers of a user and the directory has ended: sessions that began after the list was read,
    /// but before the moment. One that began after the moment lives.
    async fn remembered_and_over(&self, user: &UserId) -> Vec<SessionId> {
        let Ok(remembered) = self.store.user_sessions(user).await else { return Vec::new() };
        if remembered.is_empty() {
            return Vec::new();
        }
        let Ok(rows) = self.directory.sessions(&remembered).await else { return Vec::new() };
        rows.into_iter().filter(|row| row.ended.is_some()).map(|row| row.session.id).collect()
    }

    /// Ends a session and, as far as they live, those before and after it. `line` is written once, with the first of
    /// them that ends.
    ///
    /// Ends first and reads the relatives then: an ended session is not rotated any more, so a rotation that came
    /// first is seen, and none can follow.
    pub(super) async fn end_family(
        &self,
        id: &SessionId,
        now: Timestamp,
        line: Option<&AuditEntry>,
    ) -> Result<Family, LifecycleError> {
        let (mut family, mut is_known, mut line) = (vec![*id], false, line);
        let mut fresh = vec![*id];
        for _ in 0..LONGEST_CHAIN {
            if self.directory.end_sessions(&fresh, now, line).await? > 0 {
                line = None;
            }
            let rows = self.directory.sessions(&fresh).await?;
            is_known |= !rows.is_empty();
            fresh.clear();
            for relative in rows.iter().flat_map(|row| relatives(row, now)) {
                if !family.contains(&relative) {
                    family.push(relative);
                    fresh.push(relative);
                }
            }
            if fresh.is_empty() {
                break;
            }
        }
        Ok(Family { ids: family, is_known })
    }
}

/// Whom a rotation joins to this session. One that ended before had its relatives ended with it; one that has only
/// reached the end of its grace may still have a successor.
fn relatives(row: &SessionRow, now: Timestamp) -> impl Iterator<Item = SessionId> {
    let ended_before = row.ended.is_some_and(|ended| ended < now);
    let successor = row.session.successor.as_deref().copied().filter(|_| !ended_before);
    let predecessor =
        row.session.predecessor.as_deref().copied().filter(|_| !ended_before && row.session.expires > now);
    [successor, predecessor].into_iter().flatten()
}
