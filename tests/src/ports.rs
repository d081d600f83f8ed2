//! Ports that nobody listens on, below the range from which the kernel takes ports for outgoing connections, so
//! that a server can be stopped and started again on its port.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// The range that is searched; Linux hands out outgoing ports from 32768 upwards.
const FIRST: u16 = 12_000;
const COUNT: u16 = 20_000;

/// A port on the loopback address that was free a moment ago. Each call in one process answers another one, and
/// processes begin in different places.
///
/// # Panics
/// When no port in the range is free.
#[must_use]
pub fn free() -> u16 {
    static STEPS: AtomicU16 = AtomicU16::new(0);
    let place = u16::try_from(std::process::id().wrapping_mul(617) % u32::from(COUNT)).unwrap_or(0);
    for _ in 0..COUNT {
        let step = STEPS.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (place + step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
