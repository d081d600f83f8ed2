//! When a session is over. One function, used wherever a session is about to be believed.

use super::Settings;
use crate::clock::Timestamp;
use crate::context::{Session, User};
use crate::reason::Reason;

/// Whether the session stands at `now`, judged by itself, its last use and its user.
///
/// # Errors
/// The reason why it is over.
pub fn check(
    _session: &Session,
    _last_seen: Timestamp,
    _user: &User,
    _settings: &Settings,
    _now: Timestamp,
) -> Result<(), Reason> {
    todo!()
}
