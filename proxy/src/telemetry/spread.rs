//! Numbers that every request counts, spread over places of their own in memory: two threads that write to one place
//! take its cache line from each other, which costs as much as some hundred instructions each time. They are summed
//! when somebody asks. `docs/performance.md` tells what that brought.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus::Opts;
use prometheus::core::{Atomic, Collector, Desc, Describer, GenericCounter, GenericCounterVec, GenericGauge};
use prometheus::proto::{Bucket, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// How many places there are. Threads share one when there are more of them.
pub const PLACES: usize = 16;

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static PLACE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % PLACES;
}

/// The place of this thread.
#[must_use]
pub fn place() -> usize {
    PLACE.with(|place| *place)
}

/// Something with cache lines of its own: a processor fetches them in pairs of 64 bytes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Apart<T>(pub T);

impl<T> Deref for Apart<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

type Lines = [Apart<AtomicU64>; PLACES];

/// A count of which every thread keeps its part.
#[derive(Debug)]
pub struct Count(Lines);

/// A number that goes up and down, likewise.
#[derive(Debug)]
pub struct UpAndDown([Apart<Moves>; PLACES]);

/// How far it went up in one place, and how far down: what goes up in one may come down in another.
#[derive(Debug, Default)]
struct Moves {
    up: AtomicU64,
    down: AtomicU64,
}

fn sum(lines: &Lines) -> u64 {
    lines.iter().map(|line| line.load(Ordering::Relaxed)).fold(0, u64::wrapping_add)
}

impl Atomic for Count {
    type T = u64;

    fn new(value: u64) -> Self {
        let count = Self(Lines::default());
        count.set(value);
        count
    }

    /// Not while others count.
    fn set(&self, value: u64) {
        for line in &self.0[1..] {
            line.store(0, Ordering::Relaxed);
        }
        self.0[0].store(value, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        sum(&self.0)
    }

    fn inc_by(&self, delta: u64) {
        self.0[place()].fetch_add(delta, Ordering::Relaxed);
    }

    fn dec_by(&self, delta: u64) {
        self.0[place()].fetch_sub(delta, Ordering::Relaxed);
    }
}

impl Atomic for UpAndDown {
    type T = i64;

    fn new(value: i64) -> Self {
        let number = Self(Default::default());
        number.inc_by(value);
        number
    }

    /// Not while others move it.
    fn set(&self, value: i64) {
        for line in &self.0 {
            line.up.store(0, Ordering::Relaxed);
            line.down.store(0, Ordering::Relaxed);
        }
        self.inc_by(value);
    }

    /// Never less than it is: all that went down is read first, and whatever that was had gone up before. Whoever waits
    /// for zero does not see it too early.
    fn get(&self) -> i64 {
        let all = |part: fn(&Moves) -> &AtomicU64| {
            let moves = self.0.iter().map(|line| part(line).load(Ordering::Acquire));
            moves.fold(0, u64::wrapping_add)
        };
        let down = all(|moves| &moves.down);
        all(|moves| &moves.up).wrapping_sub(down).cast_signed()
    }

    fn inc_by(&self, delta: i64) {
        let here = &self.0[place()];
        let way = if delta < 0 { &here.down } else { &here.up };
        way.fetch_add(delta.unsigned_abs(), Ordering::Release);
    }

    fn dec_by(&self, delta: i64) {
        self.inc_by(-delta);
    }
}

/// A counter that every request counts up.
pub type Counter = GenericCounter<Count>;
/// Such counters by labels.
pub type Counters = GenericCounterVec<Count>;
/// A number that every request moves up and down.
pub type Busy = GenericGauge<UpAndDown>;

/// Most bounds of a histogram.
const MOST_BOUNDS: usize = 16;

/// A histogram of durations, or one line of [`DurationsVec`].
#[derive(Clone, Debug)]
pub struct Durations {
    desc: Desc,
    labels: Vec<LabelPair>,
    /// In seconds, upwards.
    bounds: &'static [f64],
    parts: Arc<[Apart<Part>; PLACES]>,
}

#[derive(Debug, Default)]
struct Part {
    /// In nanoseconds.
    sum: AtomicU64,
    /// How many lay at or below each bound and above the one before; the last one beyond all bounds.
    counts: [AtomicU64; MOST_BOUNDS + 1],
}

impl Durations {
    /// None counted yet.
    ///
    /// # Errors
    /// When the name is not well formed, or there are too many bounds.
    pub fn new(opts: &Opts, bounds: &'static [f64]) -> prometheus::Result<Self> {
        Self::line(opts.describe()?, Vec::new(), bounds)
    }

    fn line(desc: Desc, labels: Vec<LabelPair>, bounds: &'static [f64]) -> prometheus::Result<Self> {
        if bounds.len() > MOST_BOUNDS {
            return Err(prometheus::Error::Msg(format!("{}: more than {MOST_BOUNDS} bounds", desc.fq_name)));
        }
        Ok(Self { desc, labels, bounds, parts: Arc::default() })
    }

