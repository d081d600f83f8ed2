//! The keys that sign: parsed once, published from the start, signing from their moment on, retired by the next.
//! Private halves never leave this room.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::keys::{JwtAlgorithm, Key, SHORTEST_KEY, SigningKey};
use crate::secret::Secret;

/// All keys that sign, newest first.
#[derive(Debug)]
pub struct Keyring {
    pub(super) hmac: Vec<Key>,
    pub(super) keys: Vec<ParsedKey>,
}

/// What a signing key is doing at a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyState {
    /// Known to verifiers, not signing yet.
    Published,
    /// Signs tokens.
    Active,
    /// Replaced by a newer key; still published, because its signatures may be on their way.
    Retiring,
}

impl KeyState {
    /// The word that `key list` prints.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Active => "active",
            Self::Retiring => "retiring",
        }
    }
}

/// A key that cannot be used. Names the key by its id; never shows any of it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is no PKCS#8 private key in PEM.
    #[error("key `{0}` is not a PKCS#8 private key in PEM")]
    NotPem(String),
    /// The PEM holds a key of another kind than the algorithm needs, or a damaged one.
    #[error("key `{0}` is damaged or does not fit its algorithm")]
    Unfit(String),
    /// A symmetric key of fewer than 32 bytes.
    #[error("key `{0}` is shorter than 32 bytes")]
    TooShort(String),
    /// An id that cannot stand in a signature's parameters, or that two keys bear.
    #[error("key id `{0}` is not unique, or not made of visible ASCII without quotes and backslashes")]
    BadId(String),
    /// An upstream wants a kind of signature for which there is no key that may sign.
    #[error("upstream `{upstream}` wants {wanted}, and there is no key for it")]
    Missing {
        /// The upstream's name.
        upstream: String,
        /// The kind of signature.
        wanted: &'static str,
    },
    /// An upstream for which neither signature is switched on.
    #[error("upstream `{0}` asks for no signature at all; context is never sent unsigned")]
    Unsigned(String),
}

/// What a key that is derived for one upstream is for. The two never coincide, even from equal roots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// `hmac-sha256` message signatures, from the HMAC root key.
    MessageSignature,
    /// `HS256` tokens, from an `HS256` signing key.
    Token,
}

impl Purpose {
    const fn info(self) -> &'static str {
        match self {
            Self::MessageSignature => "countersign hmac-sha256 message signature",
            Self::Token => "countersign HS256 token",
        }
    }
}

/// The key of one upstream: HKDF-SHA256 (RFC 5869) of `root` without salt; the info is the purpose's text, a zero
/// byte and the upstream's name; 32 bytes. So one application cannot speak to another as the proxy.
#[must_use]
pub fn derive(root: &Secret, purpose: Purpose, upstream: &str) -> Secret {
    let mut key = vec![0; 32];
    Hkdf::<Sha256>::new(None, root.expose())
        .expand_multi_info(&[purpose.info().as_bytes(), b"\0", upstream.as_bytes()], &mut key)
        .expect("32 bytes are one block of HKDF-SHA256, which gives up to 255");
    Secret::new(key)
}

/// [`derive`]d keys as `key derive` prints them: standard base64 with padding, 44 characters.
#[must_use]
pub fn derive_text(root: &Secret, purpose: Purpose, upstream: &str) -> String {
    STANDARD.encode(derive(root, purpose, upstream).expose())
}

/// A new key, as `key new` prints it: PKCS#8 in PEM, or 43 characters of base64url for `Hs256` and every other
/// symmetric purpose.
///
/// # Errors
/// When the system has no randomness.
pub fn generate(algorithm: JwtAlgorithm) -> Result<Secret, ring::error::Unspecified> {
    let random = SystemRandom::new();
    let mut seed = zeroize::Zeroizing::new([0; 32]);
    random.fill(seed.as_mut())?;
    Ok(match algorithm {
        JwtAlgorithm::Hs256 => Secret::new(URL_SAFE_NO_PAD.encode(*seed).into_bytes()),
        // RFC 8410, section 7, version 1: OpenSSL and what builds on it do not read ring's version 2.
        JwtAlgorithm::EdDsa => pem(&[&ED25519_PREFIX[..], seed.as_slice()].concat()),
        JwtAlgorithm::Es256 => {
            pem(EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?.as_ref())
        }
    })
}

const ED25519_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

