//! Faults under load: 64 connections, several proxies, real servers that are frozen, killed and cut off. Every request
//! and every change is noted down and judged afterwards.

mod partitions;
mod planted;
mod table;

use std::sync::Arc;
use std::time::Duration;

use e2e::history::{Bounds, History, Report, Row, Rule, check};
use e2e::load::{Crowd, Fault, Fleet, Pace, Setting, Wound};

/// One at a time: each has the machine's cores for itself and its crowd.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A fleet under load with its history.
struct Trial {
    fleet: Arc<Fleet>,
    history: Arc<History>,
    crowd: Crowd,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

impl Trial {
    async fn start(setting: &Setting) -> Self {
        let alone = ALONE.lock().await;
        let fleet = Fleet::start(setting).await;
        let history = Arc::new(History::default());
        let crowd = Crowd::start(&fleet, &history, Pace::default()).await;
        Self { fleet, history, crowd, _alone: alone }
    }

    async fn make(&self, fault: Fault) -> Wound {
        self.fleet.make(fault, &self.history).await
    }

    async fn mend(&self, wound: Wound) {
        self.fleet.mend(wound, &self.history).await;
    }

    /// Waits until every proxy does what this row says, and then holds them to it for a while.
    async fn holds(&self, row: Row) {
        self.fleet.until(row).await;
        let phase = self.history.settled(row);
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.history.over(phase);
    }

    /// Lets a time pass in which only what is never allowed is looked for.
    async fn passes(&self) {
        tokio::time::sleep(Duration::from_secs(2)).await;
    }

    /// Whether the rule was broken so far. Only of ends can this be said while changes are under way: one that is not
    /// noted down yet would look like the wrong platform.
    fn has_found(&self, rule: Rule) -> bool {
        check(&self.history.book(), &Bounds::default()).count(rule) > 0
    }

    /// Ends the load and judges.
    async fn report(self) -> Report {
        self.crowd.stop().await;
        let report = check(&self.history.book(), &Bounds::default());
        #[expect(clippy::print_stdout, reason = "what was tried belongs beside the verdict")]
        {
            println!(
                "{:#?}\n{:#?}\n{} requests after an end in force; the longest served after its end: {:?}",
                report.requests, report.operations, report.after_end, report.longest_served
            );
        }
        report
    }

    /// Ends the load; nothing may be found.
    async fn must_be_spotless(self) {
        let without_postgres = self.history.book().phases.iter().any(|phase| phase.row == Row::NoPostgres);
        let report = self.report().await;
        assert!(!without_postgres || report.operations.contains_key("end: accepted"), "no end was accepted");
        assert!(report.violations.is_empty(), "{} violations\n{}", report.violations.len(), report.summary());
        assert!(report.after_end > 100, "hardly any ended session was tried: {}", report.after_end);
    }
}
