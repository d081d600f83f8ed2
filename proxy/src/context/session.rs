//! A session: who, with which platform, since when, until when.

use serde::{Deserialize, Serialize};

use super::{PlatformId, SessionId, UserId};
use crate::clock::Timestamp;

/// What every store keeps of a session. It holds no token and nothing from which one could be made.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// The key of the session in every store.
    pub id: SessionId,
    /// Whose session it is.
    pub user: UserId,
    /// The platform that was chosen, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<PlatformId>,
    /// When it began.
    pub created: Timestamp,
    /// When the user last proved who they are; what a recent-login requirement looks at.
    pub authenticated: Timestamp,
    /// The absolute end; after a rotation the predecessor's end is the end of its grace.
    pub expires: Timestamp,
    /// The session that this one replaced by rotation. Ending one ends both. Most have none, so it lies elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predecessor: Option<Box<SessionId>>,
    /// The session that replaced this one, while its grace lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub successor: Option<Box<SessionId>>,
    /// Who acts for the user, when somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<UserId>,
    /// Counts the changes to this session from 1; what compare-and-set compares. [`Session::FOREIGN`] for a session that
    /// another framework keeps.
    pub version: u64,
}

impl Session {
    /// The version of a session that another framework made: it is never written by us, and no row of it is in the
    /// directory.
    pub const FOREIGN: u64 = 0;

    /// The session, and those that a rotation joined to it.
    pub fn family(&self) -> impl Iterator<Item = SessionId> {
        std::iter::once(self.id)
            .chain(self.predecessor.as_deref().copied())
            .chain(self.successor.as_deref().copied())
    }

    /// Whose rights it rests on: the user, and whoever acts for them. When one of them loses theirs, it is over.
    pub fn people(&self) -> impl Iterator<Item = &UserId> {
        std::iter::once(&self.user).chain(&self.actor)
    }

    /// Whether another framework keeps this session.
    #[must_use]
    pub const fn is_foreign(&self) -> bool {
        self.version == Self::FOREIGN
    }
}
