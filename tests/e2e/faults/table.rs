//! Each row of the failure table (DESIGN section 7), and each way from one to another. In a settled row nothing but what
//! it says may be answered; on the way nothing may be answered that is wrong.

use e2e::history::Row;
use e2e::load::{Fault, Setting};

use super::Trial;

async fn start() -> Trial {
    let trial = Trial::start(&Setting::default()).await;
    trial.holds(Row::Whole).await;
    trial
}

/// Frozen servers keep their connections and their memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freezing_one_server_after_the_other() {
    let trial = start().await;
    let redis = trial.make(Fault::FreezeRedis).await;
    trial.holds(Row::NoRedis).await;
    let postgres = trial.make(Fault::FreezePostgres).await;
    trial.holds(Row::Nothing).await;
    trial.mend(redis).await;
    // What Redis missed is known to Postgres alone: whether users can be believed depends on what changed.
    trial.passes().await;
    trial.mend(postgres).await;
    trial.holds(Row::Whole).await;
    trial.must_be_spotless().await;
}

/// The same the other way round.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_postgres_first_and_mending_it_first() {
    let trial = start().await;
    let postgres = trial.make(Fault::StopPostgres).await;
    trial.holds(Row::NoPostgres).await;
    let redis = trial.make(Fault::FreezeRedis).await;
    trial.holds(Row::Nothing).await;
    trial.mend(postgres).await;
    trial.holds(Row::NoRedis).await;
    trial.mend(redis).await;
    trial.holds(Row::Whole).await;
    trial.must_be_spotless().await;
}

/// Both at once, and each in the place of the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_both_at_once_and_one_instead_of_the_other() {
    let trial = start().await;
    let (redis, postgres) = (trial.make(Fault::FreezeRedis).await, trial.make(Fault::KillPostgres).await);
    trial.holds(Row::Nothing).await;
    trial.mend(postgres).await;
    trial.mend(redis).await;
    trial.holds(Row::Whole).await;
    let redis = trial.make(Fault::FreezeRedis).await;
    trial.holds(Row::NoRedis).await;
    trial.mend(redis).await;
    let postgres = trial.make(Fault::FreezePostgres).await;
    trial.passes().await;
    let redis = trial.make(Fault::FreezeRedis).await;
    trial.mend(postgres).await;
    trial.holds(Row::NoRedis).await;
    trial.mend(redis).await;
    trial.holds(Row::Whole).await;
    trial.must_be_spotless().await;
}

/// A Redis that comes back with nothing holds no tombstone: it is not trusted before Postgres has filled it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_lost_its_memory() {
    let trial = start().await;
    let redis = trial.make(Fault::KillRedis).await;
    trial.holds(Row::NoRedis).await;
    trial.mend(redis).await;
    trial.holds(Row::Whole).await;
    let flushed = trial.make(Fault::FlushRedis).await;
    trial.mend(flushed).await;
    trial.holds(Row::Whole).await;
    let redis = trial.make(Fault::KillRedis).await;
    let postgres = trial.make(Fault::KillPostgres).await;
    trial.holds(Row::Nothing).await;
    trial.mend(redis).await;
    trial.holds(Row::Nothing).await;
    trial.mend(postgres).await;
    trial.holds(Row::Whole).await;
    trial.must_be_spotless().await;
}
