//! When sessions were last used. Noted in memory on the way of every request, written to the store and the directory
//! in batches, at most once per `touch_interval` and session: a write per request would cost more than the request.
//! What could not be written stays noted and is tried again with the next batch.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use crate::clock::{Clock, Timestamp};
use crate::context::{Context, LastUse, Layer, SessionId};
use crate::directory::{Directory, DirectoryError};
use crate::store::{Store, StoreError};
use crate::telemetry::Metrics;

/// Locks over which the sessions are spread.
const SHARDS: usize = 64;
/// Most sessions noted at once: about 150 MB. Only those used within the last minutes are kept.
const CAPACITY: usize = 1 << 20;
/// Sessions in one write: some 50 KB in Redis' protocol, one array parameter in Postgres.
const BATCH: usize = 1000;
/// Time between two writes to the store. Until then only this process knows of a use, so it lies far below every
/// sensible idle timeout.
const STORE_PERIOD: Duration = Duration::from_secs(2);
/// Time between two writes to the directory (DESIGN, section 5: at most once a minute).
const DIRECTORY_PERIOD: Duration = Duration::from_mins(1);

/// When the sessions of this process were last used.
///
/// Bounded: when it is full, uses of further sessions are not noted until a batch was written.
pub struct Activity {
    touch_interval: Duration,
    capacity: usize,
    shards: [Mutex<HashMap<SessionId, Seen>>; SHARDS],
}

/// What is known of one session.
struct Seen {
    last: LastUse,
    store: Written,
    directory: Written,
}

/// What was last written to one layer.
#[derive(Clone, Copy, Default)]
struct Written {
    /// The time of use that lies there.
    upto: Timestamp,
    /// When it was written.
    at: Timestamp,
}

impl Activity {
    /// Nothing noted yet.
    #[must_use]
    pub fn new(touch_interval: Duration) -> Self {
        Self::bounded(touch_interval, CAPACITY)
    }

    fn bounded(touch_interval: Duration, capacity: usize) -> Self {
        Self { touch_interval, capacity, shards: std::array::from_fn(|_| Mutex::new(HashMap::new())) }
    }

    /// Notes that the session of `context` was used: one number is written. Only the first use in a while is looked up,
    /// under a lock shared by a 64th of the sessions; never waits for I/O.
    pub fn note(&self, context: &Context, at: Timestamp) {
        if !context.last_seen.advance(at) {
            self.watch(&context.session.id, &context.last_seen);
        }
    }

    /// The same for a session whose context nobody holds.
    pub fn note_by_id(&self, id: &SessionId, at: Timestamp) {
        self.watch(id, &LastUse::at(at));
    }

    /// Reads `last` from now on. It takes the place of the number that was read until now, which another copy of the
    /// context left.
    fn watch(&self, id: &SessionId, last: &LastUse) {
        let mut shard = self.shard(id).lock();
        if let Some(seen) = shard.get_mut(id) {
            if !seen.last.is(last) {
                last.advance(seen.last.unwatch());
                seen.last = last.clone();
            }
            last.watch();
        } else if shard.len() < self.capacity.div_ceil(SHARDS) {
            last.watch();
            let (store, directory) = (Written::default(), Written::default());
            shard.insert(*id, Seen { last: last.clone(), store, directory });
        }
    }

    /// When this process last saw the session used, as far as it remembers: older uses lie in the directory.
    pub fn last_seen(&self, id: &SessionId) -> Option<Timestamp> {
        self.shard(id).lock().get(id).map(|seen| seen.last.get())
    }

    /// Writes what is due to the store. Answers how many sessions were written.
    ///
    /// # Errors
    /// The first failure; what was not written stays noted.
    pub async fn flush_store(&self, store: &dyn Store, now: Timestamp) -> Result<usize, StoreError> {
        self.write_store(store, now, self.touch_interval).await
    }

    /// Writes what is due to the directory. Answers how many sessions were written.
    ///
    /// # Errors
    /// The first failure; what was not written stays noted.
    pub async fn flush_directory(
        &self,
        directory: &dyn Directory,
        now: Timestamp,
    ) -> Result<usize, DirectoryError> {
        self.write_directory(directory, now, self.touch_interval).await
    }

