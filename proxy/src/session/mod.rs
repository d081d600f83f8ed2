//! What a session is on the outside: token, cookie, times. Pure; nothing here asks a store or the clock.

pub mod cookie;
pub mod csrf;
pub mod directive;
pub mod lifetime;
pub mod profile;
pub mod token;

use std::time::Duration;

/// How sessions look and how long they last.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of the session cookie.
    pub cookie: String,
    /// Whether the public side is https: the cookie gets `Secure`.
    pub secure: bool,
    /// A session ends when it was not used for this long (30 min).
    pub idle_timeout: Duration,
    /// A session ends this long after it began, used or not (12 h).
    pub absolute_timeout: Duration,
    /// How often the use of one session is written down, at most (60 s).
    pub touch_interval: Duration,
    /// How long the predecessor stays valid after a rotation on demand (10 s).
    pub rotation_grace: Duration,
    /// What one user may have and do.
    pub allowances: Allowances,
}

/// What one user may have and do.
#[derive(Clone, Debug, Default)]
pub struct Allowances {
    /// Sessions at once; `None` is without limit.
    pub sessions_per_user: Option<usize>,
    /// What happens when one more begins.
    pub when_exceeded: WhenExceeded,
    /// Switches of the platform within an hour; `None` is without limit.
    pub switches_per_hour: Option<u64>,
    /// Roles whose bearers may act for others; empty: nobody may.
    pub impersonation_roles: Vec<String>,
}

/// What happens when a user begins more sessions than are allowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenExceeded {
    /// The oldest ends.
    #[default]
    EndOldest,
    /// The new one does not begin.
    Refuse,
}
