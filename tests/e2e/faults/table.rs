//! Each row of the failure table (DESIGN section 7), and each way from one to another.

use e2e::history::Row;
use e2e::load::{Fault, Setting};

use super::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_fails_while_everything_is_up() {
    let trial = Trial::start(&Setting::default()).await;
    trial.holds(Row::Whole).await;
    trial.is_spotless().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_redis_everything_goes_through_postgres() {
    let trial = Trial::start(&Setting::default()).await;
    for fault in [Fault::FreezeRedis, Fault::KillRedis] {
        let wound = trial.make(fault).await;
        trial.holds(Row::NoRedis).await;
        trial.mend(wound).await;
        trial.holds(Row::Whole).await;
    }
    trial.is_spotless().await;
}
