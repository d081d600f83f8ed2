//! Tasks beside the requests. One that ends or panics ends the process: a proxy that is half alive is worse than one
//! that is restarted.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::task::AbortHandle;

/// Exit code of a process whose background task died.
pub(super) const TASK_DIED: i32 = 70;

/// Runs a task that must never end by itself, in the current runtime. Aborting it ends it quietly.
#[expect(clippy::exit, reason = "a dead task ends the process, wherever it dies")]
pub(super) fn spawn(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let handle = tokio::spawn(async move {
        let panicked = AssertUnwindSafe(task).catch_unwind().await.is_err();
        tracing::error!(task = name, panicked, "a background task ended; so does this process");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        std::process::exit(TASK_DIED);
    });
    handle.abort_handle()
}
