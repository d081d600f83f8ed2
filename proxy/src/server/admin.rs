//! The listener for operators: health, metrics and public keys without a token, the admin API with one. Reads the request
//! to its end and hands it to `endpoints::operators`; nothing here decides.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, Response, header};
use pingora::ErrorType;
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream, ServerApp};
use pingora::protocols::Stream;
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use super::guard::Guarded;
use super::life::Life;
use super::reload::Reloads;
use crate::clock::Clock;
use crate::endpoints::operators::console::Console;
use crate::endpoints::operators::problem::Fault;
use crate::endpoints::operators::{self, LARGEST_BODY, OperatorRequest, OperatorState};
use crate::endpoints::reload::{self, Cause};
use crate::gateway::request_id::RequestIds;
use crate::gateway::rules::Rules;
use crate::gateway::{Core, WIRE, Wire};
use crate::policy::Limits;
use crate::policy::accept::{self, Head};
use crate::reason::Reason;
use crate::telemetry::Metrics;

/// How long an idle connection is kept for the next request.
const KEEP_ALIVE_SECONDS: u64 = 60;
/// The longest that a connection waits for its next request: what is promised, and a little more.
const IDLE: Duration = Duration::from_secs(75);
/// How often it is looked whether a head is overdue.
const TICK: Duration = Duration::from_secs(1);
/// The longest that a body may take to arrive.
const BODY: Duration = Duration::from_secs(10);

/// Answers the requests of operators.
pub(super) struct Admin {
    /// The rules in force.
    pub(super) rules: Arc<ArcSwap<Rules>>,
    /// What answers questions about sessions, once it is opened.
    pub(super) core: Arc<OnceCell<Arc<Core>>>,
    /// All metrics.
    pub(super) metrics: Arc<Metrics>,
    /// Where the process is in its life.
    pub(super) life: Arc<Life>,
    /// The clock.
    pub(super) clock: Arc<dyn Clock>,
    /// Numbers for requests.
    pub(super) request_ids: RequestIds,
    /// Reads the configuration again.
    pub(super) reloads: Reloads,
    /// What the page for people remembers.
    pub(super) console: Arc<Console>,
}

/// The listener for operators behind the watch that the public one has too, with the documented limits: those of the
/// configuration are for applications, and a mistake in them must not lock operators out.
pub(super) struct Watched(pub(super) Arc<Admin>);

#[async_trait]
impl ServerApp for Watched {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let wire = Arc::new(Wire::new(Limits::default(), IDLE, Arc::default()));
        let guarded = Box::new(Guarded::new(stream, Arc::clone(&wire)));
        WIRE.scope(wire, self.0.process_new(guarded, shutdown)).await
    }
}

/// What is wrong with a head, before anything of it is looked at. Targets are not held to the strict rules of the public
/// side: ids in them are percent-encoded.
fn fault_of(session: &ServerSession, wire: &Wire) -> Option<Fault> {
    let head = session.req_header();
    let raw_head =
        session.as_http1().map(pingora::protocols::http::v1::server::HttpSession::get_headers_raw_bytes);
    let raw_target = head.raw_path();
    let form = Head { parts: head, raw_target, raw_head: raw_head.as_deref() };
    match accept::accept_form(form, &Limits::default()) {
        Err(Reason::TargetTooLong) => Some(Fault::TargetTooLong),
        Err(Reason::HeadTooLarge) => Some(Fault::HeadTooLarge),
        Err(Reason::MethodNotAllowed) => Some(Fault::MethodNotAllowed),
        Err(_) => Some(Fault::MalformedRequest),
        // Of the whole listener nothing can be asked.
        Ok(()) if raw_target == b"*" && head.method == Method::OPTIONS => Some(Fault::MethodNotAllowed),
        Ok(()) => {
            let is_one = raw_target.starts_with(b"/") || head.uri.scheme().is_some();
            (!is_one || wire.verdict().is_some()).then_some(Fault::MalformedRequest)
        }
    }
}

