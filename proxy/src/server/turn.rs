//! A connection of HTTP/2 takes its turn last. Each answer of a stream wakes the task that writes for all streams, and
//! tokio runs what was woken last at once: every answer would be written alone, in a segment of its own. Run after all
//! else that is ready, the connection writes in one call what all streams have to say.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

/// A future that waits, each time it is woken, until nothing else is ready in its thread or some sixty tasks have run
/// (tokio's own measure of fairness). Where nothing else is ready that costs one more look for events.
pub(super) struct LastTurn<F> {
    future: Pin<Box<F>>,
    has_waited: bool,
}

impl<F> LastTurn<F> {
    /// `future`, run last.
    pub(super) fn new(future: F) -> Self {
        Self { future: Box::pin(future), has_waited: false }
    }
}

impl<F: Future> Future for LastTurn<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.has_waited {
            self.has_waited = true;
            // Its first poll hands the waker to the scheduler, and it is not needed any more.
            if pin!(tokio::task::yield_now()).poll(task).is_pending() {
                return Poll::Pending;
            }
        }
        self.has_waited = false;
        self.future.as_mut().poll(task)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn what_is_woken_first_runs_last_and_once_for_all() {
        let (wake, seen) = (Arc::new(Notify::new()), Arc::new(Mutex::new(Vec::new())));
        let connection = {
            let (wake, seen) = (Arc::clone(&wake), Arc::clone(&seen));
            tokio::spawn(LastTurn::new(async move {
                let mut notified = Box::pin(wake.notified());
                poll_fn(|task| {
                    seen.lock().push("connection");
                    notified.as_mut().poll(task)
                })
                .await;
            }))
        };
        while seen.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        wake.notify_one();
        let streams: Vec<_> = (0..3)
            .map(|_| {
                let seen = Arc::clone(&seen);
                tokio::spawn(async move { seen.lock().push("stream") })
            })
            .collect();
        for stream in streams {
            stream.await.unwrap();
        }
        connection.await.unwrap();
        assert_eq!(*seen.lock(), ["connection", "stream", "stream", "stream", "connection"]);
    }
}
