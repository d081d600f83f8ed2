//! Traces: which requests are recorded, what is told on, and where records go. Recording never makes a request wait: what
//! has no room in the queue is dropped and counted.

pub mod context;
mod exporter;
mod otlp;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::mpsc;

use self::context::TraceParent;
use super::{Metrics, Step, Steps};
use crate::clock::Timestamp;

/// Recorded requests that wait to be exported; further ones are dropped.
const ROOM: usize = 2048;
/// 2^32 divided by the golden ratio: multiples of it fall evenly over all numbers.
const EVENLY: u32 = 0x9E37_79B9;

/// Where records go, and how many there are.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the collector is asked for `POST`: `http` or `https`, host, port and path.
    pub endpoint: http::Uri,
    /// Headers that it wants, such as one with a key.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// PEM of the authority of its certificate; without one, those that browsers trust.
    pub ca: Option<Vec<u8>>,
    /// What the proxy calls itself.
    pub service: String,
    /// The share of requests that are recorded.
    pub share: Share,
    /// The longest that the collector may take.
    pub timeout: Duration,
}

/// A part of all requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share(u32);

impl Share {
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);

    /// From 0 to 1; what lies outside is moved to the nearest end.
    #[must_use]
    pub fn of(share: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to the range of the type"
        )]
        let part = (share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
        Self(part)
    }

    /// Whether the next one is in, by a count of the caller's own. Evenly spread: of a tenth, every tenth or so.
    #[must_use]
    pub fn takes(self, count: u32) -> bool {
        self.0 == u32::MAX || count.wrapping_mul(EVENLY) < self.0
    }
}

/// The trace that a request belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// Its number.
    pub id: [u8; 16],
    /// The span that the request came from.
    parent: Option<[u8; 8]>,
    /// The first of our spans, if the request is recorded; the others follow by number.
    recorded: Option<u64>,
    /// Whether whoever follows is told that the caller records.
    told: bool,
}

impl Trace {
    /// Whether it is recorded here.
    #[must_use]
    pub const fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// Whether it began elsewhere.
    #[must_use]
    pub const fn is_continued(&self) -> bool {
        self.parent.is_some()
    }

    /// The number of the trace, in hexadecimal digits.
    #[must_use]
    pub fn digits(&self) -> [u8; 32] {
        let mut digits = [0; 32];
        context::hexadecimal(&self.id, &mut digits);
        digits
    }

    /// What the application is told: our span where we record, else the caller's.
    #[must_use]
    pub fn onward(&self) -> Option<TraceParent> {
        match (self.recorded, self.parent) {
            (Some(first), _) => {
                Some(TraceParent { trace: self.id, span: numbered(first, Step::Upstream), sampled: true })
            }
            (None, Some(span)) => Some(TraceParent { trace: self.id, span, sampled: self.told }),
            (None, None) => None,
        }
    }
}

/// The number of the span of a step, from that of the first one.
fn numbered(first: u64, step: Step) -> [u8; 8] {
    // None may be zero: the first is chosen so that no later one is.
    (first + 1 + step as u64).to_be_bytes()
}

/// A request that was recorded, when it is over.
#[derive(Debug)]
pub struct Recorded {
    /// Its trace.
    pub trace: Trace,
    /// When its head was there.
    pub at: Timestamp,
    /// How long it took.
    pub duration: Duration,
    /// When its steps ended.
    pub steps: Steps,
    /// Whether it failed: a status of 500 or more, or none.
    pub failed: bool,
    /// What is known of it, by the names of the documentation.
    pub facts: Vec<(&'static str, Fact)>,
}

/// A value of a record.
#[derive(Debug)]
pub enum Fact {
    /// Text, capped and never a secret.
    Text(String),
    /// A number.
    Number(i64),
}

/// Names of facts of a recorded request, with their meaning.
pub const FACTS: [(&str, &str); 11] = [
    ("http.request.method", "Method"),
    ("url.path", "Path without the query and without parameters of its segments, at most 512 bytes"),
    ("server.address", "Host as it was asked for"),
    ("network.protocol.version", "HTTP version"),
    ("http.response.status_code", "Status of the answer"),
    ("countersign.request_id", "The request's number, as in the log and in the `request-id` context header"),
    ("countersign.route", "Name of the route or of the endpoint of our own"),
    ("countersign.upstream", "Name of the upstream, if one was asked"),
    ("countersign.outcome", "What it came to, as in the log"),
    ("countersign.reason", "Why it was not simply let through"),
    ("countersign.layer", "The slowest layer that was asked for the context"),
];

/// Decides what is recorded, and takes records.
#[derive(Debug)]
pub struct Tracer {
    queue: mpsc::Sender<Recorded>,
    random: SystemRandom,
    count: AtomicU32,
    metrics: Arc<Metrics>,
}

/// Records on their way to the collector.
#[derive(Debug)]
pub struct Records(mpsc::Receiver<Recorded>);

impl Tracer {
    /// A tracer and what comes out of it.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> (Self, Records) {
        let (queue, records) = mpsc::channel(ROOM);
        let random = SystemRandom::new();
        (Self { queue, random, count: AtomicU32::new(0), metrics }, Records(records))
    }