impl Admin {
    /// What is answered about reloads; `None` when the request is about something else.
    async fn about_reloads(
        &self,
        request: &OperatorRequest<'_>,
        state: &OperatorState<'_>,
    ) -> Option<Response<Bytes>> {
        if request.path != "/v1/reload" {
            return None;
        }
        if let Some(refusal) = operators::refuse(request, state) {
            return Some(refusal);
        }
        match *request.method {
            Method::POST => Some(reload::answer(self.reloads.ask(Cause::Admin).await.as_deref())),
            Method::GET | Method::HEAD => Some(reload::status(&self.reloads.last())),
            _ => None,
        }
    }
}

#[async_trait]
impl HttpServerApp for Admin {
    /// Reads one request and answers it. Pingora's own server for small applications would say nothing to a head that it
    /// cannot read, and wait for one as long as a byte comes every minute.
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let wire = WIRE.try_with(Arc::clone).ok()?;
        wire.restart(wire.has_served());
        let read = tokio::select! {
            biased;
            read = session.read_request() => read,
            () = overdue(&wire) => return None,
        };
        let fault = match read {
            Ok(true) => fault_of(&session, &wire),
            Err(error) if *error.etype() == ErrorType::InvalidHTTPHeader => {
                self.metrics.framework_refusals.with_label_values(&["malformed_head"]).inc();
                Some(Fault::MalformedRequest)
            }
            _ => return None,
        };
        // From here on answers are ours, and pass as they are.
        wire.head_arrived();
        if let Some(fault) = fault {
            session.set_keepalive(None);
            write(&mut session, operators::refused_head(fault, &self.request_ids.next())).await.ok()?;
            session.shutdown().await;
            return None;
        }
        session.set_keepalive((!*shutdown.borrow()).then_some(KEEP_ALIVE_SECONDS));
        let answer = self.response(&mut session).await;
        write(&mut session, answer).await.ok()?;
        let settings = HttpPersistentSettings::for_session(&session);
        let stream = session.finish().await.ok()??;
        Some(ReusedHttpStream::from_reusable_stream(stream, settings))
    }
}

/// Returns when the head that `wire` waits for should be here. When it is due changes with its first byte.
async fn overdue(wire: &Wire) {
    while wire.due().is_some_and(|due| Instant::now() < due) {
        sleep(TICK).await;
    }
}

async fn write(session: &mut ServerSession, answer: Response<Bytes>) -> pingora::Result<()> {
    let (mut parts, body) = answer.into_parts();
    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
    session.write_response_header(Box::new(parts.into())).await?;
    session.write_response_body(body, true).await
}

impl Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Bytes> {
        let rules = self.rules.load_full();
        let admin = &rules.snapshot.admin;
        let head = session.req_header().as_owned_parts();
        let (body, body_fault) =
            if operators::wants_body(&head.method, head.uri.path(), &head.headers, admin.token.as_ref()) {
                body(session).await
            } else {
                (Bytes::new(), None)
            };
        let request_id = self.request_ids.next();
        let request = OperatorRequest {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            body,
            body_fault,
            from: session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip),
            id: &request_id,
        };
        let report = self.reloads.last();
        let state = OperatorState {
            metrics: &self.metrics,
            jwks: &rules.jwks,
            phase: self.life.phase(),
            loopback: admin.address.ip().is_loopback(),
            token: admin.token.as_ref(),
            snapshot: &rules.snapshot,
            lifecycle: self.core.get().map(|core| &core.lifecycle),
            report: &report,
            console: &self.console,
            now: self.clock.now(),
        };
        match self.about_reloads(&request, &state).await {
            Some(answer) => answer,
            None => operators::answer(&request, &state).await,
        }
    }
}

/// The whole body, or why it is not here.
async fn body(session: &mut ServerSession) -> (Bytes, Option<Fault>) {
    let mut all = BytesMut::new();
    let reading = async {
        loop {
            match session.read_request_body().await {
                Ok(Some(part)) if all.len() + part.len() > LARGEST_BODY => {
                    return Some(Fault::BodyTooLarge);
                }
                Ok(Some(part)) => all.extend_from_slice(&part),
                Ok(None) => return None,
                Err(_) => return Some(Fault::BodyMissing),
            }
        }
    };
    match timeout(BODY, reading).await {
        Ok(None) => (all.freeze(), None),
        Ok(Some(fault)) => (Bytes::new(), Some(fault)),
        Err(_) => (Bytes::new(), Some(Fault::BodyMissing)),
    }
}
