//! What a process that panics or dies leaves behind: no secret. A panic is counted and its place is told; what it says,
//! which may be a secret, is not. Alone in its process, because the hook and the limits are everybody's.

#![expect(clippy::unwrap_used, reason = "a test that finds nothing where something must be has failed")]

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use countersign::server::privacy;
use countersign::telemetry::{Metrics, panics};
use rustix::process::{DumpableBehavior, Resource, dumpable_behavior, getrlimit};

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
    assert!(told.contains("panicked") && told.contains("tests/privacy.rs"), "{told}");
    assert!(!told.contains("planted"), "{told}");
    let counted = [metrics.render().unwrap(), metrics.render_open_metrics()].concat();
    let counted = String::from_utf8(counted).unwrap();
    assert!(counted.contains("countersign_panics_total 1") && !counted.contains("planted"), "{counted}");
}

#[test]
fn memory_that_is_kept_private_goes_into_no_core_and_to_no_debugger() {
    privacy::keep_memory_private().unwrap();
    assert_eq!(getrlimit(Resource::Core).current, Some(0));
    assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
}