    /// Writes batches until `shutdown`, then writes what is left once.
    pub async fn run(
        &self,
        store: Arc<dyn Store>,
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
        shutdown: impl Future<Output = ()> + Send,
    ) {
        let mut store_ticks = interval(STORE_PERIOD);
        let mut directory_ticks = interval_at(Instant::now() + DIRECTORY_PERIOD, DIRECTORY_PERIOD);
        store_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        directory_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = store_ticks.tick() => {
                    count(&metrics, Layer::Store, self.flush_store(store.as_ref(), clock.now()).await);
                }
                _ = directory_ticks.tick() => {
                    let written = self.flush_directory(directory.as_ref(), clock.now()).await;
                    count(&metrics, Layer::Directory, written);
                }
            }
        }
        let now = clock.now();
        count(&metrics, Layer::Store, self.write_store(store.as_ref(), now, Duration::ZERO).await);
        count(
            &metrics,
            Layer::Directory,
            self.write_directory(directory.as_ref(), now, Duration::ZERO).await,
        );
    }

    async fn write_store(
        &self,
        store: &dyn Store,
        now: Timestamp,
        spacing: Duration,
    ) -> Result<usize, StoreError> {
        let mut written = 0;
        let mut from = 0;
        while let Some(batch) = self.due(&mut from, Layer::Store, now, spacing) {
            store.note_activity(&batch).await?;
            self.mark(&batch, Layer::Store, now);
            written += batch.len();
        }
        Ok(written)
    }

    async fn write_directory(
        &self,
        directory: &dyn Directory,
        now: Timestamp,
        spacing: Duration,
    ) -> Result<usize, DirectoryError> {
        let mut written = 0;
        let mut from = 0;
        while let Some(batch) = self.due(&mut from, Layer::Directory, now, spacing) {
            directory.note_activity(&batch).await?;
            self.mark(&batch, Layer::Directory, now);
            written += batch.len();
        }
        Ok(written)
    }

    /// The next sessions whose use has to be written to `layer`, from the shard `from` on; `None` when there are no
    /// more. Forgets on the way what both layers know and nobody used lately.
    fn due(
        &self,
        from: &mut usize,
        layer: Layer,
        now: Timestamp,
        spacing: Duration,
    ) -> Option<Vec<(SessionId, Timestamp)>> {
        let mut batch = Vec::new();
        while *from < SHARDS && batch.len() < BATCH {
            let mut more = false;
            self.shards[*from].lock().retain(|id, seen| {
                let last = seen.last.get();
                if seen.is_due(last, layer, now, spacing) {
                    if batch.len() < BATCH {
                        batch.push((*id, last));
                    } else {
                        more = true;
                    }
                }
                !seen.is_over(last, now, self.touch_interval)
            });
            if !more {
                *from += 1;
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    fn mark(&self, batch: &[(SessionId, Timestamp)], layer: Layer, now: Timestamp) {
        for (id, upto) in batch {
            if let Some(seen) = self.shard(id).lock().get_mut(id) {
                *seen.written_mut(layer) = Written { upto: *upto, at: now };
            }
        }
    }

    fn shard(&self, id: &SessionId) -> &Mutex<HashMap<SessionId, Seen>> {
        // An id is a hash, and its token was checked: nobody outside chooses the shard.
        &self.shards[usize::from(id.as_bytes()[0]) % SHARDS]
    }
}

impl Seen {
    const fn written(&self, layer: Layer) -> &Written {
        match layer {
            Layer::Directory => &self.directory,
            Layer::Store | Layer::Process => &self.store,
        }
    }

    const fn written_mut(&mut self, layer: Layer) -> &mut Written {
        match layer {
            Layer::Directory => &mut self.directory,
            Layer::Store | Layer::Process => &mut self.store,
        }
    }

    fn is_due(&self, last: Timestamp, layer: Layer, now: Timestamp, spacing: Duration) -> bool {
        let written = self.written(layer);
        last > written.upto && now.since(written.at) >= spacing
    }

    /// Whether it may be forgotten: it is written, and was not used for a while. Who uses it from now on finds that nobody
    /// reads the number any more, and has it watched again.
    fn is_over(&self, last: Timestamp, now: Timestamp, touch_interval: Duration) -> bool {
        let clean = |last| last <= self.store.upto && last <= self.directory.upto;
        let latest = last.max(self.store.at).max(self.directory.at);
        if !clean(last) || now.since(latest) < touch_interval {
            return false;
        }
        let is_over = clean(self.last.unwatch());
        if !is_over {
            self.last.watch();
        }
        is_over
    }
}

impl fmt::Debug for Activity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Activity").field("touch_interval", &self.touch_interval).finish_non_exhaustive()
    }
}

fn count<E: fmt::Display>(metrics: &Metrics, layer: Layer, result: Result<usize, E>) {
    let word = match result {
        Ok(0) => return,
        Ok(_) => "written",
        Err(error) => {
            tracing::warn!(layer = layer.as_str(), %error, "times of last use could not be written, they are kept");
            "failed"
        }
    };
    metrics.activity_batches.with_label_values(&[layer.as_str(), word]).inc();
}

#[cfg(test)]
mod tests;
