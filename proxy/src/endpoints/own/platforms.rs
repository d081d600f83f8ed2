//! Platforms: which there are, and which one the session works with.

use super::documents::Switched;
use super::{Answer, Request, Services, body, change_failed};
use crate::context::{Platform, PlatformId};
use crate::endpoints::problem::Fault;
use crate::lifecycle::{LifecycleError, NO_SUCH_PLATFORM, PLATFORM_INACTIVE, STALE};
use crate::reason::Reason;

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
    let (stands, platform) = chosen.map_err(refused)?;
    Answer::of(&switched(Some(&platform), stands.version))
}

/// Leaves the platform.
pub(super) async fn clear(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let session = &request.context()?.session;
    let stands = services.lifecycle.set_platform(session, None, &request.by).await.map_err(refused)?;
    Answer::of(&switched(None, stands.version))
}

fn switched(platform: Option<&Platform>, version: u64) -> Switched {
    Switched { platform: platform.map(Into::into), version }
}

fn refused(error: LifecycleError) -> Fault {
    match error {
        NO_SUCH_PLATFORM => Reason::PlatformNotFound.into(),
        PLATFORM_INACTIVE => Reason::PlatformInactive.into(),
        STALE => Reason::ChangedMeanwhile.into(),
        other => change_failed(other),
    }
}
