//! One trace per bucket of the duration of requests, so that a slow bucket leads to a request that was slow. Only
//! requests whose trace is recorded are noted; nothing is done for others.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::clock::Timestamp;

/// The last recorded trace of one bucket.
#[derive(Clone, Debug)]
pub struct Exemplar {
    /// The trace, in 32 hexadecimal digits.
    pub trace_id: String,
    /// Duration of the request, in seconds.
    pub seconds: f64,
    /// When it ended.
    pub at: Timestamp,
}

/// Exemplars by the values of the labels of their histogram, and by bucket.
#[derive(Debug, Default)]
pub struct Exemplars {
    all: Mutex<HashMap<(String, &'static str), Buckets>>,
}

/// Exemplars by the position of their bucket.
type Buckets = HashMap<usize, Exemplar>;

impl Exemplars {
    /// Notes the trace of a request. Routes are names of the configuration, so there are never many.
    pub fn note(&self, route: &str, outcome: &'static str, exemplar: Exemplar) {
        let bucket = bucket(exemplar.seconds);
        self.all.lock().entry((route.to_owned(), outcome)).or_default().insert(bucket, exemplar);
    }

    /// The exemplar of one bucket.
    pub(super) fn find(&self, route: &str, outcome: &str, position: usize) -> Option<Exemplar> {
        let all = self.all.lock();
        let (_, buckets) = all.iter().find(|((known, word), _)| known == route && *word == outcome)?;
        buckets.get(&position).cloned()
    }
}

/// The position of the bucket that a duration falls into; the last one has no bound.
fn bucket(seconds: f64) -> usize {
    super::metrics::REQUEST_SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(usize::MAX)
}
