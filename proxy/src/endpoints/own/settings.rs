//! Settings and figures of a user for a platform: the one in force, or one that the path names.

use serde_json::{Value, json};

use super::documents::{Settings, Stats};
use super::{Answer, Request, Services, change_failed};
use crate::context::PlatformId;
use crate::endpoints::problem::Fault;
use crate::lifecycle::settings::{SettingsChange, SettingsError};
use crate::policy::own::Endpoint;
use crate::reason::Reason;

/// The settings, completed by the configured defaults.
pub(super) async fn read(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let platform = platform(services, request).await?;
    let user = &request.context()?.user.id;
    let stored = services.resolver.settings(user, &platform, request.deadline).await?;
    document(request, &platform, stored)
}

/// Changes or replaces them. Two pages that change different fields at once both get through.
pub(super) async fn write(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let platform = named(request)?;
    let session = &request.context()?.session;
    let sent = request.body.clone();
    let change = match request.call.line.endpoint {
        Endpoint::SettingsReplace => SettingsChange::Replace(sent),
        _ => SettingsChange::Merge(sent),
    };
    let schema = &request.settings.schema;
    let changed = services.lifecycle.change_settings(session, &platform, &change, schema, &request.by).await;
    document(request, &platform, Some(changed.map_err(refused)?))
}

/// Figures.
pub(super) async fn stats(services: Services<'_>, request: &Request) -> Result<Answer, Fault> {
    let platform = platform(services, request).await?;
    let user = &request.context()?.user.id;
    let stats = services.resolver.stats(user, &platform, request.deadline).await?;
    Answer::of(&Stats { platform: platform.as_str().to_owned(), stats: stats.unwrap_or(Value::Null) })
}

fn document(request: &Request, platform: &PlatformId, stored: Option<Value>) -> Result<Answer, Fault> {
    let settings = request.settings.schema.complete(stored);
    Answer::of(&Settings { platform: platform.as_str().to_owned(), settings })
}

/// Which platform is meant: that of the path, else the one in force.
fn named(request: &Request) -> Result<PlatformId, Fault> {
    let context = request.context()?;
    match (&request.call.parameter, &context.platform) {
        (Some(id), _) => Ok(id.parse().map_err(|_| Reason::PlatformNotFound)?),
        (None, Some(platform)) => Ok(platform.id.clone()),
        (None, None) if context.platform_refused => Err(Reason::PlatformUnavailable.into()),
        (None, None) => Err(Reason::PlatformMissing.into()),
    }
}

/// The same, and it is the user's own and active. Whoever is in force was checked when the request was resolved.
async fn platform(services: Services<'_>, request: &Request) -> Result<PlatformId, Fault> {
    let id = named(request)?;
    let context = request.context()?;
    if context.platform.as_ref().is_some_and(|platform| platform.id == id) {
        return Ok(id);
    }
    match services.resolver.platform_of(&context.user.id, &id, request.deadline).await? {
        None => Err(Reason::PlatformNotFound.into()),
        Some(platform) if !platform.active => Err(Reason::PlatformInactive.into()),
        Some(_) => Ok(id),
    }
}

fn refused(error: SettingsError) -> Fault {
    match error {
        SettingsError::Refused(error) => change_failed(error),
        SettingsError::TooLarge(limit) => Fault::from(Reason::SettingsTooLarge).with("limit_bytes", limit),
        SettingsError::Misfits(misfits) => {
            let told = |misfit: &crate::lifecycle::settings::Misfit| json!({ "field": misfit.field, "expected": misfit.expected });
            let errors: Vec<Value> = misfits.iter().map(told).collect();
            Fault::from(Reason::InvalidFields).with("errors", errors)
        }
    }
}
