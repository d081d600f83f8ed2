//! A service of doors: prepares what is behind them in its own runtime, then opens them. What must not happen half-way
//! ends the process with a message and a code.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pingora::apps::ServerApp;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::{ServiceReadyNotifier, ServiceWithDependents};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::doors::Door;
use super::life::Life;
use super::shutdown::Closed;
use super::sockets::Socket;
use super::{systemd, upgrade};
use crate::upkeep::TASK_DIED;

/// Exit code when stores cannot be opened (`EX_CONFIG` of sysexits.h).
const CANNOT_OPEN: i32 = 78;
/// Exit code when a listener cannot be used (`EX_OSERR`).
const CANNOT_LISTEN: i32 = 71;

/// Doors that share one runtime.
pub(super) struct Doors<A> {
    pub(super) name: &'static str,
    /// Threads of the runtime; as many as the machine has when `None`.
    pub(super) threads: Option<usize>,
    pub(super) open: Vec<(Door<A>, Socket)>,
    pub(super) life: Arc<Life>,
    /// Tells which doors are closed, and which part of that is about these.
    pub(super) closed: (watch::Receiver<Closed>, fn(&Closed) -> bool),
    /// Runs once in this service's runtime, before the doors open.
    pub(super) prepare: Option<Prepare>,
}

/// Work to be done in the service's runtime.
pub(super) type Prepare = Box<dyn FnOnce() -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync>;

#[async_trait]
impl<A: ServerApp + Send + Sync + 'static> ServiceWithDependents for Doors<A> {
    async fn start_service(
        &mut self,
        _fds: Option<ListenFds>,
        mut shutdown: ShutdownWatch,
        _listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        if let Some(prepare) = self.prepare.take() {
            let prepared = std::panic::AssertUnwindSafe(prepare()).catch_unwind().await;
            match prepared {
                Ok(Ok(())) => {}
                Ok(Err(error)) => end(CANNOT_OPEN, &format!("{error:#}")),
                Err(_) => end(TASK_DIED, "the start failed by a fault of ours; the log says where"),
            }
        }
        ready.notify_ready();
        let mut open = JoinSet::new();
        let mut apps = Vec::new();
        for (door, socket) in self.open.drain(..) {
            apps.push(Arc::clone(&door.app));
            let ((closed, is_closed), shutdown) = (self.closed.clone(), shutdown.clone());
            open.spawn(Arc::new(door).stand_open(socket, closed, is_closed, shutdown));
        }
        if self.life.service_is_open() {
            systemd::ready();
            upgrade::relieve_predecessor();
        }
        let over = async {
            while !*shutdown.borrow_and_update() && shutdown.changed().await.is_ok() {}
            for app in &apps {
                app.cleanup().await;
            }
        };
        tokio::join!(stand(open, self.name), over);
    }

    fn name(&self) -> &str {
        self.name
    }

    fn threads(&self) -> Option<usize> {
        self.threads
    }
}

/// Waits until every door is closed; one that falls shut ends the process.
async fn stand(mut open: JoinSet<std::io::Result<()>>, name: &str) {
    while let Some(ended) = open.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => end(CANNOT_LISTEN, &format!("cannot accept connections ({name}): {error}")),
            Err(_) => end(TASK_DIED, &format!("a listener ended by a fault of ours ({name})")),
        }
    }
}

#[expect(clippy::exit, reason = "a proxy that is half alive is worse than one that is restarted")]
fn end(code: i32, why: &str) -> ! {
    eprintln!("countersign: {why}");
    std::process::exit(code);
}
