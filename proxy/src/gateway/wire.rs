//! What the connection in front says about the request that this task serves: whether its head has arrived, and
//! whether its bytes broke the grammar. The server room sets it up; HTTP/2 streams have none.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::policy::Limits;
use crate::policy::wire::{Pass, Watch};
use crate::reason::Reason;

tokio::task_local! {
    /// The HTTP/1 connection that this task serves.
    pub static WIRE: Arc<Wire>;
}

/// One HTTP/1 connection, request by request.
#[derive(Debug)]
pub struct Wire {
    watch: Mutex<Watch>,
    head_arrived: AtomicBool,
}

impl Wire {
    /// A connection before its first request.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { watch: Mutex::new(Watch::new(limits)), head_arrived: AtomicBool::new(false) }
    }

    /// The next bytes are those of another request.
    pub fn restart(&self) {
        self.watch.lock().restart();
        self.head_arrived.store(false, Ordering::Relaxed);
    }

    /// Looks at bytes before anybody else reads them.
    pub fn see(&self, bytes: &[u8]) -> Pass {
        self.watch.lock().see(bytes)
    }

    /// Whether the head of the present request has arrived whole.
    #[must_use]
    pub fn head_arrived(&self) -> bool {
        self.head_arrived.load(Ordering::Relaxed)
    }
}

/// Notes that a head has arrived.
pub(super) fn head_arrived() {
    let _ = WIRE.try_with(|wire| wire.head_arrived.store(true, Ordering::Relaxed));
}

/// Why the bytes of the present request are refused, if they are.
pub(super) fn verdict() -> Option<Reason> {
    WIRE.try_with(|wire| wire.watch.lock().verdict()).ok().flatten()
}
