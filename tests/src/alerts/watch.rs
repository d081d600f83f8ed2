//! Prometheus, and what was seen with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::expressions::Expressions;
use crate::environment::root;
use crate::prometheus::Prometheus;

/// The longest that an alert may take to begin or to end. Nothing is judged by how long it took.
const PATIENCE: Duration = Duration::from_mins(4);
/// The pause between two looks.
const STEP: Duration = Duration::from_millis(300);

/// Looks at alerts and expressions while things are made to go wrong.
#[derive(Debug)]
pub struct Watch {
    /// The server.
    pub prometheus: Prometheus,
    /// What had no data yet.
    pub expressions: Expressions,
    /// When which alert fired after its fault was made, and was over after it was mended.
    seen: BTreeMap<String, (Duration, Duration)>,
    say: fn(&str),
}

impl Watch {
    /// A Prometheus that watches these proxies; `say` is told what is seen.
    ///
    /// # Panics
    /// When Prometheus does not start or does not read the rules.
    pub async fn start(targets: &[SocketAddr], say: fn(&str)) -> Self {
        let rules = ["recording.yml", "alerts.yml"].map(|name| root().join("dashboards").join(name));
        let prometheus = tokio::task::block_in_place(|| Prometheus::start(targets, &rules));
        let expressions = Expressions::all(&prometheus).await;
        Self { prometheus, expressions, seen: BTreeMap::new(), say }
    }

    /// Waits until none of these fires, before their fault is made.
    ///
    /// # Panics
    /// When one still does.
    pub async fn at_rest(&mut self, alerts: &[&str]) {
        self.until(alerts, false, async || {}).await;
    }

    /// Waits until all of these fire, each at some time since this was called. `again` is done between two looks, for
    /// faults that have to be made more than once.
    ///
    /// # Panics
    /// When one does not.
    pub async fn fire(&mut self, fault: &str, alerts: &[&str], again: impl AsyncFnMut()) {
        (self.say)(&format!("{fault}: {}", alerts.join(", ")));
        for (alert, took) in self.until(alerts, true, again).await {
            (self.say)(&format!("    {alert} fires after {:.1} s", took.as_secs_f64()));
            self.seen.insert(alert, (took, Duration::MAX));
        }
    }

    /// Waits until none of these fires any more.
    ///
    /// # Panics
    /// When one does not end.
    pub async fn end(&mut self, alerts: &[&str]) {
        for (alert, took) in self.until(alerts, false, async || {}).await {
            (self.say)(&format!("    {alert} is over after {:.1} s", took.as_secs_f64()));
            if let Some(seen) = self.seen.get_mut(&alert) {
                seen.1 = took;
            }
        }
    }

    /// Waits until each of these was once seen firing, or once not.
    async fn until(
        &mut self,
        alerts: &[&str],
        firing: bool,
        mut again: impl AsyncFnMut(),
    ) -> Vec<(String, Duration)> {
        let begin = Instant::now();
        let mut missing: BTreeSet<&str> = alerts.iter().copied().collect();
        let mut reached = Vec::new();
        loop {
            let now = self.look().await;
            missing.retain(|alert| {
                let there = now.contains(*alert) == firing;
                if there {
                    reached.push(((*alert).to_owned(), begin.elapsed()));
                }
                !there
            });
            if missing.is_empty() {
                return reached;
            }
            let what = if firing { "do not fire" } else { "do not end" };
            assert!(begin.elapsed() < PATIENCE, "these {what}: {missing:?}");
            again().await;
            tokio::time::sleep(STEP).await;
        }
    }

    /// Which alerts fire now; asks the expressions that had no data yet.
    pub async fn look(&mut self) -> BTreeSet<String> {
        self.expressions.look(&self.prometheus).await;
        self.prometheus.firing().await
    }

    /// The alerts that were seen to fire and to end, with how long either took.
    #[must_use]
    pub fn seen(&self) -> &BTreeMap<String, (Duration, Duration)> {
        &self.seen
    }

    /// The alerts of the rules that were not seen to fire and to end.
    #[must_use]
    pub async fn unseen(&self) -> Vec<String> {
        let rules = self.prometheus.rules().await.into_iter().filter(|rule| rule.is_alert);
        let whole = |name: &String| self.seen.get(name).is_some_and(|(_, ended)| *ended < Duration::MAX);
        rules.map(|rule| rule.name).filter(|name| !whole(name)).collect()
    }
}
