//! Tasks beside the requests, wherever they are started. One that ends or panics ends the process: a proxy that is half alive is worse than one
//! that is restarted.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::task::AbortHandle;

/// Exit code of a process whose background task died.
pub const TASK_DIED: i32 = 70;

/// Runs a task that must never end by itself, in the current runtime. Aborting it ends it quietly.
#[expect(clippy::exit, reason = "a dead task ends the process, wherever it dies")]
pub fn spawn(name: &'static str, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    let handle = tokio::spawn(async move {
        let panicked = AssertUnwindSafe(task).catch_unwind().await.is_err();
        tracing::error!(task = name, panicked, "a background task ended; so does this process");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        std::process::exit(TASK_DIED);
    });
    handle.abort_handle()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::{TASK_DIED, spawn};

    const PART: &str = "COUNTERSIGN_TEST_UPKEEP";

    /// This test runs itself once more for each way in which a task can end.
    #[tokio::test]
    async fn a_task_that_ends_or_panics_ends_the_process_and_an_aborted_one_does_not() {
        match std::env::var(PART).as_deref() {
            Ok("panics") => drop(spawn("test", async { panic!("as it was asked to") })),
            Ok("ends") => drop(spawn("test", async {})),
            Ok(_) => {
                spawn("test", std::future::pending()).abort();
                return;
            }
            Err(_) => {
                let name =
                    "upkeep::tests::a_task_that_ends_or_panics_ends_the_process_and_an_aborted_one_does_not";
                for (part, code) in [("panics", TASK_DIED), ("ends", TASK_DIED), ("aborted", 0)] {
                    let mut again = Command::new(std::env::current_exe().unwrap());
                    let output = again.args(["--exact", name]).env(PART, part).output().unwrap();
                    assert_eq!(output.status.code(), Some(code), "{part}: {output:?}");
                }
                return;
            }
        }
        std::future::pending::<()>().await;
    }
}