    /// The trace of a request that brought `parent`. Whether the caller records is believed only if it is `trusted`:
    /// else anybody could have everything recorded. `None` when there is nothing to record or to tell.
    pub fn begin(&self, settings: &Settings, parent: Option<TraceParent>, trusted: bool) -> Option<Trace> {
        let record = match parent {
            Some(parent) if trusted => parent.sampled,
            _ => settings.share.takes(self.count.fetch_add(1, Ordering::Relaxed)),
        };
        if !record {
            let parent = parent?;
            let told = trusted && parent.sampled;
            return Some(Trace { id: parent.trace, parent: Some(parent.span), recorded: None, told });
        }
        let mut numbers = [0; 24];
        // Without randomness there are no numbers, and nothing is recorded.
        self.random.fill(&mut numbers).ok()?;
        let (id, first) = numbers.split_at(16);
        let first = u64::from_be_bytes(first.try_into().ok()?);
        // The lowest bits leave room to count up, without ever being zero.
        let first = first >> 8 << 8 | 0x10;
        let id = parent.map_or_else(|| id.try_into().ok(), |parent| Some(parent.trace))?;
        Some(Trace { id, parent: parent.map(|parent| parent.span), recorded: Some(first), told: true })
    }

    /// Takes a record, unless too many wait.
    pub fn record(&self, record: Recorded) {
        let spans = otlp::spans(&record);
        if self.queue.try_send(record).is_err() {
            self.metrics.spans.with_label_values(&["dropped"]).inc_by(spans);
        }
    }
}

impl Records {
    /// Sends what comes to the collector that `settings` names at that moment, until `ending`; returns when what was
    /// recorded before that is sent, or given up.
    pub async fn export(
        self,
        settings: impl Fn() -> Option<Arc<Settings>> + Send,
        metrics: Arc<Metrics>,
        ending: impl Future<Output = ()> + Send,
    ) {
        exporter::run(self.0, settings, metrics, ending).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(share: f64) -> Settings {
        Settings {
            endpoint: http::Uri::from_static("http://127.0.0.1:1/v1/traces"),
            headers: Vec::new(),
            ca: None,
            service: "countersign".to_owned(),
            share: Share::of(share),
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_strangers_flag_is_not_believed_and_a_trusted_one_is() {
        let (tracer, _records) = Tracer::new(Arc::new(Metrics::new()));
        let parent = TraceParent { trace: [7; 16], span: [8; 8], sampled: true };
        let trace = tracer.begin(&settings(0.0), Some(parent), false).unwrap();
        assert!(!trace.is_recorded());
        assert_eq!(trace.onward(), Some(TraceParent { sampled: false, ..parent }));
        let trace = tracer.begin(&settings(0.0), Some(parent), true).unwrap();
        assert!(trace.is_recorded() && trace.id == parent.trace);
        let onward = trace.onward().unwrap();
        assert!(onward.sampled && onward.span != parent.span && onward.trace == parent.trace);
        let unsampled = TraceParent { sampled: false, ..parent };
        assert!(!tracer.begin(&settings(1.0), Some(unsampled), true).unwrap().is_recorded());
        assert!(tracer.begin(&settings(1.0), Some(unsampled), false).unwrap().is_recorded());
        assert!(tracer.begin(&settings(0.0), None, false).is_none(), "there is nothing to tell");
    }

    #[test]
    fn a_share_takes_about_as_many_as_it_says() {
        for share in [0.0, 0.01, 0.1, 0.5, 1.0] {
            let taken = (0..10_000).filter(|count| Share::of(share).takes(*count)).count();
            #[expect(clippy::cast_precision_loss, reason = "at most ten thousand")]
            let off = (taken as f64 - share * 10_000.0).abs();
            assert!(off < 20.0, "{taken} of {share}");
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts() {
        let metrics = Arc::new(Metrics::new());
        let (tracer, _records) = Tracer::new(Arc::clone(&metrics));
        let trace = tracer.begin(&settings(1.0), None, false).unwrap();
        for _ in 0..=ROOM {
            tracer.record(Recorded {
                trace,
                at: Timestamp::from_secs(1),
                duration: Duration::from_millis(1),
                steps: Steps::default(),
                failed: false,
                facts: Vec::new(),
            });
        }
        assert_eq!(metrics.spans.with_label_values(&["dropped"]).get(), 1);
    }
}
