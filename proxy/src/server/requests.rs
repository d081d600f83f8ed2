//! What is done with each request: those that are a head and nothing else are served by the gateway in one task, all others
//! by Pingora's proxy around it.

use std::future::poll_fn;
use std::io::Cursor;
use std::sync::Arc;
use std::task::Poll;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::{HttpProxy, Session};
use pingora::server::ShutdownWatch;

use crate::events::Leash;
use crate::gateway::rules::Rules;
use crate::gateway::{Gateway, LEASH, Served, UPLOAD, Upload};

/// Who serves requests.
pub(super) struct Requests {
    proxy: Arc<HttpProxy<Gateway>>,
    gateway: Gateway,
    rules: Arc<ArcSwap<Rules>>,
}

impl Requests {
    /// Serves by `gateway`, or by `proxy` around a clone of it.
    pub(super) fn new(proxy: HttpProxy<Gateway>, gateway: Gateway, rules: Arc<ArcSwap<Rules>>) -> Self {
        Self { proxy: Arc::new(proxy), gateway, rules }
    }

    /// Serves a request that has begun to come; one that `is_bare` is here whole, and nothing but its head.
    pub(super) async fn serve(
        &self,
        session: Session,
        is_bare: bool,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !is_bare {
            return self.proxy.process_new_http(*session.downstream_session, shutdown).await;
        }
        let ends = *shutdown.borrow();
        match self.gateway.serve(session, ends).await {
            Served::Done(stream) => stream,
            Served::HandedOn(session, judged) => {
                judged.scope(self.proxy.process_new_http(*session, shutdown)).await
            }
        }
    }

    /// Serves one stream of HTTP/2, which can be ended from outside.
    async fn on_a_leash(
        &self,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // The head is here already; the connection has time-outs of its own.
        let leash = Leash::new();
        let has_body = !session.is_body_empty();
        let is_bare = !has_body && session.req_header().method != http::Method::HEAD;
        let request = LEASH.scope(Arc::clone(&leash), self.serve(opened(session), is_bare, shutdown));
        if !has_body {
            return until_pulled(request, &leash).await;
        }
        let upload = Arc::<Upload>::default();
        let interval = self.rules.load().snapshot.connections.patience;
        tokio::select! {
            biased;
            end = UPLOAD.scope(Arc::clone(&upload), until_pulled(request, &leash)) => end,
            () = upload.stalls(interval) => None,
        }
    }
}

/// A request as the gateway's phases want it. Pingora makes that only of a connection, so that there is an empty one for a
/// moment.
fn opened(request: ServerSession) -> Session {
    let mut session = Session::new_h1(Box::new(Cursor::new(Vec::new())));
    *session.downstream_session = request;
    session
}

/// Serves a request to its end, or to that of its session.
async fn until_pulled(
    request: impl Future<Output = Option<ReusedHttpStream>>,
    leash: &Leash,
) -> Option<ReusedHttpStream> {
    let pulled = leash.pulled();
    tokio::pin!(request, pulled);
    poll_fn(|task| match request.as_mut().poll(task) {
        // Only what is tied to a session waits for its end, which most requests never are.
        Poll::Pending if leash.is_held() => pulled.as_mut().poll(task).map(|()| None),
        end => end,
    })
    .await
}

/// Requests over HTTP/2, which Pingora takes off their connection; those over HTTP/1.1 are taken in `front`.
#[async_trait]
impl HttpServerApp for Requests {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if session.is_http2() {
            return self.on_a_leash(session, shutdown).await;
        }
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        let snapshot = &self.rules.load().snapshot;
        let mut options = H2Options::new();
        options.max_concurrent_streams(snapshot.connections.streams);
        let largest_head = u32::try_from(snapshot.limits.head_bytes.saturating_mul(2)).unwrap_or(u32::MAX);
        options.max_header_list_size(largest_head);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        self.proxy.server_options()
    }

    async fn http_cleanup(&self) {
        self.proxy.http_cleanup().await;
    }
}
