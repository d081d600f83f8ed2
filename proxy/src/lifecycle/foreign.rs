//! What can be changed about a session that another framework keeps: that it is over, and which platform it works with.
//! Both are kept as for sessions of ours, in the directory and then in the store, beside it; where the directory has no
//! place for it, in the store alone. The session itself is never written, and only deleted where the operator says so.

use super::operators::Ending;
use super::{Ended, Lifecycle, LifecycleError, Origin, SESSION_OVER};
use crate::cache::Invalidate;
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, PlatformId, Session, SessionId};
use crate::directory::{AuditEntry, DirectoryError, PutForeign};
use crate::session::profile::{Record, Remains};
use crate::store::foreign::kept_beside;
use crate::store::{Event, StoreError};

impl Lifecycle {
    /// Ends it: durably, then with a tombstone in the store.
    ///
    /// # Errors
    /// `Undetermined` when neither the directory could confirm nor the store accept it.
    pub(super) async fn end_foreign(
        &self,
        session: &Session,
        origin: &Origin,
    ) -> Result<Ended, LifecycleError> {
        let (now, began) = (self.clock.now(), std::time::Instant::now());
        let record = ForeignRecord { ended: Some(now), ..beside(session, now) };
        let line = origin.line_about("session_ended", session, now);
        match self.directory.put_foreign(std::slice::from_ref(&record), PutForeign::Change, Some(&line)).await
        {
            Ok(_) => {
                self.metrics.end_ordered(&session.id, began);
                // A failure is counted there, and tried again.
                let _told = self.tell_foreign_ended(&record, now).await;
            }
            Err(DirectoryError::ReadOnly) => {
                self.tell_foreign_ended(&record, now).await.map_err(unconfirmed)?;
                self.audit(&line).await;
            }
            Err(error) => {
                if self.accept_foreign(&record, origin, now).await.is_err() {
                    // Whoever asks the store shall see it all the same, as far as that goes.
                    let _told = self.tell_foreign_ended(&record, now).await;
                    return Err(error.into());
                }
                self.announce(&session.user, [Event::SessionEnded { session: session.id }]).await;
                self.count("ended");
                return Ok(Ended::Accepted);
            }
        }
        self.announce(&session.user, [Event::SessionEnded { session: session.id }]).await;
        self.count("ended");
        Ok(Ended::Durable)
    }

    /// Ends a session that a proxy has noted, by its id.
    ///
    /// # Errors
    /// As [`Self::end_foreign`].
    pub(super) async fn end_foreign_by_id(
        &self,
        id: &str,
        origin: &Origin,
    ) -> Result<Ending, LifecycleError> {
        let Ok(id) = id.parse::<SessionId>() else { return Ok(Ending::Nothing) };
        let records = match self.directory.foreign_records(std::slice::from_ref(&id)).await {
            // None is kept, so nobody knows whether there is one.
            Err(DirectoryError::ReadOnly) => Vec::new(),
            records => records?,
        };
        let Some(record) = records.into_iter().next() else { return Ok(Ending::Nothing) };
        let (None, Some(user)) = (record.ended, record.user) else { return Ok(Ending::WasOver(id)) };
        let now = self.clock.now();
        let session = Session {
            id,
            user,
            platform: record.platform.flatten(),
            created: record.seen,
            authenticated: Timestamp::default(),
            // What is kept is kept for twice as long as the session lives.
            expires: now.plus(record.kept_until.since(now) / 2),
            predecessor: None,
            successor: None,
            actor: None,
            version: Session::FOREIGN,
        };
        Ok(Ending::Ended(id, self.end_foreign(&session, origin).await?))
    }

    /// Tells the store. The application may renew its session for ever; whoever meets the tombstone renews that.
    pub(super) async fn tell_foreign_ended(
        &self,
        record: &ForeignRecord,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.copies.session(&record.id);
        let told = self.store.end_sessions(&[(record.id, record.kept_until)], now).await;
        self.note_telling("tombstone", told);
        self.copies.session(&record.id);
        told
    }

    /// Has a session read again that its application may have changed: whoever has the answer to a log-in or log-out sees
    /// its effect at the next request, without waiting for what the store tells.
    pub fn may_have_changed(&self, session: &SessionId) {
        self.copies.session(session);
    }

    /// Deletes what the application keeps of a session that was ended, where that is allowed. The tombstone ended it;
    /// a record that could not be deleted is only told of.
    pub async fn delete_remains(&self, remains: &Remains) {
        for record in &remains.records {
            let deleted = match record {
                Record::Store(key) => self.store.delete_foreign(key).await.map_err(|error| error.to_string()),
                Record::Table(query, key) => {
                    let deleted = self.directory.delete_table_session(query, key).await;
                    deleted.map_err(|error| error.to_string())
                }
            };
            if let Err(error) = deleted {
                self.metrics.store_writes_failed.with_label_values(&["record"]).inc();
                tracing::warn!(
                    error,
                    "the application's own record of a session that was ended cannot be deleted"
                );
            }
        }
    }

    /// Chooses a platform that the user owns, or the default. Answers the session as it stands.
    ///
    /// # Errors
    /// `Undetermined` when it could not be confirmed, `Impossible` when the session was ended.
    pub(super) async fn choose_for_foreign(
        &self,
        session: &Session,
        platform: Option<&PlatformId>,
        origin: &Origin,
    ) -> Result<Session, LifecycleError> {
        let now = self.clock.now();
        let record = ForeignRecord { platform: Some(platform.cloned()), ..beside(session, now) };
        let stands = Session { platform: platform.cloned(), ..session.clone() };
        let line = AuditEntry {
            platform: platform.cloned(),
            ..origin.line_about("platform_switched", &stands, now)
        };
        let written = self.directory.put_foreign(&[record], PutForeign::Change, Some(&line)).await;
        self.copies.session(&session.id);
        let told = match &written {
            Ok(records) if records.iter().any(|record| record.ended.is_some()) => return Err(SESSION_OVER),
            Ok(records) => self.store.put_foreign(records, now).await,
            Err(DirectoryError::ReadOnly) => {
                let kept = kept_beside(Some(session.expires.since(now)));
                self.store.put_foreign_platform(&session.id, platform, kept).await
            }
            Err(error) => return Err((*error).into()),
        };
        self.note_telling("session", told);
        self.copies.session(&session.id);
        if written.is_err() {
            // Nobody but the store has it.
            told.map_err(unconfirmed)?;
            self.audit(&line).await;
        }
        self.announce(&stands.user, [Event::platform_switched(&stands)]).await;
        self.metrics.platform_switches.inc();
        Ok(stands)
    }
}

/// What is kept beside a session that is about to change.
fn beside(session: &Session, now: Timestamp) -> ForeignRecord {
    ForeignRecord {
        id: session.id,
        user: Some(session.user.clone()),
        seen: session.created,
        platform: None,
        ended: None,
        kept_until: now.plus(kept_beside(Some(session.expires.since(now)))),
        version: 0,
    }
}

fn unconfirmed(_: StoreError) -> LifecycleError {
    LifecycleError::Undetermined
}
