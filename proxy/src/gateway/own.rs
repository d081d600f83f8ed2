//! Requests to our own endpoints: where they come from, whose session it is, what the body holds. Judged here in this
//! order, then handed over; what an endpoint answers, or what a fault becomes, is written here.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Response};
use pingora::proxy::Session;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::state::{Outcome, OwnFacts, RequestState};
use super::{Core, admit, answer, events};
use crate::clock::Clock;
use crate::context::{Context, Resolution};
use crate::endpoints::jwks;
use crate::endpoints::own::{self, Request, Services, body, openapi};
use crate::endpoints::problem::{self, Fault};
use crate::lifecycle::Origin;
use crate::policy::own::{Audience, Call, Endpoint, Missing};
use crate::policy::{Route, origin};
use crate::reason::Reason;
use crate::session::csrf;
use crate::telemetry::Metrics;

/// Where scripts put the anti-forgery token: our name, and that of the application that was there before.
const CSRF_HEADERS: [&str; 2] = ["x-csrf-token", "x-csrftoken"];
/// Bodies up to this size are read in any case.
const LEAST_LIMIT: usize = 8 * 1024;
/// The longest that a whole body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(10);

/// What serves our own endpoints.
#[derive(Clone, Copy)]
pub(super) struct Own<'a> {
    pub(super) core: &'a Arc<Core>,
    pub(super) metrics: &'a Metrics,
    pub(super) clock: &'a Arc<dyn Clock>,
}

impl Own<'_> {
    /// Answers a request whose endpoint was found, or say why there is none.
    pub(super) async fn serve(
        &self,
        session: &mut Session,
        state: &mut RequestState,
        found: Result<Call, Missing>,
    ) -> pingora::Result<()> {
        let outcome = match found {
            Ok(call)
                if call.line.endpoint == Endpoint::Events && session.req_header().method == Method::GET =>
            {
                match events::open(self, session, state, call).await {
                    Ok(stream) => return stream.run(session, state).await,
                    Err(fault) => Err((fault, None)),
                }
            }
            Ok(call) => self.answer(session, state, call).await,
            Err(missing) => Err((missing.reason().into(), Some(missing))),
        };
        let mut answer = match outcome {
            Ok(answer) => {
                state.outcome = Outcome::Answered;
                answer
            }
            Err((fault, missing)) => refused(session, state, fault, missing),
        };
        if session.req_header().method == Method::HEAD {
            answer.body_mut().clear();
        }
        answer::write(session, answer).await
    }

    async fn answer(
        &self,
        session: &mut Session,
        state: &mut RequestState,
        call: Call,
    ) -> Result<Response<Bytes>, (Fault, Option<Missing>)> {
        let (name, alias) = (call.line.name, call.alias);
        state.own = Some(OwnFacts { name, alias, context: None });
        if call.line.audience == Audience::Everybody {
            return Self::everybody(session, state, &call).map_err(|reason| (reason.into(), None));
        }
        let request = self.judge(session, state, call).await.map_err(|fault| (fault, None))?;
        let answer = self.carry_out(request).await.map_err(|fault| (fault, None))?;
        Ok(answer.into_response(name, alias))
    }

    /// Endpoints that ask for nobody.
    fn everybody(session: &Session, state: &RequestState, call: &Call) -> Result<Response<Bytes>, Reason> {
        let request = session.req_header();
        if call.line.endpoint == Endpoint::PublicKeys {
            let keys = state.rules.public_jwks().ok_or(Reason::NoRoute)?;
            return Ok(jwks::answer(keys, &request.method, &request.headers));
        }
        let snapshot = &state.rules.snapshot;
        Ok(openapi::answer(&snapshot.reserved_path, &snapshot.session.cookie))
    }

    /// Origin, session, anti-forgery token, body: in this order, each before the next costs anything.
    pub(super) async fn judge(
        &self,
        session: &mut Session,
        state: &mut RequestState,
        call: Call,
    ) -> Result<Request, Fault> {
        let rules = Arc::clone(&state.rules);
        let headers = &session.req_header().headers;
        let shown = if call.line.is_unsafe() { shown_origin(headers, state) } else { Ok(()) };
        if let Err(reason) = shown
            && !(call.alias && reason == Reason::OriginUnproven && csrf_token(headers).is_some())
        {
            return Err(self.forged(reason));
        }
        let claim = admit::read_cookie(headers, &rules, self.metrics);
        let who = match admit::resolve(self.core, &claim, rules.lookups_until(state.started)).await {
            Resolution::Known(context) => Ok(context),
            Resolution::Unknown(reason) if call.line.audience == Audience::Anybody => Err(reason),
            Resolution::Unknown(reason) | Resolution::Undetermined(reason) => return Err(reason.into()),
        };
        if let Some(facts) = &mut state.own {
            facts.context = who.as_ref().ok().cloned();
        }
        if call.line.is_unsafe()
            && let Ok(context) = &who
        {
            // An alias is content with one of the two proofs, so that an existing front end keeps working.
            if !call.alias || shown.is_err() {
                self.check_csrf(headers, context, state)?;
            }
            // Whoever only asks how things stand does not use the session (DESIGN, section 3).
            if !matches!(call.line.endpoint, Endpoint::Logout | Endpoint::SessionValidate) {
                self.core.activity.note(context, state.at);
            }
        }
        let body =
            if call.line.body { read_object(session, &call, largest_body(state)).await? } else { Map::new() };
        let remains = who.as_ref().ok().and_then(|context| claim.remains(&context.session.id));
        let by = whose_doing(who.as_deref().ok());
        Ok(Request {
            who,
            remains,
            body,
            by: Origin {
                by,
                from: state
                    .origin
                    .as_ref()
                    .and_then(|origin| origin.address)
                    .map(|address| address.to_string()),
                request_id: Some(state.request_id.clone()),
            },
            now: state.at,
            deadline: Instant::now() + rules.snapshot.resolve.budget,
            settings: Arc::clone(&rules.own),
            call,
        })
    }

    fn check_csrf(&self, headers: &HeaderMap, context: &Context, state: &RequestState) -> Result<(), Fault> {
        let token = csrf_token(headers).ok_or(Reason::CsrfMissing);
        let settings = &state.rules.own.csrf;
        token
            .and_then(|token| csrf::verify(settings, &context.session.id, token, state.at))
            .map_err(|reason| self.forged(reason))
    }

    fn forged(&self, reason: Reason) -> Fault {
        self.metrics.csrf_rejections.with_label_values(&["own", reason.code()]).inc();
        reason.into()
    }

    /// In a task of its own when it changes something: a client that goes away must not leave a change half made.
    async fn carry_out(&self, request: Request) -> Result<own::Answer, Fault> {
        let core = Arc::clone(self.core);
        if !request.call.line.is_unsafe() {
            return own::answer(core.services(), request).await;
        }
        let task = tokio::spawn(async move { own::answer(core.services(), request).await });
        task.await.unwrap_or_else(|_| Err(Reason::Internal.into()))
    }
}

