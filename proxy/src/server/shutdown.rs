//! The end: on SIGTERM or SIGINT readiness turns false, listeners close, running requests finish, and the process ends
//! as soon as the last one has, at the latest after the grace period.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::server::{ExecutionPhase, ShutdownSignal, ShutdownSignalWatch};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast;

use super::life::Life;
use crate::telemetry::{LogSink, Metrics};

/// Exit code after a second signal (128 + SIGINT).
const INTERRUPTED: i32 = 130;
/// What an HTTP/2 connection needs to write its last frames.
const LAST_WRITES: Duration = Duration::from_millis(100);

/// Turns signals into the end of the server.
pub(super) struct Signals {
    pub(super) life: Arc<Life>,
}

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let received = wait_for_signal().await;
        self.life.drain();
        tracing::info!(signal = received, "draining: no new connections, running requests finish");
        std::thread::spawn(exit_on_next_signal);
        ShutdownSignal::GracefulTerminate
    }
}

async fn wait_for_signal() -> &'static str {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("cannot listen for signals");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = int.recv() => "SIGINT",
    }
}

/// Somebody is in a hurry.
#[expect(clippy::exit, reason = "that is what the second signal asks for")]
fn exit_on_next_signal() {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
    runtime.block_on(wait_for_signal());
    std::process::exit(INTERRUPTED);
}

/// Ends the process when the grace period has begun and nothing is being served any more. Pingora would sleep the whole
/// period (PINGORA.md, pitfall 10).
pub(super) fn end_when_idle(
    mut phases: broadcast::Receiver<ExecutionPhase>,
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
        while metrics.in_flight.get() > 0 {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(LAST_WRITES);
        last_words();
        end(log.as_ref());
    });
}

/// Writes out the log and ends the process well.
#[expect(clippy::exit, reason = "the runtimes would sleep out the grace period else")]
fn end(log: Option<&LogSink>) {
    tracing::info!("ended");
    if let Some(log) = log {
        log.flush();
    }
    std::process::exit(0);
}
