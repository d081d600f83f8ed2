//! How sessions begin, change and end. The directory decides and makes durable, the store is told before the answer is
//! given. What the directory has not confirmed is never claimed; what the store could not be told is counted and
//! logged, not failed: the directory is the truth.

mod audit;
mod end;
mod foreign;
mod limits;
pub mod operators;
mod outbox;
mod platform;
mod rotate;
mod sessions;
pub mod settings;
mod start;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::cache::{Copies, Invalidate};
use crate::clock::{Clock, Timestamp};
use crate::context::{Platform, PlatformId, Session, SessionId, User, UserId};
use crate::directory::{Directory, DirectoryError, SessionRow};
use crate::keys::Key;
use crate::session::Settings;
use crate::session::token::SessionToken;
use crate::store::{Event, PutSession, Store, StoreError};
use crate::telemetry::Metrics;

pub use start::Start;

/// Attempts at a change of a session that others change as well.
const ATTEMPTS: usize = 4;
/// Longest chain of rotations whose graces overlap that is followed.
const LONGEST_CHAIN: usize = 8;
/// The session that was to be changed is over.
pub const SESSION_OVER: LifecycleError = LifecycleError::Impossible("the session has ended");
/// One error for what is unknown and what is somebody else's, so that nobody learns of other people's platforms.
pub const NO_SUCH_PLATFORM: LifecycleError =
    LifecycleError::Impossible("the platform is unknown or somebody else's");
/// The platform is the user's own, but cannot be used.
pub const PLATFORM_INACTIVE: LifecycleError = LifecycleError::Impossible("the platform is not active");
/// One error for a session that is unknown, over, or somebody else's.
pub const NO_SUCH_SESSION: LifecycleError = LifecycleError::Impossible("the user has no such session");
/// It would have to be written to tables that are not ours.
pub const READ_ONLY: LifecycleError =
    LifecycleError::Impossible("the directory is an existing schema, which is only read");
/// The session is at another version than the change was meant for.
pub const STALE: LifecycleError = LifecycleError::Impossible("the session has changed meanwhile");

/// Changes sessions; one per process.
pub struct Lifecycle {
    store: Arc<dyn Store>,
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    keys: ArcSwap<Vec<Key>>,
    settings: Settings,
    copies: Arc<Copies>,
    metrics: Arc<Metrics>,
    lines: audit::Waiting,
}

/// A session that has just begun, and the only copy of its token.
#[derive(Debug)]
pub struct Started {
    /// Goes into the cookie and nowhere else.
    pub token: SessionToken,
    /// The session it opens.
    pub session: Session,
}

/// Who changes a session; for the audit log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// `upstream:{name}`, `user`, `admin` or `proxy`.
    pub by: String,
    /// The client's address.
    pub from: Option<String>,
    /// The request that caused it.
    pub request_id: Option<String>,
}

/// How far an end has come. In both cases it is an end: nobody who reaches a store serves the session any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It is durable.
    Durable,
    /// The directory is away; the store has accepted it, and it is durable once the directory is back (202 for a client).
    Accepted,
}

/// Why a change was not made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum LifecycleError {
    /// It cannot be made: an unknown or inactive user, a platform of someone else, a session that is over.
    #[error("{0}")]
    Impossible(&'static str),
    /// The directory could not say or confirm; it may be tried again.
    #[error("the directory could not confirm the change")]
    Undetermined,
    /// The user has as many sessions as are allowed, and none of them may end for another.
    #[error("the user has too many sessions already")]
    TooManySessions,
    /// The user has switched platforms as often as is allowed within an hour.
    #[error("the user has switched platforms too often")]
    TooManySwitches {
        /// Seconds until it may be tried again.
        retry_after: u64,
    },
    /// Others changed the session at the same time, again and again.
    #[error("the session was changed by others at the same time")]
    Conflict,
}

impl From<DirectoryError> for LifecycleError {
    fn from(error: DirectoryError) -> Self {
        if error == DirectoryError::ReadOnly {
            return READ_ONLY;
        }
        tracing::warn!(%error, "a session cannot be changed");
        Self::Undetermined
    }
}

