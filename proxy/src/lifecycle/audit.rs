//! What the audit log is told. A change that the directory makes has its line in the same transaction; what is done in
//! the store alone is told afterwards, and again until the directory has taken it.

use std::collections::VecDeque;

use parking_lot::Mutex;

use super::{Lifecycle, Origin};
use crate::clock::Timestamp;
use crate::context::Session;
use crate::directory::{AuditEntry, DirectoryError};

/// Lines that are kept for a directory that is away: some MiB. Of those beyond, the process log tells.
const MOST_WAITING: usize = 16_384;

/// Lines that the directory has not confirmed, oldest first. One that was written when the answer was lost is written
/// again: no line is missing, one may stand there twice.
#[derive(Default)]
pub(super) struct Waiting(Mutex<VecDeque<AuditEntry>>);

impl Waiting {
    /// Keeps a line; `false` when there is no room.
    fn keep(&self, entry: AuditEntry) -> bool {
        let mut lines = self.0.lock();
        let has_room = lines.len() < MOST_WAITING;
        if has_room {
            lines.push_back(entry);
        }
        has_room
    }

    fn oldest(&self) -> Option<AuditEntry> {
        self.0.lock().pop_front()
    }

    fn put_back(&self, entry: AuditEntry) {
        self.0.lock().push_front(entry);
    }
}

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
    /// Tells of what the directory has no part in: what was done is done, and the line follows when it can.
    pub(super) async fn audit(&self, entry: &AuditEntry) {
        let Err(error) = self.directory.audit(entry).await else { return };
        let waits = error != DirectoryError::ReadOnly && self.lines.keep(entry.clone());
        let (user, session) = (&entry.user, &entry.session);
        tracing::warn!(event = entry.event, ?user, ?session, %error, waits, "the audit log did not take a line");
    }

    /// Writes the lines that wait, oldest first, until the directory does not take one.
    pub(super) async fn write_waiting_lines(&self) {
        while let Some(entry) = self.lines.oldest() {
            if self.directory.audit(&entry).await.is_err() {
                self.lines.put_back(entry);
                return;
            }
        }
    }
}
