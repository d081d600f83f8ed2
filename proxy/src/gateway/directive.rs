//! Step 9: carrying out what a trusted upstream wants done with a session.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, header};
use pingora::http::ResponseHeader;
use tokio::time::Instant;

use super::Core;
use super::admit;
use super::near::Here;
use super::rules::InForce;
use super::state::RequestState;
use crate::context::{Context, Resolution};
use crate::lifecycle::{Lifecycle, LifecycleError, Origin, Start};
use crate::reason::Reason;
use crate::session::cookie;
use crate::session::directive::{Directive, HEADER};
use crate::session::profile::Claim;
use crate::telemetry::Metrics;

/// Carries out a session directive, if the answer holds one.
///
/// # Errors
/// `DirectiveRefused` or `DirectiveUndetermined`: nothing was carried out, and the answer must not be passed on.
pub(super) async fn obey(
    answer: &ResponseHeader,
    state: &mut RequestState,
    request: &HeaderMap,
    core: &Arc<Core>,
    metrics: &Metrics,
) -> Result<(), Reason> {
    if !answer.headers.contains_key(HEADER) {
        return Ok(());
    }
    if !state.route().is_some_and(|route| route.session_authority) {
        ignore(state, metrics);
        return Ok(());
    }
    let outcome = match order(answer, state, request, core) {
        // In a task of its own: a client that goes away must not leave a change half made.
        Ok(Some(order)) => tokio::spawn(order.carry_out()).await.unwrap_or(Err(LifecycleError::Undetermined)),
        Ok(None) => Ok(Done::default()),
        Err(error) => Err(error),
    };
    let result = match &outcome {
        Ok(_) => "carried_out",
        Err(
            LifecycleError::Impossible(_)
            | LifecycleError::TooManySessions
            | LifecycleError::TooManySwitches { .. },
        ) => "refused",
        Err(_) => "undetermined",
    };
    metrics.directives.with_label_values(&[result]).inc();
    match outcome {
        Ok(done) => {
            state.set_cookies.extend(done.set_cookie);
            take_away(&done.left_cookies, answer, request, state);
            Ok(())
        }
        Err(error) => {
            tracing::error!(request_id = state.request_id, %error, "session directive not carried out");
            Err(match error {
                LifecycleError::Impossible(_) => Reason::DirectiveRefused,
                LifecycleError::TooManySessions => Reason::TooManySessions,
                LifecycleError::TooManySwitches { retry_after } => {
                    state.retry_after = Some(retry_after);
                    Reason::TooManySwitches
                }
                _ => Reason::DirectiveUndetermined,
            })
        }
    }
}

fn ignore(state: &RequestState, metrics: &Metrics) {
    metrics.directives.with_label_values(&["ignored"]).inc();
    tracing::warn!(
        request_id = state.request_id,
        route = state.route().map(|route| route.name.as_str()),
        "session directive from a route that is no session authority: removed"
    );
}

/// Has sessions of other frameworks read again whose application may have changed them with this answer: it sets their
/// cookie, or the request was one that changes something. `answer` is `None` for one that sets none.
pub(super) fn read_again(
    answer: Option<&HeaderMap>,
    state: &RequestState,
    method: &Method,
    lifecycle: &Lifecycle,
) {
    let Some(admitted) = &state.admitted else { return };
    let is_safe = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
    for (session, format) in admitted.claim.foreign() {
        let gives = |value| cookie::value_given(value, &format.cookie).is_some();
        if !is_safe || answer.is_some_and(|headers| headers.get_all(header::SET_COOKIE).iter().any(gives)) {
            lifecycle.may_have_changed(session);
        }
    }
}

/// What carrying out a directive means for cookies.
#[derive(Default)]
struct Done {
    /// Ours, if the browser has to be told something.
    set_cookie: Option<HeaderValue>,
    /// Those of another framework's session that is over.
    left_cookies: Vec<String>,
}

/// Takes the cookies of a foreign session that was ended away from the browser, so that the next login begins with a new
/// id. Where the application gives the browser another value in the same answer, it has dealt with its cookie itself;
/// the one that it renews as it is, is left out.
fn take_away(names: &[String], answer: &ResponseHeader, request: &HeaderMap, state: &mut RequestState) {
    for name in names {
        let cookie::Presented::One(presented) = cookie::find(request, name) else { continue };
        let given = answer.headers.get_all(header::SET_COOKIE);
        let mut given = given.iter().filter_map(|value| cookie::value_given(value, name));
        if given.any(|value| value != presented) {
            continue;
        }
        state.set_cookies.extend(cookie::clear_named(&state.rules.snapshot.session, name));
        state.dropped_cookies.push(name.clone());
    }
}

