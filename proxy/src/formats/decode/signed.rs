//! What Django keeps in its table: base64url of JSON (or a pickle, in applications that say so), perhaps compressed, with
//! the time and a signature behind it. The signature is verified, in constant time, before anything is read.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{python, zlib};
use crate::formats::value::{DecodeError, Decoded, MOST_BYTES};
use crate::secret::Secret;

const MALFORMED: DecodeError = DecodeError::Malformed("signed Django session");
/// What the signing key is made with, in front of the `SECRET_KEY`: the name of the class and what `Signer` adds.
const SALT: &[u8] = b"django.contrib.sessions.SessionStoresigner";

/// The keys of an application's `SECRET_KEY`s, newest first.
#[derive(Clone, Debug)]
pub struct SignedValues(Vec<hmac::Key>);

impl SignedValues {
    /// `None` without a secret.
    pub(in crate::formats) fn new(secrets: &[Secret]) -> Option<Self> {
        let key = |secret: &Secret| {
            let derived = Sha256::new().chain_update(SALT).chain_update(secret.expose()).finalize();
            hmac::Key::new(hmac::HMAC_SHA256, &derived)
        };
        (!secrets.is_empty()).then(|| Self(secrets.iter().map(key).collect()))
    }

    /// Reads a session. `<data>:<time>:<signature>`; the time is not looked at, as Django does not.
    pub(super) fn decode(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        if bytes.len() > MOST_BYTES {
            return Err(DecodeError::TooLarge);
        }
        let at = memchr::memrchr(b':', bytes).ok_or(MALFORMED)?;
        let (signed, signature) = (&bytes[..at], &bytes[at + 1..]);
        let is_genuine = |key: &hmac::Key| -> bool {
            let ours = URL_SAFE_NO_PAD.encode(hmac::sign(key, signed));
            ours.as_bytes().ct_eq(signature).into()
        };
        if !self.0.iter().fold(false, |found, key| found | is_genuine(key)) {
            return Err(MALFORMED);
        }
        let at = memchr::memrchr(b':', signed).ok_or(MALFORMED)?;
        let (data, is_compressed) = match &signed[..at] {
            [b'.', data @ ..] => (data, true),
            data => (data, false),
        };
        let plain = URL_SAFE_NO_PAD.decode(data).map_err(|_| MALFORMED)?;
        if is_compressed { python(&zlib::inflate(&plain)?) } else { python(&plain) }
    }
}
