//! The rules for Prometheus are well-formed, each alert passes promtool's own tests, every expression that is not an alert
//! has data in a real Prometheus, and some alerts are seen to fire and to end there. The command `alerts` sees all of them.

use std::time::Duration;

use e2e::alerts::{Kind, Scene, Stage, Watch};
use e2e::environment::root;
use e2e::prometheus::promtool;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_finds_nothing_wrong_with_the_rules_and_their_tests_pass() {
    let dashboards = root().join("dashboards");
    promtool(&dashboards, &["check", "rules", "recording.yml", "alerts.yml"]).await;
    promtool(&dashboards, &["test", "rules", "rules_test.yml"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_panel_has_data_and_alerts_fire_for_their_faults_and_end_after_them() {
    let mut scene = Scene::start().await;
    let mut watch = Watch::start(&[scene.proxy.addresses().admin], |_| {}).await;
    let _calm = scene.calm().await;
    let mut stage = Stage { scene: &mut scene, watch: &mut watch };
    stage.data(Duration::from_mins(1)).await;
    stage.strangers().await;
    assert_eq!(watch.seen().len(), 7);
    assert_eq!(watch.expressions.without_data(&[Kind::Panel, Kind::Record]), Vec::<String>::new());
}
