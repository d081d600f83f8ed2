//! What the connection in front says about the request that this task serves: whether its head has arrived, and
//! whether its bytes broke the grammar. The server room sets it up; HTTP/2 streams have none, only their connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::events::Leash;
use crate::policy::Limits;
use crate::policy::wire::frames::{Frames, Standing};
use crate::policy::wire::{Pass, Watch};
use crate::reason::Reason;

tokio::task_local! {
    /// The HTTP/1 connection that this task serves.
    pub static WIRE: Arc<Wire>;
    /// By which the HTTP/2 stream that this task serves is ended from elsewhere.
    pub static LEASH: Arc<Leash>;
}

/// Longest wait for a head: from the start of a connection, or from the first byte of a later request (THREATS S11).
pub const HEAD: Duration = Duration::from_secs(15);

/// What a connection owes us next.
#[derive(Clone, Copy, Debug)]
enum Due {
    /// Nothing: the head of the present request is here.
    Nothing,
    /// A head, by then.
    Head(Instant),
    /// The first byte of another request, by then, and its head within [`HEAD`] of it.
    Anything(Instant),
}

#[derive(Debug)]
struct Http2 {
    /// How much of the preface has not come yet.
    preface: usize,
    frames: Frames,
}

/// One connection: of HTTP/1 request by request, of HTTP/2 frame by frame.
#[derive(Debug)]
pub struct Wire {
    watch: Mutex<Watch>,
    due: Mutex<Due>,
    /// Where HTTP/2 is spoken: its frames are followed, and no requests.
    http2: Option<Mutex<Http2>>,
    /// Whether a request is being served whose answer has an end.
    serves: AtomicBool,
    /// An answer on its way to the client past Pingora's server, which knows nothing of it.
    relayed: Mutex<Vec<u8>>,
    /// Whether the process is on its way out.
    draining: Arc<AtomicBool>,
    leash: Arc<Leash>,
    /// How long the client is waited for.
    pub patience: Duration,
}

impl Wire {
    /// A connection before its first request.
    #[must_use]
    pub fn new(limits: Limits, patience: Duration, draining: Arc<AtomicBool>) -> Self {
        Self {
            watch: Mutex::new(Watch::new(limits)),
            due: Mutex::new(Due::Nothing),
            http2: None,
            serves: AtomicBool::new(false),
            relayed: Mutex::default(),
            draining,
            leash: Leash::new(),
            patience,
        }
    }

    /// The same for HTTP/2, whose preface has so many bytes; all of it is due as a head is. Pingora waits for it without
    /// any time-out, and looks after the connection only then; for the heads behind it has none but that of idle connections.
    #[must_use]
    pub fn awaiting(mut self, preface: usize) -> Self {
        let now = Instant::now();
        self.http2 = Some(Mutex::new(Http2 { preface, frames: Frames::new(now.into_std()) }));
        self.due = Mutex::new(Due::Head(now + HEAD));
        self
    }

    /// The next bytes are those of another request. A connection that `was_served` may be idle before it. Pingora has a
    /// timer for that, one for each request; this is only written down, for the one timer that the connection has.
    pub fn restart(&self, was_served: bool) {
        self.watch.lock().restart();
        self.serves.store(false, Ordering::Relaxed);
        let now = Instant::now();
        *self.due.lock() =
            if was_served { Due::Anything(now + self.patience) } else { Due::Head(now + HEAD) };
    }

    /// Whether a request has been served since the connection was made, or since [`Self::restart`].
    #[must_use]
    pub fn has_served(&self) -> bool {
        self.serves.load(Ordering::Relaxed)
    }

    /// Notes that the head of the present request is here, and is served.
    pub fn head_arrived(&self) {
        *self.due.lock() = Due::Nothing;
        self.serves.store(true, Ordering::Relaxed);
    }

    /// Whether the head of the present request is here, or as much of it as will ever be read.
    #[must_use]
    pub fn has_head(&self) -> bool {
        self.watch.lock().has_head()
    }

