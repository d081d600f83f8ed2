//! Platforms: which there are, and which one the session works with.

use super::documents::{Platforms, Switched};
use super::{Answer, Request, Services, body, change_failed};
use crate::context::{Platform, PlatformId, Resolution};
use crate::endpoints::problem::Fault;
use crate::reason::Reason;

/// The user's active platforms.
pub(super) async fn list(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let context = request.context()?;
    let platforms = services.resolver.platforms(&context.user.id, request.deadline).await?;
    Answer::of(&Platforms {
        count: platforms.len(),
        platforms: platforms.iter().map(Into::into).collect(),
        active: context.platform.as_ref().map(|platform| platform.id.as_str().to_owned()),
    })
}

/// Chooses a platform, named by the path or the body. Owner and activity are checked in the directory; the session is
/// changed as it exists (compare and set), and only this one.
pub(super) async fn switch(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let session = &request.context()?.session;
    let (id, version) = if request.call.line.body {
        (body::text(&request.body, "id")?, body::whole_number(&request.body, "version")?)
    } else {
        (request.parameter(), None)
    };
    // What cannot be an id is nobody's platform.
    let id: PlatformId = id.parse().map_err(|_| Reason::PlatformNotFound)?;
    let chosen = services.lifecycle.switch_platform(session, &id, version, &request.by).await;
    let (stands, platform) = chosen.map_err(change_failed)?;
    Answer::of(&switched(Some(&platform), stands.version))
}

/// Leaves the platform that was chosen: the default one is in force again, if there is one.
pub(super) async fn clear(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let session = &request.context()?.session;
    let stands = services.lifecycle.set_platform(session, None, &request.by).await.map_err(change_failed)?;
    // The change is made, whether or not it can be said what is in force now.
    let platform = match services.resolver.resolve(&stands.id, request.deadline).await {
        Resolution::Known(context) => context.platform.clone(),
        Resolution::Unknown(_) | Resolution::Undetermined(_) => None,
    };
    Answer::of(&switched(platform.as_deref(), stands.version))
}

fn switched(platform: Option<&Platform>, version: u64) -> Switched {
    Switched { platform: platform.map(Into::into), version }
}
