//! The keys an application trusts: a fixed set, looked up by id, each pinned to one algorithm and one use.
//! Nothing in a request can add a key (THREATS G6, G7).

use std::collections::HashMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use serde_json::Value;

use crate::VerifyError;

/// Keys by their ids on the wire.
#[derive(Clone, Default)]
pub struct Keys {
    message: HashMap<String, hmac::Key>,
    token: HashMap<String, hmac::Key>,
    public: HashMap<String, PublicKey>,
}

/// A key that cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Not base64 of at least 32 bytes.
    #[error("a symmetric key is base64 of at least 32 bytes")]
    Symmetric,
    /// Not a JWK Set, or one of its Ed25519 or P-256 keys is damaged.
    #[error("the JWK Set is malformed")]
    Jwks,
}

#[derive(Clone)]
struct PublicKey {
    kind: PublicKind,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum PublicKind {
    Ed25519,
    P256,
}

impl Keys {
    /// Adds a key for `hmac-sha256` message signatures, as `countersign key derive` prints it (base64).
    ///
    /// # Errors
    /// When it is not base64 of at least 32 bytes.
    pub fn with_hmac(mut self, id: &str, key: &str) -> Result<Self, KeyError> {
        self.message.insert(id.to_owned(), symmetric(key)?);
        Ok(self)
    }

    /// Adds a key for `HS256` tokens, as `countersign key derive` prints it (base64).
    ///
    /// # Errors
    /// When it is not base64 of at least 32 bytes.
    pub fn with_hs256(mut self, id: &str, key: &str) -> Result<Self, KeyError> {
        self.token.insert(id.to_owned(), symmetric(key)?);
        Ok(self)
    }

    /// Adds the public keys of a JWK Set (RFC 7517). Kinds of keys that the proxy does not use are passed over.
    ///
    /// # Errors
    /// When the text is no JWK Set, or a key in it is damaged.
    pub fn with_jwks(mut self, text: &str) -> Result<Self, KeyError> {
        let document: Value = serde_json::from_str(text).map_err(|_| KeyError::Jwks)?;
        for jwk in document["keys"].as_array().ok_or(KeyError::Jwks)? {
            let (kind, parts): (_, &[&str]) = match (jwk["kty"].as_str(), jwk["crv"].as_str()) {
                (Some("OKP"), Some("Ed25519")) => (PublicKind::Ed25519, &["x"]),
                (Some("EC"), Some("P-256")) => (PublicKind::P256, &["x", "y"]),
                _ => continue,
            };
            // An uncompressed point begins with 4 (SEC 1, section 2.3.3).
            let mut bytes = if kind == PublicKind::P256 { vec![4] } else { Vec::new() };
            for part in parts {
                let coordinate = jwk[part].as_str().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
                bytes.extend(coordinate.filter(|bytes| bytes.len() == 32).ok_or(KeyError::Jwks)?);
            }
            let id = jwk["kid"].as_str().ok_or(KeyError::Jwks)?;
            self.public.insert(id.to_owned(), PublicKey { kind, bytes });
        }
        Ok(self)
    }

    pub(crate) fn verify_message(
        &self,
        id: &str,
        algorithm: &str,
        message: &[u8],
        tag: &[u8],
    ) -> Result<(), VerifyError> {
        if let Some(key) = self.message.get(id) {
            return match algorithm {
                "hmac-sha256" => hmac::verify(key, message, tag).map_err(|_| VerifyError::Mismatch),
                _ => Err(VerifyError::WrongAlgorithm),
            };
        }
        let key = self.public.get(id).ok_or(VerifyError::UnknownKey)?;
        match (algorithm, key.kind) {
            ("ed25519", PublicKind::Ed25519) => key.verify(message, tag),
            _ => Err(VerifyError::WrongAlgorithm),
        }
    }

    pub(crate) fn verify_token(
        &self,
        id: &str,
        algorithm: &str,
        message: &[u8],
        tag: &[u8],
    ) -> Result<(), VerifyError> {
        if let Some(key) = self.token.get(id) {
            return match algorithm {
                "HS256" => hmac::verify(key, message, tag).map_err(|_| VerifyError::Mismatch),
                _ => Err(VerifyError::WrongAlgorithm),
            };
        }
        let key = self.public.get(id).ok_or(VerifyError::UnknownKey)?;
        match (algorithm, key.kind) {
            ("EdDSA", PublicKind::Ed25519) | ("ES256", PublicKind::P256) => key.verify(message, tag),
            _ => Err(VerifyError::WrongAlgorithm),
        }
    }
}

impl PublicKey {
    fn verify(&self, message: &[u8], tag: &[u8]) -> Result<(), VerifyError> {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.kind {
            PublicKind::Ed25519 => &signature::ED25519,
            PublicKind::P256 => &signature::ECDSA_P256_SHA256_FIXED,
        };
        let key = signature::UnparsedPublicKey::new(algorithm, &self.bytes);
        key.verify(message, tag).map_err(|_| VerifyError::Mismatch)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = |ids: &mut dyn Iterator<Item = &String>| ids.cloned().collect::<Vec<_>>();
        f.debug_struct("Keys")
            .field("message", &ids(&mut self.message.keys()))
            .field("token", &ids(&mut self.token.keys()))
            .field("public", &ids(&mut self.public.keys()))
            .finish()
    }
}

fn symmetric(text: &str) -> Result<hmac::Key, KeyError> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| KeyError::Symmetric)?;
    if bytes.len() < 32 {
        return Err(KeyError::Symmetric);
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &bytes))
}
