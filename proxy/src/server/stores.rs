//! Opens store and directory and puts together what answers questions about sessions. Runs inside the server's runtime,
//! because connections belong to the runtime that made them; nothing here waits for a server to be there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::OnceCell;

use super::farewell::Farewell;
use crate::cache::{Activity, Copies, Invalidate};
use crate::clock::Clock;
use crate::config::Snapshot;
use crate::directory::{self, Directory, DirectoryError};
use crate::events::{Hub, Listener, Streams};
use crate::gateway::Core;
use crate::lifecycle::Lifecycle;
use crate::resolve::Resolver;
use crate::store::{self, PersistentStore, Store};
use crate::telemetry::Metrics;

/// How often ended sessions are purged.
const PURGE_EVERY: Duration = Duration::from_mins(10);
/// The longest that is waited for what a session with open streams comes to; the budget of a request ends it before.
const ASK_STREAMS: Duration = Duration::from_secs(1);
/// How often the operator's own queries are described again once they fit: tables change.
const DESCRIBE_AGAIN: Duration = Duration::from_mins(5);
/// How often it is looked whether there is a place for it by now: tables and rights come by hand.
const LOOK_FOR_PLACE: Duration = Duration::from_secs(5);
/// What is lost where the directory has no place for what is ours about foreign sessions.
pub(super) const KEPT_IN_STORE_ALONE: &str = "log-outs and platform choices of foreign sessions are kept in Redis alone: while it \
     is away these sessions are answered 503, and a Redis that loses them forgets them (docs/session-formats.md)";
/// How many rows one purge deletes at most, so that it never holds locks for long.
const PURGE_BATCH: u32 = 500;
/// How long ended sessions are kept, for questions about what happened.
const KEEP_ENDED: Duration = Duration::from_hours(168);

/// Opens the stores once, whichever service comes first.
pub(super) struct Opener {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) core: Arc<OnceCell<Arc<Core>>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    /// Asks for last-seen times at the end of the process.
    pub(super) farewell: Arc<Farewell>,
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

    async fn assemble(&self) -> anyhow::Result<Arc<Core>> {
        let snapshot = &self.snapshot;
        let directory = directory::open(&snapshot.directory).await.context("opening the directory")?;
        let store = self.open_store()?;
        if let Some(seed) = self.seed {
            seed(Arc::clone(&directory)).await?;
        }
        for (name, breaker) in [("directory", directory.breaker()), ("store", store.breaker())] {
            if let Some(breaker) = breaker {
                let gauge = self.metrics.breaker_state.with_label_values(&[name]);
                breaker.observe(move |state| gauge.set(state.as_gauge()));
            }
        }
        let usable = self.metrics.directory_query_usable.clone();
        directory.observe_queries(Arc::new(move |query, is_usable| {
            usable.with_label_values(&[query]).set(i64::from(is_usable));
        }));
        if snapshot.profile.reads_foreign() {
            super::upkeep::spawn("foreign sessions", tell_of_place(Arc::clone(&directory)));
        }
        super::upkeep::spawn("queries", describe_queries(Arc::clone(&directory)));
        let activity = Arc::new(Activity::new(snapshot.session.touch_interval));
        self.start_upkeep(&activity, &store, &directory);
        let copies = Arc::new(Copies::new(snapshot.cache, store.as_ref(), Arc::clone(&self.metrics)));
        let (reported, pool) = (Arc::clone(&copies), Arc::clone(&directory));
        crate::upkeep::spawn("report", super::gauges::of_stores(reported, pool, Arc::clone(&self.metrics)));
        let resolver = Resolver::new(
            Arc::clone(&copies),
            Arc::clone(&store),
            Arc::clone(&directory),
            Arc::clone(&self.clock),
            Arc::clone(&activity),
            snapshot.session.clone(),
            snapshot.resolve,
            Arc::clone(&self.metrics),
        );
        let kept = || Arc::clone(&copies) as Arc<dyn Invalidate>;
        if let Some(reconciler) = resolver.reconciler(Arc::clone(&directory), kept()) {
            crate::upkeep::spawn("reconcile", reconciler.run());
        }
        if let Some(changes) = directory.changes() {
            let follower = resolver.follower(kept());
            crate::upkeep::spawn("changes", follower.follow(changes));
        }
        let hub = Hub::new(Arc::clone(&store), snapshot.events);
        let streams = Streams::new();
        copies.tell(Listener::new(Arc::clone(&hub), Arc::clone(&streams)));
        crate::upkeep::spawn("events", Arc::clone(&hub).run(Arc::clone(&copies)));
        let lifecycle = Lifecycle::new(
            store,
            directory,
            Arc::clone(&self.clock),
            snapshot.keys.token.clone(),
            snapshot.session.clone(),
            copies,
            Arc::clone(&self.metrics),
        );
        let core = Arc::new(Core { resolver, lifecycle, activity, hub, streams: Arc::clone(&streams) });
        let asked = Arc::clone(&core);
        let ask = move |id| {
            let core = Arc::clone(&asked);
            async move { core.resolver.resolve(&id, tokio::time::Instant::now() + ASK_STREAMS).await }
        };
        crate::upkeep::spawn("streams", streams.run(ask));
        let (confirming, hearing) = (Arc::clone(&core), Arc::clone(&core));
        crate::upkeep::spawn("outbox", async move { confirming.lifecycle.keep_confirming().await });
        crate::upkeep::spawn("ends of others", async move { hearing.lifecycle.keep_hearing().await });
        let warm_sessions = snapshot.cache.warm_sessions;
        if warm_sessions > 0 {
            let core = Arc::clone(&core);
            tokio::spawn(async move { core.resolver.warm(warm_sessions).await });
        }
        Ok(core)
    }

    /// The store, with its failed writes kept and tried again.
    fn open_store(&self) -> anyhow::Result<Arc<dyn Store>> {
        let store =
            store::open(&self.snapshot.store, Arc::clone(&self.clock)).context("opening the store")?;
        let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        let store = Arc::new(PersistentStore::new(store, clock, metrics));
        crate::upkeep::spawn("store writes", Arc::clone(&store).run());
        Ok(store)
    }

    fn start_upkeep(&self, activity: &Arc<Activity>, store: &Arc<dyn Store>, directory: &Arc<dyn Directory>) {
        let (activity, farewell) = (Arc::clone(activity), Arc::clone(&self.farewell));
        let (store, directory_of_activity) = (Arc::clone(store), Arc::clone(directory));
        let (clock, metrics) = (Arc::clone(&self.clock), Arc::clone(&self.metrics));
        crate::upkeep::spawn("activity", async move {
            activity.run(store, directory_of_activity, clock, metrics, farewell.asked()).await;
            farewell.all_is_said().await;
        });
        // A change matters for as long as an older copy of a session could lie in a store.
        let keep_changes = KEEP_ENDED.max(self.snapshot.session.absolute_timeout * 2);
        let keep = Keep { changes: keep_changes, audit: self.snapshot.audit_retention };
        crate::upkeep::spawn("purge", purge(Arc::clone(directory), Arc::clone(&self.clock), keep));
    }
}

