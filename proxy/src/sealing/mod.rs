//! Platform credentials, encrypted where they are stored and bound to the place where they lie: AES-256-GCM.
//! Tokens that the seeds' applications made (Fernet) can be read, never made. Nothing here keeps what it opened.

mod fernet;

#[cfg(test)]
mod tests;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};

use self::fernet::FernetKey;
use crate::context::{PlatformId, SealedCredential};
use crate::keys::{Key, SHORTEST_KEY};
use crate::secret::Secret;

/// What sealed text begins with: our first format.
const FORMAT: &str = "cs1.";
/// The longest text that is opened; a credential is a few hundred bytes.
const LONGEST: usize = 64 * 1024;
/// What a derived key is for (RFC 5869, section 3.2).
const PURPOSE: &[u8] = b"countersign sealing";

/// Where a credential lies. Sealed text is good at its own place only: copied into another row it cannot be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place<'a> {
    /// The table.
    pub table: &'a str,
    /// The row, by its primary key.
    pub row: &'a str,
    /// The column.
    pub column: &'a str,
}

impl<'a> Place<'a> {
    /// The place of a platform's credential, in the directory and in the store alike.
    #[must_use]
    pub fn credential_of(platform: &'a PlatformId) -> Self {
        Self { table: "platforms", row: platform.as_str(), column: "credential" }
    }

    /// The associated data: each part after its length, so that no two places read the same.
    fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in [self.table, self.row, self.column] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    }
}

/// Why something could not be sealed or opened. Says nothing about the content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealingError {
    /// There is no key to seal with.
    #[error("there is no sealing key")]
    NoKey,
    /// A key is too short, repeated, or not of the form that is asked for.
    #[error("a sealing key cannot be used")]
    BadKey,
    /// The text was sealed with a key that we do not have.
    #[error("the credential was sealed with an unknown key")]
    UnknownKey,
    /// The text is not in any format that we read.
    #[error("the credential is malformed")]
    Malformed,
    /// The text was altered, or sealed for another place, or with another key.
    #[error("the credential does not belong here")]
    Forged,
    /// The machine gave no random numbers.
    #[error("no random numbers")]
    NoRandomness,
}

/// Seals and opens credentials.
#[derive(Debug)]
pub struct Sealer {
    /// Newest first; the first one seals.
    keys: Vec<(String, LessSafeKey)>,
    fernet: Vec<FernetKey>,
}

impl Sealer {
    /// Takes the sealing keys, newest first, and the seeds' Fernet keys (44 characters of base64 each).
    ///
    /// A secret of 32 bytes is the key itself; a longer one is made into a key with HKDF-SHA256 (no salt, info
    /// `countersign sealing`). Under one key at most 2^32 credentials may be sealed (random nonces; NIST SP 800-38D,
    /// section 8.3), which is far beyond the number of platforms.
    ///
    /// # Errors
    /// `BadKey` for a secret shorter than 32 bytes, an id used twice or a Fernet key that is none.
    pub fn new(keys: Vec<Key>, fernet: &[Secret]) -> Result<Self, SealingError> {
        let mut sealers: Vec<(String, LessSafeKey)> = Vec::with_capacity(keys.len());
        for key in keys {
            if key.secret.expose().len() < SHORTEST_KEY || sealers.iter().any(|(id, _)| *id == key.id) {
                return Err(SealingError::BadKey);
            }
            let usable = LessSafeKey::new(usable_key(&key.secret)?);
            sealers.push((key.id, usable));
        }
        let fernet = fernet.iter().map(|key| FernetKey::parse(key).ok_or(SealingError::BadKey));
        Ok(Self { keys: sealers, fernet: fernet.collect::<Result<_, _>>()? })
    }

    /// Seals with the newest key: `cs1.<key id>.<base64url(nonce || ciphertext || tag)>`.
    ///
    /// # Errors
    /// `NoKey` when there is none, `NoRandomness` when the machine has none.
    pub fn seal(&self, plaintext: &Secret, place: Place<'_>) -> Result<SealedCredential, SealingError> {
        let (id, key) = self.keys.first().ok_or(SealingError::NoKey)?;
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealingError::NoRandomness)?;
        let mut sealed = nonce.to_vec();
        // The plaintext is overwritten in place; nothing of it stays behind in freed memory.
        sealed.reserve_exact(plaintext.expose().len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(plaintext.expose());
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.bytes()),
                &mut sealed[NONCE_LEN..],
            )
            .map_err(|_| SealingError::Malformed)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(SealedCredential::from_text(format!("{FORMAT}{id}.{}", URL_SAFE_NO_PAD.encode(sealed))))
    }

    /// Opens sealed text that lies at `place`. A Fernet token names no place and no key: each Fernet key is tried.
    ///
    /// # Errors
    /// `UnknownKey`, `Malformed` or `Forged`; all of them mean that there is no credential to be had.
    pub fn open(&self, sealed: &SealedCredential, place: Place<'_>) -> Result<Secret, SealingError> {
        let text = sealed.as_text();
        if text.len() > LONGEST {
            return Err(SealingError::Malformed);
        }
        let Some(rest) = text.strip_prefix(FORMAT) else { return self.open_fernet(text) };
        // A key id may hold a dot, base64url does not.
        let (id, body) = rest.rsplit_once('.').ok_or(SealingError::Malformed)?;
        let (_, key) = self.keys.iter().find(|(known, _)| known == id).ok_or(SealingError::UnknownKey)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|_| SealingError::Malformed)?;
        let (nonce, ciphertext) = bytes.split_first_chunk::<NONCE_LEN>().ok_or(SealingError::Malformed)?;
        let mut buffer = ciphertext.to_vec();
        let opened = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(place.bytes()), &mut buffer)
            .map_err(|_| SealingError::Forged)?
            .len();
        // What follows is the tag, no secret.
        buffer.truncate(opened);
        Ok(Secret::new(buffer))
    }

    fn open_fernet(&self, text: &str) -> Result<Secret, SealingError> {
        let token = fernet::parse(text).ok_or(SealingError::Malformed)?;
        self.fernet.iter().find_map(|key| key.open(&token)).ok_or(SealingError::Forged)
    }
}

fn usable_key(secret: &Secret) -> Result<UnboundKey, SealingError> {
    let secret = secret.expose();
    if secret.len() == AES_256_GCM.key_len() {
        return UnboundKey::new(&AES_256_GCM, secret).map_err(|_| SealingError::BadKey);
    }
    let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(secret);
    let key = derived.expand(&[PURPOSE], &AES_256_GCM).map_err(|_| SealingError::BadKey)?;
    Ok(UnboundKey::from(key))
}