impl Lifecycle {
    /// `keys` are the token keys, newest first; `copies` those of this process.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        keys: Vec<Key>,
        settings: Settings,
        copies: Arc<Copies>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (keys, lines) = (ArcSwap::from_pointee(keys), audit::Waiting::default());
        Self { store, directory, clock, keys, settings, copies, metrics, lines }
    }

    /// From now on tokens are made with these keys, newest first.
    pub fn replace_keys(&self, keys: Vec<Key>) {
        self.keys.store(Arc::new(keys));
    }

    async fn user(&self, id: &UserId) -> Result<Option<User>, LifecycleError> {
        let users = self.directory.users(std::slice::from_ref(id)).await?;
        Ok(users.into_iter().find(|user| user.id == *id))
    }

    async fn row(&self, id: &SessionId) -> Result<Option<SessionRow>, LifecycleError> {
        let rows = self.directory.sessions(std::slice::from_ref(id)).await?;
        Ok(rows.into_iter().find(|row| row.session.id == *id))
    }

    /// A platform that the user may choose.
    async fn own_platform(&self, user: &UserId, id: &PlatformId) -> Result<Platform, LifecycleError> {
        let platforms = self.directory.platforms(std::slice::from_ref(id)).await?;
        let own = platforms.into_iter().find(|platform| platform.id == *id && platform.user == *user);
        let own = own.ok_or(NO_SUCH_PLATFORM)?;
        if own.active { Ok(own) } else { Err(PLATFORM_INACTIVE) }
    }

    /// The session as it stands now; if it was rotated, the one that took its place.
    async fn newest(&self, id: &SessionId, now: Timestamp) -> Result<Session, LifecycleError> {
        let mut id = *id;
        for _ in 0..LONGEST_CHAIN {
            let row = self.row(&id).await?.ok_or(SESSION_OVER)?;
            if row.ended.is_some() || row.session.expires <= now {
                return Err(SESSION_OVER);
            }
            match row.session.successor {
                Some(successor) => id = *successor,
                None => return Ok(row.session),
            }
        }
        Err(LifecycleError::Conflict)
    }

    /// Tells the store of a session that the directory holds, and lets later requests see it.
    async fn tell_session(&self, session: &Session, now: Timestamp) {
        // Before and after: nobody is served the copy while the store is told, nor what was read there meanwhile.
        self.copies.session(&session.id);
        let told = self.store.put_session(session, PutSession::IfNewer, now).await;
        self.note_telling("session", told.map(|_written| ()));
        self.copies.session(&session.id);
    }

    /// Tells the store that sessions have ended. Works for sessions that it does not hold.
    async fn tell_ended(&self, ids: &[SessionId], now: Timestamp) -> Result<(), StoreError> {
        let forget = || ids.iter().for_each(|id| self.copies.session(id));
        forget();
        // Kept as long as an older copy of any of them could be believed.
        let until = now.plus(self.settings.absolute_timeout);
        let tombstones: Vec<_> = ids.iter().map(|id| (*id, until)).collect();
        let told =
            if tombstones.is_empty() { Ok(()) } else { self.store.end_sessions(&tombstones, now).await };
        self.note_telling("tombstone", told);
        forget();
        told
    }

    /// Tells the user's tabs, as well as it goes. Polled after the store is told of the change, it travels with that.
    async fn announce(&self, user: &UserId, events: impl IntoIterator<Item = Event> + Send) {
        let events: Vec<_> = events.into_iter().map(|event| (user.clone(), event)).collect();
        let told = if events.is_empty() { Ok(()) } else { self.store.append_events(&events).await };
        self.note_telling("event", told);
    }

    /// Tells the user's tabs, on every proxy, that settings for a platform were written.
    pub async fn announce_settings(&self, user: &UserId, platform: &PlatformId) {
        self.announce(user, [Event::SettingsChanged { platform: platform.clone() }]).await;
    }

    fn note_telling(&self, what: &str, told: Result<(), StoreError>) {
        if let Err(error) = told {
            self.metrics.store_writes_failed.with_label_values(&[what]).inc();
            tracing::warn!(what, %error, "the store could not be told of a change");
        }
    }

    fn count(&self, event: &str) {
        self.metrics.sessions.with_label_values(&[event]).inc();
    }
}

impl fmt::Debug for Lifecycle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle").field("settings", &self.settings).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
