//! The keys that an application is handed so that it can verify what the proxy signed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::proxy::{KeyKind, Proxy};

/// The keys of the upstream `name` in the form that `verifiers/verify.py` and `verify.mjs` read.
///
/// # Panics
/// When the proxy does not publish its public keys.
pub async fn verifier_keys(proxy: &Proxy, name: &str, jwt: KeyKind, message_ed25519: bool) -> Value {
    let jwks = proxy.admin().get("/jwks.json").send().await.expect(200).json();
    let mut keys = json!({ "audience": name, "jwks": jwks.clone() });
    let published = jwks["keys"].as_array().cloned().unwrap_or_default();
    if message_ed25519 {
        let ed25519 = published.iter().filter(|key| key["crv"] == "Ed25519");
        keys["message"] = ed25519
            .map(|key| (key["kid"].as_str().unwrap_or_default().to_owned(), json!({ "jwk": key })))
            .collect();
    } else {
        keys["message"] = json!({ "hmac-1": { "secret": upstream_key(&proxy.secret("hmac"), name) } });
    }
    if jwt == KeyKind::Hmac {
        keys["jwt_secret"] = derive(&proxy.secret("jwt"), "countersign HS256 token", name).into();
    }
    keys
}

/// The key of one upstream for HMAC message signatures, in base64url.
#[must_use]
pub fn upstream_key(root: &str, upstream: &str) -> String {
    derive(root, "countersign hmac-sha256 message signature", upstream)
}

/// The bytes behind base64url without padding.
///
/// # Panics
/// When it is something else.
#[must_use]
pub fn from_base64url(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// HKDF-SHA256 (RFC 5869) without salt, one block, written down a second time so that it is compared with the proxy's.
fn derive(root: &str, purpose: &str, upstream: &str) -> String {
    let extracted = mac(&[0; 32], &[root.as_bytes()]);
    URL_SAFE_NO_PAD.encode(mac(&extracted, &[purpose.as_bytes(), b"\0", upstream.as_bytes(), &[1]]))
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}
