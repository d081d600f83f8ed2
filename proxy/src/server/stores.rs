//! Opens store and directory and puts together what answers questions about sessions. Runs inside the server's runtime,
//! because connections belong to the runtime that made them; nothing here waits for a server to be there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::OnceCell;

use crate::clock::Clock;
use crate::config::Snapshot;
use crate::directory::{self, Directory};
use crate::gateway::Core;
use crate::lifecycle::Lifecycle;
use crate::lifecycle::activity::Activity;
use crate::resolve::Resolver;
use crate::store::{self, Store};
use crate::telemetry::Metrics;

/// How often ended sessions are purged.
const PURGE_EVERY: Duration = Duration::from_secs(600);
/// How many rows one purge deletes at most, so that it never holds locks for long.
const PURGE_BATCH: u32 = 500;
/// How long ended sessions are kept, for questions about what happened.
const KEEP_ENDED: Duration = Duration::from_secs(7 * 24 * 3600);

/// Opens the stores once, whichever service comes first.
pub(super) struct Opener {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) core: Arc<OnceCell<Core>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// Run once the directory is open: the demo puts its people in.
    pub(super) seed: Option<Seed>,
}

/// Fills a fresh directory.
pub type Seed = fn(Arc<dyn Directory>) -> futures_util::future::BoxFuture<'static, anyhow::Result<()>>;

impl Opener {
    /// Opens everything, unless it is open already.
    ///
    /// # Errors
    /// What cannot work even later: an unreadable SQLite file, say. A server that is down is no error.
    pub(super) async fn open(&self) -> anyhow::Result<()> {
        self.core.get_or_try_init(|| self.assemble()).await.map(|_| ())
    }

    async fn assemble(&self) -> anyhow::Result<Core> {
        let snapshot = &self.snapshot;
        let directory = directory::open(&snapshot.directory).await.context("opening the directory")?;
        let store = store::open(&snapshot.store, Arc::clone(&self.clock)).context("opening the store")?;
        if let Some(seed) = self.seed {
            seed(Arc::clone(&directory)).await?;
        }
        let activity = Arc::new(Activity::new(snapshot.session.touch_interval));
        self.start_upkeep(&activity, &store, &directory);
        Ok(Core {
            resolver: Resolver::new(
                Arc::clone(&store),
                Arc::clone(&directory),
                Arc::clone(&self.clock),
                Arc::clone(&activity),
                snapshot.session.clone(),
                snapshot.resolve,
                Arc::clone(&self.metrics),
            ),
            lifecycle: Lifecycle::new(
                store,
                directory,
                Arc::clone(&self.clock),
                snapshot.session.clone(),
                snapshot.keys.token.clone(),
                Arc::clone(&self.metrics),
            ),
            activity,
        })
    }

    fn start_upkeep(&self, activity: &Arc<Activity>, store: &Arc<dyn Store>, directory: &Arc<dyn Directory>) {
        let run = Arc::clone(activity).run(
            Arc::clone(store),
            Arc::clone(directory),
            Arc::clone(&self.clock),
            Arc::clone(&self.metrics),
        );
        super::upkeep::spawn("activity", run);
        super::upkeep::spawn("purge", purge(Arc::clone(directory), Arc::clone(&self.clock)));
    }
}

async fn purge(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        let before = clock.now().minus(KEEP_ENDED);
        // A full batch means there is more.
        while let Ok(deleted) = directory.purge(before, PURGE_BATCH).await {
            if deleted < u64::from(PURGE_BATCH) {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
