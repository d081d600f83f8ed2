//! What all requests share, without all threads counting on one counter: each place of threads has a reference of its
//! own, and counts its requests there.

use std::fmt;
use std::sync::Arc;

use crate::telemetry::spread::{Apart, PLACES, place};

/// A reference for every place.
pub(super) struct Near<T>([Here<T>; PLACES]);

/// The reference of one place, with cache lines of its own.
pub(super) type Here<T> = Arc<Apart<T>>;

impl<T> Near<T> {
    /// References that `make` makes.
    pub(super) fn new(make: impl Fn() -> T) -> Self {
        Self(std::array::from_fn(|_| Arc::new(Apart(make()))))
    }

    /// That of this thread.
    pub(super) fn here(&self) -> Here<T> {
        Arc::clone(&self.0[place()])
    }
}

// Derived, it would ask for a `T` that can be copied.
impl<T> Clone for Near<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Near<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Near").finish_non_exhaustive()
    }
}
