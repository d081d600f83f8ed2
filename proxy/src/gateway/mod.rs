//! THE SPINE: the ten steps of a request, in order, on Pingora's phases. Every step is one call deep and comes back
//! here; nothing in this room asks a store, parses or signs by itself.

mod account;
mod admit;
mod answer;
mod begun;
mod direct;
mod directive;
mod events;
mod exchange;
mod fault;
mod head;
mod incoming;
mod meters;
mod near;
mod outgoing;
mod own;
mod patient;
mod peer;
mod pool;
pub(crate) mod request_id;
pub mod rules;
pub mod servers;
mod state;
mod streams;
mod tls;
mod trace;
mod upload;
mod websocket;
mod wire;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use pingora::connectors::ConnectorOptions;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::{HttpPeer, Peer};
use pingora::{Error, ErrorType, Result};
use tokio::sync::OnceCell;

use self::admit::Destination;
pub use self::direct::{Served, unread};
use self::incoming::AsItCame;
use self::near::Near;
use self::own::Own;
use self::pool::Pool;
use self::request_id::RequestIds;
use self::rules::Rules;
use self::state::Outcome;
pub use self::state::RequestState;
pub use self::upload::{UPLOAD, Upload};
pub use self::wire::{HEAD, LEASH, WIRE, Wire};
use crate::cache::activity::Activity;
use crate::clock::{Clock, Timestamp};
use crate::context::Resolution;
use crate::events::{Hub, Streams};
use crate::lifecycle::Lifecycle;
use crate::policy::Requirement;
use crate::policy::own::{Call, Missing};
use crate::reason::Reason;
use crate::resolve::Resolver;
use crate::telemetry::spread::Busy;
use crate::telemetry::traces::Tracer;
use crate::telemetry::{LogSink, Metrics, Step};

/// What answers questions about sessions; opened once, inside the server's runtime.
pub struct Core {
    /// Session id in, context out.
    pub resolver: Resolver,
    /// How sessions begin, change and end.
    pub lifecycle: Lifecycle,
    /// When sessions were last used.
    pub activity: Arc<Activity>,
    /// Events on their way to tabs.
    pub hub: Arc<Hub>,
    /// Open streams that are tied to sessions.
    pub streams: Arc<Streams>,
}

/// The proxy as Pingora sees it. Its clones share everything.
#[derive(Clone)]
pub struct Gateway {
    rules: Arc<ArcSwap<Rules>>,
    core: Arc<OnceCell<Arc<Core>>>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    log: Option<LogSink>,
    request_ids: RequestIds,
    tracer: Option<Arc<Tracer>>,
    in_flight: Near<Busy>,
    /// Connections to applications, of the requests that [`exchange`] forwards.
    pool: Arc<Pool>,
}

impl Gateway {
    /// A gateway under `rules`, which connects as `options` say. `core` is filled before the first request is taken.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new(
        rules: Arc<ArcSwap<Rules>>,
        core: Arc<OnceCell<Arc<Core>>>,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        log: Option<LogSink>,
        options: ConnectorOptions,
    ) -> std::result::Result<Self, ring::error::Unspecified> {
        let in_flight = Near::new(|| metrics.in_flight.clone());
        let request_ids = RequestIds::new()?;
        let pool = Arc::new(Pool::new(options));
        Ok(Self { rules, core, metrics, clock, log, request_ids, tracer: None, in_flight, pool })
    }

    /// The same, with somebody who records requests.
    #[must_use]
    pub fn recording(self, tracer: Arc<Tracer>) -> Self {
        Self { tracer: Some(tracer), ..self }
    }

    /// What serves our own endpoints.
    fn own(&self) -> Result<Own<'_>> {
        let core = self.core.get().ok_or_else(|| Error::new(ErrorType::InternalError))?;
        Ok(Own { core, metrics: &self.metrics, clock: &self.clock })
    }

    /// Steps 1 to 5 for what is forwarded, 1 and 2 for what is ours.
    async fn admit(
        &self,
        session: &Session,
        state: &mut RequestState,
    ) -> std::result::Result<Admission, Reason> {
        let rules = Arc::clone(&state.rules);
        let request = session.req_header();

        // 1. Accept
        wire::verdict().map_or(Ok(()), Err)?;
        let accepted = admit::accept(session, &rules)?;
        let origin = admit::client_origin(session, &rules, &accepted);
        state.client_certificate = admit::client_certificate(session);
        state.trace = trace::begin(session, &rules, self.tracer.as_deref());
        if state.trace.is_some_and(|trace| trace.is_recorded()) {
            state.steps.time();
        }
        let accepted = state.accepted.insert(accepted);
        let origin = state.origin.insert(origin);

        // 2. Route
        let road = match admit::route(&rules, accepted, request)? {
            Destination::Route(road) => road,
            Destination::Own(found) => return Ok(Admission::Own(found)),
        };
        let road = Arc::clone(state.road.insert(road));
        let route = road.route.as_ref();
        let websocket = admit::websocket(request, route, origin, accepted)?;
        admit::body_fits(&request.headers, route)?;

        // 3. Read the cookie
        let claim = admit::read_cookie(&request.headers, &rules, &self.metrics);
        state.steps.end(Step::Accept, state.started);

        // 4. Resolve
        let core = self.core.get().ok_or(Reason::Internal)?;
        let requirement = admit::requirement(route, request);
        let deadline = rules.lookups_until(state.started);
        let resolution = if *requirement == Requirement::Nothing {
            None
        } else {
            let found = admit::resolve(core, &claim, deadline).await;
            let found = admit::platform(core, route, accepted, &request.headers, found, deadline).await;
            state.steps.end(Step::Resolve, state.started);
            Some(found)
        };

        // 5. Decide
        let authn = admit::decide(route, requirement, resolution.as_ref(), state)?;
        let context = match &resolution {
            Some(Resolution::Known(context)) => Some(context.as_ref()),
            _ => None,
        };
        let genuine = own::not_forged(request, route, context, state).inspect_err(|reason| {
            self.metrics.csrf_rejections.with_label_values(&["route", reason.code()]).inc();
        });
        admit::held_against(route, genuine, (), state)?;
        let extras = admit::extras(core, &rules, route, context, deadline).await;
        let extras = admit::held_against(route, extras, state::Extras::default(), state)?;
        if let Some(context) = context {
            core.activity.note(context, state.at);
        }
        state.steps.end(Step::Decide, state.started);
        state.admitted = Some(admit::admitted(&road, authn, claim, resolution, extras, websocket));
        Ok(Admission::Forward)
    }
}

