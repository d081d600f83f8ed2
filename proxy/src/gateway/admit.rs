//! Steps 1 to 5 of a request's life: accept, route, read the cookie, resolve, decide. Each step is one function that
//! returns to the spine; none calls the next.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, header};
use pingora::proxy::Session;
use tokio::time::Instant;

use super::Core;
use super::near::Here;
use super::rules::{InForce, Road};
use super::state::{Admitted, Extras, RequestState};
use crate::context::{Authn, ClientCertificate, Context, Resolution};
use crate::endpoints::problem;
use crate::headers::forwarded::{self, ClientOrigin, Hop};
use crate::policy::accept::{self, Accepted, Head};
use crate::policy::decide::{self, Decision};
use crate::policy::origin::{self, Upgrade};
use crate::policy::own::{self, Call, Missing};
use crate::policy::platform_source::Named;
use crate::policy::route::Found;
use crate::policy::{Requirement, Route};
use crate::reason::Reason;
use crate::sealing::Place;
use crate::secret::Secret;
use crate::session::profile::Claim;
use crate::telemetry::Metrics;

/// Step 1: the strict gate.
pub(super) fn accept(session: &Session, rules: &InForce) -> Result<Accepted, Reason> {
    let request = session.req_header();
    let raw_head =
        session.as_http1().map(pingora::protocols::http::v1::server::HttpSession::get_headers_raw_bytes);
    accept::accept(
        Head { parts: request, raw_target: request.raw_path(), raw_head: raw_head.as_deref() },
        &rules.snapshot.limits,
    )
}

/// Step 1, continued: where the request comes from, believing only trusted proxies.
pub(super) fn client_origin(session: &Session, rules: &InForce, accepted: &Accepted) -> ClientOrigin {
    let hop = Hop {
        peer: peer_address(session),
        trusted: trusted_proxies(session, rules),
        scheme: rules.snapshot.public_scheme,
        authority: accepted.authority.as_str(),
    };
    forwarded::origin(&hop, &session.req_header().headers)
}

/// The address at the other end of the connection. On a listener for both families, one of IPv4 has a mapped form, which
/// nobody behind us would recognise.
fn peer_address(session: &Session) -> Option<IpAddr> {
    session.client_addr().and_then(|address| address.as_inet()).map(|address| address.ip().to_canonical())
}

/// Who is believed on the listener that a request came in by.
fn trusted_proxies<'a>(session: &Session, rules: &'a InForce) -> &'a [ipnet::IpNet] {
    let listener = session.server_addr().and_then(|address| address.as_inet());
    let listener = listener.and_then(|address| rules.snapshot.listener(*address));
    listener.map_or(&[], |listener| &listener.trusted_proxies)
}

/// Whether the other end of the connection is a proxy that is believed.
pub(super) fn is_trusted_proxy(session: &Session, rules: &InForce) -> bool {
    peer_address(session)
        .is_some_and(|peer| trusted_proxies(session, rules).iter().any(|network| network.contains(&peer)))
}

/// Step 1, continued: the certificate that the client showed when it connected.
pub(super) fn client_certificate(session: &Session) -> Option<ClientCertificate> {
    let connection = session.digest()?.ssl_digest.as_ref()?;
    connection.extension.get::<ClientCertificate>().cloned()
}

/// Where a request leads.
pub(super) enum Destination {
    /// To an application.
    Route(Here<Road>),
    /// Below the reserved path: to an endpoint of our own, or to nothing.
    Own(Result<Call, Missing>),
}

/// Step 2: host, path and method choose a route. A preflight asks for the method it announces, where the route lets it.
pub(super) fn route(
    rules: &InForce,
    accepted: &Accepted,
    request: &http::request::Parts,
) -> Result<Destination, Reason> {
    let find = |method| rules.snapshot.routes.find(accepted.authority.host(), accepted.target.path(), method);
    let found = find(&request.method);
    // An alias is longer than every route that covers it; hosts that are not served have none.
    let alias = rules.snapshot.aliases.find(accepted.target.path(), &request.method);
    if let Some(alias) = alias.filter(|_| !matches!(found, Found::UnknownHost | Found::Reserved(_))) {
        return Ok(Destination::Own(alias));
    }
    match found {
        Found::Route(place) => Ok(Destination::Route(rules.road(place))),
        Found::Reserved(rest) => Ok(Destination::Own(own::find(rest, &request.method))),
        Found::MethodNotAllowed => match origin::preflight(request).as_ref().map(find) {
            Some(Found::Route(place)) => {
                let road = rules.road(place);
                let passes = origin::preflight_passes(&request.headers, &road.route);
                passes.then_some(Destination::Route(road)).ok_or(Reason::MethodNotAllowed)
            }
            _ => Err(Reason::MethodNotAllowed),
        },
        Found::NoRoute => Err(Reason::NoRoute),
        Found::UnknownHost => Err(Reason::UnknownHost),
    }
}

