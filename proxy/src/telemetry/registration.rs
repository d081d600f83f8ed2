//! How one line of the registry becomes a metric: each kind of the library is made from the same description, which is
//! also what the documentation is written from.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

use super::spread::{Busy, Counters, Durations, DurationsVec};

/// What is known of a metric before it is made.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// Name with its unit; counters end in `_total`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of the labels. Their values are names of the configuration or words of the program.
    pub labels: &'static [&'static str],
    /// Every value of the only label, where the program knows them; those lines are there from the start.
    pub words: &'static [&'static str],
    /// Upper bounds of the buckets of a histogram.
    pub buckets: &'static [f64],
    /// What it counts, without a full stop.
    pub help: &'static str,
}

impl Description {
    fn opts(&self) -> Opts {
        Opts::new(self.name, self.help)
    }

    fn histogram(&self) -> HistogramOpts {
        HistogramOpts::new(self.name, self.help).buckets(self.buckets.to_vec())
    }

    fn begin(&self, mut line: impl FnMut(&[&str])) {
        self.words.iter().for_each(|word| line(&[word]));
    }
}

/// A kind of metric.
pub(super) trait Kind: Collector + Clone + 'static {
    /// The word for it.
    const KIND: &'static str;

    /// Makes one.
    ///
    /// # Errors
    /// When the description is not well formed.
    fn make(description: &Description) -> prometheus::Result<Self>;
}

macro_rules! kinds {
    ($($kind:ident $word:literal: $make:expr;)*) => {$(
        impl Kind for $kind {
            const KIND: &'static str = $word;

            fn make(description: &Description) -> prometheus::Result<Self> {
                let make: fn(&Description) -> prometheus::Result<Self> = $make;
                make(description)
            }
        }
    )*};
}

kinds! {
    IntCounter "counter": |d| IntCounter::with_opts(d.opts());
    IntCounterVec "counter": |d| {
        let all = IntCounterVec::new(d.opts(), d.labels)?;
        d.begin(|word| drop(all.with_label_values(word)));
        Ok(all)
    };
    Gauge "gauge": |d| Gauge::with_opts(d.opts());
    GaugeVec "gauge": |d| GaugeVec::new(d.opts(), d.labels);
    IntGauge "gauge": |d| IntGauge::with_opts(d.opts());
    IntGaugeVec "gauge": |d| {
        let all = IntGaugeVec::new(d.opts(), d.labels)?;
        d.begin(|word| drop(all.with_label_values(word)));
        Ok(all)
    };
    Histogram "histogram": |d| Histogram::with_opts(d.histogram());
    Counters "counter": |d| {
        let all = Counters::new(d.opts(), d.labels)?;
        d.begin(|word| drop(all.with_label_values(word)));
        Ok(all)
    };
    Busy "gauge": |d| Busy::with_opts(d.opts());
    Durations "histogram": |d| Durations::new(&d.opts(), d.buckets);
    DurationsVec "histogram": |d| DurationsVec::new(d.opts(), d.labels, d.buckets);
    HistogramVec "histogram": |d| HistogramVec::new(d.histogram(), d.labels);
}

/// Makes a metric and registers it.
///
/// # Panics
/// When a constant of the registry is not well formed, which its test would have seen.
pub(super) fn register<K: Kind>(registry: &Registry, description: &Description) -> K {
    let metric = K::make(description).expect("names and labels are constants, checked by a test");
    registry.register(Box::new(metric.clone())).expect("each name is registered once");
    metric
}

/// The table of all metrics: `field: Kind "name" ["label", ...] = ["every", "value"] in BUCKETS "help";`
macro_rules! registry {
    ($($field:ident: $kind:ident $name:literal [$($label:literal),*] $(= [$($word:literal),*])? $(in $buckets:ident)? $help:literal;)*) => {
        /// All metrics of one process.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            /// Traces beside the buckets of `request_seconds`.
            pub exemplars: Exemplars,
            /// Ends of sessions on their way to having an effect.
            pub effects: Effects,
            /// The last requests that were not let through; shown to people, not a metric.
            pub recent: Recent,
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Metrics {
            /// What there is, in the order of the documentation.
            pub const ALL: &'static [Description] = &[$(Description {
                name: concat!("countersign_", $name),
                kind: <$kind as Kind>::KIND,
                labels: &[$($label),*],
                words: &[$($($word),*)?],
                buckets: registry!(@ $($buckets)?),
                help: $help,
            }),*];

            /// A registry of its own with every metric in it.
            #[must_use]
            pub fn new() -> Self {
                let registry = Registry::new();
                let mut all = Self::ALL.iter();
                let mut next = || all.next().expect("as many fields as descriptions");
                Self {
                    $($field: register(&registry, next()),)*
                    exemplars: Exemplars::default(),
                    effects: Effects::default(),
                    recent: Recent::default(),
                    registry,
                }
                .about_the_process()
            }
        }
    };
    (@) => { &[] };
    (@ $buckets:ident) => { $buckets };
}

pub(super) use registry;
