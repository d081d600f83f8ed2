//! Requirement and resolution in, decision out. The only place that lets a request through.

use super::{Demands, Requirement};
use crate::clock::Timestamp;
use crate::context::{Authn, Context, Resolution};
use crate::reason::Reason;

/// What happens with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It is forwarded, and this is what the signed context says about identity.
    Forward(Authn),
    /// We answer it ourselves.
    Refuse(Reason),
    /// It is forwarded on a route that only reports, and would have been refused elsewhere for this reason.
    Report(Authn, Reason),
}

/// The decision on a route that only reports: what would be refused for what was found out about its session is
/// forwarded with the context as found. What was not asked at all stays refused: that is our fault, not the client's.
#[must_use]
pub fn only_reported(decision: Decision, resolution: Option<&Resolution>) -> Decision {
    match (decision, resolution) {
        (Decision::Refuse(reason), Some(found)) => Decision::Report(as_found(found), reason),
        (decision, _) => decision,
    }
}

const fn as_found(resolution: &Resolution) -> Authn {
    match resolution {
        Resolution::Known(_) => Authn::Session,
        Resolution::Unknown(_) => Authn::None,
        Resolution::Undetermined(_) => Authn::Undetermined,
    }
}

/// Decides. `resolution` is `None` when the requirement did not ask for one.
pub fn decide(requirement: &Requirement, resolution: Option<&Resolution>, now: Timestamp) -> Decision {
    match (requirement, resolution) {
        (Requirement::Nothing, _) => Decision::Forward(Authn::Unchecked),
        // Somebody forgot to resolve. That is our fault, and nobody gets in by it.
        (Requirement::Optional | Requirement::Session(_), None) => Decision::Refuse(Reason::Internal),
        (Requirement::Optional, Some(resolution)) => Decision::Forward(as_found(resolution)),
        (Requirement::Session(demands), Some(Resolution::Known(context))) => {
            unmet(demands, context, now).map_or(Decision::Forward(Authn::Session), Decision::Refuse)
        }
        (Requirement::Session(_), Some(Resolution::Unknown(reason) | Resolution::Undetermined(reason))) => {
            Decision::Refuse(*reason)
        }
    }
}

/// The first demand that is not met. Roles come first: whoever lacks one is not sent to choose a platform or to log
/// in again in vain. The recent login comes last: it is the most laborious to meet, and its time is running.
fn unmet(demands: &Demands, context: &Context, now: Timestamp) -> Option<Reason> {
    let has_role = |role: &String| context.user.roles.contains(role);
    if !demands.roles.is_empty() && !demands.roles.iter().any(has_role) {
        return Some(Reason::RoleMissing);
    }
    if demands.platform && context.platform.is_none() {
        let refused = context.platform_refused;
        return Some(if refused { Reason::PlatformUnavailable } else { Reason::PlatformMissing });
    }
    let login_age = now.since(context.session.authenticated);
    demands.recent_login.filter(|&allowed| login_age > allowed).map(|_| Reason::LoginTooOld)
}

#[cfg(test)]
mod tests;
