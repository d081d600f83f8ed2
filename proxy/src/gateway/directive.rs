//! Step 9: carrying out what a trusted upstream wants done with a session.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};
use pingora::http::ResponseHeader;
use tokio::time::Instant;

use super::Core;
use super::admit;
use super::rules::Rules;
use super::state::RequestState;
use crate::context::{Context, Resolution};
use crate::lifecycle::{LifecycleError, Origin, Start};
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
    if !state.route.as_ref().is_some_and(|route| route.session_authority) {
        ignore(state, metrics);
        return Ok(());
    }
    let outcome = match order(answer, state, request, core) {
        // In a task of its own: a client that goes away must not leave a change half made.
        Ok(Some(order)) => tokio::spawn(order.carry_out()).await.unwrap_or(Err(LifecycleError::Undetermined)),
        Ok(None) => Ok(None),
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
        Ok(set_cookie) => {
            state.set_cookies.extend(set_cookie);
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
        route = state.route.as_ref().map(|route| route.name.as_str()),
        "session directive from a route that is no session authority: removed"
    );
}

/// A directive with all that is needed to carry it out.
struct Order {
    directive: Directive,
    claim: Claim,
    context: Option<Arc<Context>>,
    presented: bool,
    by: Origin,
    core: Arc<Core>,
    rules: Arc<Rules>,
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
            by: format!("upstream:{}", admitted.upstream.settings.name),
            from: state.origin.as_ref().and_then(|origin| origin.address).map(|address| address.to_string()),
            request_id: Some(state.request_id.clone()),
        },
        core: Arc::clone(core),
        rules: Arc::clone(&state.rules),
    }))
}

impl Order {
    /// Does it. Answers the `Set-Cookie` that tells the browser, if there is something to tell.
    async fn carry_out(self) -> Result<Option<HeaderValue>, LifecycleError> {
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
                Ok(Some(cookie::set(settings, &started.token)))
            }
            Directive::Rotate { authenticated } => {
                let context = self.known().await?;
                let started = lifecycle.rotate(&context.session, *authenticated, &self.by).await?;
                Ok(Some(cookie::set(settings, &started.token)))
            }
            Directive::End => {
                if let Some(context) = self.current().await? {
                    lifecycle.end(&context.session, &self.by).await?;
                }
                Ok(self.presented.then(|| cookie::clear(settings)))
            }
            Directive::EndAll => {
                let context = self.known().await?;
                lifecycle.end_all(&context.user.id, &self.by).await?;
                Ok(Some(cookie::clear(settings)))
            }
            Directive::Platform(platform) => {
                let context = self.known().await?;
                lifecycle.set_platform(&context.session, platform.as_ref(), &self.by).await?;
                Ok(None)
            }
        }
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