    /// Whether the present request is a well-formed head and nothing else, and its answer may have a body.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.watch.lock().is_bare()
    }

    /// Why the bytes of the present request are refused, if they are.
    #[must_use]
    pub fn verdict(&self) -> Option<Reason> {
        self.watch.lock().verdict()
    }

    /// Returns when the connection is to be ended, because it carries a stream of a session that has ended.
    pub async fn ended(&self) {
        self.leash.pulled().await;
    }

    /// Whether [`Self::ended`] has something to say.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.leash.is_pulled()
    }

    /// Looks at bytes before anybody else reads them.
    pub fn see(&self, bytes: &[u8]) -> Pass {
        if let Some(http2) = &self.http2 {
            return self.see_frames(&mut http2.lock(), bytes);
        }
        let mut watch = self.watch.lock();
        let pass = watch.see(bytes);
        if watch.is_within_head() {
            let mut due = self.due.lock();
            if let Due::Anything(_) = *due {
                *due = Due::Head(Instant::now() + HEAD);
            }
        }
        pass
    }

    fn see_frames(&self, http2: &mut Http2, bytes: &[u8]) -> Pass {
        let start = http2.preface.min(bytes.len());
        http2.preface -= start;
        if http2.preface > 0 {
            return Pass::All;
        }
        let standing = http2.frames.see(&bytes[start..], std::time::Instant::now);
        let mut due = self.due.lock();
        match (standing, *due) {
            (Standing::Flood, _) => return Pass::None,
            (Standing::Between, _) => *due = Due::Nothing,
            (Standing::WithinHead { begins: false }, Due::Head(_)) => {}
            (Standing::WithinHead { .. }, _) => *due = Due::Head(Instant::now() + HEAD),
        }
        Pass::All
    }

    /// Whether whatever the client sends now has to wait until the present request is answered.
    #[must_use]
    pub fn is_to_wait(&self) -> bool {
        self.serves.load(Ordering::Relaxed) && self.watch.lock().is_whole()
    }

    /// Whether the client has to take what is written within its patience (THREATS S11): not of a stream or a tunnel, which
    /// may rest. Over HTTP/2 one connection carries all.
    #[must_use]
    pub fn has_to_take(&self) -> bool {
        self.http2.is_some() || self.serves.load(Ordering::Relaxed)
    }

    /// What is to be written to the client as it is, before whatever Pingora's server writes next.
    #[must_use]
    pub fn take_relayed(&self) -> Vec<u8> {
        std::mem::take(&mut self.relayed.lock())
    }

    /// Why an answer that begins now refuses a head that never became a request; `None` when a request is being served.
    #[must_use]
    pub fn refuses_head(&self) -> Option<Reason> {
        self.due().map(|_| self.watch.lock().verdict().unwrap_or(Reason::MalformedRequest))
    }

    /// By when the client must have sent something; `None` while the head of the present request is here.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        match *self.due.lock() {
            Due::Nothing => None,
            Due::Head(due) | Due::Anything(due) => Some(due),
        }
    }
}

/// Notes that a head has arrived.
pub(super) fn head_arrived() {
    let _ = WIRE.try_with(|wire| wire.head_arrived());
}

/// Has a whole answer written to the client by the next flush of its connection. Answers whether there is a connection
/// that does that.
pub(super) fn relay(answer: Vec<u8>) -> bool {
    WIRE.try_with(|wire| *wire.relayed.lock() = answer).is_ok()
}

/// Notes that the answer is a stream: it goes on until the client leaves, which has to be told at once.
pub(super) fn is_stream() {
    let _ = WIRE.try_with(|wire| wire.serves.store(false, Ordering::Relaxed));
}

/// Whether the present request should be the last on its connection, because the process is on its way out: a client that
/// is told so does not send another one into a connection that closes.
pub(super) fn is_last() -> bool {
    WIRE.try_with(|wire| wire.draining.load(Ordering::Relaxed)).unwrap_or(false)
}

/// By which the present request can be ended from elsewhere.
pub(super) fn leash() -> Option<Arc<Leash>> {
    let of_connection = || WIRE.try_with(|wire| Arc::clone(&wire.leash)).ok();
    LEASH.try_with(Arc::clone).ok().or_else(of_connection)
}

/// Why the bytes of the present request are refused, if they are.
pub(super) fn verdict() -> Option<Reason> {
    WIRE.try_with(|wire| wire.verdict()).ok().flatten()
}
