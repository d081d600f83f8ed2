//! What is ours about a session that another framework keeps.

use super::{PlatformId, SessionId, UserId};
use crate::clock::Timestamp;

/// What store and directory keep of a foreign session: never the session itself, which stays where the framework has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForeignRecord {
    /// Our name for it.
    pub id: SessionId,
    /// Whose it is, as far as known.
    pub user: Option<UserId>,
    /// When a proxy first saw it.
    pub seen: Timestamp,
    /// The platform that was chosen through a proxy; the inner `None` is the user's default.
    pub platform: Option<Option<PlatformId>>,
    /// When it was ended through a proxy, whatever the framework says.
    pub ended: Option<Timestamp>,
    /// Until when this is kept: longer than the session, which its application may renew.
    pub kept_until: Timestamp,
    /// Counts ends and choices from 1; 0 for what the directory has not confirmed.
    pub version: u64,
}
