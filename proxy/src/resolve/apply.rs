//! What a change in the directory means: copies of it are dropped here and in the store, and sessions that ended leave a
//! tombstone. For those who hear of changes and those who read the list of them. Decides nothing about a request.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{Layers, Stop};
use crate::cache::{Invalidate, Resolutions};
use crate::clock::Timestamp;
use crate::context::{ForeignRecord, SessionId};
use crate::directory::{Changed, SessionRow};
use crate::store::{EntityKey, Lookup, PutSession, StoreError, StoredSession};

/// Carries changes over into the store and this process.
#[derive(Clone)]
pub(super) struct Applier {
    pub(super) layers: Arc<Layers>,
    pub(super) flights: Resolutions,
    pub(super) kept: Arc<dyn Invalidate>,
}

impl Applier {
    /// Drops all that this process keeps.
    pub(super) fn drop_everything(&self) {
        self.layers.forget_entities();
        self.kept.everything();
    }

    /// First what is kept here, then what all proxies share, then again what came back from there in between. Answers
    /// whether the store knows.
    pub(super) async fn apply(&self, mut changed: Vec<Changed>) -> bool {
        if changed.is_empty() {
            return true;
        }
        let mut seen = HashSet::new();
        changed.retain(|one| seen.insert(one.clone()));
        for one in &changed {
            self.layers.metrics.directory_changes.with_label_values(&[&one.to_string()]).inc();
        }
        let sessions = changed.iter().filter_map(|one| match one {
            Changed::Session(id) => Some(*id),
            _ => None,
        });
        let foreign = changed.iter().filter_map(Changed::foreign_session);
        self.invalidate(&changed);
        let (forgotten, renewed, brought) = tokio::join!(
            self.forget(&changed),
            join_all(sessions.map(|id| self.renew(id))),
            join_all(foreign.map(|id| self.bring(id)))
        );
        self.invalidate(&changed);
        forgotten && renewed.into_iter().chain(brought).all(|told| told)
    }

    /// The same for changes that were read from the list, with the sessions as they stand.
    pub(super) async fn replay(
        &self,
        changed: &[Changed],
        rows: &[SessionRow],
        foreign: &[ForeignRecord],
    ) -> bool {
        self.invalidate(changed);
        let now = self.layers.clock.now();
        let sessions = changed.iter().filter_map(|one| match one {
            Changed::Session(id) => Some((*id, rows.iter().find(|row| row.session.id == *id))),
            _ => None,
        });
        let writes = join_all(sessions.map(|(id, row)| self.write(id, row, now)));
        let brought = join_all(foreign.iter().map(|record| self.put_foreign(record, now)));
        let (forgotten, written, brought) = tokio::join!(self.forget(changed), writes, brought);
        self.invalidate(changed);
        forgotten && written.into_iter().chain(brought).all(|told| told)
    }

    fn invalidate(&self, changed: &[Changed]) {
        for one in changed {
            match one {
                Changed::User(id) | Changed::UserPlatforms(id) => self.kept.user(id),
                Changed::Platform(id) => self.kept.platform(id),
                // A table of others has no copy in the store.
                Changed::Session(id) | Changed::TableSession(id) | Changed::ForeignSession(id) => {
                    self.flights.forget(id);
                    self.kept.session(id);
                }
                Changed::Settings(user, platform) => self.kept.user_settings(user, platform),
            }
        }
        // A reading under way may have been too early.
        self.layers.forget_entities();
    }

    async fn forget(&self, changed: &[Changed]) -> bool {
        let entities: Vec<EntityKey> = changed.iter().filter_map(entity).collect();
        let renewal = self.layers.store.renew(&entities).await;
        let is_told = self.is_told("entities", renewal.as_ref().map(|_renewal| ()).map_err(|error| *error));
        if !is_told {
            // The store may show what has changed: nothing in it is believed before it was read again.
            let lifetime = self.layers.store.limit_entities(None);
            self.layers.freshness.begin(lifetime);
        }
        if let Ok(renewal) = renewal {
            self.layers.put_back(renewal);
        }
        is_told
    }

    /// Brings the store's copy of a session up to date. Whoever changed it usually has done so already.
    async fn renew(&self, id: SessionId) -> bool {
        let stored = self.layers.store.session(&id).await.map(|answer| answer.session);
        if matches!(stored, Ok(Lookup::Found(StoredSession::Ended))) {
            return true;
        }
        match self.layers.loader.session(&id).await {
            Ok(row) => self.write(id, row.as_ref(), self.layers.clock.now()).await,
            Err(Stop::Undetermined(_) | Stop::Unknown(_)) => {
                self.is_told("tombstone", Err(StoreError::Unavailable))
            }
        }
    }

    /// Writes a session as it stands in the directory.
    async fn write(&self, id: SessionId, row: Option<&SessionRow>, now: Timestamp) -> bool {
        let layers = &self.layers;
        // Longer than any older copy could be believed.
        let until = now.plus(layers.session.absolute_timeout);
        let told = match row {
            Some(row) if row.ended.is_none() => {
                layers.store.put_session(&row.session, PutSession::IfNewer, now).await.map(drop)
            }
            Some(row) => layers.store.end_sessions(&[(id, row.session.expires.max(until))], now).await,
            None => layers.store.end_sessions(&[(id, until)], now).await,
        };
        self.is_told("tombstone", told)
    }

    /// Brings what is ours about a foreign session into the store.
    async fn bring(&self, id: SessionId) -> bool {
        match self.layers.loader.foreign_record(&id).await {
            Ok(Some(record)) => self.put_foreign(&record, self.layers.clock.now()).await,
            // It need not be kept any more.
            Ok(None) => true,
            Err(Stop::Undetermined(_) | Stop::Unknown(_)) => {
                self.is_told("tombstone", Err(StoreError::Unavailable))
            }
        }
    }

    async fn put_foreign(&self, record: &ForeignRecord, now: Timestamp) -> bool {
        let store = &self.layers.store;
        let told = match record.ended {
            Some(_) => store.end_sessions(&[(record.id, record.kept_until)], now).await,
            None => store.put_foreign(std::slice::from_ref(record), now).await,
        };
        self.is_told(if record.ended.is_some() { "tombstone" } else { "session" }, told)
    }

    fn is_told(&self, what: &str, told: Result<(), StoreError>) -> bool {
        if let Err(error) = &told {
            self.layers.metrics.store_writes_failed.with_label_values(&[what]).inc();
            tracing::warn!(what, %error, "the store could not be told of a change");
        }
        told.is_ok()
    }
}

/// What the store keeps of it.
fn entity(changed: &Changed) -> Option<EntityKey> {
    Some(match changed {
        Changed::User(id) => EntityKey::User(id.clone()),
        Changed::Platform(id) => EntityKey::Platform(id.clone()),
        Changed::UserPlatforms(id) => EntityKey::UserPlatforms(id.clone()),
        Changed::Settings(user, platform) => EntityKey::UserSettings(user.clone(), platform.clone()),
        Changed::Session(_) | Changed::TableSession(_) | Changed::ForeignSession(_) => return None,
    })
}
