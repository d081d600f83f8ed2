//! In front of Pingora's request reading: a deadline for a whole request head. Pingora has none; its read time-out
//! starts anew with every byte (PINGORA.md, pitfall 6), so that a slow client could hold a connection for hours.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::{Poll, Waker};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::time::Instant;

use super::guard::Guarded;
use super::turn::LastTurn;
use crate::events::Leash;
use crate::gateway::rules::Rules;
use crate::gateway::{Gateway, HEAD, LEASH, UPLOAD, Upload, WIRE, Wire};

/// What a connection in the clear shows first when it speaks HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The proxy behind its deadline and its watch.
pub(super) struct Front {
    requests: Arc<Requests>,
    rules: Arc<ArcSwap<Rules>>,
    draining: Arc<AtomicBool>,
}

impl Front {
    /// A front under `rules`; once `draining`, every connection serves one request more at most.
    pub(super) fn new(
        proxy: HttpProxy<Gateway>,
        rules: Arc<ArcSwap<Rules>>,
        draining: Arc<AtomicBool>,
    ) -> Self {
        let requests = Requests { proxy: Arc::new(proxy), rules: Arc::clone(&rules) };
        Self { requests: Arc::new(requests), rules, draining }
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut speaks_http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        let h2c = self.requests.server_options().is_some_and(|options| options.h2c);
        let mut preface = [0; PREFACE.len()];
        if h2c && stream.get_ssl_digest().is_none() {
            // Pingora waits for the preface without any time-out (PINGORA.md, pitfall 7).
            tokio::time::timeout(HEAD, stream.try_peek(&mut preface)).await.ok()?.ok()?;
            speaks_http2 = preface == *PREFACE;
        }
        let rules = self.rules.load_full();
        let (limits, patience) = (rules.snapshot.limits, rules.snapshot.connections.patience);
        drop(rules);
        let wire = Wire::new(limits, patience, Arc::clone(&self.draining));
        let wire = Arc::new(if speaks_http2 { wire.awaiting(PREFACE.len()) } else { wire });
        let guarded = Box::new(Guarded::new(stream, Arc::clone(&wire)));
        let connection = WIRE.scope(Arc::clone(&wire), self.requests.process_new(guarded, shutdown));
        if speaks_http2 {
            return LastTurn::new(within_deadlines(connection, &wire)).await;
        }
        within_deadlines(connection, &wire).await
    }

    async fn cleanup(&self) {
        self.requests.http_cleanup().await;
    }
}

/// Serves a connection to its end, unless a head or the next request is overdue: then it is dropped. One timer for all
/// requests of the connection, set anew only when it has run out; one for each request was a fiftieth of its cost.
async fn within_deadlines(connection: impl Future<Output = Option<Stream>>, wire: &Wire) -> Option<Stream> {
    tokio::pin!(connection);
    // Nothing that is not awaited yet can be due before this time has passed again.
    let soonest = HEAD.min(wire.patience);
    let timer = tokio::time::sleep(soonest);
    tokio::pin!(timer);
    let cut = wire.ended();
    tokio::pin!(cut);
    let mut waits_for = None::<Waker>;
    loop {
        let end = poll_fn(|task| {
            if let Poll::Ready(end) = connection.as_mut().poll(task) {
                return Poll::Ready(Some(end));
            }
            // Both know already whom to wake: they are asked again only when they have something to say.
            let is_known = waits_for.as_ref().is_some_and(|waker| waker.will_wake(task.waker()));
            if (!is_known || wire.is_ended()) && cut.as_mut().poll(task).is_ready() {
                return Poll::Ready(Some(None));
            }
            if is_known && !timer.is_elapsed() {
                return Poll::Pending;
            }
            waits_for = Some(task.waker().clone());
            timer.as_mut().poll(task).map(|()| None)
        });
        if let Some(end) = end.await {
            return end;
        }
        let now = Instant::now();
        match wire.due() {
            Some(due) if due <= now => return None,
            Some(due) => timer.as_mut().reset(due.min(now + soonest)),
            None => timer.as_mut().reset(now + soonest),
        }
        waits_for = None;
    }
}

/// What is done with each request.
pub(super) struct Requests {
    proxy: Arc<HttpProxy<Gateway>>,
    rules: Arc<ArcSwap<Rules>>,
}

impl Requests {
    /// Serves one stream of HTTP/2, which can be ended from outside.
    async fn on_a_leash(
        &self,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        // The head is here already; the connection has time-outs of its own.
        let leash = Leash::new();
        let has_body = !session.is_body_empty();
        let request = LEASH.scope(Arc::clone(&leash), self.proxy.process_new_http(session, shutdown));
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

/// The answer to a request as Pingora wants it: a boxed future.
type Serving<'a> = Pin<Box<dyn Future<Output = Option<ReusedHttpStream>> + Send + 'a>>;

#[async_trait]
impl HttpServerApp for Requests {
    // Not an `async fn`: Pingora's own future is handed on as it is. Wrapped in another one it would be moved once more
    // for each request, and it is large (docs/performance.md).
    fn process_new_http<'proxy, 'shutdown, 'serving>(
        self: &'proxy Arc<Self>,
        mut session: ServerSession,
        shutdown: &'shutdown ShutdownWatch,
    ) -> Serving<'serving>
    where
        'proxy: 'serving,
        'shutdown: 'serving,
        Self: 'serving,
    {
        if session.is_http2() {
            return Box::pin(self.on_a_leash(session, shutdown));
        }
        // The gateway leaves a mark on connections that have served a request.
        let mark = session.take_connection_user_context();
        let was_served = mark.is_some();
        session.set_connection_user_context(mark);
        match WIRE.try_with(|wire| wire.restart(was_served)) {
            Ok(()) => self.proxy.process_new_http(session, shutdown),
            Err(_) => Box::pin(std::future::ready(None)),
        }
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
