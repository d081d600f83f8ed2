//! Writes what the directory answered back into the store, beside the request: a refill never delays an answer and
//! never fails one. Sessions are written only where nothing lies, so that a tombstone always wins.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::freshness::{Freshness, Reading};
use crate::clock::Timestamp;
use crate::context::{Session, SessionId};
use crate::store::{Entity, FORGOTTEN_FOR, PutSession, Store};

/// Most refills under way. Beyond it a refill is skipped: the next request that misses tries again.
const MOST: usize = 64;

/// Fills the store.
#[derive(Debug)]
pub(super) struct Refill {
    store: Arc<dyn Store>,
    freshness: Arc<Freshness>,
    slots: Arc<Semaphore>,
}

impl Refill {
    pub(super) fn new(store: Arc<dyn Store>, freshness: Arc<Freshness>) -> Self {
        Self { store, freshness, slots: Arc::new(Semaphore::new(MOST)) }
    }

    /// A live session that the store did not have.
    pub(super) fn session(&self, session: Session, now: Timestamp) {
        self.beside(move |store| async move {
            store.put_session(&session, PutSession::IfAbsent, now).await.map(|_written| ())
        });
    }

    /// A session that has ended although the store does not know it.
    pub(super) fn ended(&self, id: SessionId, until: Timestamp, now: Timestamp) {
        self.beside(move |store| async move { store.end_sessions(&[(id, until)], now).await });
    }

    /// Users and platforms that the store did not have, or not in a state to be believed.
    pub(super) fn entities(&self, entities: Vec<Entity>, reading: Reading) {
        if entities.is_empty() {
            return;
        }
        let freshness = Arc::clone(&self.freshness);
        self.beside(move |store| async move {
            // A change that came in between keeps older readings out, but not for ever.
            if reading.age() > FORGOTTEN_FOR / 2 {
                return Ok(());
            }
            let written = store.put_entities(&entities).await?;
            freshness.note_stored(reading, &written);
            Ok(())
        });
    }

    pub(super) fn beside<W, F>(&self, work: W)
    where
        W: FnOnce(Arc<dyn Store>) -> F + Send + 'static,
        F: Future<Output = Result<(), crate::store::StoreError>> + Send + 'static,
    {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else { return };
        let work = work(Arc::clone(&self.store));
        tokio::spawn(async move {
            if let Err(error) = work.await {
                tracing::debug!(%error, "the store could not be refilled");
            }
            drop(slot);
        });
    }
}