fn pem(der: &[u8]) -> Secret {
    let body = zeroize::Zeroizing::new(STANDARD.encode(der));
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    for (position, character) in body.char_indices() {
        if position > 0 && position % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.push_str("\n-----END PRIVATE KEY-----\n");
    Secret::new(text.into_bytes())
}

impl Keyring {
    /// Parses keys, newest first.
    ///
    /// # Errors
    /// On the first key that cannot be used.
    pub fn new(hmac: &[Key], signing: &[SigningKey]) -> Result<Self, KeyError> {
        for (position, key) in hmac.iter().enumerate() {
            check_id(&key.id, hmac[..position].iter().any(|other| other.id == key.id))?;
            check_length(&key.id, &key.secret)?;
        }
        let mut keys = Vec::<ParsedKey>::with_capacity(signing.len());
        for key in signing {
            check_id(&key.id, keys.iter().any(|other| other.id == key.id))?;
            keys.push(ParsedKey::parse(key)?);
        }
        Ok(Self { hmac: hmac.to_vec(), keys })
    }

    /// Id, key id on the wire, algorithm and state of every signing key at `now`, newest first.
    #[must_use]
    pub fn states(&self, now: Timestamp) -> Vec<(&str, &str, JwtAlgorithm, KeyState)> {
        let active = self.keys.iter().position(|key| key.may_sign(now));
        let state = |position: usize, key: &ParsedKey| match active {
            Some(active) if active == position => KeyState::Active,
            Some(active) if active < position && key.may_sign(now) => KeyState::Retiring,
            _ => KeyState::Published,
        };
        self.keys
            .iter()
            .enumerate()
            .map(|(position, key)| {
                (key.id.as_str(), key.key_id.as_str(), key.algorithm(), state(position, key))
            })
            .collect()
    }

    /// The public halves as JSON Web Keys; symmetric keys have none.
    pub(super) fn public_keys(&self) -> impl Iterator<Item = &serde_json::Value> {
        self.keys.iter().filter_map(|key| key.jwk.as_ref())
    }
}

/// One signing key, ready for use.
pub(super) struct ParsedKey {
    pub(super) id: String,
    /// What verifiers look the key up by: the RFC 7638 thumbprint, or the id of a symmetric key.
    pub(super) key_id: String,
    pub(super) active_from: Option<Timestamp>,
    pub(super) material: Material,
    jwk: Option<serde_json::Value>,
}

pub(super) enum Material {
    Ed25519(Ed25519KeyPair),
    Es256(EcdsaKeyPair),
    Hs256(Secret),
}

impl fmt::Debug for ParsedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParsedKey")
            .field("id", &self.id)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

impl ParsedKey {
    fn parse(key: &SigningKey) -> Result<Self, KeyError> {
        let unfit = |_| KeyError::Unfit(key.id.clone());
        let (material, public) = match key.algorithm {
            JwtAlgorithm::Hs256 => {
                check_length(&key.id, &key.secret)?;
                (Material::Hs256(key.secret.clone()), None)
            }
            JwtAlgorithm::EdDsa => {
                let der = read_pem(key)?;
                let pair =
                    Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(unfit)?;
                let x = URL_SAFE_NO_PAD.encode(pair.public_key());
                (Material::Ed25519(pair), Some((Curve::Ed25519, x, String::new())))
            }
            JwtAlgorithm::Es256 => {
                let der = read_pem(key)?;
                let random = SystemRandom::new();
                let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair =
                    EcdsaKeyPair::from_pkcs8(algorithm, der.secret_pkcs8_der(), &random).map_err(unfit)?;
                // An uncompressed point: 0x04, then both coordinates of 32 bytes (SEC 1, section 2.3.3).
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
                (Material::Es256(pair), Some((Curve::P256, x, y)))
            }
        };
        let (key_id, jwk) = match public {
            None => (key.id.clone(), None),
            Some((curve, x, y)) => {
                let (thumbprint, jwk) = describe(curve, &x, &y);
                (thumbprint, Some(jwk))
            }
        };
        Ok(Self { id: key.id.clone(), key_id, active_from: key.active_from, material, jwk })
    }

    pub(super) fn may_sign(&self, now: Timestamp) -> bool {
        self.active_from.is_none_or(|from| from <= now)
    }

    pub(super) const fn algorithm(&self) -> JwtAlgorithm {
        match self.material {
            Material::Ed25519(_) => JwtAlgorithm::EdDsa,
            Material::Es256(_) => JwtAlgorithm::Es256,
            Material::Hs256(_) => JwtAlgorithm::Hs256,
        }
    }
}

#[derive(Clone, Copy)]
enum Curve {
    Ed25519,
    P256,
}

/// RFC 7638 thumbprint and JSON Web Key (RFC 7517, RFC 8037) of a public key.
fn describe(curve: Curve, x: &str, y: &str) -> (String, serde_json::Value) {
    // The members in the order that RFC 7638, section 3.2 hashes them; base64url needs no escapes.
    let hashed = match curve {
        Curve::Ed25519 => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#),
        Curve::P256 => format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#),
    };
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(hashed.as_bytes()));
    let jwk = match curve {
        Curve::Ed25519 => serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "x": x, "kid": thumbprint, "use": "sig", "alg": "EdDSA",
        }),
        Curve::P256 => serde_json::json!({
            "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": thumbprint, "use": "sig", "alg": "ES256",
        }),
    };
    (thumbprint, jwk)
}

