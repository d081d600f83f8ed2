//! What the connection in front says about the request that this task serves: whether its head has arrived, and
//! whether its bytes broke the grammar. The server room sets it up; HTTP/2 streams have none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::events::Leash;
use crate::policy::Limits;
use crate::policy::wire::{Pass, Watch};
use crate::reason::Reason;

tokio::task_local! {
    /// The HTTP/1 connection that this task serves.
    pub static WIRE: Arc<Wire>;
    /// By which the HTTP/2 stream that this task serves is ended from elsewhere.
    pub static LEASH: Arc<Leash>;
}

/// One HTTP/1 connection, request by request.
#[derive(Debug)]
pub struct Wire {
    watch: Mutex<Watch>,
    /// By when the head of the present request must be here; `None` once it is.
    head_due: Mutex<Option<Instant>>,
    /// Whether a request is being served whose answer has an end.
    serves: AtomicBool,
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
            head_due: Mutex::new(None),
            serves: AtomicBool::new(false),
            draining,
            leash: Leash::new(),
            patience,
        }
    }

    /// The next bytes are those of another request, whose head is due by `head_due`.
    pub fn restart(&self, head_due: Instant) {
        self.watch.lock().restart();
        self.serves.store(false, Ordering::Relaxed);
        *self.head_due.lock() = Some(head_due);
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
        self.watch.lock().see(bytes)
    }

    /// Whether whatever the client sends now has to wait until the present request is answered.
    #[must_use]
    pub fn is_to_wait(&self) -> bool {
        self.serves.load(Ordering::Relaxed) && self.watch.lock().is_whole()
    }

    /// Why an answer that begins now refuses a head that never became a request; `None` when a request is being served.
    #[must_use]
    pub fn refuses_head(&self) -> Option<Reason> {
        self.head_due().map(|_| self.watch.lock().verdict().unwrap_or(Reason::MalformedRequest))
    }

    /// By when the head of the present request must be here; `None` when it is.
    #[must_use]
    pub fn head_due(&self) -> Option<Instant> {
        *self.head_due.lock()
    }
}

/// Notes that a head has arrived.
pub(super) fn head_arrived() {
    let _ = WIRE.try_with(|wire| {
        *wire.head_due.lock() = None;
        wire.serves.store(true, Ordering::Relaxed);
    });
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
    WIRE.try_with(|wire| wire.watch.lock().verdict()).ok().flatten()
}
