//! In front of Pingora's request reading: a deadline for a whole request head. Pingora has none; its read time-out
//! starts anew with every byte (PINGORA.md, pitfall 6), so that a slow client could hold a connection for hours. Over HTTP/1.1
//! the head is read here, and what it says decides who serves the request.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::BytesMut;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::{ALPN, Stream};
use pingora::proxy::{HttpProxy, Session};
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::guard::Guarded;
use super::requests::Requests;
use super::turn::LastTurn;
use crate::gateway::rules::Rules;
use crate::gateway::{Gateway, HEAD, WIRE, Wire};

/// What a connection in the clear shows first when it speaks HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room for a head before it has to grow; as much as Pingora takes.
const HEAD_ROOM: usize = 4096;

/// The proxy behind its deadline and its watch.
pub(super) struct Front {
    requests: Arc<Requests>,
    rules: Arc<ArcSwap<Rules>>,
    draining: Arc<AtomicBool>,
    closing: Arc<Closing>,
}

/// Tells connections that no further request is taken.
#[derive(Default)]
struct Closing {
    is_told: AtomicBool,
    told: Notify,
}

impl Front {
    /// A front under `rules`; once `draining`, every connection serves one request more at most.
    pub(super) fn new(
        proxy: HttpProxy<Gateway>,
        gateway: Gateway,
        rules: Arc<ArcSwap<Rules>>,
        draining: Arc<AtomicBool>,
    ) -> Self {
        let requests = Arc::new(Requests::new(proxy, gateway, Arc::clone(&rules)));
        Self { requests, rules, draining, closing: Arc::default() }
    }

    /// Serves the requests of a connection of HTTP/1.1, one after the other.
    async fn serve_http1(&self, mut stream: Stream, wire: &Wire, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut carried = None::<HttpPersistentSettings>;
        loop {
            wire.restart(carried.is_some());
            let head = self.head(&mut stream, wire).await?;
            let mut session = Session::new_h1(stream);
            match carried {
                Some(carried) => carried.apply_to_session(&mut session),
                None => session.set_keepalive((!*shutdown.borrow()).then_some(HEAD.as_secs())),
            }
            session.set_pipelined_prefix(head);
            let served = self.requests.serve(session, wire.is_bare(), shutdown).await;
            (stream, carried) = served?.consume();
        }
    }

    /// Waits for a request, and reads what has come of its head by then. `None` when there will be no request: the client
    /// has gone, or no more are taken.
    async fn head(&self, stream: &mut Stream, wire: &Wire) -> Option<BytesMut> {
        let mut head = BytesMut::with_capacity(HEAD_ROOM);
        while !wire.has_head() {
            let has_begun = !head.is_empty();
            let read = stream.read_buf(&mut head);
            tokio::pin!(read);
            let read = poll_fn(|task| match read.as_mut().poll(task) {
                // Whether the rest can make a head of it is for Pingora's parser to say, before it comes.
                Poll::Pending if has_begun => Poll::Ready(Some(0)),
                Poll::Pending if self.closing.is_told.load(Ordering::Acquire) => Poll::Ready(None),
                read => read.map(Result::ok),
            });
            if read.await? == 0 {
                break;
            }
        }
        (!head.is_empty()).then_some(head)
    }
}

#[async_trait]
impl ServerApp for Front {
    async fn process_new(self: &Arc<Self>, mut stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let mut speaks_http2 = matches!(stream.selected_alpn_proto(), Some(ALPN::H2));
        let h2c = self.requests.server_options().is_some_and(|options| options.h2c);
        if h2c && stream.get_ssl_digest().is_none() {
            // Pingora waits for the preface without any time-out (PINGORA.md, pitfall 7).
            speaks_http2 = tokio::time::timeout(HEAD, shows_preface(&mut stream)).await.ok()?.ok()?;
        }
        let rules = self.rules.load_full();
        let (limits, patience) = (rules.snapshot.limits, rules.snapshot.connections.patience);
        drop(rules);
        let wire = Wire::new(limits, patience, Arc::clone(&self.draining));
        let wire = Arc::new(if speaks_http2 { wire.awaiting(PREFACE.len()) } else { wire });
        let guarded = Box::new(Guarded::new(stream, Arc::clone(&wire)));
        if speaks_http2 {
            let connection = WIRE.scope(Arc::clone(&wire), self.requests.process_new(guarded, shutdown));
            tokio::pin!(connection);
            return LastTurn::new(within_deadlines(connection, &wire, &self.closing)).await;
        }
        let connection = WIRE.scope(Arc::clone(&wire), self.serve_http1(guarded, &wire, shutdown));
        tokio::pin!(connection);
        within_deadlines(connection, &wire, &self.closing).await
    }

    async fn cleanup(&self) {
        self.closing.is_told.store(true, Ordering::Release);
        self.closing.told.notify_waiters();
        self.requests.http_cleanup().await;
    }
}

/// Whether a connection begins with the preface. Its first letters are looked at first: no method begins so, and a head of
/// HTTP/1.1 may be shorter than the preface.
async fn shows_preface(stream: &mut Stream) -> io::Result<bool> {
    let (mut letters, mut preface) = ([0; 3], [0; PREFACE.len()]);
    stream.try_peek(&mut letters).await?;
    if !PREFACE.starts_with(&letters) {
        return Ok(false);
    }
    stream.try_peek(&mut preface).await?;
    Ok(preface == *PREFACE)
}

/// Serves a connection to its end, unless a head or the next request is overdue: then it is dropped. One timer for all
/// requests of the connection, set anew only when it has run out; one for each request was a fiftieth of its cost. Once
/// `closing` was told, the connection is looked at again, so that one that waits for a request ends.
async fn within_deadlines(
    mut connection: Pin<&mut impl Future<Output = Option<Stream>>>,
    wire: &Wire,
    closing: &Closing,
) -> Option<Stream> {
    // Nothing that is not awaited yet can be due before this time has passed again.
    let soonest = HEAD.min(wire.patience);
    let timer = tokio::time::sleep(soonest);
    tokio::pin!(timer);
    let cut = wire.ended();
    tokio::pin!(cut);
    let told = closing.told.notified();
    tokio::pin!(told);
    let mut is_told = false;
    let mut waits_for = None::<Waker>;
    loop {
        let end = poll_fn(|task| {
            if let Poll::Ready(end) = connection.as_mut().poll(task) {
                return Poll::Ready(Some(end));
            }
            // All know already whom to wake: they are asked again only when they have something to say.
            let is_known = waits_for.as_ref().is_some_and(|waker| waker.will_wake(task.waker()));
            if (!is_known || wire.is_ended()) && cut.as_mut().poll(task).is_ready() {
                return Poll::Ready(Some(None));
            }
            if is_known && !timer.is_elapsed() {
                return Poll::Pending;
            }
            if !is_told && told.as_mut().poll(task).is_ready() {
                // Perhaps since the connection was looked at.
                is_told = true;
                task.waker().wake_by_ref();
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