/// A directive with all that is needed to carry it out.
struct Order {
    directive: Directive,
    claim: Claim,
    context: Option<Arc<Context>>,
    presented: bool,
    by: Origin,
    core: Arc<Core>,
    rules: Here<Arc<InForce>>,
}

fn order(
    answer: &ResponseHeader,
    state: &RequestState,
    request: &HeaderMap,
    core: &Arc<Core>,
) -> Result<Option<Order>, LifecycleError> {
    let directive =
        Directive::parse(&answer.headers).map_err(|error| LifecycleError::Impossible(error.why()))?;
    let (Some(directive), Some(admitted)) = (directive, &state.admitted) else { return Ok(None) };
    let name = &state.rules.snapshot.session.cookie;
    Ok(Some(Order {
        directive,
        claim: admitted.claim.clone(),
        context: admitted.context.clone(),
        presented: cookie::find(request, name) != cookie::Presented::Nothing,
        by: Origin {
            by: format!("upstream:{}", admitted.road.upstream.settings.name),
            from: state.origin.as_ref().and_then(|origin| origin.address).map(|address| address.to_string()),
            request_id: Some(state.request_id.clone()),
        },
        core: Arc::clone(core),
        rules: Arc::clone(&state.rules),
    }))
}

impl Order {
    /// Does it. Answers what that means for cookies.
    async fn carry_out(self) -> Result<Done, LifecycleError> {
        let lifecycle = &self.core.lifecycle;
        let settings = &self.rules.snapshot.session;
        match &self.directive {
            Directive::Create { .. } if !self.rules.snapshot.profile.reads_own() => {
                Err(LifecycleError::Impossible("sessions of our own are not read here"))
            }
            Directive::Create { user, platform, actor } => {
                let current = self.current().await?;
                let start = Start {
                    user: user.clone(),
                    platform: platform.clone(),
                    actor: actor.clone(),
                    acted: current.as_ref().is_some_and(|context| context.session.actor.is_some()),
                    replaces: current.map(|context| context.session.id),
                };
                let started = lifecycle.start(&start, &self.by).await?;
                Ok(Done { set_cookie: Some(cookie::set(settings, &started.token)), ..Done::default() })
            }
            Directive::Rotate { authenticated } => {
                let context = self.known().await?;
                let started = lifecycle.rotate(&context.session, *authenticated, &self.by).await?;
                Ok(Done { set_cookie: Some(cookie::set(settings, &started.token)), ..Done::default() })
            }
            Directive::End => {
                let current = self.current().await?;
                if let Some(context) = &current {
                    lifecycle.end(&context.session, &self.by).await?;
                }
                let set_cookie = self.presented.then(|| cookie::clear(settings));
                Ok(Done { set_cookie, left_cookies: self.forget(current.as_deref()).await })
            }
            Directive::EndAll => {
                let context = self.known().await?;
                lifecycle.end_all(&context.user.id, &self.by).await?;
                let set_cookie = Some(cookie::clear(settings));
                Ok(Done { set_cookie, left_cookies: self.forget(Some(&context)).await })
            }
            Directive::Platform(platform) => {
                let context = self.known().await?;
                lifecycle.set_platform(&context.session, platform.as_ref(), &self.by).await?;
                Ok(Done::default())
            }
        }
    }

    /// Clears what is left of another framework's session that was ended; answers the names of its cookies.
    async fn forget(&self, context: Option<&Context>) -> Vec<String> {
        let Some(remains) = context.and_then(|context| self.claim.remains(&context.session.id)) else {
            return Vec::new();
        };
        self.core.lifecycle.delete_remains(&remains).await;
        remains.cookies
    }

    /// The session of this request, if there is one; resolved now if the route asked for nothing.
    async fn current(&self) -> Result<Option<Arc<Context>>, LifecycleError> {
        if let Some(context) = &self.context {
            return Ok(Some(Arc::clone(context)));
        }
        // Asked for when the application has answered: the request's own time for lookups may be long over.
        let deadline = Instant::now() + self.rules.snapshot.resolve.budget;
        match admit::resolve(&self.core, &self.claim, deadline).await {
            Resolution::Known(context) => Ok(Some(context)),
            Resolution::Unknown(_) => Ok(None),
            Resolution::Undetermined(_) => Err(LifecycleError::Undetermined),
        }
    }

    async fn known(&self) -> Result<Arc<Context>, LifecycleError> {
        self.current().await?.ok_or(LifecycleError::Impossible("there is no session to change"))
    }
}
