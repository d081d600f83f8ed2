//! The atomics and the lock of what every request looks at, under one name: `tests/interleavings.rs` puts others in their
//! place and runs the same source over the orders of its steps.

pub use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub use parking_lot::Mutex;
