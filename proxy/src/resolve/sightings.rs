//! When sessions of other frameworks were first seen: noted in the directory, many at once, then in the store, beside the
//! requests. Most frameworks do not say when a session began, and "log out everywhere" asks. Until it is noted this
//! process remembers it. Bounded; what has no room is noted when the session is read next.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use crate::clock::{Clock, Timestamp};
use crate::context::{ForeignRecord, SessionId};
use crate::directory::{Directory, DirectoryError, PutForeign};
use crate::store::Store;
use crate::telemetry::Metrics;

/// The most that wait: some 4 MiB.
const ROOM: usize = 16_384;
/// Sessions in one write: 14 to 52 us each were measured for rows of that size (STATE.md 3.3).
const BATCH: usize = 256;
/// The waits after a failure: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LAST_WAIT: Duration = Duration::from_secs(2);

/// What waits to be noted.
pub(super) struct Sightings {
    store: Arc<dyn Store>,
    directory: Arc<dyn Directory>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting: HashMap<SessionId, ForeignRecord>,
    /// Whether somebody writes: there is a writer as long as something waits, and never two.
    is_written: bool,
}

impl Sightings {
    pub(super) fn new(
        store: Arc<dyn Store>,
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self { store, directory, clock, metrics, state: Mutex::default() }
    }

    /// When this process first saw a session that is not noted yet.
    pub(super) fn seen(&self, id: &SessionId) -> Option<Timestamp> {
        self.state.lock().waiting.get(id).map(|record| record.seen)
    }

    /// Has it noted.
    pub(super) fn note(self: &Arc<Self>, record: ForeignRecord) {
        let mut state = self.state.lock();
        if state.waiting.len() >= ROOM && !state.waiting.contains_key(&record.id) {
            return;
        }
        state.waiting.entry(record.id).or_insert(record);
        self.show(&state);
        if !std::mem::replace(&mut state.is_written, true) {
            drop(state);
            tokio::spawn(Arc::clone(self).write());
        }
    }

    /// Writes until nothing waits.
    async fn write(self: Arc<Self>) {
        let mut pause = FIRST_WAIT;
        while let Some(some) = self.some() {
            if self.write_some(&some).await {
                pause = FIRST_WAIT;
                self.written(&some);
            } else {
                sleep(pause).await;
                pause = (pause * 2).min(LAST_WAIT);
            }
        }
    }

    /// What is to be written next; with `None` the writer is dismissed, in the same moment.
    fn some(&self) -> Option<Vec<ForeignRecord>> {
        let mut state = self.state.lock();
        let some: Vec<_> = state.waiting.values().take(BATCH).cloned().collect();
        state.is_written = !some.is_empty();
        state.is_written.then_some(some)
    }

    /// First where it lasts. Says whether it need not be tried again.
    async fn write_some(&self, some: &[ForeignRecord]) -> bool {
        let told = match self.directory.put_foreign(some, PutForeign::Note, None).await {
            Ok(stand) => self.tell(&stand).await,
            Err(DirectoryError::ReadOnly) => self.note_in_store_alone(some).await,
            Err(error) => {
                tracing::debug!(%error, "sessions that were first seen cannot be noted yet");
                return false;
            }
        };
        if let Err(error) = told {
            tracing::debug!(%error, "the store could not be filled; whoever reads these sessions next tries again");
        }
        true
    }

    async fn tell(&self, stand: &[ForeignRecord]) -> Result<(), crate::store::StoreError> {
        let now = self.clock.now();
        let live: Vec<_> = stand.iter().filter(|record| record.ended.is_none()).cloned().collect();
        let ended = stand.iter().filter(|record| record.ended.is_some());
        let ended: Vec<_> = ended.map(|record| (record.id, record.kept_until)).collect();
        self.store.end_sessions(&ended, now).await?;
        self.store.fill_foreign(&live, now).await
    }

    async fn note_in_store_alone(&self, some: &[ForeignRecord]) -> Result<(), crate::store::StoreError> {
        let now = self.clock.now();
        for record in some {
            self.store.note_foreign(&record.id, record.seen, record.kept_until.since(now)).await?;
        }
        Ok(())
    }

    fn written(&self, some: &[ForeignRecord]) {
        let mut state = self.state.lock();
        for record in some {
            state.waiting.remove(&record.id);
        }
        self.show(&state);
    }

    fn show(&self, state: &State) {
        self.metrics.foreign_notes_waiting.set(i64::try_from(state.waiting.len()).unwrap_or(i64::MAX));
    }
}
