//! Faults that are planted for real, so that it is seen that the checker finds them.

use std::time::Duration;

use e2e::history::Rule;
use e2e::load::{Fault, Setting};
use e2e::relay::Mode;

use super::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_without_invalidation_is_found() {
    let trial = Trial::start(&Setting::default()).await;
    let deaf = trial.make(Fault::WayToRedis(1, Mode::Mute)).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    trial.mend(deaf).await;
    let report = trial.report().await;
    assert!(report.count(Rule::ServedAfterEnd) > 0, "{}", report.summary());
    assert!(report.count(Rule::WrongPlatform) > 0, "{}", report.summary());
}
