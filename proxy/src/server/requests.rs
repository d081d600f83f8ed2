//! What is done with each request: those that are a head and nothing else are served by the gateway in one task, all others
//! by Pingora's proxy around it.

use std::future::poll_fn;
use std::io::Cursor;
use std::sync::Arc;
use std::task::Poll;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::proxy::{HttpProxy, Session};
use pingora::server::ShutdownWatch;

use crate::events::Leash;
use crate::gateway::rules::Rules;
use crate::gateway::{Gateway, LEASH, Served, UPLOAD, Upload, unread};

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

    /// Serves a request over HTTP/1.1 that has begun to come; one that `is_bare` is here whole, and nothing but its head.
    /// Answers the connection, if it can be used again.
    pub(super) async fn serve(
        &self,
        mut session: Session,
        is_bare: bool,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        if !is_bare {
            return self.proxy.process_new_http(*session.downstream_session, shutdown).await;
        }
        let ends = *shutdown.borrow();
        match self.gateway.serve(&mut session, ends).await {
            Served::Answered => {
                let kept = HttpPersistentSettings::for_session(&session);
                // What `finish` does, without room for what it does over other protocols.
                let ServerSession::H1(mut session) = *session.downstream_session else { return None };
                session.finish_body().await.ok()?;
                let stream = session.reuse().await.ok()??;
                Some(ReusedHttpStream::from_reusable_stream(stream, kept))
            }
            Served::Over => None,
            Served::HandedOn(judged) => {
                judged.scope(self.proxy.process_new_http(*unread(session), shutdown)).await
            }
        }
    }

    /// Serves one stream of HTTP/2, which can be ended from outside. The head is here already; the connection has time-outs
    /// of its own. This future is made for each request and moved twice, so that nothing large may stand in it.
    async fn on_a_leash(&self, mut session: Session, shutdown: &ShutdownWatch) {
        let leash = Leash::new();
        if !session.as_mut().is_body_empty() {
            return Box::pin(self.with_body(session, &leash, shutdown)).await;
        }
        if session.req_header().method == http::Method::HEAD {
            self.by_proxy(session.downstream_session, &leash, shutdown).await;
            return;
        }
        if session.req_header().headers.contains_key(http::header::CONTENT_LENGTH) {
            // Nothing, it says, but not that the stream ends here: what comes all the same is an error of the stream, and no
            // request (RFC 9113, section 8.1.1; THREATS T5).
            let patience = self.rules.load().snapshot.connections.patience;
            match Box::pin(tokio::time::timeout(patience, has_ended(&mut session))).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => return session.downstream_session.shutdown().await,
            }
        }
        let ends = *shutdown.borrow();
        match until_pulled(self.gateway.serve(&mut session, ends), &leash).await {
            Some(Served::Answered) => {
                // Nobody is left to be told when this fails.
                let _ = session.downstream_session.finish_body().await;
            }
            Some(Served::HandedOn(judged)) => {
                judged.scope(self.by_proxy(unread(session), &leash, shutdown)).await;
            }
            Some(Served::Over) | None => {}
        }
    }

    /// The same, where a body comes that may stall.
    async fn with_body(&self, session: Session, leash: &Arc<Leash>, shutdown: &ShutdownWatch) {
        let upload = Arc::<Upload>::default();
        let interval = self.rules.load().snapshot.connections.patience;
        tokio::select! {
            biased;
            () = UPLOAD.scope(Arc::clone(&upload), self.by_proxy(session.downstream_session, leash, shutdown)) => {}
            () = upload.stalls(interval) => {}
        }
    }

    async fn by_proxy(&self, session: Box<ServerSession>, leash: &Arc<Leash>, shutdown: &ShutdownWatch) {
        until_pulled(self.proxy.process_new_http(*session, shutdown), leash).await;
    }
}

/// A request as the gateway's phases want it. Pingora makes that only of a connection, so that there is an empty one for a
/// moment.
fn opened(request: ServerSession) -> Session {
    let mut session = Session::new_h1(Box::new(Cursor::new(Vec::new())));
    *session.downstream_session = request;
    session
}

/// Waits for the end of a stream that has nothing more to say. `false` when it has.
async fn has_ended(session: &mut Session) -> bool {
    loop {
        match session.downstream_session.read_request_body().await {
            Ok(None) => return true,
            Ok(Some(piece)) if piece.is_empty() => {}
            _ => return false,
        }
    }
}

/// Serves a request to its end, unless that of its session comes first.
async fn until_pulled<T>(request: impl Future<Output = T>, leash: &Arc<Leash>) -> Option<T> {
    let request = LEASH.scope(Arc::clone(leash), request);
    let pulled = leash.pulled();
    tokio::pin!(request, pulled);
    poll_fn(|task| match request.as_mut().poll(task) {
        // Only what is tied to a session waits for its end, which most requests never are.
        Poll::Pending if leash.is_held() => pulled.as_mut().poll(task).map(|()| None),
        end => end.map(Some),
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
            self.on_a_leash(opened(session), shutdown).await;
            return None;
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
