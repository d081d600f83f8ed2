//! What operators do beyond what applications do: find a session by the beginning of its id, end it wherever it is,
//! clear a platform everywhere, have records read again. It knows nothing of tokens but the one of a new session.

use std::sync::Arc;

use super::{Ended, Lifecycle, LifecycleError, Origin};
use crate::cache::Invalidate;
use crate::context::{Context, LastUse, Layer, PlatformId, Resolution, Session, SessionId, UserId};
use crate::directory::{
    AuditEntry, AuditPage, AuditRecord, Changed, Directory, DirectoryError, SessionPage, SessionRow,
};
use crate::reason::Reason;
use crate::store::{EntityKey, Lookup, Store, StoreError, StoredSession};

/// Sessions that are changed in one transaction.
const BATCH: u32 = 500;
/// The shortest beginning of an id that is looked for: 36 bits, so that a slip of the hand finds nobody.
pub const SHORTEST_PREFIX: usize = 6;

/// What is to be read again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Stale {
    /// A user with all that hangs on it: platforms, settings, statistics.
    User(UserId),
    /// A platform.
    Platform(PlatformId),
    /// A user's settings for a platform.
    Settings(UserId, PlatformId),
    /// Statistics about a user's platform.
    Stats(UserId, PlatformId),
}

/// What was found under an id, or the beginning of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sought {
    /// A session, ended or not, and who knew it.
    Session(Box<SessionRow>, Layer),
    /// Only the mark that a session of this id has ended.
    Tombstone(SessionId),
    /// Several sessions begin like this.
    Ambiguous,
    /// Nothing.
    Nothing,
}

/// What ending a session by its id came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It has ended now; how durably says the second.
    Ended(SessionId, Ended),
    /// It was over before.
    WasOver(SessionId),
    /// Several sessions begin like this; none was ended.
    Ambiguous,
    /// There is none.
    Nothing,
}

/// What the neighbours say of themselves.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Neighbours {
    /// The store.
    pub store: Result<String, StoreError>,
    /// The directory.
    pub directory: Result<String, DirectoryError>,
}

impl Lifecycle {
    /// The store and the directory, for those who only look.
    #[must_use]
    pub fn layers(&self) -> (&Arc<dyn Store>, &Arc<dyn Directory>) {
        (&self.store, &self.directory)
    }

    /// One page of the sessions that have not ended, newest first.
    ///
    /// # Errors
    /// `Undetermined` when the directory could not say.
    pub async fn list(&self, page: &SessionPage) -> Result<Vec<SessionRow>, LifecycleError> {
        Ok(self.directory.list_sessions(page, self.clock.now()).await?)
    }

    /// One page of the audit log, newest first.
    ///
    /// # Errors
    /// `Undetermined` when the directory could not say.
    pub async fn audit_log(&self, page: &AuditPage) -> Result<Vec<AuditRecord>, LifecycleError> {
        Ok(self.directory.audit_log(page).await?)
    }

