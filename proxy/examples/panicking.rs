//! The proxy as it is, beside a thread that panics four times a second for as long as the file exists that `PANIC_WHILE`
//! names: nothing known makes the proxy panic, and somebody has to see that a panic is counted and its alert fires.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Some(wanted) = std::env::var_os("PANIC_WHILE").map(PathBuf::from) {
        std::thread::spawn(move || {
            loop {
                std::thread::sleep(Duration::from_millis(250));
                if wanted.exists() {
                    let panicked = std::thread::spawn(|| panic!("as it was asked to")).join();
                    assert!(panicked.is_err(), "it did not panic");
                }
            }
        });
    }
    countersign::cli::main()
}
