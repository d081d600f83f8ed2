//! What this process shares between requests: one lookup per key, however many wait, and when sessions were last used.
//! The coherent copy of sessions and entities (DESIGN, section 6) goes here, in front of the flights. Nothing here
//! knows HTTP.

pub mod activity;
pub mod invalidate;
pub mod single_flight;

pub use activity::Activity;
pub use invalidate::{Invalidate, NothingKept};
pub use single_flight::SingleFlight;

use crate::context::{Resolution, SessionId};

/// Resolutions under way in this process. The resolver starts them; whoever changes a session forgets its flight, so
/// that no later request joins a reading from before the change.
pub type Resolutions = SingleFlight<SessionId, Resolution>;

#[cfg(test)]
pub(crate) mod faults;
#[cfg(test)]
pub(crate) mod world;
