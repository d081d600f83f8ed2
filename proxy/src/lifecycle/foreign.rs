//! What can be changed about a session that another framework keeps: that it is over, and which platform it works with.
//! Both lie in the store beside it, under keys of ours; the session itself is never written, and only deleted where the
//! operator says so.

use super::{Ended, Lifecycle, LifecycleError, Origin};
use crate::cache::Invalidate;
use crate::context::{PlatformId, Session, SessionId};
use crate::session::profile::{Record, Remains};
use crate::store::foreign::kept_beside;
use crate::store::{Event, StoreError};

impl Lifecycle {
    /// Writes the tombstone. The store is the only place that knows the session, so that it is also the only one that
    /// can confirm.
    ///
    /// # Errors
    /// `Undetermined` when the store could not confirm.
    pub(super) async fn end_foreign(
        &self,
        session: &Session,
        origin: &Origin,
    ) -> Result<Ended, LifecycleError> {
        let now = self.clock.now();
        // The application may renew its session for ever; whoever meets the tombstone renews that.
        let until = now.plus(kept_beside(Some(session.expires.since(now))));
        self.copies.session(&session.id);
        let told = self.store.end_sessions(&[(session.id, until)], now).await;
        self.note_telling("tombstone", told);
        self.copies.session(&session.id);
        told.map_err(unconfirmed)?;
        self.announce(&session.user, [Event::SessionEnded { session: session.id }]).await;
        self.count("ended");
        self.audit(&origin.line_about("session_ended", session, now)).await;
        Ok(Ended::Durable)
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
    /// `Undetermined` when the store could not confirm.
    pub(super) async fn choose_for_foreign(
        &self,
        session: &Session,
        platform: Option<&PlatformId>,
        origin: &Origin,
    ) -> Result<Session, LifecycleError> {
        let now = self.clock.now();
        let kept = kept_beside(Some(session.expires.since(now)));
        self.copies.session(&session.id);
        let told = self.store.put_foreign_platform(&session.id, platform, kept).await;
        self.note_telling("session", told);
        self.copies.session(&session.id);
        told.map_err(unconfirmed)?;
        let stands = Session { platform: platform.cloned(), ..session.clone() };
        self.metrics.platform_switches.inc();
        self.audit(&origin.line_about("platform_switched", &stands, now)).await;
        Ok(stands)
    }
}

fn unconfirmed(_: StoreError) -> LifecycleError {
    LifecycleError::Undetermined
}
