//! The rules for Prometheus are well-formed, and each alert is seen at rest, firing and over by promtool's own tests.

use e2e::environment::root;
use e2e::prometheus::promtool;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_wrong_with_the_rules_and_their_tests_pass() {
    let dashboards = root().join("dashboards");
    promtool(&dashboards, &["check", "rules", "recording.yml", "alerts.yml"]).await;
    promtool(&dashboards, &["test", "rules", "rules_test.yml"]).await;
}
