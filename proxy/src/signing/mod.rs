//! How an upstream can believe us: RFC 9421 message signatures and JWTs over the context. Pure but for key parsing.

pub mod jwks;
pub mod jwt;
pub mod keyring;
pub mod message;

/// Algorithms of message signatures (RFC 9421, section 3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MessageAlgorithm {
    /// `hmac-sha256`: a quarter of a microsecond, with a key per upstream.
    #[default]
    HmacSha256,
    /// `ed25519`: 9 to 24 microseconds, verified with a public key.
    Ed25519,
}