    /// Counts one duration.
    pub fn observe(&self, seconds: f64) {
        let part = &self.parts[place()].0;
        let bucket = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        part.counts[bucket].fetch_add(1, Ordering::Relaxed);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "no duration is below zero"
        )]
        part.sum.fetch_add((seconds * 1e9) as u64, Ordering::Relaxed);
    }

    fn metric(&self) -> Metric {
        let total =
            |number: &dyn Fn(&Part) -> u64| self.parts.iter().map(|part| number(&part.0)).sum::<u64>();
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (place, bound) in self.bounds.iter().enumerate() {
            count += total(&|part| part.counts[place].load(Ordering::Relaxed));
            let mut bucket = Bucket::default();
            bucket.set_cumulative_count(count);
            bucket.set_upper_bound(*bound);
            buckets.push(bucket);
        }
        count += total(&|part| part.counts[self.bounds.len()].load(Ordering::Relaxed));
        let nanoseconds = total(&|part| part.sum.load(Ordering::Relaxed));
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count);
        histogram.set_sample_sum(Duration::from_nanos(nanoseconds).as_secs_f64());
        let mut metric = Metric::from_label(self.labels.clone());
        metric.set_histogram(histogram);
        metric
    }
}

impl Collector for Durations {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        vec![family(&self.desc, vec![self.metric()])]
    }
}

/// Histograms of durations by labels.
#[derive(Clone, Debug)]
pub struct DurationsVec {
    desc: Desc,
    bounds: &'static [f64],
    lines: Arc<RwLock<HashMap<Vec<String>, Durations>>>,
}

impl DurationsVec {
    /// None counted yet.
    ///
    /// # Errors
    /// When a name is not well formed, or there are too many bounds.
    pub fn new(opts: Opts, labels: &[&str], bounds: &'static [f64]) -> prometheus::Result<Self> {
        let opts = labels.iter().fold(opts, |opts, label| opts.variable_label(*label));
        let desc = opts.describe()?;
        Durations::line(desc.clone(), Vec::new(), bounds)?;
        Ok(Self { desc, bounds, lines: Arc::default() })
    }

    /// The line of these labels. Looked up by those who count often, once.
    ///
    /// # Panics
    /// With another number of values than there are labels.
    #[must_use]
    pub fn with_label_values(&self, values: &[&str]) -> Durations {
        assert_eq!(values.len(), self.desc.variable_labels.len(), "a value for every label");
        let key: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let make = || {
            let line = Durations::line(self.desc.clone(), self.labels(values), self.bounds);
            line.expect("the bounds were counted when this was made")
        };
        self.lines.write().entry(key).or_insert_with(make).clone()
    }

    fn labels(&self, values: &[&str]) -> Vec<LabelPair> {
        let mut pairs = self.desc.const_label_pairs.clone();
        for (name, value) in self.desc.variable_labels.iter().zip(values) {
            let mut pair = LabelPair::default();
            pair.set_name(name.clone());
            pair.set_value((*value).to_owned());
            pairs.push(pair);
        }
        pairs.sort();
        pairs
    }
}

impl Collector for DurationsVec {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.desc]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let lines = self.lines.read();
        vec![family(&self.desc, lines.values().map(Durations::metric).collect())]
    }
}

fn family(desc: &Desc, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(desc.fq_name.clone());
    family.set_help(desc.help.clone());
    family.set_field_type(MetricType::HISTOGRAM);
    family.set_metric(metrics);
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_many_threads_count_is_counted_once_each() {
        let count = Counter::new("count", "help").unwrap();
        let level = Busy::new("level", "help").unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 * PLACES {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        count.inc();
                        level.add(2);
                    }
                });
            }
        });
        assert_eq!(count.get(), 2 * PLACES as u64 * 1000);
        // Taken away by another thread than those that added it.
        level.sub(4 * 16 * 1000 + 7);
        assert_eq!(level.get(), -7);
        level.set(3);
        assert_eq!(level.get(), 3);
    }

    #[test]
    fn durations_fall_into_the_bucket_that_holds_them_and_are_summed() {
        const BOUNDS: &[f64] = &[0.001, 0.01];
        let opts = Opts::new("seconds", "help");
        let all = DurationsVec::new(opts, &["route"], BOUNDS).unwrap();
        let line = all.with_label_values(&["a"]);
        for seconds in [0.0, 0.001, 0.002, 0.01, 0.011, 5.0] {
            line.observe(seconds);
        }
        std::thread::spawn(move || line.observe(0.001)).join().unwrap();
        let registry = prometheus::Registry::new();
        registry.register(Box::new(all)).unwrap();
        let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
        for line in [
            "# TYPE seconds histogram",
            "seconds_bucket{route=\"a\",le=\"0.001\"} 3",
            "seconds_bucket{route=\"a\",le=\"0.01\"} 5",
            "seconds_bucket{route=\"a\",le=\"+Inf\"} 7",
            "seconds_count{route=\"a\"} 7",
            "seconds_sum{route=\"a\"} 5.025",
        ] {
            assert!(text.lines().any(|present| present == line), "{line} in {text}");
        }
    }

    #[test]
    fn parts_of_two_threads_never_share_a_line() {
        assert_eq!(size_of::<Apart<Part>>(), 256);
        assert_eq!(align_of::<Apart<Part>>(), 128);
    }
}
