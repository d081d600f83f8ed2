//! Load with faults: several real proxies before the same stores, each with a relay of its own to either of them, and
//! many browsers that never rest while servers are frozen, killed and cut off. Everything is noted down in a
//! [`History`](crate::history::History), which judges; nothing here does.

mod application;
mod browser;
mod crowd;
mod faults;
mod fleet;
mod switches;

pub use application::Application;
pub use browser::{Browser, Reply, Wish};
pub use crowd::{Crowd, Pace};
pub use faults::{Fault, Wound};
pub use fleet::{Fleet, PLATFORMS, Setting, USERS, platform_of, user};
pub use switches::{Switching, Tally, switch_at_random};
