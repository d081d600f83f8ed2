//! Every expression of the dashboards and of the rules, and which of them have had data so far.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::environment::root;
use crate::prometheus::{Prometheus, Rule};

/// What an expression is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A panel or an annotation of a dashboard.
    Panel,
    /// Something that is recorded.
    Record,
    /// An alert, which has data only while its condition holds.
    Alert,
}

/// Expressions that still have to show data.
#[derive(Debug)]
pub struct Expressions {
    /// Expression to where it stands.
    waiting: BTreeMap<String, (Kind, String)>,
    count: usize,
}

impl Expressions {
    /// All of them: panels and annotations from the files, rules as Prometheus has read them.
    ///
    /// # Panics
    /// When a dashboard is not as this test knows them, or Prometheus cannot evaluate a rule.
    pub async fn all(prometheus: &Prometheus) -> Self {
        let mut waiting = BTreeMap::new();
        for name in ["overview", "stores", "security"] {
            let file = root().join(format!("dashboards/countersign-{name}.json"));
            let text = std::fs::read(file).expect("the dashboard is in the repository");
            let board: Value = serde_json::from_slice(&text).expect("a dashboard is JSON");
            for (place, expression) in shown(&board) {
                waiting.insert(filled(&expression), (Kind::Panel, format!("{name}, {place}")));
            }
        }
        let rules = prometheus.rules().await;
        assert!(rules.len() > 40, "only {} rules were read", rules.len());
        for Rule { name, expression, is_alert, error } in rules {
            assert_eq!(error, "", "{name}");
            waiting.insert(expression, (if is_alert { Kind::Alert } else { Kind::Record }, name));
        }
        let count = waiting.len();
        assert!(count > 100, "only {count} expressions were found");
        Self { waiting, count }
    }

    /// Asks those that had no data yet.
    ///
    /// # Panics
    /// When Prometheus cannot evaluate one.
    pub async fn look(&mut self, prometheus: &Prometheus) {
        let mut seen = Vec::new();
        for (expression, (_, place)) in &self.waiting {
            let values = prometheus.ask(expression).await;
            let values = values.unwrap_or_else(|error| panic!("{place}: {expression}: {error}"));
            if values.iter().any(|value| !value.is_nan()) {
                seen.push(expression.clone());
            }
        }
        self.waiting.retain(|expression, _| !seen.contains(expression));
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Those of these kinds that have had no data so far, with where they stand.
    #[must_use]
    pub fn without_data(&self, kinds: &[Kind]) -> Vec<String> {
        let of_kind = self.waiting.iter().filter(|(_, (kind, _))| kinds.contains(kind));
        of_kind.map(|(expression, (_, place))| format!("{place}: {expression}")).collect()
    }
}

/// The expressions of a dashboard, with the title of their panel.
fn shown(board: &Value) -> Vec<(String, String)> {
    let list = |value: &Value| value.as_array().cloned().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let mut found = Vec::new();
    for panel in list(&board["panels"]).iter().filter(|panel| panel["type"] != "row") {
        let targets = list(&panel["targets"]);
        assert!(!targets.is_empty(), "{panel}");
        found.extend(targets.iter().map(|target| (text(&panel["title"]), text(&target["expr"]))));
    }
    for annotation in list(&board["annotations"]["list"]) {
        found.push(("an annotation".to_owned(), text(&annotation["expr"])));
    }
    found
}

/// What Grafana would ask for all proxies.
fn filled(expression: &str) -> String {
    let filled = expression.replace("$__rate_interval", "8s").replace("$instance", ".*");
    assert!(!filled.contains('$'), "{expression} has a variable that this test does not know");
    filled
}
