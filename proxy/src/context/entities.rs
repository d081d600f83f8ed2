//! The entities of the directory that a context shows.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{PasswordMark, PlatformId, UserId};
use crate::clock::Timestamp;

/// A person in the directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct User {
    /// The id that sessions refer to.
    pub id: UserId,
    /// The name people see; display data, never a key.
    pub name: Box<str>,
    /// Role names, compared byte for byte.
    pub roles: Vec<String>,
    /// An inactive user has no valid session.
    pub active: bool,
    /// Sessions created before this moment are over (log out everywhere).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions_valid_after: Option<Timestamp>,
    /// What sessions have to say of the user's password, where that is compared; never the password or its hash.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub passwords: Box<[PasswordMark]>,
}

/// One platform connection of a user.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Platform {
    /// The id that sessions refer to.
    pub id: PlatformId,
    /// The user it belongs to.
    pub user: UserId,
    /// What kind of service it is (`mastodon`, `pixelfed`, ...).
    #[serde(rename = "type")]
    pub kind: Box<str>,
    /// The name people see.
    pub name: Box<str>,
    /// Where the service is.
    pub url: Box<str>,
    /// An inactive platform can neither be chosen nor used.
    pub active: bool,
    /// Whether the user's new sessions start with it.
    pub default: bool,
    /// The credential, sealed; opened only for a route that asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<SealedCredential>,
}

/// An encrypted credential as it lies in a store. See `sealing` for how it is opened.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedCredential(Box<str>);

impl SealedCredential {
    /// Takes sealed text as a store holds it; whether it can be opened is found out when it is asked for.
    #[must_use]
    pub fn from_text(text: String) -> Self {
        Self(text.into())
    }

    /// The sealed text.
    #[must_use]
    pub fn as_text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SealedCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedCredential(redacted)")
    }
}
