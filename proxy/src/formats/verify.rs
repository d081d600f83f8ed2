//! How a framework proves that it made a cookie. Signatures are compared in constant time, as text: one signature has
//! one spelling. Every secret is tried, newest first.

use std::time::Duration;

use aes::cipher::{KeyIvInit, StreamCipher};
use aes::{Aes128, Aes192, Aes256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use ring::hmac;
use subtle::ConstantTimeEq;

use super::decode::gob;
use super::envelope::Encrypter;
use super::{Refusal, hex};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// Longest cookie value that is verified; browsers keep 4096 bytes.
const LONGEST: usize = 4096;
/// The salt of Flask-Session's signer.
const FLASK_SALT: &[u8] = b"flask-session";
/// What Laravel binds an encrypted cookie to its name with.
const LARAVEL_PREFIX_VERSION: &str = "v2";

/// A scheme, with its secrets.
#[derive(Clone, Debug)]
pub enum Verification {
    /// The value is the id; only its randomness protects it.
    None,
    /// `id.signature` with HMAC-SHA256 in base64, perhaps with a prefix (`s:`) and perhaps padded.
    Signed {
        /// What the value begins with.
        prefix: &'static str,
        /// Whether the signature ends in `=`.
        padded: bool,
        /// Newest first. They are made ready once: a request hashes what it brings and no key.
        keys: Vec<hmac::Key>,
    },
    /// A second cookie, `name.sig`, signs name and value with HMAC: SHA-1, where the application has chosen no other hash.
    Keygrip(Vec<Vec<hmac::Key>>),
    /// `id.signature` with HMAC-SHA1 under a derived key.
    ItsDangerous(Vec<hmac::Key>),
    /// The id is encrypted, together with a proof of the cookie's name.
    Laravel(Encrypter),
    /// `time|value|mac`, perhaps encrypted.
    SecureCookie {
        /// Newest first: keys of the MAC, each with the key of the encryption, if there is one.
        keys: Vec<(Secret, Option<Secret>)>,
        /// How long after it was made a cookie is accepted.
        max_age: Duration,
    },
    /// The id in base64.
    Base64,
}

/// What a cookie proves.
#[derive(Debug)]
pub struct Proven {
    /// The id, which is as secret as the cookie.
    pub id: Secret,
    /// When the cookie itself ends.
    pub ends: Option<Timestamp>,
}

impl Verification {
    /// `id.signature` with HMAC-SHA256 under these secrets.
    #[must_use]
    pub fn signed(prefix: &'static str, padded: bool, secrets: &[Secret]) -> Self {
        let keys = secrets.iter().map(|secret| hmac::Key::new(hmac::HMAC_SHA256, secret.expose()));
        Self::Signed { prefix, padded, keys: keys.collect() }
    }

    /// A second cookie with HMAC under these secrets, by any of the hashes that keygrip is told to use: which one it was is
    /// seen by the length.
    #[must_use]
    pub fn keygrip(secrets: &[Secret]) -> Self {
        let hashes = [SHA1, hmac::HMAC_SHA256, hmac::HMAC_SHA512];
        let by = |hash| secrets.iter().map(|secret| hmac::Key::new(hash, secret.expose())).collect();
        Self::Keygrip(hashes.map(by).into())
    }

    /// As Flask-Session signs: HMAC-SHA1 under keys that are derived from these secrets.
    #[must_use]
    pub fn its_dangerous(secrets: &[Secret]) -> Self {
        let derived = |secret: &Secret| mac(SHA1, secret.expose(), &[FLASK_SALT]);
        Self::ItsDangerous(
            secrets.iter().map(|secret| hmac::Key::new(SHA1, derived(secret).as_ref())).collect(),
        )
    }

    /// Whether a second cookie is needed.
    #[must_use]
    pub const fn needs_signature_cookie(&self) -> bool {
        matches!(self, Self::Keygrip(_))
    }

    /// The id in the cookie `name` with this value; `signature` is the second cookie.
    ///
    /// # Errors
    /// The cookie is not the framework's.
    pub fn verify(&self, name: &str, value: &[u8], signature: Option<&[u8]>) -> Result<Proven, Refusal> {
        if value.len() > LONGEST {
            return Err(Refusal::Spelling);
        }
        let id = match self {
            Self::None => value.to_vec(),
            Self::Signed { prefix, padded, keys } => {
                let signed = value.strip_prefix(prefix.as_bytes()).ok_or(Refusal::Unsigned)?;
                let (id, signature) = split_last(signed, b'.').ok_or(Refusal::Unsigned)?;
                let encoding = if *padded { STANDARD } else { STANDARD_NO_PAD };
                any(keys, |key| {
                    // 32 bytes are 43 characters, 44 with the padding.
                    let mut text = [0; 44];
                    let written = encoding.encode_slice(hmac::sign(key, id), &mut text);
                    written.is_ok_and(|length| same(&text[..length], signature))
                })?;
                id.to_vec()
            }
            Self::Keygrip(keys) => {
                let signature = signature.ok_or(Refusal::Unsigned)?;
                // In base64, four characters for every three bytes.
                let has_length = |keys: &&Vec<hmac::Key>| {
                    let bytes = keys.first().map(|key| key.algorithm().digest_algorithm().output_len());
                    bytes.is_some_and(|bytes| (bytes * 4).div_ceil(3) == signature.len())
                };
                any(keys.iter().find(has_length).ok_or(Refusal::Unsigned)?, |key| {
                    let mac = mac_with(key, &[name.as_bytes(), b"=", value]);
                    same(URL_SAFE_NO_PAD.encode(mac).as_bytes(), signature)
                })?;
                value.to_vec()
            }
            Self::ItsDangerous(keys) => {
                let (id, signature) = split_last(value, b'.').ok_or(Refusal::Unsigned)?;
                any(keys, |key| same(URL_SAFE_NO_PAD.encode(hmac::sign(key, id)).as_bytes(), signature))?;
                id.to_vec()
            }
            Self::Laravel(encrypter) => laravel(encrypter, name, value)?,
            Self::SecureCookie { keys, max_age } => return secure_cookie(keys, *max_age, name, value),
            Self::Base64 => {
                let encoding = if value.ends_with(b"=") { STANDARD } else { STANDARD_NO_PAD };
                encoding.decode(value).map_err(|_| Refusal::Spelling)?
            }
        };
        Ok(Proven { id: Secret::new(id), ends: None })
    }
}

/// SHA-1 is weak where somebody can choose both messages; in an HMAC it still holds, and it is what these frameworks do.
const SHA1: hmac::Algorithm = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;

fn mac(algorithm: hmac::Algorithm, key: &[u8], parts: &[&[u8]]) -> hmac::Tag {
    mac_with(&hmac::Key::new(algorithm, key), parts)
}

fn mac_with(key: &hmac::Key, parts: &[&[u8]]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    for part in parts {
        context.update(part);
    }
    context.sign()
}

fn same(ours: &[u8], theirs: &[u8]) -> bool {
    ours.ct_eq(theirs).into()
}

/// Looks at every secret, so that the time does not say which one fits.
fn any<K>(secrets: &[K], fits: impl Fn(&K) -> bool) -> Result<(), Refusal> {
    let found = secrets.iter().fold(false, |found, secret| found | fits(secret));
    if found { Ok(()) } else { Err(Refusal::Forged) }
}

fn split_last(value: &[u8], separator: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memrchr(separator, value)?;
    Some((&value[..at], &value[at + 1..]))
}

/// Without the proof of its name, any other encrypted cookie of the application would do for a session.
fn laravel(encrypter: &Encrypter, name: &str, value: &[u8]) -> Result<Vec<u8>, Refusal> {
    let plain = encrypter.open(value).ok_or(Refusal::Forged)?;
    let (proof, id) = split_last(&plain, b'|').ok_or(Refusal::Forged)?;
    any(encrypter.keys(), |key| {
        let mac = mac(SHA1, key.expose(), &[name.as_bytes(), LARAVEL_PREFIX_VERSION.as_bytes()]);
        same(hex(mac.as_ref()).as_bytes(), proof)
    })?;
    Ok(id.to_vec())
}

/// base64url of `time|value|mac`, where the MAC covers `name|time|value` and the value is base64url of a gob or of
/// JSON, perhaps encrypted in counter mode.
fn secure_cookie(
    keys: &[(Secret, Option<Secret>)],
    max_age: Duration,
    name: &str,
    value: &[u8],
) -> Result<Proven, Refusal> {
    let whole = URL_SAFE.decode(value).map_err(|_| Refusal::Spelling)?;
    let mut parts = whole.splitn(3, |byte| *byte == b'|');
    let (Some(time), Some(content), Some(tag)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(Refusal::Spelling);
    };
    let genuine = |key: &Secret| {
        same(
            mac(hmac::HMAC_SHA256, key.expose(), &[name.as_bytes(), b"|", time, b"|", content]).as_ref(),
            tag,
        )
    };
    let (_, block) = keys.iter().find(|(key, _)| genuine(key)).ok_or(Refusal::Forged)?;
    let content = URL_SAFE.decode(content).map_err(|_| Refusal::Forged)?;
    let content = match block {
        Some(key) => decrypted(key, &content).ok_or(Refusal::Forged)?,
        None => content,
    };
    let id = match content.as_slice() {
        [b'"', ..] => serde_json::from_slice::<String>(&content).map_err(|_| Refusal::Forged)?.into_bytes(),
        gob => gob::decode_text(gob).map_err(|_| Refusal::Forged)?.into_vec(),
    };
    let time = std::str::from_utf8(time).ok().and_then(|text| text.parse().ok()).ok_or(Refusal::Forged)?;
    Ok(Proven { id: Secret::new(id), ends: Some(Timestamp::from_secs(time).plus(max_age)) })
}

/// AES in counter mode behind its initialisation vector.
fn decrypted(key: &Secret, content: &[u8]) -> Option<Vec<u8>> {
    let (iv, rest) = content.split_first_chunk::<16>()?;
    let mut plain = rest.to_vec();
    let key = key.expose();
    match key.len() {
        16 => ctr::Ctr128BE::<Aes128>::new_from_slices(key, iv).ok()?.apply_keystream(&mut plain),
        24 => ctr::Ctr128BE::<Aes192>::new_from_slices(key, iv).ok()?.apply_keystream(&mut plain),
        32 => ctr::Ctr128BE::<Aes256>::new_from_slices(key, iv).ok()?.apply_keystream(&mut plain),
        _ => return None,
    }
    Some(plain)
}
