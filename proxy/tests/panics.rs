//! A panic is counted and its place is told; what it says, which may be a secret, is not. Alone in its process, because
//! the hook is everybody's.

#![expect(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use countersign::telemetry::{Metrics, panics};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_panic_is_counted_and_placed_and_its_message_kept_back() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().json().with_writer(move || writer.clone()).init();
    let metrics = Arc::new(Metrics::new());
    panics::count(&metrics);
    let secret = String::from("planted-in-a-panic");
    let thread = std::thread::spawn(move || panic!("cannot read {secret}"));
    assert!(thread.join().is_err());
    assert_eq!(metrics.panics.get(), 1);
    let told = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(told.contains("panicked") && told.contains("tests/panics.rs"), "{told}");
    assert!(!told.contains("planted"), "{told}");
}