/// Describes the operator's own queries at the start, and those that do not fit again and again: who mends a table need
/// not tell us. Lookups do the same for themselves.
async fn describe_queries(directory: Arc<dyn Directory>) {
    loop {
        let reports = directory.check_queries().await;
        let is_done = reports.is_ok_and(|reports| reports.iter().all(|report| report.result.is_ok()));
        tokio::time::sleep(if is_done { DESCRIBE_AGAIN } else { Duration::from_secs(1) }).await;
    }
}

/// Looks where what is ours about sessions of other frameworks can be kept, and says so in the log whenever that changes.
async fn tell_of_place(directory: Arc<dyn Directory>) {
    let mut said = None;
    loop {
        let place = directory.check_foreign().await;
        match &place {
            Ok(Ok(())) if said.is_some() => {
                tracing::info!("what is ours about foreign sessions is kept in the directory");
            }
            Ok(Err(why)) if said.as_ref() != Some(why) => {
                tracing::warn!(why, "{KEPT_IN_STORE_ALONE}");
            }
            _ => {}
        }
        let pause = match &place {
            Ok(Ok(())) => DESCRIBE_AGAIN,
            Ok(Err(_)) => LOOK_FOR_PLACE,
            Err(_) => Duration::from_secs(1),
        };
        if let Ok(place) = place {
            said = place.err();
        }
        tokio::time::sleep(pause).await;
    }
}

/// How long what is over is kept.
struct Keep {
    changes: Duration,
    audit: Duration,
}

async fn purge(directory: Arc<dyn Directory>, clock: Arc<dyn Clock>, keep: Keep) {
    loop {
        tokio::time::sleep(PURGE_EVERY).await;
        let now = clock.now();
        in_batches(|| directory.purge(now.minus(KEEP_ENDED), PURGE_BATCH)).await;
        in_batches(|| directory.purge_foreign(now, PURGE_BATCH)).await;
        in_batches(|| directory.purge_changes(now.minus(keep.changes), PURGE_BATCH)).await;
        in_batches(|| directory.purge_audit(now.minus(keep.audit), PURGE_BATCH)).await;
    }
}

/// Deletes until a batch is not full, which means that there is no more, or until one fails: the next round tries again.
async fn in_batches<F: Future<Output = Result<u64, DirectoryError>>>(delete: impl Fn() -> F) {
    while let Ok(deleted) = delete().await {
        if deleted < u64::from(PURGE_BATCH) {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
