//! Where log lines go: a bounded buffer in memory that one thread writes out. A request never waits for a terminal,
//! a pipe or a disk; what does not fit is dropped and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

use super::ascii;

/// Most bytes that wait to be written: some ten thousand request lines.
const LIMIT: usize = 4 * 1024 * 1024;
/// How much may gather before the writer is woken early.
const WAKE_AT: usize = 64 * 1024;
/// What a buffer keeps of its room when it is empty.
const LARGEST_KEPT: usize = 1024 * 1024;
/// How often it is asked whether everything is written.
const STEP: Duration = Duration::from_millis(2);
/// How long lines may gather.
const INTERVAL: Duration = Duration::from_millis(50);

/// A handle to the log; cheap to clone.
#[derive(Clone, Debug)]
pub struct LogSink(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Vec<u8>>,
    wake: Condvar,
    /// Held while lines are written out; the buffer that is filled next.
    writing: Mutex<Vec<u8>>,
    dropped: AtomicU64,
}

impl LogSink {
    /// Starts the thread that writes to standard output.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn to_stdout() -> io::Result<Self> {
        let sink = Self(Arc::new(Shared {
            waiting: Mutex::new(Vec::with_capacity(WAKE_AT)),
            wake: Condvar::new(),
            writing: Mutex::new(Vec::with_capacity(WAKE_AT)),
            dropped: AtomicU64::new(0),
        }));
        let shared = Arc::clone(&sink.0);
        std::thread::Builder::new().name("log".into()).spawn(move || {
            loop {
                let mut waiting = shared.waiting.lock();
                if waiting.is_empty() {
                    shared.wake.wait_for(&mut waiting, INTERVAL);
                }
                drop(waiting);
                shared.write_out();
                std::thread::sleep(INTERVAL / 5);
            }
        })?;
        Ok(sink)
    }

    /// Takes one or more whole lines, each with its line end.
    pub fn put(&self, lines: &[u8]) {
        let lines = ascii::plain(lines);
        let mut waiting = self.0.waiting.lock();
        if waiting.len() + lines.len() > LIMIT {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let quiet = waiting.is_empty();
        waiting.extend_from_slice(&lines);
        if quiet || waiting.len() > WAKE_AT {
            self.0.wake.notify_one();
        }
    }

    /// Waits until everything is written out, but no longer than `patience`: whoever reads the log may have stopped. At
    /// shutdown.
    pub fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        while Instant::now() < end {
            self.0.wake.notify_one();
            std::thread::sleep(STEP);
            // While this is held, nothing is on its way from one buffer to the other.
            let Some(_writing) = self.0.writing.try_lock() else { continue };
            if self.0.waiting.lock().is_empty() {
                return;
            }
        }
    }

    /// Lines dropped because the reader of the log was too slow.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn write_out(&self) {
        // Two buffers in turn: a new one for each write would be zeroed page by page by the kernel.
        let mut lines = self.writing.lock();
        std::mem::swap(&mut *self.waiting.lock(), &mut *lines);
        let mut out = io::stdout().lock();
        // Whoever reads the log may be gone; the proxy goes on.
        let _ = out.write_all(&lines).and_then(|()| out.flush());
        lines.clear();
        lines.shrink_to(LARGEST_KEPT);
    }
}

impl Write for &LogSink {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.put(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogSink {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}
