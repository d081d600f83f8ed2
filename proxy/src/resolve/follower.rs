//! Follows the changes that the directory tells, and knows when it was deaf. What a change means for store and process is
//! in `apply`. Decides nothing about a request.

use std::sync::Arc;

use tokio::time::timeout;

use super::Layers;
use super::apply::Applier;
use super::freshness::UNTOLD_LIFETIME;
use crate::directory::{Changes, News};

/// The most news that are handled together: one round trip to the store.
const BATCH: usize = 512;

/// Follows one directory; one per process.
pub struct Follower {
    layers: Arc<Layers>,
    applier: Applier,
}

impl Follower {
    pub(super) fn new(layers: Arc<Layers>, applier: Applier) -> Self {
        // Nothing is told before the first proof.
        layers.freshness.lose();
        layers.store.limit_entities(Some(UNTOLD_LIFETIME));
        Self { layers, applier }
    }

    /// Follows `changes`; returns only when there will be none any more.
    pub async fn follow(self, mut changes: Changes) {
        loop {
            match timeout(UNTOLD_LIFETIME / 2, changes.next(BATCH)).await {
                Ok(news) if news.is_empty() => return,
                Ok(news) => self.hear(news).await,
                // What this process took from the store meanwhile has lived its half.
                Err(_) if self.layers.freshness.is_untold() => self.applier.drop_everything(),
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
        // Sessions that ended unheard have their tombstones before the store is believed.
        if let Some(doubts) = self.layers.store.doubts() {
            doubts.raise("listening again");
        }
        self.applier.drop_everything();
    }

    fn lose(&self) {
        self.layers.store.limit_entities(Some(UNTOLD_LIFETIME));
        self.layers.freshness.lose();
        self.layers.metrics.directory_listening.set(0);
        self.applier.drop_everything();
    }

    async fn apply(&self, changed: Vec<crate::directory::Changed>) {
        // What could not be told is counted and noted there.
        let _told = self.applier.apply(changed).await;
    }
}