/// Step 2, continued: whether the request becomes a WebSocket.
pub(super) fn websocket(
    request: &http::request::Parts,
    route: &Route,
    origin: &ClientOrigin,
    accepted: &Accepted,
) -> Result<bool, Reason> {
    let upgrade = origin::judge_upgrade(request, route, origin.scheme.as_str(), &accepted.authority)?;
    Ok(upgrade == Upgrade::WebSocket)
}

/// Step 2, continued: a body that says it is too large is refused before anything is asked.
pub(super) fn body_fits(headers: &HeaderMap, route: &Route) -> Result<(), Reason> {
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok())
        .and_then(|length| length.parse::<u64>().ok());
    match (announced, route.body_limit) {
        (Some(length), Some(limit)) if length > limit => Err(Reason::BodyTooLarge),
        _ => Ok(()),
    }
}

/// Step 3: what the cookie claims. No I/O; a forged token costs nothing.
pub(super) fn read_cookie(headers: &HeaderMap, rules: &InForce, metrics: &Metrics) -> Claim {
    let claim = rules.snapshot.profile.claim(headers);
    if let Claim::Nobody(reason) = claim
        && reason != Reason::NoCookie
    {
        metrics.count_rejected_token(reason);
    }
    claim
}

/// Step 4: who it is, if the route wants to know.
pub(super) async fn resolve(core: &Core, claim: &Claim, deadline: Instant) -> Resolution {
    match claim {
        Claim::Nobody(reason) => Resolution::Unknown(*reason),
        Claim::Session(id) => core.resolver.resolve(id, deadline).await,
        Claim::Candidates(candidates) => core.resolver.resolve_first(candidates, deadline).await,
    }
}

/// Step 4, continued: the platform that the request names, on a route that takes it from there. The session's own choice
/// is nothing here, whatever the request says.
pub(super) async fn platform(
    core: &Core,
    route: &Route,
    accepted: &Accepted,
    headers: &HeaderMap,
    resolution: Resolution,
    deadline: Instant,
) -> Resolution {
    let (Some(source), Resolution::Known(context)) = (&route.platform_from, &resolution) else {
        return resolution;
    };
    match source.named(route, accepted.authority.host(), accepted.target.path(), headers) {
        Named::Nothing => Resolution::Known(Arc::new(context.without_platform(false))),
        Named::Nonsense => Resolution::Known(Arc::new(context.without_platform(true))),
        Named::Platform(id) => core.resolver.with_platform(context, &id, deadline).await,
    }
}

/// Step 5: let through, or not, and as what.
pub(super) fn decide(
    route: &Route,
    requirement: &Requirement,
    resolution: Option<&Resolution>,
    state: &mut RequestState,
) -> Result<Authn, Reason> {
    let mut decision = decide::decide(requirement, resolution, state.at);
    if route.only_reports {
        decision = decide::only_reported(decision, resolution);
    }
    match decision {
        Decision::Forward(authn) => Ok(authn),
        Decision::Refuse(reason) => Err(reason),
        Decision::Report(authn, reason) => {
            state.would_refuse = Some(reason);
            Ok(authn)
        }
    }
}

/// Step 5, continued: what else would have the request refused, on a route that only reports. Elsewhere it does.
pub(super) fn held_against<T>(
    route: &Route,
    result: Result<T, Reason>,
    instead: T,
    state: &mut RequestState,
) -> Result<T, Reason> {
    match result {
        Err(reason) if route.only_reports => {
            state.would_refuse.get_or_insert(reason);
            Ok(instead)
        }
        result => result,
    }
}

/// The requirement in force: a preflight carries no cookies, so a route may let it pass without a session.
pub(super) fn requirement<'a>(route: &'a Route, request: &http::request::Parts) -> &'a Requirement {
    if origin::preflight(request).is_some() && origin::preflight_passes(&request.headers, route) {
        return &Requirement::Nothing;
    }
    &route.requirement
}