fn read_pem(key: &SigningKey) -> Result<PrivatePkcs8KeyDer<'static>, KeyError> {
    PrivatePkcs8KeyDer::from_pem_slice(key.secret.expose()).map_err(|_| KeyError::NotPem(key.id.clone()))
}

fn check_length(id: &str, secret: &Secret) -> Result<(), KeyError> {
    if secret.expose().len() < SHORTEST_KEY { Err(KeyError::TooShort(id.to_owned())) } else { Ok(()) }
}

fn check_id(id: &str, taken: bool) -> Result<(), KeyError> {
    let fits = (1..=64).contains(&id.len())
        && id.bytes().all(|b| matches!(b, b'!'..=b'~') && b != b'"' && b != b'\\');
    if fits && !taken { Ok(()) } else { Err(KeyError::BadId(id.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: &str, algorithm: JwtAlgorithm, active_from: Option<u64>) -> SigningKey {
        let secret = generate(algorithm).unwrap();
        SigningKey { id: id.into(), algorithm, secret, active_from: active_from.map(Timestamp::from_secs) }
    }

    #[test]
    fn every_generated_key_parses_and_two_are_never_the_same() {
        for algorithm in [JwtAlgorithm::EdDsa, JwtAlgorithm::Es256, JwtAlgorithm::Hs256] {
            let (first, second) = (key("a", algorithm, None), key("b", algorithm, None));
            assert!(!first.secret.matches(second.secret.expose()));
            let keyring = Keyring::new(&[], &[first, second]).unwrap();
            assert_eq!(keyring.keys[0].algorithm(), algorithm);
            assert_ne!(keyring.keys[0].key_id, keyring.keys[1].key_id);
        }
    }

    #[test]
    fn the_thumbprint_is_the_one_of_rfc_8037() {
        let (thumbprint, _) = describe(Curve::Ed25519, "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "");
        assert_eq!(thumbprint, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn the_newest_key_whose_moment_has_come_signs_and_all_are_published() {
        let keys = [
            key("new", JwtAlgorithm::EdDsa, Some(2_000)),
            key("now", JwtAlgorithm::Es256, Some(1_000)),
            key("old", JwtAlgorithm::EdDsa, None),
        ];
        let keyring = Keyring::new(&[], &keys).unwrap();
        let states =
            |now| keyring.states(Timestamp::from_secs(now)).iter().map(|row| row.3).collect::<Vec<_>>();
        assert_eq!(states(999), [KeyState::Published, KeyState::Published, KeyState::Active]);
        assert_eq!(states(1_000), [KeyState::Published, KeyState::Active, KeyState::Retiring]);
        assert_eq!(states(2_000), [KeyState::Active, KeyState::Retiring, KeyState::Retiring]);
        assert_eq!(keyring.public_keys().count(), 3);
    }

    #[test]
    fn unusable_keys_are_refused_by_name() {
        let broken = |algorithm, secret: &str| {
            let key =
                SigningKey { id: "k".into(), algorithm, secret: Secret::from(secret), active_from: None };
            Keyring::new(&[], &[key]).unwrap_err()
        };
        assert_eq!(broken(JwtAlgorithm::EdDsa, "no pem"), KeyError::NotPem("k".into()));
        assert_eq!(broken(JwtAlgorithm::Hs256, "short"), KeyError::TooShort("k".into()));
        let of_another_kind = generate(JwtAlgorithm::Es256).unwrap();
        assert_eq!(
            broken(JwtAlgorithm::EdDsa, of_another_kind.expose_text().unwrap()),
            KeyError::Unfit("k".into())
        );
        let twice = [key("k", JwtAlgorithm::Hs256, None), key("k", JwtAlgorithm::EdDsa, None)];
        assert_eq!(Keyring::new(&[], &twice).unwrap_err(), KeyError::BadId("k".into()));
    }

    #[test]
    fn derived_keys_differ_by_root_purpose_and_upstream() {
        let (root, other) = (Secret::from("a root key of more than 32 bytes!"), Secret::from("another root"));
        let derived = [
            derive_text(&root, Purpose::MessageSignature, "captions"),
            derive_text(&root, Purpose::MessageSignature, "caption"),
            derive_text(&root, Purpose::Token, "captions"),
            derive_text(&other, Purpose::MessageSignature, "captions"),
        ];
        let distinct: std::collections::HashSet<_> = derived.iter().collect();
        assert_eq!(distinct.len(), 4);
        assert!(derived.iter().all(|key| key.len() == 44));
    }
}
