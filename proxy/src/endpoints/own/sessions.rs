//! Sessions end here: this one, all of the user, or another one that the user picks from a list.

use http::StatusCode;

use super::documents::Ended;
use super::{Answer, Request, Services, change_failed};
use crate::endpoints::problem::Fault;
use crate::session::cookie;

/// Ends this session and takes the cookie away.
pub(super) async fn logout(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let session = &request.context()?.session;
    services.lifecycle.end(session, &request.by).await.map_err(change_failed)?;
    let mut answer = ended(true)?;
    answer.set_cookie = Some(cookie::clear(&request.settings.session));
    Ok(answer)
}

/// Ends every session of the user, those that nobody can enumerate too.
pub(super) async fn logout_everywhere(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let user = &request.context()?.user;
    services.lifecycle.end_all(&user.id, &request.by).await.map_err(change_failed)?;
    let mut answer = ended(true)?;
    answer.set_cookie = Some(cookie::clear(&request.settings.session));
    Ok(answer)
}

/// 200 when the end is durable, 202 when it is only accepted: every proxy that asks the store sees it.
fn ended(durable: bool) -> Result<Answer, Fault> {
    let mut answer = Answer::of(&Ended { ended: true, durable })?;
    if !durable {
        answer.status = StatusCode::ACCEPTED;
    }
    Ok(answer)
}
