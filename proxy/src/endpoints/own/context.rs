//! The context document: what a front end or a template shows of its user, with a flag instead of an error when a part
//! could not be found out.

use super::documents::{FrontEndContext, Platform, User};
use super::{Answer, Request, Services};
use crate::endpoints::problem::Fault;

/// User, platforms, the platform in force, how many there are.
pub(super) async fn context(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let Ok(context) = request.who.as_deref() else {
        return Answer::of(&FrontEndContext {
            user: None,
            platforms: Vec::new(),
            active_platform: None,
            platform_count: 0,
            error: false,
        });
    };
    let found = services.resolver.platforms(&context.user.id, request.deadline).await;
    let error = found.is_err();
    let platforms: Vec<Platform> = found.unwrap_or_default().iter().map(Platform::from).collect();
    Answer::of(&FrontEndContext {
        user: Some(User::from(&*context.user)),
        active_platform: context.platform.as_deref().map(Platform::from),
        platform_count: platforms.len(),
        platforms,
        error,
    })
}
