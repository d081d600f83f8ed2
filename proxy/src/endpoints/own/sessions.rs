//! Sessions end here: this one, all of the user, or another one that the user picks from a list.

use http::{HeaderValue, StatusCode};

use super::documents::{Ended, ListedSession, Sessions};
use super::{Answer, Request, Services, change_failed};
use crate::context::SessionId;
use crate::directory::SessionRow;
use crate::endpoints::problem::Fault;
use crate::lifecycle;
use crate::reason::Reason;
use crate::session::{cookie, lifetime};

/// Ends this session and takes the cookie away.
pub(super) async fn logout(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let session = &request.context()?.session;
    let how = services.lifecycle.end(session, &request.by).await.map_err(change_failed)?;
    let mut answer = ended(how == lifecycle::Ended::Durable)?;
    answer.set_cookies = forgotten(services, request).await;
    Ok(answer)
}

/// Ends every session of the user, those that nobody can enumerate too.
pub(super) async fn logout_everywhere(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let user = &request.context()?.user;
    let how = services.lifecycle.end_all(&user.id, &request.by).await.map_err(change_failed)?;
    let mut answer = ended(how == lifecycle::Ended::Durable)?;
    answer.set_cookies = forgotten(services, request).await;
    Ok(answer)
}

/// The user's sessions.
pub(super) async fn list(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let context = request.context()?;
    let rows = services.lifecycle.standing_sessions(&context.user.id).await;
    let rows = rows.map_err(|_| Reason::StoreUnavailable)?;
    let listed = |row: &SessionRow| {
        let session = &row.session;
        let noted = services.activity.last_seen(&session.id);
        let seen = row.last_seen.max(noted).unwrap_or(session.created).max(session.created);
        ListedSession {
            id: session.id.to_string(),
            // A request under way while the session is rotated is one of its successor too.
            current: session.id == context.session.id
                || session.predecessor.as_deref() == Some(&context.session.id),
            platform: session.platform.as_ref().map(ToString::to_string),
            created_at: session.created.to_string(),
            last_activity: seen.to_string(),
            expires_at: lifetime::absolute_end(session, &request.settings.session).to_string(),
            actor: session.actor.as_ref().map(ToString::to_string),
        }
    };
    Answer::of(&Sessions { sessions: rows.iter().map(listed).collect() })
}

/// Ends another session of the user, never the one that asks and never somebody else's.
pub(super) async fn end_one(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let context = request.context()?;
    let id: SessionId = request.parameter().parse().map_err(|_| Reason::NoSuchSession)?;
    if context.session.family().any(|mine| mine == id) {
        return Err(Reason::CurrentSession.into());
    }
    let ending = services.lifecycle.end_of_user(&context.user.id, &id, &request.by).await;
    ended(ending.map_err(change_failed)? == lifecycle::Ended::Durable)
}

/// Clears what is left of the session that asked: the record, where that is allowed, and the cookies.
async fn forgotten(services: Services<'_>, request: &Request) -> Vec<HeaderValue> {
    let settings = &request.settings.session;
    let mut cookies = vec![cookie::clear(settings)];
    if let Some(remains) = &request.remains {
        services.lifecycle.delete_remains(remains).await;
        cookies.extend(remains.cookies.iter().filter_map(|name| cookie::clear_named(settings, name)));
    }
    cookies
}

/// 200 when the end is durable, 202 when it is only accepted: every proxy that asks the store sees it.
fn ended(durable: bool) -> Result<Answer, Fault> {
    let mut answer = Answer::of(&Ended { ended: true, durable })?;
    if !durable {
        answer.status = StatusCode::ACCEPTED;
    }
    Ok(answer)
}
