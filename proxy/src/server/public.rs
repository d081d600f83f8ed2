//! The public service: opens the stores in its own runtime, then serves. What must not happen half-way (a port that is
//! taken, a certificate that cannot be read) ends the process with a message and a code.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use async_trait::async_trait;
use futures_util::{FutureExt, poll};
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::listening::Service;
use pingora::services::{Service as Start, ServiceReadyNotifier, ServiceWithDependents};

use super::front::Front;
use super::life::Life;
use super::stores::Opener;

/// Exit code when stores cannot be opened (`EX_CONFIG` of sysexits.h).
const CANNOT_OPEN: i32 = 78;
/// Exit code when a listener cannot be opened (`EX_OSERR`).
const CANNOT_LISTEN: i32 = 71;

/// Listeners that share one Pingora service.
pub(super) struct Public {
    pub(super) service: Service<Front>,
    pub(super) opener: Arc<Opener>,
    pub(super) life: Arc<Life>,
    /// Runs once in this service's runtime, before the first request.
    pub(super) prepare: Option<Prepare>,
}

/// Work to be started in the service's runtime.
pub(super) type Prepare = Box<dyn Fn() -> futures_util::future::BoxFuture<'static, ()> + Send + Sync>;

#[async_trait]
impl ServiceWithDependents for Public {
    async fn start_service(
        &mut self,
        fds: Option<ListenFds>,
        shutdown: ShutdownWatch,
        listeners_per_fd: usize,
        ready: ServiceReadyNotifier,
    ) {
        if let Err(error) = self.opener.open().await {
            eprintln!("countersign: {error:#}");
            std::process::exit(CANNOT_OPEN);
        }
        if let Some(prepare) = &self.prepare {
            prepare().await;
        }
        ready.notify_ready();
        let addresses = Start::listen_addresses(&self.service).unwrap_or_default().join(", ");
        let serve = Start::start_service(&mut self.service, fds, shutdown, listeners_per_fd);
        let mut serve = pin!(AssertUnwindSafe(serve).catch_unwind());
        // Pingora opens its listeners before it waits for the first time, and has no other way to say so.
        let ended = match poll!(serve.as_mut()) {
            Poll::Ready(ended) => ended,
            Poll::Pending => {
                self.life.service_is_open();
                serve.await
            }
        };
        if ended.is_err() {
            eprintln!(
                "countersign: cannot open a listener ({addresses}); is another process using the address?"
            );
            std::process::exit(CANNOT_LISTEN);
        }
    }

    fn name(&self) -> &str {
        Start::name(&self.service)
    }

    fn threads(&self) -> Option<usize> {
        Start::threads(&self.service)
    }

    fn listen_addresses(&self) -> Option<Vec<String>> {
        Start::listen_addresses(&self.service)
    }
}
