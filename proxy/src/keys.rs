//! Key material as the configuration hands it over: an id that may be printed and a secret that may not.

use crate::secret::Secret;

/// A symmetric key.
#[derive(Clone, Debug)]
pub struct Key {
    /// Names the key in what is made with it; safe to print.
    pub id: String,
    /// The key itself; at least 32 bytes.
    pub secret: Secret,
}

/// The shortest symmetric key that is accepted: the output length of SHA-256 (RFC 2104, section 3).
pub const SHORTEST_KEY: usize = 32;