/// Step 5, continued: the platform's credential, opened for a route that asks for it.
fn credential(rules: &InForce, route: &Route, context: Option<&Context>) -> Result<Option<Secret>, Reason> {
    if !route.platform_authorization {
        return Ok(None);
    }
    let Some(platform) = context.and_then(|context| context.platform.as_ref()) else { return Ok(None) };
    let Some(sealed) = &platform.credential else { return Ok(None) };
    rules.sealer.open(sealed, Place::credential_of(&platform.id)).map(Some).map_err(|error| {
        tracing::error!(platform_id = %platform.id, %error, "cannot open a platform's credential");
        Reason::CredentialUnreadable
    })
}

/// Step 5, continued: what only some routes ask for. Whoever is let through without a platform has none of it.
///
/// # Errors
/// The reason why it could not be found out: an application that was promised the settings is not left to guess.
pub(super) async fn extras(
    core: &Core,
    rules: &InForce,
    route: &Route,
    context: Option<&Context>,
    deadline: Instant,
) -> Result<Extras, Reason> {
    let credential = credential(rules, route, context)?;
    let Some((context, platform)) = context.and_then(|context| Some((context, context.platform.as_ref()?)))
    else {
        return Ok(Extras { credential, ..Extras::default() });
    };
    let (user, platform) = (&context.user.id, &platform.id);
    let settings = async {
        if route.extras.settings { core.resolver.settings(user, platform, deadline).await } else { Ok(None) }
    };
    let stats = async {
        if route.extras.stats { core.resolver.stats(user, platform, deadline).await } else { Ok(None) }
    };
    let (settings, stats) = tokio::try_join!(settings, stats)?;
    Ok(Extras { credential, settings, stats })
}

/// Puts the answers of steps 1 to 5 together.
pub(super) fn admitted(
    road: &Here<Road>,
    authn: Authn,
    claim: Claim,
    resolution: Option<Resolution>,
    extras: Extras,
    websocket: bool,
) -> Admitted {
    let context = match resolution {
        Some(Resolution::Known(context)) => Some(context),
        _ => None,
    };
    Admitted { road: Arc::clone(road), authn, claim, context, extras, websocket }
}

/// How long the rest of a body is read after an early answer.
const DRAIN: Duration = Duration::from_secs(5);

/// How Pingora is told to keep a connection without a timer of its own for each request.
const WITHOUT_TIMER: u64 = 0;

/// Bounds every wait for the client; after the `last` request its connection is closed. The wait for its next request is
/// bounded in front (`server/front.rs`), where a timer lasts for many of them.
pub(super) fn set_timeouts(session: &mut Session, state: &RequestState, last: bool) {
    let patience = state.rules.snapshot.connections.patience;
    if last {
        session.set_keepalive(None);
    } else if session.get_keepalive().is_some() {
        // Only where the client asked for it: else a plain HTTP/1.0 client would wait for the end of the connection.
        session.set_keepalive(Some(WITHOUT_TIMER));
    }
    if session.req_header().version == http::Version::HTTP_10 {
        // It knows no answers before the answer (RFC 9110, section 15.2).
        session.set_ignore_info_resp(true);
    }
    session.set_read_timeout(Some(patience));
    session.set_write_timeout(Some(patience));
    session.set_total_drain_timeout(Some(DRAIN));
}

/// Ends the connection after the answer when the client and we may not agree where this request ended (THREATS F1 to
/// F5, F13).
pub(super) fn close_when_out_of_step(session: &mut Session, reason: Reason) {
    // Whoever asks for a tunnel may send on as if there were one.
    if problem::closes_connection(reason) || session.req_header().method == http::Method::CONNECT {
        session.set_keepalive(None);
    }
}

/// Whether the client holds its body back until it is told to go on. HTTP/1.0 knows no such thing, and who has no body
/// waits for nothing (RFC 9110, section 10.1.1).
fn awaits_continue(request: &http::request::Parts) -> bool {
    let has_body = request.headers.contains_key(header::TRANSFER_ENCODING)
        || request.headers.get(header::CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    let can_wait = match request.version {
        http::Version::HTTP_2 => true,
        http::Version::HTTP_11 => has_body,
        _ => false,
    };
    can_wait && request.headers.contains_key(header::EXPECT)
}

/// Prepares the client's side of a request that was let through: a WebSocket may be silent, and whoever waits for
/// `100 Continue` gets it from us, now that nothing but the upstream can refuse.
pub(super) async fn before_forwarding(session: &mut Session, websocket: bool) -> pingora::Result<()> {
    if websocket {
        session.set_read_timeout(None);
        session.set_write_timeout(None);
    }
    let_body_come(session).await
}

/// Tells a client that waits for it to send its body.
pub(super) async fn let_body_come(session: &mut Session) -> pingora::Result<()> {
    if awaits_continue(session.req_header()) {
        session.write_continue_response().await?;
    }
    Ok(())
}
