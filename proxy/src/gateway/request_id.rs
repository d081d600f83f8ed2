//! Numbers for requests: unique over all proxies and restarts, because signatures use them as nonces.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

/// Hands out request ids: 8 random bytes of this process and a 64-bit count, 22 characters of base64url. Two processes
/// share their random half once in four billion starts (birthday bound of 64 bits), and their counts would have to meet.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: [u8; 8],
    next: AtomicU64,
}

impl RequestIds {
    /// Draws the random half.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub(crate) fn new() -> Result<Self, ring::error::Unspecified> {
        let mut process = [0; 8];
        SystemRandom::new().fill(&mut process)?;
        Ok(Self { process, next: AtomicU64::new(0) })
    }

    /// The next id.
    pub(crate) fn next(&self) -> String {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.process);
        bytes[8..].copy_from_slice(&self.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}
