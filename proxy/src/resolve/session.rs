//! The first half: the session itself and when it was last used.

use std::sync::Arc;

use super::{Layers, Stop, reason_of, result_of};
use crate::cache::proof::Source;
use crate::clock::Timestamp;
use crate::context::{Layer, Session, SessionId};
use crate::directory::SessionRow;
use crate::reason::Reason;
use crate::session::lifetime;
use crate::store::{Lookup, StoredSession};
use crate::telemetry::metrics::LookupResult;

/// A session that has not been ended, and how much is known of its use.
pub(super) struct Found {
    pub(super) session: Session,
    /// The latest use that anybody who was asked knows of.
    pub(super) last_seen: Timestamp,
    pub(super) layer: Layer,
    /// Who answered for the session itself.
    pub(super) source: Source,
    /// Why the store, and with it the activity set, could not be asked.
    pub(super) store_failure: Option<Reason>,
}

/// What the store knows.
enum InStore {
    Live(Session),
    Ended,
    /// Nothing, or nothing that can be read.
    Open,
}

impl Layers {
    /// Finds the session in the store, else in the directory.
    pub(super) async fn find_session(self: &Arc<Self>, id: &SessionId) -> Result<Found, Stop> {
        let noted = self.activity.last_seen(id);
        let (in_store, in_activity_set, store_failure) = match self.stored_session(id).await {
            Ok((in_store, last_seen)) => (in_store, last_seen, None),
            Err(reason) => (InStore::Open, None, Some(reason)),
        };
        let (session, written, layer, source) = match in_store {
            InStore::Ended => return Err(Stop::Unknown(Reason::SessionEnded)),
            InStore::Live(session) => (session, None, Layer::Store, Source::Store),
            InStore::Open => {
                let row = self.live_row(id, store_failure.is_none()).await?;
                if store_failure.is_none() {
                    self.refill.session(row.session.clone(), self.clock.now());
                }
                let source = directory_source(store_failure.is_none());
                (row.session, row.last_seen, Layer::Directory, source)
            }
        };
        let known = [noted, in_activity_set, written];
        let last_seen = known.into_iter().flatten().fold(session.created, Timestamp::max);
        Ok(Found { session, last_seen, layer, source, store_failure })
    }

    /// Whether the session was used recently enough. Nobody is called idle before all who could know a later use
    /// have been asked: this process, the activity set and the directory (DESIGN, section 3).
    pub(super) async fn check_use(self: &Arc<Self>, found: &mut Found, now: Timestamp) -> Result<(), Stop> {
        let idle = |found: &Found| lifetime::check_use(&found.session, found.last_seen, &self.session, now);
        if idle(found).is_ok() {
            return Ok(());
        }
        if found.layer != Layer::Directory {
            let row = self.live_row(&found.session.id, true).await?;
            found.last_seen = row.last_seen.map_or(found.last_seen, |seen| seen.max(found.last_seen));
            found.layer = Layer::Directory;
        }
        match (idle(found), found.store_failure) {
            (Ok(()), _) => Ok(()),
            (Err(_), Some(reason)) => Err(Stop::Undetermined(reason)),
            (Err(reason), None) => Err(Stop::Unknown(reason)),
        }
    }

    /// Asks the store. An unreadable record, or one under a wrong key, leaves the question open.
    async fn stored_session(&self, id: &SessionId) -> Result<(InStore, Option<Timestamp>), Reason> {
        let answer = self.ask_store(self.store.session(id)).await.map_err(|error| {
            self.metrics.count_lookup("session", Layer::Store, LookupResult::Failed);
            reason_of(error)
        })?;
        let lookup = match answer.session {
            Lookup::Found(StoredSession::Live(session)) if session.id != *id => Lookup::Unreadable,
            lookup => lookup,
        };
        self.metrics.count_lookup("session", Layer::Store, result_of(&lookup));
        let in_store = match lookup {
            Lookup::Found(StoredSession::Live(session)) => InStore::Live(session),
            Lookup::Found(StoredSession::Ended) => InStore::Ended,
            Lookup::Missing | Lookup::Unreadable => InStore::Open,
        };
        Ok((in_store, answer.last_seen))
    }

    /// Asks the directory for a session that has not been ended. One that has is told to the store, if that answers.
    async fn live_row(self: &Arc<Self>, id: &SessionId, store_answers: bool) -> Result<SessionRow, Stop> {
        let Some(row) = self.loader.session(id).await? else {
            return Err(Stop::Unknown(Reason::SessionNotFound));
        };
        if row.ended.is_none() {
            return Ok(row);
        }
        if store_answers {
            let now = self.clock.now();
            // Longer than any older copy could be believed.
            let until = row.session.expires.max(now.plus(self.session.absolute_timeout));
            self.refill.ended(*id, until, now);
        }
        Err(Stop::Unknown(Reason::SessionEnded))
    }
}

/// An answer of the directory, with the store behind it or without.
pub(super) const fn directory_source(store_answers: bool) -> Source {
    if store_answers { Source::Directory } else { Source::DirectoryAlone }
}
