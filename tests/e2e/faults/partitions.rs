//! Faults that concern one proxy alone, while the other goes on ending and switching sessions.

use std::time::Duration;

use e2e::history::Row;
use e2e::load::{Fault, Setting};
use e2e::relay::Mode;

use super::Trial;

const A_WHILE: Duration = Duration::from_millis(1500);

/// Makes one fault after the other; after each of them everything must be whole again.
async fn one_after_the_other(faults: &[Fault]) {
    let trial = Trial::start(&Setting::default()).await;
    trial.holds(Row::Whole).await;
    for fault in faults {
        let wound = trial.make(*fault).await;
        tokio::time::sleep(A_WHILE).await;
        trial.mend(wound).await;
        trial.holds(Row::Whole).await;
    }
    trial.must_be_spotless().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_proxy_loses_redis() {
    one_after_the_other(&[
        Fault::WayToRedis(0, Mode::Cut),
        Fault::WayToRedis(1, Mode::Stall),
        Fault::WayToRedis(0, Mode::StallAnswers),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_proxy_loses_postgres() {
    one_after_the_other(&[
        Fault::WayToPostgres(0, Mode::Cut),
        Fault::WayToPostgres(1, Mode::Stall),
        Fault::WayToPostgres(0, Mode::StallAnswers),
    ])
    .await;
}

/// What is said on one connection overtakes what was said before on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_come_late_and_out_of_order() {
    one_after_the_other(&[
        Fault::WayToRedis(0, Mode::Delay(Duration::from_millis(30))),
        Fault::WayToRedis(1, Mode::Jitter(Duration::from_millis(80))),
        Fault::WayToPostgres(0, Mode::Jitter(Duration::from_millis(80))),
        Fault::WayToRedis(0, Mode::Delay(Duration::from_millis(400))),
    ])
    .await;
}

/// Each of the two has lost the store that the other still has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_proxy_has_redis_and_the_other_postgres() {
    let trial = Trial::start(&Setting::default()).await;
    trial.holds(Row::Whole).await;
    for mode in [Mode::Cut, Mode::Stall] {
        let redis = trial.make(Fault::WayToRedis(0, mode)).await;
        let postgres = trial.make(Fault::WayToPostgres(1, mode)).await;
        tokio::time::sleep(A_WHILE).await;
        trial.mend(redis).await;
        trial.mend(postgres).await;
        trial.holds(Row::Whole).await;
    }
    trial.must_be_spotless().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_stands_still_or_starts_again() {
    one_after_the_other(&[Fault::FreezeProxy(0), Fault::RestartProxy(1)]).await;
}
