//! Requirement and resolution in, decision out. The only place that lets a request through.

use super::Requirement;
use crate::clock::Timestamp;
use crate::context::{Authn, Resolution};
use crate::reason::Reason;

/// What happens with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// It is forwarded, and this is what the signed context says about identity.
    Forward(Authn),
    /// We answer it ourselves.
    Refuse(Reason),
}

/// Decides. `resolution` is `None` when the requirement did not ask for one.
pub fn decide(_requirement: &Requirement, _resolution: Option<&Resolution>, _now: Timestamp) -> Decision {
    todo!()
}