    /// Finds a session by its whole id in the directory, else in the store; by the beginning of it (at least
    /// [`SHORTEST_PREFIX`] characters) in the directory alone.
    ///
    /// # Errors
    /// `Undetermined` when nobody who could know it answered.
    pub async fn find(&self, id: &str) -> Result<Sought, LifecycleError> {
        let Ok(whole) = id.parse::<SessionId>() else { return self.find_like(id).await };
        let failure = match self.row(&whole).await {
            Ok(Some(row)) => return Ok(Sought::Session(Box::new(row), Layer::Directory)),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        let stored = self.store.session(&whole).await;
        match (stored.map(|answer| (answer.session, answer.last_seen)), failure) {
            (Ok((Lookup::Found(StoredSession::Live(session)), last_seen)), _) if session.id == whole => {
                Ok(Sought::Session(Box::new(SessionRow { session, ended: None, last_seen }), Layer::Store))
            }
            (Ok((Lookup::Found(StoredSession::Ended), _)), _) => Ok(Sought::Tombstone(whole)),
            (_, Some(failure)) => Err(failure),
            (Ok(_), None) => Ok(Sought::Nothing),
            (Err(error), None) => {
                tracing::warn!(%error, "the store could not say whether it holds a session");
                Err(LifecycleError::Undetermined)
            }
        }
    }

    async fn find_like(&self, prefix: &str) -> Result<Sought, LifecycleError> {
        let is_prefix = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if prefix.len() < SHORTEST_PREFIX || prefix.len() > 43 || !prefix.bytes().all(is_prefix) {
            return Ok(Sought::Nothing);
        }
        let mut rows = self.directory.sessions_like(prefix, 2).await?;
        Ok(match (rows.pop(), rows.pop()) {
            (Some(row), None) => Sought::Session(Box::new(row), Layer::Directory),
            (Some(_), Some(_)) => Sought::Ambiguous,
            (None, _) => Sought::Nothing,
        })
    }

    /// Ends a session by its id, or the beginning of it, wherever it is known; one of another framework by its whole id, if a
    /// proxy has noted it.
    ///
    /// # Errors
    /// As [`Self::end`].
    pub async fn end_by_id(&self, id: &str, origin: &Origin) -> Result<Ending, LifecycleError> {
        let now = self.clock.now();
        match self.find(id).await? {
            Sought::Session(row, _) if row.ended.is_none() && row.session.expires > now => {
                let how = self.end(&row.session, origin).await?;
                Ok(Ending::Ended(row.session.id, how))
            }
            Sought::Session(row, _) => {
                // Whoever still holds a copy learns it now; a failure is counted there.
                let _told = self.tell_ended(&[row.session.id], now).await;
                Ok(Ending::WasOver(row.session.id))
            }
            Sought::Tombstone(id) => Ok(Ending::WasOver(id)),
            Sought::Ambiguous => Ok(Ending::Ambiguous),
            Sought::Nothing => self.end_foreign_by_id(id, origin).await,
        }
    }

    /// Clears the choice of a platform from every session that made it, batch by batch. Answers how many there were. The
    /// platform need not exist any more.
    ///
    /// # Errors
    /// `Undetermined` when the directory could not confirm a batch; those before it stand, and it may be repeated.
    pub async fn clear_platform_everywhere(
        &self,
        platform: &PlatformId,
        origin: &Origin,
    ) -> Result<u64, LifecycleError> {
        let mut cleared = 0;
        loop {
            let now = self.clock.now();
            let line =
                AuditEntry { platform: Some(platform.clone()), ..origin.line("platform_cleared", now) };
            let sessions = self.directory.clear_platform(platform, BATCH, now, Some(&line)).await?;
            for session in &sessions {
                self.tell_session(session, now).await;
            }
            cleared += sessions.len() as u64;
            if sessions.len() < BATCH as usize {
                return Ok(cleared);
            }
        }
    }

    /// Has records read again: forgets them in the store, here, and through the store in every proxy. If the store does
    /// not answer, every proxy is told by way of the directory and forgets what it keeps.
    ///
    /// # Errors
    /// `Undetermined` when neither could be told.
    pub async fn invalidate(&self, stale: &Stale, origin: &Origin) -> Result<(), LifecycleError> {
        let keys = self.keys_of(stale).await;
        self.forget_here(stale);
        let told = self.store.forget(&keys).await;
        self.note_telling("entities", told);
        self.forget_here(stale);
        if told.is_err() {
            self.directory.tell(&changes(stale)).await?;
        }
        let (user, platform) = match stale {
            Stale::User(user) => (Some(user.clone()), None),
            Stale::Platform(platform) => (None, Some(platform.clone())),
            Stale::Settings(user, platform) | Stale::Stats(user, platform) => {
                (Some(user.clone()), Some(platform.clone()))
            }
        };
        let event = match stale {
            Stale::User(_) => "user_invalidated",
            Stale::Platform(_) => "platform_invalidated",
            Stale::Settings(..) => "settings_invalidated",
            Stale::Stats(..) => "stats_invalidated",
        };
        self.audit(&AuditEntry { user, platform, ..origin.line(event, self.clock.now()) }).await;
        Ok(())
    }

    /// What a request would be served with if this user logged in now. Nothing begins.
    ///
    /// # Errors
    /// `Undetermined` when the directory could not say.
    pub async fn as_if_logged_in(&self, user: &UserId) -> Result<Resolution, LifecycleError> {
        let now = self.clock.now();
        let Some(user) = self.user(user).await?.filter(|user| user.active) else {
            return Ok(Resolution::Unknown(Reason::UserInactive));
        };
        let platforms = self.directory.user_platforms(std::slice::from_ref(&user.id)).await?;
        let platform = platforms.into_iter().find(|platform| platform.user == user.id && platform.active);
        let session = Session {
            id: SessionId::from_bytes([0; 32]),
            user: user.id.clone(),
            platform: platform.as_ref().map(|platform| platform.id.clone()),
            created: now,
            authenticated: now,
            expires: now.plus(self.settings.absolute_timeout),
            predecessor: None,
            successor: None,
            actor: None,
            version: 1,
        };
        Ok(Resolution::Known(Arc::new(Context {
            session: Arc::new(session),
            user: Arc::new(user),
            platform: platform.map(Arc::new),
            platform_refused: false,
            last_seen: LastUse::at(now),
            layer: Layer::Directory,
            password: None,
        })))
    }

    /// Asks store and directory who they are.
    pub async fn neighbours(&self) -> Neighbours {
        let (store, directory) = tokio::join!(self.store.ping(), self.directory.ping());
        Neighbours { store, directory }
    }

    fn forget_here(&self, stale: &Stale) {
        match stale {
            Stale::User(user) => self.copies.user(user),
            Stale::Platform(platform) => self.copies.platform(platform),
            Stale::Settings(..) | Stale::Stats(..) => {}
        }
        self.copies.flights().forget_all();
    }

    /// The names under which the store keeps it.
    async fn keys_of(&self, stale: &Stale) -> Vec<EntityKey> {
        match stale {
            Stale::User(user) => {
                let mut keys = vec![EntityKey::User(user.clone()), EntityKey::UserPlatforms(user.clone())];
                for platform in self.platforms_of(user).await {
                    keys.push(EntityKey::UserSettings(user.clone(), platform.clone()));
                    keys.push(EntityKey::PlatformStats(user.clone(), platform.clone()));
                    keys.push(EntityKey::Platform(platform));
                }
                keys
            }
            Stale::Platform(platform) => {
                let mut keys = vec![EntityKey::Platform(platform.clone())];
                let known = self.directory.platforms(std::slice::from_ref(platform)).await;
                let owners = known.unwrap_or_default().into_iter().map(|platform| platform.user);
                keys.extend(owners.map(EntityKey::UserPlatforms));
                keys
            }
            Stale::Settings(user, platform) => {
                vec![EntityKey::UserSettings(user.clone(), platform.clone())]
            }
            Stale::Stats(user, platform) => vec![EntityKey::PlatformStats(user.clone(), platform.clone())],
        }
    }

    /// The platforms that the directory or the store know of a user.
    async fn platforms_of(&self, user: &UserId) -> Vec<PlatformId> {
        let (told, stored) = tokio::join!(
            self.directory.user_platforms(std::slice::from_ref(user)),
            self.store.entities(user, None),
        );
        let mut ids: Vec<PlatformId> =
            told.unwrap_or_default().into_iter().map(|platform| platform.id).collect();
        if let Ok(Lookup::Found(listed)) = stored.map(|answer| answer.user_platforms) {
            ids.extend(listed);
        }
        ids.sort_unstable();
        ids.dedup();
        ids
    }
}

/// The same in the words of the directory. Statistics have none: they are told as the settings beside them.
fn changes(stale: &Stale) -> Vec<Changed> {
    match stale {
        Stale::User(user) => vec![Changed::User(user.clone()), Changed::UserPlatforms(user.clone())],
        Stale::Platform(platform) => vec![Changed::Platform(platform.clone())],
        Stale::Settings(user, platform) | Stale::Stats(user, platform) => {
            vec![Changed::Settings(user.clone(), platform.clone())]
        }
    }
}

#[cfg(test)]
mod tests;
