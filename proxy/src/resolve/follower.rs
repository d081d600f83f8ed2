//! Follows the changes that the directory tells: drops what the store and this process keep of them, and writes the
//! tombstones of sessions that ended. Decides nothing about a request.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::freshness::UNTOLD_LIFETIME;
use super::{Layers, Stop};
use crate::cache::{Invalidate, Resolutions};
use crate::context::SessionId;
use crate::directory::{Changed, Changes, News};
use crate::store::{EntityKey, Lookup, PutSession, StoreError, StoredSession};

/// The most news that are handled together: one round trip to the store.
const BATCH: usize = 512;

/// Follows one directory; one per process.
pub struct Follower {
    layers: Arc<Layers>,
    flights: Resolutions,
    kept: Arc<dyn Invalidate>,
}

impl Follower {
    pub(super) fn new(layers: Arc<Layers>, flights: Resolutions, kept: Arc<dyn Invalidate>) -> Self {
        // Nothing is told before the first proof.
        layers.freshness.lose();
        layers.store.limit_entities(Some(UNTOLD_LIFETIME));
        Self { layers, flights, kept }
    }

    /// Follows `changes`; returns only when there will be none any more.
    pub async fn follow(self, mut changes: Changes) {
        loop {
            match timeout(UNTOLD_LIFETIME / 2, changes.next(BATCH)).await {
                Ok(news) if news.is_empty() => return,
                Ok(news) => self.hear(news).await,
                // What this process took from the store meanwhile has lived its half.
                Err(_) if self.layers.freshness.is_untold() => self.kept.everything(),
                Err(_) => {}
            }
        }
    }

    async fn hear(&self, news: Vec<News>) {
        let mut changed = Vec::new();
        for piece in news {
            match piece {
                News::Changed(one) => changed.push(one),
                News::Listening => {
                    self.apply(std::mem::take(&mut changed)).await;
                    self.begin();
                }
                News::Lost => {
                    self.apply(std::mem::take(&mut changed)).await;
                    self.lose();
                }
            }
        }
        self.apply(changed).await;
    }

    fn begin(&self) {
        let lifetime = self.layers.store.limit_entities(None);
        self.layers.freshness.begin(lifetime);
        self.layers.metrics.directory_listening.set(1);
        self.drop_everything();
    }

    fn lose(&self) {
        self.layers.store.limit_entities(Some(UNTOLD_LIFETIME));
        self.layers.freshness.lose();
        self.layers.metrics.directory_listening.set(0);
        self.drop_everything();
    }

    fn drop_everything(&self) {
        self.layers.forget_entities();
        self.kept.everything();
    }

    /// First what is kept here, then what all proxies share, then again what came back from there in between.
    async fn apply(&self, mut changed: Vec<Changed>) {
        if changed.is_empty() {
            return;
        }
        let mut seen = std::collections::HashSet::new();
        changed.retain(|one| seen.insert(one.clone()));
        for one in &changed {
            self.layers.metrics.directory_changes.with_label_values(&[&one.to_string()]).inc();
        }
        self.invalidate(&changed);
        let entities: Vec<EntityKey> = changed.iter().filter_map(entity).collect();
        let sessions = changed.iter().filter_map(|one| match one {
            Changed::Session(id) => Some(*id),
            _ => None,
        });
        let sessions = join_all(sessions.map(|id| self.renew(id)));
        let (forgotten, _) = tokio::join!(self.layers.store.forget(&entities), sessions);
        if self.is_told("entities", forgotten).is_none() {
            // The store may show what has changed: nothing in it is believed before it was read again.
            let lifetime = self.layers.store.limit_entities(None);
            self.layers.freshness.begin(lifetime);
        }
        self.invalidate(&changed);
    }

    fn invalidate(&self, changed: &[Changed]) {
        for one in changed {
            match one {
                Changed::User(id) | Changed::UserPlatforms(id) => self.kept.user(id),
                Changed::Platform(id) => self.kept.platform(id),
                Changed::Session(id) => {
                    self.flights.forget(id);
                    self.kept.session(id);
                }
                Changed::Settings(user, platform) => self.kept.user_settings(user, platform),
            }
        }
        // A reading under way may have been too early.
        self.layers.forget_entities();
    }

    /// Brings the store's copy of a session up to date. Whoever changed it usually has done so already.
    async fn renew(&self, id: SessionId) {
        let layers = &self.layers;
        let stored = layers.store.session(&id).await.map(|answer| answer.session);
        if matches!(stored, Ok(Lookup::Found(StoredSession::Ended))) {
            return;
        }
        let now = layers.clock.now();
        // Longer than any older copy could be believed.
        let until = now.plus(layers.session.absolute_timeout);
        let told = match layers.loader.session(&id).await {
            Ok(Some(row)) if row.ended.is_none() => {
                layers.store.put_session(&row.session, PutSession::IfNewer, now).await.map(drop)
            }
            Ok(Some(row)) => layers.store.end_sessions(&[(id, row.session.expires.max(until))], now).await,
            Ok(None) => layers.store.end_sessions(&[(id, until)], now).await,
            Err(Stop::Undetermined(_) | Stop::Unknown(_)) => Err(StoreError::Unavailable),
        };
        let _ = self.is_told("tombstone", told);
    }

    fn is_told(&self, what: &str, told: Result<(), StoreError>) -> Option<()> {
        if let Err(error) = &told {
            self.layers.metrics.store_writes_failed.with_label_values(&[what]).inc();
            tracing::warn!(what, %error, "the store could not be told of a change");
        }
        told.ok()
    }
}

/// What the store keeps of it.
fn entity(changed: &Changed) -> Option<EntityKey> {
    Some(match changed {
        Changed::User(id) => EntityKey::User(id.clone()),
        Changed::Platform(id) => EntityKey::Platform(id.clone()),
        Changed::UserPlatforms(id) => EntityKey::UserPlatforms(id.clone()),
        Changed::Settings(user, platform) => EntityKey::UserSettings(user.clone(), platform.clone()),
        Changed::Session(_) => return None,
    })
}
