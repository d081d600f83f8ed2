//! The public keys as a JWK Set (RFC 7517, section 5). Made once per configuration; serving it asks nobody.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::keyring::Keyring;

/// The document and what an HTTP answer says about it.
#[derive(Clone, Debug)]
pub struct Jwks {
    body: Bytes,
    etag: String,
    cache_control: String,
}

impl Jwks {
    /// The media type of the document (RFC 7517, section 8.5.2).
    pub const CONTENT_TYPE: &'static str = "application/jwk-set+json";

    /// All published public keys; never a symmetric one. Verifiers may keep the document for `max_age`: a new key
    /// must be published at least that long before it signs (THREATS G8).
    #[must_use]
    pub fn new(keyring: &Keyring, max_age: Duration) -> Self {
        let keys: Vec<_> = keyring.public_keys().collect();
        let body = serde_json::json!({ "keys": keys }).to_string();
        let etag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(body.as_bytes())[..16]));
        Self { body: body.into(), etag, cache_control: format!("public, max-age={}", max_age.as_secs()) }
    }

    /// The JSON text.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The strong entity tag, quotes included.
    #[must_use]
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The value of `Cache-Control`.
    #[must_use]
    pub fn cache_control(&self) -> &str {
        &self.cache_control
    }

    /// Whether a request with this `If-None-Match` is answered with 304 (RFC 9110, section 13.1.2).
    #[must_use]
    pub fn is_known_by(&self, if_none_match: &[u8]) -> bool {
        let mut tags = if_none_match.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
        tags.any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == self.etag.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{JwtAlgorithm, SigningKey};
    use crate::signing::keyring::generate;

    #[test]
    fn the_document_holds_every_public_key_and_no_secret_one() {
        let key = |id: &str, algorithm| SigningKey {
            id: id.into(),
            algorithm,
            secret: generate(algorithm).unwrap(),
            active_from: None,
        };
        let keys = [
            key("e", JwtAlgorithm::EdDsa),
            key("p", JwtAlgorithm::Es256),
            key("secret", JwtAlgorithm::Hs256),
        ];
        let jwks = Jwks::new(&Keyring::new(&[], &keys).unwrap(), Duration::from_mins(5));
        let document: serde_json::Value = serde_json::from_slice(jwks.body()).unwrap();
        let listed: Vec<_> =
            document["keys"].as_array().unwrap().iter().map(|key| key["alg"].clone()).collect();
        assert_eq!(listed, ["EdDSA", "ES256"]);
        assert!(document["keys"].as_array().unwrap().iter().all(|key| key.get("d").is_none()));
        assert_eq!(jwks.cache_control(), "public, max-age=300");
    }

    #[test]
    fn a_verifier_that_knows_the_document_is_told_so() {
        let jwks = Jwks::new(&Keyring::new(&[], &[]).unwrap(), Duration::from_mins(5));
        assert!(jwks.is_known_by(jwks.etag().as_bytes()));
        assert!(jwks.is_known_by(format!("\"other\" , W/{}", jwks.etag()).as_bytes()));
        assert!(jwks.is_known_by(b"*"));
        assert!(!jwks.is_known_by(b"\"other\""));
    }
}
