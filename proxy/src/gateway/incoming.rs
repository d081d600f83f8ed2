//! Step 9: the upstream's answer. Directives are carried out and removed, our names kept in, our cookies set.

use http::{HeaderMap, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;

use super::Core;
use super::admit;
use super::state::RequestState;
use crate::context::Resolution;
use crate::headers::response;
use crate::lifecycle::{LifecycleError, Origin, Start};
use crate::policy::Requirement;
use crate::reason::Reason;
use crate::session::directive::{Directive, HEADER};
use crate::session::{Settings, cookie};
use crate::telemetry::Metrics;

/// Carries out a session directive, if the answer holds one.
///
/// # Errors
/// `DirectiveRefused` or `DirectiveUndetermined`: nothing was carried out, and the answer must not be passed on.
pub(super) async fn directive(
    answer: &ResponseHeader,
    state: &mut RequestState,
    request: &HeaderMap,
    core: &Core,
    metrics: &Metrics,
) -> Result<(), Reason> {
    if !answer.headers.contains_key(HEADER) {
        return Ok(());
    }
    if !state.route.as_ref().is_some_and(|route| route.session_authority) {
        metrics.directives.with_label_values(&["ignored"]).inc();
        tracing::warn!(
            request_id = state.request_id,
            route = state.route.as_ref().map(|route| route.name.as_str()),
            "session directive from a route that is no session authority: removed"
        );
        return Ok(());
    }
    let outcome = carry_out(answer, state, request, core).await;
    let result = match &outcome {
        Ok(()) => "carried_out",
        Err(LifecycleError::Impossible(_)) => "refused",
        Err(_) => "undetermined",
    };
    metrics.directives.with_label_values(&[result]).inc();
    outcome.map_err(|error| {
        tracing::error!(request_id = state.request_id, %error, "session directive not carried out");
        match error {
            LifecycleError::Impossible(_) => Reason::DirectiveRefused,
            _ => Reason::DirectiveUndetermined,
        }
    })
}

async fn carry_out(
    answer: &ResponseHeader,
    state: &mut RequestState,
    request: &HeaderMap,
    core: &Core,
) -> Result<(), LifecycleError> {
    let directive = Directive::parse(&answer.headers).map_err(|error| LifecycleError::Impossible(error.why()))?;
    let Some(directive) = directive else { return Ok(()) };
    let by = Origin {
        by: format!("upstream:{}", state.route.as_ref().map_or("", |route| route.upstream.as_str())),
        from: state.origin.as_ref().and_then(|origin| origin.address).map(|address| address.to_string()),
        request_id: Some(state.request_id.clone()),
    };
    let rules = std::sync::Arc::clone(&state.rules);
    let settings = &rules.snapshot.session;
    match directive {
        Directive::Create { user, platform, actor } => {
            let replaces = match current(state, request, core).await? {
                Resolution::Known(context) => Some(context.session.id),
                _ => None,
            };
            let start = Start { user, platform, actor, replaces };
            let started = core.lifecycle.start(&start, &by).await?;
            state.set_cookies.push(cookie::set(settings, &started.token));
        }
        Directive::Rotate { authenticated } => {
            let context = known(current(state, request, core).await?)?;
            let started = core.lifecycle.rotate(&context.session, authenticated, &by).await?;
            state.set_cookies.push(cookie::set(settings, &started.token));
        }
        Directive::End => {
            if let Resolution::Known(context) = current(state, request, core).await? {
                core.lifecycle.end(&context.session, &by).await?;
            }
            clear_cookie(state, request, settings);
        }
        Directive::EndAll => {
            let context = known(current(state, request, core).await?)?;
            core.lifecycle.end_all(&context.user.id, &by).await?;
            clear_cookie(state, request, settings);
        }
        Directive::Platform(id) => {
            let context = known(current(state, request, core).await?)?;
            core.lifecycle.set_platform(&context.session, id.as_ref(), &by).await?;
        }
    }
    Ok(())
}

/// The session of this request; resolved now if the route asked for nothing.
async fn current(
    state: &RequestState,
    request: &HeaderMap,
    core: &Core,
) -> Result<Resolution, LifecycleError> {
    let Some(admitted) = &state.admitted else { return Err(LifecycleError::Undetermined) };
    if let Some(context) = &admitted.context {
        return Ok(Resolution::Known(std::sync::Arc::clone(context)));
    }
    let claim = state.rules.snapshot.profile.claim(request);
    match admit::resolve(core, &state.rules, &claim).await {
        Resolution::Undetermined(_) => Err(LifecycleError::Undetermined),
        resolution => Ok(resolution),
    }
}

fn known(resolution: Resolution) -> Result<std::sync::Arc<crate::context::Context>, LifecycleError> {
    match resolution {
        Resolution::Known(context) => Ok(context),
        Resolution::Unknown(_) => Err(LifecycleError::Impossible("there is no session to change")),
        Resolution::Undetermined(_) => Err(LifecycleError::Undetermined),
    }
}

fn clear_cookie(state: &mut RequestState, request: &HeaderMap, settings: &Settings) {
    if cookie::find(request, &settings.cookie) != cookie::Presented::Nothing {
        state.set_cookies.push(cookie::clear(settings));
    }
}

/// A switch of protocols is only believed when one was asked for and allowed (THREATS F10).
pub(super) fn check_upgrade(answer: &ResponseHeader, state: &RequestState) -> Result<(), Reason> {
    let asked = state.admitted.as_ref().is_some_and(|admitted| admitted.websocket);
    if answer.status == StatusCode::SWITCHING_PROTOCOLS && !asked {
        return Err(Reason::UpstreamMalformed);
    }
    Ok(())
}

/// Keeps our names in, the application's copy of our cookie out, and private answers out of shared caches.
pub(super) fn clean(answer: &mut ResponseHeader, state: &RequestState) {
    for name in response::forbidden(&answer.headers, &state.rules.names) {
        answer.remove_header(&name);
    }
    keep_our_cookie_ours(answer, &state.rules.snapshot.session.cookie);
    if state.route.as_ref().is_some_and(|route| route.requirement != Requirement::Nothing) {
        for (name, value) in response::privacy(&answer.headers).into_iter().flatten() {
            let _ = answer.append_header(name, value);
        }
    }
}

/// Adds our cookies to a final answer.
pub(super) fn set_cookies(answer: &mut ResponseHeader, cookies: &[HeaderValue]) {
    for cookie in cookies {
        // A value of our own making, always legal.
        let _ = answer.append_header(header::SET_COOKIE, cookie.clone());
    }
    if !cookies.is_empty() {
        let _ = answer.insert_header(header::CACHE_CONTROL, "no-store");
    }
}

fn keep_our_cookie_ours(answer: &mut ResponseHeader, name: &str) {
    if !answer.headers.get_all(header::SET_COOKIE).iter().any(|value| cookie::names(value, name)) {
        return;
    }
    let others: Vec<HeaderValue> = answer
        .headers
        .get_all(header::SET_COOKIE)
        .iter()
        .filter(|value| !cookie::names(value, name))
        .cloned()
        .collect();
    answer.remove_header(&header::SET_COOKIE);
    for other in others {
        let _ = answer.append_header(header::SET_COOKIE, other);
    }
}