impl Core {
    /// What our own endpoints need of it.
    pub(super) fn services(&self) -> Services<'_> {
        Services { resolver: &self.resolver, lifecycle: &self.lifecycle, activity: &self.activity }
    }
}

/// Who does it, for the audit log: the user, or whoever acts in their name.
fn whose_doing(context: Option<&Context>) -> String {
    let actor = context.and_then(|context| context.session.actor.as_ref());
    actor.map_or_else(|| "user".to_owned(), |actor| format!("user for user:{actor}"))
}

/// Whether this unsafe request is shown to come from a page of ours.
fn shown_origin(headers: &HeaderMap, state: &RequestState) -> Result<(), Reason> {
    let (Some(accepted), Some(origin)) = (&state.accepted, &state.origin) else {
        return Err(Reason::Internal);
    };
    origin::judge_unsafe(headers, origin.scheme.as_str(), &accepted.authority, &[])
}

/// The same protection in front of an application, for a route that asks for it: with a session, origin and token;
/// without one, where there is nothing that a token could be bound to, the origin.
pub(super) fn not_forged(
    request: &http::request::Parts,
    route: &Route,
    context: Option<&Context>,
    state: &RequestState,
) -> Result<(), Reason> {
    let safe = matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS);
    if safe || !route.csrf {
        return Ok(());
    }
    let (Some(accepted), Some(origin)) = (&state.accepted, &state.origin) else {
        return Err(Reason::Internal);
    };
    let also = route.cors.as_ref().map_or(&[][..], |cors| &cors.origins);
    origin::judge_unsafe(&request.headers, origin.scheme.as_str(), &accepted.authority, also)?;
    let Some(context) = context else { return Ok(()) };
    let token = csrf_token(&request.headers).ok_or(Reason::CsrfMissing)?;
    csrf::verify(&state.rules.own.csrf, &context.session.id, token, state.at)
}

/// The anti-forgery token that a request carries. Two are none that fits: which of them would be meant?
pub(super) fn csrf_token(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = CSRF_HEADERS.iter().flat_map(|name| headers.get_all(*name)).map(HeaderValue::as_bytes);
    let first = given.next()?;
    Some(if given.all(|other| other == first) { first } else { b"" })
}

/// Room for the largest settings, spelled more widely than we do.
fn largest_body(state: &RequestState) -> usize {
    LEAST_LIMIT.max(2 * state.rules.own.schema.bytes)
}

/// Reads the body: JSON by its media type, unless it came by an alias, and never more than `limit` bytes.
async fn read_object(session: &mut Session, call: &Call, limit: usize) -> Result<Map<String, Value>, Fault> {
    let headers = &session.req_header().headers;
    if !call.alias && !is_json(headers) {
        return Err(Reason::UnsupportedMediaType.into());
    }
    let announced =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > limit) {
        return Err(Reason::BodyTooLarge.into());
    }
    admit::let_body_come(session).await.map_err(|_| Reason::ClientGone)?;
    let bytes = tokio::time::timeout(BODY_DEADLINE, read_body(session, limit));
    let bytes = bytes.await.unwrap_or(Err(Reason::ClientTooSlow))?;
    body::parse(&bytes)
}

async fn read_body(session: &mut Session, limit: usize) -> Result<BytesMut, Reason> {
    let mut whole = BytesMut::new();
    while let Some(part) = session.read_request_body().await.map_err(|_| Reason::ClientGone)? {
        if whole.len() + part.len() > limit {
            return Err(Reason::BodyTooLarge);
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole)
}

fn is_json(headers: &HeaderMap) -> bool {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(text), None) = (types.next(), types.next()) else { return false };
    let text = text.to_str().unwrap_or_default();
    let essence = text.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("application/merge-patch+json")
}

fn refused(
    session: &mut Session,
    state: &mut RequestState,
    fault: Fault,
    missing: Option<Missing>,
) -> Response<Bytes> {
    let reason = fault.reason;
    state.refuse(reason);
    admit::close_when_out_of_step(session, reason);
    // Pages from before the proxy look for these two.
    let alias = state.own.as_ref().is_some_and(|own| own.alias);
    let fault = if alias { fault.with("success", false).with("error", reason.title()) } else { fault };
    let mut answer = problem::problem_of(fault, &state.request_id);
    if let Some(Missing::Method(allowed)) = missing
        && let Ok(allowed) = HeaderValue::try_from(allowed)
    {
        answer.headers_mut().insert(ALLOW, allowed);
    }
    answer
}
