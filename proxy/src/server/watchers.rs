//! Tasks that keep the servers of upstreams resolved and watched: one per upstream, for as long as it is in force.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::gateway::rules::Rules;
use crate::gateway::servers::Servers;
use crate::telemetry::Metrics;
use crate::upkeep;

/// Longest wait for the names of an upstream's servers before it is used; they are resolved on in the background.
const RESOLVE_PATIENCE: Duration = Duration::from_secs(2);

/// The tasks, by the name of the upstream.
#[derive(Default)]
pub(super) struct Watchers {
    running: Mutex<HashMap<String, Watched>>,
}

struct Watched {
    servers: Arc<Servers>,
    task: AbortHandle,
}

impl Watchers {
    /// Begins to watch the servers of `rules` that are not watched yet. Their names are resolved when this returns, as
    /// far as they could be. Those of earlier rules are watched on until [`Self::end_others`].
    pub(super) async fn begin(&self, rules: &Rules, metrics: &Arc<Metrics>) {
        let mut begun = Vec::new();
        for (name, servers) in rules.servers() {
            let known = self.running.lock().get(name).is_some_and(|old| Arc::ptr_eq(&old.servers, &servers));
            if !known {
                begun.push(start(name.to_owned(), servers, metrics));
            }
        }
        for (name, watched) in futures_util::future::join_all(begun).await {
            if let Some(old) = self.running.lock().insert(name, watched) {
                old.task.abort();
            }
        }
    }

    /// Ends the tasks of upstreams that `rules` do not have.
    pub(super) fn end_others(&self, rules: &Rules, metrics: &Metrics) {
        self.running.lock().retain(|name, watched| {
            let stays = rules.servers().any(|(known, _)| known == name);
            if !stays {
                watched.task.abort();
                let _ = metrics.upstream_healthy.remove_label_values(&[name]);
            }
            stays
        });
    }
}

async fn start(name: String, servers: Arc<Servers>, metrics: &Arc<Metrics>) -> (String, Watched) {
    let begin = Arc::clone(&servers).start(&name, metrics);
    let task = if let Ok(watch) = timeout(RESOLVE_PATIENCE, begin).await {
        upkeep::spawn("upstream", watch)
    } else {
        tracing::warn!(upstream = name, "the names of the servers do not resolve in time");
        let (again, metrics, name) = (Arc::clone(&servers), Arc::clone(metrics), name.clone());
        upkeep::spawn("upstream", async move { again.start(&name, &metrics).await.await })
    };
    (name, Watched { servers, task })
}
