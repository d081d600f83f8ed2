//! The end. Readiness turns false and requests are still taken for a while (lame duck); then the listeners close, clients
//! are told to leave with their next answer, and the process ends as soon as the last request has, at the latest after
//! the grace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::server::{ExecutionPhase, ShutdownSignal, ShutdownSignalWatch};
use tokio::sync::{Mutex, broadcast, mpsc, watch};

use super::life::Life;
use super::signals::Ending;
use super::sockets::Sockets;
use super::systemd;
use super::upgrade::Upgrader;
use crate::gateway::rules::Rules;
use crate::telemetry::{LogSink, Metrics};

/// What an HTTP/2 connection needs to write its last frames.
const LAST_WRITES: Duration = Duration::from_millis(100);
/// How long whoever reads the log may take for its last lines.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long clients with idle connections are given to use them once more, and be told that it is the last time. Closing
/// an idle connection at once can cross a request that is on its way.
const IDLE_GRACE: Duration = Duration::from_secs(1);
/// How often it is asked whether anybody is left.
const STEP: Duration = Duration::from_millis(10);
/// How long Pingora waits before it would end the process itself; always longer than the grace, which is ours.
pub(super) const NEVER_BY_ITSELF: Duration = Duration::from_hours(24 * 365);

/// Turns signals into the end of the server.
pub(super) struct Signals {
    pub(super) endings: Mutex<mpsc::Receiver<Ending>>,
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) life: Arc<Life>,
    pub(super) sockets: Arc<Sockets>,
    pub(super) upgrader: Upgrader,
    pub(super) metrics: Arc<Metrics>,
    /// Close the public listeners, and the admin listener.
    pub(super) doors: watch::Sender<Closed>,
}

/// Which listeners are closed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Closed {
    pub(super) public: bool,
    /// Stays open to the end, so that the end can be watched; unless a successor answers there.
    pub(super) admin: bool,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let Some(ending) = self.endings.lock().await.recv().await else {
            return std::future::pending().await;
        };
        let succeeded = ending == Ending::Quit && self.upgrader.has_successor();
        self.life.drain();
        if !succeeded {
            systemd::stopping();
        }
        tracing::info!(?ending, succeeded, "draining: running requests finish");
        if ending == Ending::Terminate {
            tokio::time::sleep(self.rules.load().snapshot.lame_duck).await;
        }
        self.sockets.let_go();
        self.doors.send_replace(Closed { public: true, admin: succeeded });
        tracing::info!("no new connections");
        let end = Instant::now() + IDLE_GRACE;
        while self.metrics.connections_open.get() > 0 && Instant::now() < end {
            tokio::time::sleep(STEP).await;
        }
        ShutdownSignal::GracefulTerminate
    }
}

/// Ends the process when nothing is being served any more, or the grace is over. Pingora would sleep out a whole period
/// (PINGORA.md, pitfall 10).
pub(super) fn end_when_idle(
    mut phases: broadcast::Receiver<ExecutionPhase>,
    rules: Arc<ArcSwap<Rules>>,
    metrics: Arc<Metrics>,
    log: Option<LogSink>,
    last_words: impl FnOnce() + Send + 'static,
) {
    std::thread::spawn(move || {
        loop {
            match phases.blocking_recv() {
                Ok(ExecutionPhase::ShutdownGracePeriod) => break,
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
        let end = Instant::now() + rules.load().snapshot.grace;
        while metrics.in_flight.get() > 0 && Instant::now() < end {
            std::thread::sleep(STEP);
        }
        let cut = metrics.in_flight.get();
        if cut > 0 {
            tracing::warn!(requests = cut, "the grace is over; these are cut off");
        } else {
            std::thread::sleep(LAST_WRITES);
        }
        last_words();
        end_well(log.as_ref());
    });
}

/// Writes out the log and ends the process.
#[expect(clippy::exit, reason = "the runtimes would sleep out their period else")]
fn end_well(log: Option<&LogSink>) {
    tracing::info!("ended");
    if let Some(log) = log {
        log.flush(LAST_LINES);
    }
    std::process::exit(0);
}
