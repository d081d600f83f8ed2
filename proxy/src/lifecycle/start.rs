//! A session begins.

use super::{Lifecycle, LifecycleError, Origin, Started};
use crate::clock::Timestamp;
use crate::context::{PlatformId, Session, SessionId, User, UserId};
use crate::directory::{AuditEntry, Replaced};
use crate::session::token::SessionToken;

/// The session that is to begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// Whose session it will be.
    pub user: UserId,
    /// Its platform; the user's default when `None`.
    pub platform: Option<PlatformId>,
    /// Who acts for the user, when somebody does.
    pub actor: Option<UserId>,
    /// Whether somebody acts for the user in the session that the request came with: then nobody further may.
    pub acted: bool,
    /// The browser's old session, which ends with this. A session that was resolved, never a mere claim.
    pub replaces: Option<SessionId>,
}

impl Lifecycle {
    /// Begins a session under a new token; an id that a client brought is never adopted (THREATS C9).
    ///
    /// Not cancellation safe: when dropped, the session may have begun, but nobody has its token.
    ///
    /// # Errors
    /// `Impossible` for an unknown or inactive user or actor and for a platform that the user may not use,
    /// `Undetermined` when the directory could not say. A store that cannot be told is no error.
    pub async fn start(&self, start: &Start, origin: &Origin) -> Result<Started, LifecycleError> {
        // Taken before the user is read: whoever logs out everywhere in between ends this session as well.
        let now = self.clock.now();
        let (user, valid_after) = self.check_people(start).await?;
        let platform = self.first_platform(start).await?;
        self.check_room(start, now).await?;
        let token = SessionToken::mint(&self.keys.load());
        // Never before the moment of a log-out everywhere that a clock ahead of ours has written.
        let created = valid_after.map_or(now, |moment| moment.max(now));
        let session = Session {
            id: token.id(),
            user: user.id,
            platform,
            created,
            authenticated: now,
            expires: created.plus(self.settings.absolute_timeout),
            predecessor: None,
            successor: None,
            actor: start.actor.clone(),
            version: 1,
        };
        self.begin(&session, start.replaces, origin, now).await?;
        self.make_room(&session, origin, now).await?;
        self.tell_session(&session, now).await;
        self.count("started");
        Ok(Started { token, session })
    }

    /// Writes the session, in the place of the one it replaces: that one ends in the same transaction, whether or not
    /// there is room for the new one, and nobody may be served it any more.
    async fn begin(
        &self,
        session: &Session,
        replaces: Option<SessionId>,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<(), LifecycleError> {
        let mut line = origin.line_about("session_started", session, now);
        if let Some(actor) = &session.actor {
            line.event = "impersonation_started";
            line.by = format!("{} for user:{actor}", origin.by);
        }
        let Some(id) = replaces else {
            self.directory.create_session(session, None, now, Some(&line)).await?;
            return Ok(());
        };
        let end = self.line_of_replaced(&id, origin, now).await?;
        let old = Replaced { id, line: Some(&end) };
        let ended = self.directory.create_session(session, Some(old), now, Some(&line)).await?;
        self.end_replaced(&id, (ended == 0).then_some(&end), now).await;
        Ok(())
    }

    /// Whose it was is not certain to be who logs in now.
    async fn line_of_replaced(
        &self,
        replaced: &SessionId,
        origin: &Origin,
        now: Timestamp,
    ) -> Result<AuditEntry, LifecycleError> {
        const EVENT: &str = "session_replaced";
        Ok(match self.row(replaced).await? {
            Some(row) => origin.line_about(EVENT, &row.session, now),
            None => AuditEntry { session: Some(*replaced), ..origin.line(EVENT, now) },
        })
    }

    /// The user, and the moment after which sessions of theirs and of whoever acts for them are valid.
    async fn check_people(&self, start: &Start) -> Result<(User, Option<Timestamp>), LifecycleError> {
        let mut wanted = vec![start.user.clone()];
        wanted.extend(start.actor.clone());
        let people = self.directory.users(&wanted).await?;
        let active = |id: &UserId| people.iter().find(|user| user.id == *id && user.active);
        self.check_actor(start, &people)?;
        let user = active(&start.user).cloned();
        let user = user.ok_or(LifecycleError::Impossible("the user is unknown or inactive"))?;
        Ok((user, people.iter().filter_map(|person| person.sessions_valid_after).max()))
    }

    /// The platform that was asked for, or the default: chosen here, so that a cold context needs no further lookup.
    async fn first_platform(&self, start: &Start) -> Result<Option<PlatformId>, LifecycleError> {
        if let Some(id) = &start.platform {
            return self.own_platform(&start.user, id).await.map(|platform| Some(platform.id));
        }
        let platforms = self.directory.user_platforms(std::slice::from_ref(&start.user)).await?;
        let mut own = platforms.into_iter().filter(|platform| platform.user == start.user && platform.active);
        Ok(own.next().map(|platform| platform.id))
    }

    /// The replaced session ended with the transaction; its relatives in their grace follow, as well as it goes.
    async fn end_replaced(&self, replaced: &SessionId, line: Option<&AuditEntry>, now: Timestamp) {
        let ended = self.end_family(replaced, now, line).await.map(|family| family.ids);
        let ended = ended.unwrap_or_else(|error| {
            tracing::warn!(%error, "relatives of a replaced session may live until the end of their grace");
            vec![*replaced]
        });
        // A failure is counted there.
        let _told = self.tell_ended(&ended, now).await;
    }
}
