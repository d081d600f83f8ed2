//! What the audit log is told. A change that the directory makes has its line in the same transaction; what is done in
//! the store alone is told afterwards, as well as it goes.

use super::{Lifecycle, Origin};
use crate::clock::Timestamp;
use crate::context::Session;
use crate::directory::AuditEntry;

impl Origin {
    /// What was done, by whom.
    pub(super) fn line(&self, event: &'static str, at: Timestamp) -> AuditEntry {
        AuditEntry {
            at,
            event,
            user: None,
            session: None,
            platform: None,
            by: self.by.clone(),
            from: self.from.clone(),
            request_id: self.request_id.clone(),
        }
    }

    /// The same about a session, with the platform that it has then.
    pub(super) fn line_about(&self, event: &'static str, session: &Session, at: Timestamp) -> AuditEntry {
        AuditEntry {
            user: Some(session.user.clone()),
            session: Some(session.id),
            platform: session.platform.clone(),
            ..self.line(event, at)
        }
    }
}

impl Lifecycle {
    /// Tells of what the directory has no part in: what was done is done.
    pub(super) async fn audit(&self, entry: &AuditEntry) {
        if let Err(error) = self.directory.audit(entry).await {
            tracing::warn!(event = entry.event, %error, "the audit log could not be written");
        }
    }
}
