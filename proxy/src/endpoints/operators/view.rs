//! Sessions and lines of the audit log as JSON shows them: ids and times, never a token, never a credential.

use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::context::{Context, Session};
use crate::directory::{AuditRecord, SessionRow};

/// A session.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct SessionView {
    /// 43 characters, safe to log.
    id: String,
    /// `live`, `ended` or `expired`. One that was not used for long may be idle all the same.
    state: &'static str,
    user: String,
    platform: Option<String>,
    actor: Option<String>,
    created: String,
    authenticated: String,
    last_seen: Option<String>,
    expires: String,
    ended: Option<String>,
    predecessor: Option<String>,
    successor: Option<String>,
    version: u64,
}

impl SessionView {
    pub(super) fn of_row(row: &SessionRow, now: Timestamp) -> Self {
        let state = match row.ended {
            Some(_) => "ended",
            None if row.session.expires <= now => "expired",
            None => "live",
        };
        let ended = row.ended.as_ref().map(ToString::to_string);
        let last_seen = row.last_seen.as_ref().map(ToString::to_string);
        Self { state, last_seen, ended, ..Self::of(&row.session) }
    }

    pub(super) fn of(session: &Session) -> Self {
        Self {
            id: session.id.to_string(),
            state: "live",
            user: session.user.to_string(),
            platform: session.platform.as_ref().map(ToString::to_string),
            actor: session.actor.as_ref().map(ToString::to_string),
            created: session.created.to_string(),
            authenticated: session.authenticated.to_string(),
            last_seen: None,
            expires: session.expires.to_string(),
            ended: None,
            predecessor: session.predecessor.as_ref().map(ToString::to_string),
            successor: session.successor.as_ref().map(ToString::to_string),
            version: session.version,
        }
    }
}

/// A context, as far as an operator needs it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ContextView {
    session: Option<String>,
    user: String,
    user_name: String,
    roles: Vec<String>,
    platform: Option<String>,
    platform_refused: bool,
    layer: &'static str,
}

impl ContextView {
    /// With the session's id, unless nobody is logged in and somebody only asked what it would be like.
    #[must_use]
    pub fn of(context: &Context, real: bool) -> Self {
        Self {
            session: real.then(|| context.session.id.to_string()),
            user: context.user.id.to_string(),
            user_name: context.user.name.to_string(),
            roles: context.user.roles.clone(),
            platform: context.platform.as_ref().map(|platform| platform.id.to_string()),
            platform_refused: context.platform_refused,
            layer: context.layer.as_str(),
        }
    }
}

/// A line of the audit log.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct AuditView {
    number: u64,
    at: String,
    event: String,
    user: Option<String>,
    session: Option<String>,
    platform: Option<String>,
    by: String,
    from: Option<String>,
    request_id: Option<String>,
}

impl AuditView {
    pub(super) fn of(record: AuditRecord) -> Self {
        Self {
            number: record.number,
            at: record.at.to_string(),
            event: record.event,
            user: record.user.as_ref().map(ToString::to_string),
            session: record.session.as_ref().map(ToString::to_string),
            platform: record.platform.as_ref().map(ToString::to_string),
            by: record.by,
            from: record.from,
            request_id: record.request_id,
        }
    }
}