/// Steps 6 to 10: on Pingora's phases for bodies, WebSockets and HTTP/2, from [`exchange`] for all other requests.
impl Gateway {
    fn sign<T>(
        &self,
        state: &mut RequestState,
        write: impl FnOnce(&mut RequestState, Timestamp) -> std::result::Result<T, Reason>,
    ) -> Result<T> {
        state.steps.end(Step::Connect, state.started);
        // 6. Scrub and 7. Sign, in one pass: ours are signed, then what may pass is put beside them. 8. Forward
        let written = write(state, self.clock.now()).map_err(|reason| outgoing::refusal(state, reason))?;
        state.steps.end(Step::Sign, state.started);
        Ok(written)
    }

    async fn answered(
        &self,
        request: &RequestHeader,
        answer: &mut ResponseHeader,
        state: &mut RequestState,
    ) -> Result<()> {
        incoming::check(answer, state).map_err(|reason| outgoing::refusal(state, reason))?;
        if answer.status.is_informational() {
            return Ok(());
        }
        account::answered(state, &self.metrics);
        // 9. Answer
        let core = self.core.get().ok_or_else(|| Error::new(ErrorType::InternalError))?;
        directive::read_again(Some(&answer.headers), state, &request.method, &core.lifecycle);
        directive::obey(answer, state, &request.headers, core, &self.metrics)
            .await
            .map_err(|reason| outgoing::refusal(state, reason))?;
        state.steps.end(Step::Directive, state.started);
        Ok(())
    }

    /// Step 9 for an answer that can be passed on as it came: what the client gets. `None` for all other answers.
    fn relayed(&self, session: &Session, answer: &[u8], state: &mut RequestState) -> Option<AsItCame> {
        let core = self.core.get()?;
        let answer = incoming::as_it_came(session, answer, state)?;
        account::answered(state, &self.metrics);
        directive::read_again(None, state, &session.req_header().method, &core.lifecycle);
        state.steps.end(Step::Directive, state.started);
        state.outcome = Outcome::Forwarded;
        Some(answer)
    }

    fn account(&self, session: &Session, state: &mut RequestState) {
        // 10. Account
        account::finish(session, state, &self.metrics, self.log.as_ref(), self.tracer.as_deref());
    }

    fn clean(&self, answer: &mut ResponseHeader, state: &mut RequestState) {
        incoming::clean(answer, state);
        if let Some(core) = self.core.get() {
            streams::tie(answer, state, core, &self.metrics);
        }
        if !answer.status.is_informational() {
            state.outcome = Outcome::Forwarded;
            incoming::set_cookies(answer, &state.set_cookies);
        }
    }
}

/// What becomes of a request that was not refused.
enum Admission {
    /// It may be forwarded.
    Forward,
    /// It is for an endpoint of our own.
    Own(std::result::Result<Call, Missing>),
}

#[async_trait]
impl ProxyHttp for Gateway {
    // Boxed: Pingora moves it half a dozen times for each request.
    type CTX = Box<RequestState>;

