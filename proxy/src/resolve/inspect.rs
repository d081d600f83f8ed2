//! What the layers say about one session, step by step, for a person who asks why. Reads only: nothing is cached,
//! refilled or noted, and no request is served from it.

mod foreign;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::context::{
    Context, LastUse, Layer, PasswordClaim, Platform, PlatformId, Resolution, Session, SessionId, User,
    UserId,
};
use crate::directory::Directory;
use crate::formats::{Claimed, Format};
use crate::reason::Reason;
use crate::session::{Settings, lifetime};
use crate::store::{Lookup, Store, StoredSession};

/// How one step went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It speaks for the session.
    Good,
    /// It says nothing for or against it.
    Silent,
    /// It ends the matter: there is no valid session.
    Bad,
    /// It could not be found out.
    Undetermined,
}

/// One step on the way from a cookie to a decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Step {
    /// Which one: `cookie`, `token`, `store`, `directory`, `lifetime`, `user`, `password`, `actor`, `platform`,
    /// `decision`.
    pub step: &'static str,
    /// How it went.
    pub verdict: Verdict,
    /// What was found, in words; ids, never a token.
    pub found: String,
}

/// All steps, and what they come to.
#[derive(Debug)]
pub struct Inspection {
    /// In the order in which they were made.
    pub steps: Vec<Step>,
    /// What a request with this session would be told.
    pub resolution: Resolution,
}

/// Looks at a session as a request would be resolved, with nothing in the process.
pub async fn inspect(
    id: &SessionId,
    store: &dyn Store,
    directory: &dyn Directory,
    settings: &Settings,
    now: Timestamp,
) -> Inspection {
    let mut looking = Looking { store, directory, settings, now, steps: Vec::new() };
    let resolution = looking.resolve(id).await.unwrap_or_else(|stopped| stopped);
    Inspection { steps: looking.steps, resolution }
}

/// Looks at a claim to a session of another framework, which only the store holds.
pub async fn inspect_foreign(
    (format, claimed): (&Format, &Claimed),
    store: &dyn Store,
    directory: &dyn Directory,
    settings: &Settings,
    now: Timestamp,
) -> Inspection {
    let mut looking = Looking { store, directory, settings, now, steps: Vec::new() };
    let resolution = looking.resolve_foreign(format, claimed).await.unwrap_or_else(|stopped| stopped);
    Inspection { steps: looking.steps, resolution }
}

struct Looking<'a> {
    store: &'a dyn Store,
    directory: &'a dyn Directory,
    settings: &'a Settings,
    now: Timestamp,
    steps: Vec<Step>,
}

/// A session as far as it was found.
struct Seen {
    session: Session,
    password: Option<Box<PasswordClaim>>,
    last_use: Timestamp,
    layer: Layer,
    /// Why the store, and with it the activity set, could not be asked.
    store_failure: Option<Reason>,
}

/// What one layer holds of a session.
enum Held {
    Live(Session, Option<Timestamp>),
    Ended,
    Nothing,
    Failed(Reason),
}

