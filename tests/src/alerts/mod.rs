//! A proxy that a real Prometheus watches while things go wrong: every alert of `dashboards/` is at rest, fires for its
//! fault and is over after it, and every expression of rules and panels has data at some time. The command `alerts` goes
//! through all of it; the end-to-end tests through a part.

mod aside;
mod expressions;
mod scene;
mod stages;
mod visitors;
mod watch;

pub use aside::Aside;
pub use expressions::{Expressions, Kind};
pub use scene::Scene;
pub use stages::Stage;
pub use visitors::{Answer, Visitors, exchange, request};
pub use watch::Watch;