    fn new_ctx(&self) -> Self::CTX {
        if let Some(judged) = direct::handed_on() {
            return judged;
        }
        // Asked for as soon as the head is there. HTTP/2 streams have no deadline to tell.
        wire::head_arrived();
        let rules = self.rules.load().here();
        Box::new(RequestState::new(rules, self.request_ids.next(), self.clock.now(), self.in_flight.here()))
    }

    fn init_downstream_modules(&self, _modules: &mut HttpModules) {
        // None: compressing secrets beside chosen text leaks them (BREACH); the application may compress.
    }

    async fn early_request_filter(&self, session: &mut Session, state: &mut Self::CTX) -> Result<()> {
        admit::set_timeouts(session, state, wire::is_last());
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, state: &mut Self::CTX) -> Result<bool> {
        if state.admitted.is_some() {
            // Judged before it was handed on.
            outgoing::forget_spelling(session.req_header_mut());
            return Ok(false);
        }
        match self.admit(session, state).await {
            Ok(Admission::Forward) => {
                admit::before_forwarding(session, state.is_websocket()).await?;
                if !exchange::suits(session, state) {
                    outgoing::forget_spelling(session.req_header_mut());
                    state.body_awaited = (!session.as_mut().is_body_empty()).then(Instant::now);
                    return Ok(false);
                }
                self.exchange(session, state).await?;
            }
            Ok(Admission::Own(found)) => self.own()?.serve(session, state, found).await?,
            Err(reason) => {
                state.refuse(reason);
                admit::close_when_out_of_step(session, reason);
                answer::write(session, answer::refused(session, state, reason)).await?;
            }
        }
        Ok(true)
    }

    async fn upstream_peer(&self, session: &mut Session, state: &mut Self::CTX) -> Result<Box<HttpPeer>> {
        peer::at(&peer::server(state)?, session, state)
    }

    fn fail_to_connect(
        &self,
        _session: &mut Session,
        peer: &HttpPeer,
        state: &mut Self::CTX,
        error: Box<Error>,
    ) -> Box<Error> {
        peer::unreachable(state, peer.address(), error)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        state: &mut Self::CTX,
    ) -> Result<()> {
        let received = &session.req_header().headers;
        self.sign(state, |state, now| outgoing::prepare(request, received, state, now, &self.metrics))
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        end_of_stream: bool,
        state: &mut Self::CTX,
    ) -> Result<()> {
        upload::comes(end_of_stream);
        outgoing::count_body(body.as_ref().map_or(0, Bytes::len), end_of_stream, state)
            .map_err(|reason| outgoing::refusal(state, reason))?;
        if end_of_stream && body.as_ref().is_some_and(Bytes::is_empty) {
            // An empty last frame of HTTP/2. Pingora would write it as a last chunk, and then the last chunk: the
            // application would take the second one for another request (THREATS F14).
            *body = None;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        state: &mut Self::CTX,
    ) -> Result<()> {
        self.answered(session.req_header(), answer, state).await
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        state: &mut Self::CTX,
    ) -> Result<()> {
        self.clean(answer, state);
        incoming::fit_version(answer, session);
        state.never_has_body =
            session.req_header().method == http::Method::HEAD || incoming::never_has_body(answer);
        if session.is_http2() && !answer.status.is_informational() {
            let patience = state.rules.snapshot.connections.patience;
            upload::answered(state, patience.max(peer::patience(session, state)?.read), &self.metrics);
        }
        Ok(())
    }

    fn response_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        state: &mut Self::CTX,
    ) -> Result<Option<Duration>> {
        upload::moves();
        if state.never_has_body {
            // Over HTTP/2 an application can send one all the same (THREATS F17).
            *body = None;
        }
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        _session: &mut Session,
        trailers: &mut http::HeaderMap,
        state: &mut Self::CTX,
    ) -> Result<()> {
        incoming::clean_trailers(trailers, state);
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _peer: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        _state: &mut Self::CTX,
        client_reused: bool,
    ) -> Box<Error> {
        peer::decide_retry(session, &mut error, client_reused);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        state: &mut Self::CTX,
    ) -> FailToProxy {
        let reason = fault::reason(error, state);
        fault::report(error, reason, state, &self.metrics);
        state.refuse(reason);
        if fault::can_answer(session, state, reason) {
            let answer = answer::refused(session, state, reason);
            // Nobody is left to be told when this fails too.
            let _ = answer::write_after_fault(session, answer).await;
        } else if !session.is_http2() {
            answer::leave_off(session).await;
        }
        FailToProxy { error_code: reason.status(), can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _session: &Session, _state: &Self::CTX, _error: &Error) -> bool {
        // An error's context can hold a raw head with cookies; `fault::report` says what may be said.
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _session: &Session,
        _state: &Self::CTX,
        _error: &Error,
        _context: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, _error: Option<&Error>, state: &mut Self::CTX) {
        self.account(session, state);
    }
}