impl Looking<'_> {
    fn say(&mut self, step: &'static str, verdict: Verdict, found: impl Into<String>) {
        self.steps.push(Step { step, verdict, found: found.into() });
    }

    /// `Err` holds a resolution as well: that of the step which ended the matter.
    async fn resolve(&mut self, id: &SessionId) -> Result<Resolution, Resolution> {
        let seen = self.session(id).await?;
        self.times(&seen)?;
        self.entities(seen).await
    }

    async fn entities(&mut self, seen: Seen) -> Result<Resolution, Resolution> {
        let user = self.user(&seen.session).await?;
        if let Some(claim) = &seen.password {
            self.password(claim, &user).await?;
        }
        if let Some(actor) = &seen.session.actor {
            self.actor(&seen.session, actor).await?;
        }
        let (platform, platform_refused) = self.platform(&seen.session).await?;
        Ok(Resolution::Known(Arc::new(Context {
            session: Arc::new(seen.session),
            user: Arc::new(user),
            platform: platform.map(Arc::new),
            platform_refused,
            last_seen: LastUse::at(seen.last_use),
            layer: seen.layer,
            password: seen.password,
        })))
    }

    /// Asks both layers, though a request asks the second one only if the first says nothing: a person wants to see
    /// both. What counts is what a request would go by.
    async fn session(&mut self, id: &SessionId) -> Result<Seen, Resolution> {
        let stored = self.stored(id).await;
        let kept = self.kept(id).await;
        let created = |session: &Session| session.created;
        let latest = |session: &Session, times: [Option<Timestamp>; 2]| {
            times.into_iter().flatten().fold(created(session), Timestamp::max)
        };
        let written = match &kept {
            Held::Live(_, last_seen) => *last_seen,
            _ => None,
        };
        match (stored, kept) {
            (Held::Ended, _) | (Held::Nothing | Held::Failed(_), Held::Ended) => {
                Err(Resolution::Unknown(Reason::SessionEnded))
            }
            (Held::Live(session, noted), _) => {
                let last_use = latest(&session, [noted, written]);
                Ok(Seen { session, password: None, last_use, layer: Layer::Store, store_failure: None })
            }
            (_, Held::Nothing) => Err(Resolution::Unknown(Reason::SessionNotFound)),
            (_, Held::Failed(reason)) => Err(Resolution::Undetermined(reason)),
            (stored, Held::Live(session, last_seen)) => {
                let store_failure = match stored {
                    Held::Failed(reason) => Some(reason),
                    _ => None,
                };
                let last_use = latest(&session, [last_seen, None]);
                Ok(Seen { session, password: None, last_use, layer: Layer::Directory, store_failure })
            }
        }
    }

    async fn stored(&mut self, id: &SessionId) -> Held {
        let answer = self.store.session(id).await;
        let (held, verdict, found) = match answer {
            Ok(answer) => match answer.session {
                Lookup::Found(StoredSession::Live(session)) if session.id == *id => {
                    let found = format!("holds the session of user {}", session.user);
                    (Held::Live(session, answer.last_seen), Verdict::Good, found)
                }
                Lookup::Found(StoredSession::Ended) => {
                    (Held::Ended, Verdict::Bad, "holds the mark that the session was ended".to_owned())
                }
                Lookup::Found(StoredSession::Live(_)) | Lookup::Unreadable => {
                    let found = "holds a record that cannot be read; the directory is asked".to_owned();
                    (Held::Nothing, Verdict::Silent, found)
                }
                Lookup::Missing => (
                    Held::Nothing,
                    Verdict::Silent,
                    "does not hold the session; the directory is asked".to_owned(),
                ),
            },
            Err(error) => (Held::Failed(super::reason_of(error)), Verdict::Undetermined, error.to_string()),
        };
        self.say("store", verdict, found);
        held
    }

    async fn kept(&mut self, id: &SessionId) -> Held {
        let answer = self.directory.sessions(std::slice::from_ref(id)).await;
        let answer = answer.map(|rows| rows.into_iter().find(|row| row.session.id == *id));
        let (held, verdict, found) = match answer {
            Ok(Some(row)) => {
                if let Some(moment) = row.ended {
                    (Held::Ended, Verdict::Bad, format!("the session was ended at {moment}"))
                } else {
                    let found = format!("holds the session of user {}", row.session.user);
                    (Held::Live(row.session, row.last_seen), Verdict::Good, found)
                }
            }
            Ok(None) => (Held::Nothing, Verdict::Bad, "does not hold the session".to_owned()),
            Err(error) => (Held::Failed(Reason::StoreUnavailable), Verdict::Undetermined, error.to_string()),
        };
        self.say("directory", verdict, found);
        held
    }

    fn times(&mut self, seen: &Seen) -> Result<(), Resolution> {
        let session = &seen.session;
        if let Err(reason) = lifetime::check_end(session, self.settings, self.now) {
            let end = lifetime::absolute_end(session, self.settings);
            self.say("lifetime", Verdict::Bad, format!("reached its absolute end at {end}"));
            return Err(Resolution::Unknown(reason));
        }
        match lifetime::check_use(session, seen.last_use, self.settings, self.now) {
            Ok(()) => {
                let end = lifetime::absolute_end(session, self.settings);
                let found = format!("last used at {}, ends at {end} at the latest", seen.last_use);
                self.say("lifetime", Verdict::Good, found);
                Ok(())
            }
            Err(reason) => {
                let found = format!("last used at {}, which is too long ago", seen.last_use);
                match seen.store_failure {
                    None => {
                        self.say("lifetime", Verdict::Bad, found);
                        Err(Resolution::Unknown(reason))
                    }
                    Some(failure) => {
                        let found = format!("{found}; but the store may know of a later use");
                        self.say("lifetime", Verdict::Undetermined, found);
                        Err(Resolution::Undetermined(failure))
                    }
                }
            }
        }
    }

    /// Somebody, as a request would find them; `step` is the one that cannot go on when nobody could say.
    async fn person(&mut self, id: &UserId, step: &'static str) -> Result<Option<User>, Resolution> {
        match self.directory.users(std::slice::from_ref(id)).await {
            Ok(users) => Ok(users.into_iter().find(|user| user.id == *id)),
            Err(error) => {
                if let Some(user) = self.cached_user(id).await {
                    return Ok(Some(user));
                }
                self.say(step, Verdict::Undetermined, error.to_string());
                Err(Resolution::Undetermined(Reason::StoreUnavailable))
            }
        }
    }

    /// Whoever acts for the user, if they still may.
    async fn actor(&mut self, session: &Session, id: &UserId) -> Result<(), Resolution> {
        let actor = self.person(id, "actor").await?;
        let judged = actor.is_some_and(|actor| lifetime::check_actor(session, &actor, self.settings).is_ok());
        if judged {
            self.say("actor", Verdict::Good, format!("user {id} acts for the user, and may"));
            return Ok(());
        }
        let reason = Reason::ImpersonationOver;
        self.say("actor", Verdict::Bad, format!("user {id}: {}", reason.explanation().trim()));
        Err(Resolution::Unknown(reason))
    }

    async fn user(&mut self, session: &Session) -> Result<User, Resolution> {
        let Some(user) = self.person(&session.user, "user").await? else {
            self.say("user", Verdict::Bad, format!("user {} is not in the directory", session.user));
            return Err(Resolution::Unknown(Reason::UserInactive));
        };
        if let Err(reason) = lifetime::check_user(session, &user) {
            self.say("user", Verdict::Bad, format!("user {}: {}", user.id, reason.explanation().trim()));
            return Err(Resolution::Unknown(reason));
        }
        self.say("user", Verdict::Good, format!("user {}, roles: {}", user.id, listed(&user.roles)));
        Ok(user)
    }

    async fn cached_user(&self, id: &UserId) -> Option<User> {
        match self.store.entities(id, None).await.ok()?.user {
            Lookup::Found(user) if user.id == *id => Some(user),
            _ => None,
        }
    }

    /// The platform in force, and whether one was chosen that may not be used.
    async fn platform(&mut self, session: &Session) -> Result<(Option<Platform>, bool), Resolution> {
        let found = match &session.platform {
            Some(chosen) => self.chosen(&session.user, chosen).await,
            None => self.default(&session.user).await,
        };
        let Some(platform) = found else {
            self.say("platform", Verdict::Undetermined, "neither directory nor store could say");
            return Err(Resolution::Undetermined(Reason::StoreUnavailable));
        };
        let usable = platform.filter(|platform| platform.active && platform.user == session.user);
        match (&session.platform, &usable) {
            (Some(chosen), None) => {
                let found = format!("platform {chosen} was chosen, and is gone, inactive or somebody else's");
                self.say("platform", Verdict::Bad, found);
                return Ok((None, true));
            }
            (None, None) => self.say("platform", Verdict::Silent, "none was chosen, and the user has none"),
            (chosen, Some(platform)) => {
                let how = if chosen.is_some() { "chosen" } else { "the default" };
                self.say("platform", Verdict::Good, format!("platform {} ({how})", platform.id));
            }
        }
        Ok((usable, false))
    }

    /// `None` when nobody could say.
    async fn chosen(&self, user: &UserId, id: &PlatformId) -> Option<Option<Platform>> {
        if let Ok(platforms) = self.directory.platforms(std::slice::from_ref(id)).await {
            return Some(platforms.into_iter().find(|platform| platform.id == *id));
        }
        match self.store.entities(user, Some(id)).await.ok()?.platform {
            Lookup::Found(platform) if platform.id == *id => Some(Some(platform)),
            _ => None,
        }
    }

    async fn default(&self, user: &UserId) -> Option<Option<Platform>> {
        if let Ok(platforms) = self.directory.user_platforms(std::slice::from_ref(user)).await {
            return Some(platforms.into_iter().next());
        }
        let Lookup::Found(list) = self.store.entities(user, None).await.ok()?.user_platforms else {
            return None;
        };
        let Some(first) = list.first() else { return Some(None) };
        self.chosen(user, first).await
    }
}

fn listed(roles: &[String]) -> String {
    if roles.is_empty() { "none".to_owned() } else { roles.join(", ") }
}

#[cfg(test)]
mod tests;
