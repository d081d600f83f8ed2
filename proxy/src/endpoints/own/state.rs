//! The session itself: its state, whether it is valid, a sign of life, a token against forgery.

use super::documents::{Csrf, KnownSession, Nobody, Platform, SessionState, User, Validity};
use super::{Answer, Request, Services};
use crate::context::Context;
use crate::endpoints::problem::Fault;
use crate::reason::Reason;
use crate::session::{csrf, lifetime};

/// Who is logged in. Asking is no use of the session.
pub(super) fn state(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    match &request.who {
        Ok(context) => Answer::of(&known(services, request, context)),
        Err(reason) => {
            let reason = reason.code().to_owned();
            Answer::of(&SessionState::Nobody(Nobody { authenticated: false, reason }))
        }
    }
}

/// Whether the session is valid, and if not, why.
pub(super) fn validate(request: &Request) -> Result<Answer, Fault> {
    let reason = request.who.as_ref().err().map(|reason| reason.code().to_owned());
    Answer::of(&Validity { valid: request.who.is_ok(), reason })
}

/// A use of the session, which whoever called has noted.
pub(super) fn heartbeat(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    Answer::of(&known(services, request, request.context()?))
}

/// A fresh token.
pub(super) fn csrf_token(request: &Request) -> Result<Answer, Fault> {
    let session = &request.context()?.session;
    // Nothing can be changed from a page without a key, so that whoever asks should learn it.
    let token = csrf::issue(&request.settings.csrf, &session.id, request.now).ok_or(Reason::Internal)?;
    let expires_in = token.expires().since(request.now).as_secs();
    Answer::of(&Csrf { csrf_token: token.expose().to_owned(), expires_in })
}

fn known(services: Services<'_>, request: &Request, context: &Context) -> SessionState {
    let (session, settings) = (&context.session, &request.settings);
    let token = csrf::issue(&settings.csrf, &session.id, request.now);
    let noted = services.activity.last_seen(&session.id);
    let last_seen = context.last_seen.get().max(noted.unwrap_or_default());
    let end = lifetime::absolute_end(session, &settings.session);
    let idle_end = last_seen.plus(settings.session.idle_timeout).min(end);
    SessionState::Known(Box::new(KnownSession {
        authenticated: true,
        user: User::from(&*context.user),
        platform: context.platform.as_deref().map(Platform::from),
        platform_unavailable: context.platform_refused,
        version: session.version,
        created_at: session.created.to_string(),
        authenticated_at: session.authenticated.to_string(),
        last_activity: last_seen.to_string(),
        idle_expires_at: idle_end.to_string(),
        expires_at: end.to_string(),
        actor: session.actor.as_ref().map(ToString::to_string),
        csrf_expires_in: token.as_ref().map(|token| token.expires().since(request.now).as_secs()),
        csrf_token: token.map(|token| token.expose().to_owned()),
    }))
}
