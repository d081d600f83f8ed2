//! Goes through what changed in the directory and brings it into the store, before the store is believed again: after a
//! start, a new connection, a lapse, deafness or a write that was lost, and now and then so that there is never much to go
//! through. So no session that was revoked comes back, whoever revoked it and whatever became of that proxy.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::apply::Applier;
use crate::directory::{Changed, Directory, DirectoryError, Place};
use crate::store::{Doubts, Progress, StoreError};

/// How often the list is gone through although nothing is in doubt; one proxy does it for all.
const PERIOD: Duration = Duration::from_secs(30);
/// Changes in one query and one round trip.
const PAGE: u32 = 512;
/// The waits after a failure: doubled from the first to the last.
const FIRST_WAIT: Duration = Duration::from_millis(25);
const LAST_WAIT: Duration = Duration::from_secs(1);
/// How often the directory must fail in a row before the same server is used without it.
const FAILURES: u32 = 2;

/// Keeps one store true to one directory; one per process.
pub struct Reconciler {
    applier: Applier,
    directory: Arc<dyn Directory>,
    doubts: Arc<Doubts>,
}

/// Why the changes could not be gone through.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
enum Trouble {
    /// The store failed, or another one came meanwhile.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// The directory failed.
    #[error("{error}")]
    Directory {
        error: DirectoryError,
        /// What is in the store was believed before, on this run.
        same_server: bool,
    },
    /// A change could not be written.
    #[error("a change could not be written to the store")]
    Unwritten,
}

impl Reconciler {
    /// `None` for a store to which no write can get lost. From now on the store is in doubt until what changed was gone
    /// through, so that whoever is made must also run.
    pub(super) fn new(applier: Applier, directory: Arc<dyn Directory>) -> Option<Self> {
        let doubts = applier.layers.store.doubts()?;
        doubts.keep();
        Some(Self { applier, directory, doubts })
    }

    /// Settles doubts, for ever.
    pub async fn run(self) {
        let mut failures = 0_u32;
        let mut owed = true;
        loop {
            let doubt = self.doubts.current();
            let began = Instant::now();
            match self.pass(owed || doubt.is_some()).await {
                Ok(read) => {
                    (failures, owed) = (0, false);
                    if let Some(doubt) = doubt {
                        let settled = self.doubts.settle(doubt);
                        self.note("settled", settled);
                        tracing::info!(changes = read, took = ?began.elapsed(), settled, "the store is up to date");
                    }
                }
                Err(trouble) => {
                    failures = failures.saturating_add(1);
                    owed = true;
                    if failures == 1 {
                        tracing::warn!(%trouble, "the store cannot be brought up to date; trying on");
                    }
                    let same_server = matches!(trouble, Trouble::Directory { same_server: true, .. });
                    // Nobody can revoke anything but through the store itself (DESIGN, section 6).
                    if let Some(doubt) = doubt.filter(|_| same_server && failures >= FAILURES) {
                        self.note("trusted", self.doubts.settle(doubt));
                    }
                }
            }
            self.show();
            self.wait(failures).await;
        }
    }

    async fn wait(&self, failures: u32) {
        let pause = match failures {
            0 => PERIOD,
            _ => FIRST_WAIT.saturating_mul(1 << failures.min(6)).min(LAST_WAIT),
        };
        // A doubt that was raised during a failing pass must not turn the pause into a spin.
        if failures > 0 {
            sleep(FIRST_WAIT).await;
        }
        if timeout(pause, self.doubts.raised()).await.is_ok() {
            self.show();
        }
    }

    /// Goes through what is new. Unless `wanted`, only if nobody else has lately. Answers how many changes there were.
    async fn pass(&self, wanted: bool) -> Result<usize, Trouble> {
        let store = &self.applier.layers.store;
        let now = self.applier.layers.clock.now();
        let before = store.progress().await?;
        let lately = before.same_server && before.at.plus(PERIOD) > now && before.at <= now.plus(PERIOD);
        if lately && !wanted {
            return Ok(0);
        }
        // Without a place, or with one that this database does not know, everything is gone through.
        let place = before.upto.as_deref().and_then(|upto| upto.parse().ok()).unwrap_or_default();
        let (horizon, mut read) = self.go_through(place, &before).await?;
        let horizon = if horizon < place {
            let (horizon, all) = self.go_through(Place::default(), &before).await?;
            read += all;
            horizon
        } else {
            horizon
        };
        store.note_progress(&before, &horizon.to_string(), now).await?;
        Ok(read)
    }

    /// Everything after `place`. Answers up to where it is complete.
    async fn go_through(&self, place: Place, before: &Progress) -> Result<(Place, usize), Trouble> {
        let failed = |error| Trouble::Directory { error, same_server: before.same_server };
        let mut page = self.directory.changes_after(place, PAGE).await.map_err(failed)?;
        let (horizon, mut read) = (page.horizon, 0);
        loop {
            read += page.changed.len();
            let sessions: Vec<_> = page
                .changed
                .iter()
                .filter_map(|change| match change {
                    Changed::Session(id) => Some(*id),
                    _ => None,
                })
                .collect();
            let rows = self.directory.sessions(&sessions).await.map_err(failed)?;
            let foreign: Vec<_> = page.changed.iter().filter_map(Changed::foreign_session).collect();
            let foreign = match foreign.as_slice() {
                [] => Vec::new(),
                foreign => self.directory.foreign_records(foreign).await.map_err(failed)?,
            };
            if !page.changed.is_empty() && !self.applier.replay(&page.changed, &rows, &foreign).await {
                return Err(Trouble::Unwritten);
            }
            let Some(next) = page.next else { return Ok((horizon, read)) };
            page = self.directory.changes_after(next, PAGE).await.map_err(failed)?;
        }
    }

    fn note(&self, how: &str, settled: bool) {
        if settled {
            self.applier.layers.metrics.store_doubts.with_label_values(&[how]).inc();
        }
    }

    fn show(&self) {
        self.applier.layers.metrics.store_doubtful.set(i64::from(self.doubts.is_doubtful()));
    }
}
