//! Faults that are planted for real, so that it is seen that the checker finds them. The product has no back door for
//! this: one relay swallows what Redis tells, one configuration promises less than the checker demands.

use std::time::Duration;

use e2e::history::{Report, Row, Rule};
use e2e::load::{Fault, Setting};
use e2e::relay::Mode;

use super::Trial;

/// After so many silences in which nothing was missed, nothing will be.
const MOST_SILENCES: u32 = 10;

/// Redis goes on answering the PING that renews the lease, but what it tells of changes is lost on the way; and Postgres,
/// which would tell of them as well, is not heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_without_invalidation_is_found() {
    let report = with(Setting::default(), Mode::Mute).await;
    assert!(report.count(Rule::ServedAfterEnd) > 0, "{}", report.summary());
    assert!(report.count(Rule::WrongPlatform) > 0, "{}", report.summary());
}

/// A lease of a minute, where the checker knows of a tenth of a second, on a connection that says nothing any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_never_lapses_is_found() {
    let more = "[cache]\nmax_staleness = \"1m\"".to_owned();
    let report = with(Setting { more, ..Setting::default() }, Mode::StallReports).await;
    assert!(report.count(Rule::ServedAfterEnd) > 0, "{}", report.summary());
}

/// What is found when the second proxy hears of Redis no more than this, and nothing of Postgres.
async fn with(setting: Setting, redis: Mode) -> Report {
    let trial = Trial::start(&setting).await;
    trial.holds(Row::Whole).await;
    // A PING of the long lease (one every 12 s) may fall into a silence and end it before anything is missed. Then there
    // is another, for a slow machine more than one; two at the least, so that choices of platform are missed too.
    for silence in 1..=MOST_SILENCES {
        let deaf = trial.make(Fault::WayToRedis(1, redis)).await;
        let deafer = trial.make(Fault::WayToPostgres(1, Mode::StallAnswers)).await;
        tokio::time::sleep(Duration::from_secs(4)).await;
        trial.mend(deaf).await;
        trial.mend(deafer).await;
        trial.fleet.until(Row::Whole).await;
        if silence >= 2 && trial.has_found(Rule::ServedAfterEnd) {
            break;
        }
    }
    let report = trial.report().await;
    for rule in
        [Rule::WrongIdentity, Rule::Unbelievable, Rule::LoggedOut, Rule::CookieTouched, Rule::NotPublic]
    {
        assert_eq!(report.count(rule), 0, "{}", report.summary());
    }
    report
}
