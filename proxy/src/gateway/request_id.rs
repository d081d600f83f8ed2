//! Numbers for requests: unique over all proxies and restarts, because signatures use them as nonces.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};

/// Hands out request ids: 8 random bytes of this process and a 64-bit count, 22 characters of base64url. Two processes
/// share their random half once in four billion starts (birthday bound of 64 bits), and their counts would have to meet.
#[derive(Clone, Debug)]
pub(crate) struct RequestIds {
    process: [u8; 8],
}

/// How many numbers a thread takes at once: one counter for all threads would go to and fro between processors.
const BLOCK: u64 = 1024;

/// The first number of the next block, in this process.
static NEXT_BLOCK: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// The next number of this thread; the first one of a block is not its own yet.
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

fn number() -> u64 {
    let next = match NEXT.get() {
        used_up if used_up.is_multiple_of(BLOCK) => NEXT_BLOCK.fetch_add(BLOCK, Ordering::Relaxed),
        next => next,
    };
    NEXT.set(next + 1);
    next
}

impl RequestIds {
    /// Draws the random half.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub(crate) fn new() -> Result<Self, ring::error::Unspecified> {
        let mut process = [0; 8];
        SystemRandom::new().fill(&mut process)?;
        Ok(Self { process })
    }

    /// The next id.
    pub(crate) fn next(&self) -> String {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.process);
        bytes[8..].copy_from_slice(&number().to_be_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_number_is_given_twice_whatever_thread_asks() {
        let (one, other) = (RequestIds::new().unwrap(), RequestIds::new().unwrap());
        let ids: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let asked = || (0..3 * BLOCK).map(|_| one.next()).collect::<Vec<_>>();
                    scope.spawn(asked)
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let different: HashSet<&String> = ids.iter().collect();
        assert_eq!(different.len(), ids.len());
        assert!(ids.iter().all(|id| id.len() == 22));
        assert!(!different.contains(&other.next()));
    }
}
