//! What this process shares between requests: one lookup per key, however many wait, and when sessions were last used.
//! In front of the flights stand the coherent copies (DESIGN, section 6); PROTOCOL.md says why they may be believed.
//! Nothing here knows HTTP.

pub mod activity;
pub mod copies;
pub mod ends;
pub mod invalidate;
pub mod marks;
pub mod proof;
pub mod single_flight;
pub mod values;

pub use activity::Activity;
pub use copies::Copies;
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
