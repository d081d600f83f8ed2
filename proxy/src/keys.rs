//! Key material as the configuration hands it over: an id that may be printed and a secret that may not.

use crate::clock::Timestamp;
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

/// Algorithms of JWTs (RFC 7518, section 3.1; RFC 8037, section 3.1), and of the keys for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JwtAlgorithm {
    /// `EdDSA` with Ed25519.
    EdDsa,
    /// `ES256`: ECDSA with P-256 and SHA-256.
    Es256,
    /// `HS256`: HMAC with SHA-256; whoever verifies could sign as well.
    Hs256,
}

/// A key that signs JWTs, or messages with Ed25519.
#[derive(Clone, Debug)]
pub struct SigningKey {
    /// Names the key for the operator; safe to print.
    pub id: String,
    /// What is signed with it.
    pub algorithm: JwtAlgorithm,
    /// PEM of a PKCS#8 private key; for [`JwtAlgorithm::Hs256`] the key itself, at least 32 bytes.
    pub secret: Secret,
    /// Before this moment the key is published but does not sign; `None` signs at once.
    pub active_from: Option<Timestamp>,
}
