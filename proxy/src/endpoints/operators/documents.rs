//! What the admin API reads and answers, beside what `view`, `status`, `explain` and `trial` show. Its description is made
//! from these types, so that their comments are what operators read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::explain::Explanation;
use super::trial::Trial;
use super::view::{AuditView, ContextView, SessionView};
use crate::context::{PlatformId, UserId};

/// The session that is to begin.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewSession {
    /// Whose session it will be.
    #[schemars(with = "String", length(min = 1, max = 128))]
    pub(super) user: UserId,
    /// Its platform; the user's default when it is not said.
    #[schemars(with = "Option<String>", length(min = 1, max = 128))]
    pub(super) platform: Option<PlatformId>,
    /// Who acts for the user.
    #[schemars(with = "Option<String>", length(min = 1, max = 128))]
    pub(super) actor: Option<UserId>,
}

/// A request to explain. `cookie` and `user` are two ways to say who asks.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    /// The name of a method.
    pub(super) method: String,
    /// An absolute URL, or a path.
    pub(super) url: String,
    /// The value of the session cookie, or a whole `Cookie` line.
    pub(super) cookie: Option<String>,
    /// As if this user logged in now.
    #[schemars(with = "Option<String>", length(min = 1, max = 128))]
    pub(super) user: Option<UserId>,
}

/// A cookie to try.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CookieToTry {
    /// The value of the session cookie, or a whole `Cookie` line.
    pub(super) cookie: String,
}

/// One page of sessions.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SessionsPage {
    /// Newest first.
    pub(super) sessions: Vec<SessionView>,
    /// `cursor` of the page behind this one; `null` on the last.
    pub(super) next: Option<String>,
}

/// One page of the audit log.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AuditLogPage {
    /// Newest first.
    pub(super) audit: Vec<AuditView>,
    /// `cursor` of the page behind this one; `null` on the last.
    pub(super) next: Option<String>,
}

/// A session that has begun.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Created {
    /// The session.
    pub(super) session: SessionView,
    /// What its browser has to send.
    pub(super) cookie: CookieView,
}

/// The only place where a token is told: whoever may create sessions is handed this one.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct CookieView {
    /// The name of the session cookie.
    pub(super) name: String,
    /// The token.
    pub(super) value: String,
}

/// A session that somebody knows.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum FoundSession {
    /// All of it.
    Whole {
        /// The session.
        #[serde(flatten)]
        session: Box<SessionView>,
        /// `directory` or `store`.
        known_to: &'static str,
    },
    /// Only that it has ended.
    Mark {
        /// Its id.
        id: String,
        /// `ended`.
        state: &'static str,
        /// `store`.
        known_to: &'static str,
    },
}

/// A session that is over.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EndedSession {
    /// Its id.
    pub(super) id: String,
    /// `ended`.
    pub(super) state: &'static str,
    /// Whether it had ended before.
    pub(super) was_over: bool,
    /// Whether the directory has confirmed it; else it will be as soon as it is back.
    pub(super) durable: bool,
}

/// A user whose sessions are over.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct EndedUser {
    /// The user.
    pub(super) user: String,
    /// `all`.
    pub(super) ended: &'static str,
    /// Whether the directory has confirmed it; else it will be as soon as it is back.
    pub(super) durable: bool,
}

/// A platform that no session has chosen any more.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ClearedPlatform {
    /// The platform.
    pub(super) platform: String,
    /// From how many sessions it was cleared.
    pub(super) cleared: u64,
}

/// What was asked for is read again.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Invalidated {
    /// `true`.
    pub(super) invalidated: bool,
}

/// What a request comes to.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum Told {
    /// With a cookie: what was seen of it, and what the request comes to.
    Tried(Box<Trial>),
    /// For a user, or for nobody and for an outage.
    Explained {
        /// What the request comes to.
        request: Box<Explanation>,
        /// What the user's requests would be served with.
        context: Option<ContextView>,
    },
}
