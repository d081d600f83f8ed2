//! Whether a session began with the password that its user has now. Django writes into each session a keyed hash of the
//! column `password`, and ends the session when that no longer fits. Users are kept with the hashes that their sessions
//! have to have, one for each secret; the column itself is dropped as soon as it was read.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use arc_swap::ArcSwap;
use ring::hmac;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What Django puts before its `SECRET_KEY` (`get_session_auth_hash` of `django.contrib.auth.base_user`).
const SALT: &[u8] = b"django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash";
/// What a key is named after: its own tag of this text.
const NAMED: &[u8] = b"countersign names this key";

/// Tells keys apart, and no more: 32 bits, so that what lies in a store is of little use for guessing the secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct KeyName(u32);

/// A secret of the application, as its sessions are marked with it.
pub struct PasswordKey {
    name: KeyName,
    key: hmac::Key,
}

impl PasswordKey {
    /// The key that Django derives from `SECRET_KEY`: SHA-256 of a salt and the secret (django.utils.crypto, `salted_hmac`).
    #[must_use]
    pub fn of_django(secret: &[u8]) -> Self {
        let derived = Sha256::new().chain_update(SALT).chain_update(secret).finalize();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &derived);
        let tag = hmac::sign(&key, NAMED);
        let name = tag.as_ref().iter().take(4).fold(0, |name, byte| name << 8 | u32::from(*byte));
        Self { name: KeyName(name), key }
    }

    /// What a session says that begins with this password.
    #[must_use]
    pub fn mark(&self, password: &[u8]) -> PasswordMark {
        let mut digest = [0; 32];
        digest.copy_from_slice(hmac::sign(&self.key, password).as_ref());
        PasswordMark { key: self.name, digest }
    }
}

impl fmt::Debug for PasswordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordKey").finish_non_exhaustive()
    }
}

/// What a session has to say if its user's password is still the one that it began with. As secret as a session's content.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct PasswordMark {
    key: KeyName,
    digest: [u8; 32],
}

impl fmt::Debug for PasswordMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordMark(redacted)")
    }
}

impl From<PasswordMark> for String {
    fn from(mark: PasswordMark) -> Self {
        mark.digest.iter().fold(format!("{:08x}:", mark.key.0), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl TryFrom<String> for PasswordMark {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let (name, digest) = text.split_once(':').ok_or("no mark of a password")?;
        let key = u32::from_str_radix(name, 16).map_err(|_| "no name of a key")?;
        Ok(Self { key: KeyName(key), digest: digest_of(digest.as_bytes()).ok_or("no digest")? })
    }
}

/// 64 small hexadecimal digits, as Django writes them, and nothing else.
#[must_use]
pub fn digest_of(text: &[u8]) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    if text.len() != 2 * digest.len() {
        return None;
    }
    for (byte, digits) in digest.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(digits[0])? << 4 | digit(digits[1])?;
    }
    Some(digest)
}

const fn digit(letter: u8) -> Option<u8> {
    match letter {
        b'0'..=b'9' => Some(letter - b'0'),
        b'a'..=b'f' => Some(letter - b'a' + 10),
        _ => None,
    }
}

/// What a session says of the password with which it began.
#[derive(Clone)]
pub struct PasswordClaim {
    keys: Arc<[PasswordKey]>,
    digest: [u8; 32],
}

/// What becomes of such a claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Password {
    /// The user has that password.
    Same,
    /// The user has another one.
    Changed,
    /// The user was read without some of the session's keys, so that nobody can say.
    Unsaid,
}

impl PasswordClaim {
    /// A claim of a session whose application has these keys.
    #[must_use]
    pub const fn new(keys: Arc<[PasswordKey]>, digest: [u8; 32]) -> Self {
        Self { keys, digest }
    }

    /// Compares in constant time with what the user's sessions have to say.
    #[must_use]
    pub fn judge(&self, marks: &[PasswordMark]) -> Password {
        let mut is_complete = true;
        for key in self.keys.iter() {
            let mut marks = marks.iter().filter(|mark| mark.key == key.name).peekable();
            is_complete &= marks.peek().is_some();
            if marks.any(|mark| bool::from(mark.digest.ct_eq(&self.digest))) {
                return Password::Same;
            }
        }
        if is_complete { Password::Changed } else { Password::Unsaid }
    }
}

impl fmt::Debug for PasswordClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordClaim(redacted)")
    }
}

/// The keys of all applications in front of which this proxy stands. They change with the configuration, while users are
/// read.
#[derive(Default)]
pub struct PasswordKeys(ArcSwap<Vec<Arc<[PasswordKey]>>>);

impl PasswordKeys {
    /// The keys of several applications; none where nothing is compared.
    #[must_use]
    pub fn new(applications: Vec<Arc<[PasswordKey]>>) -> Self {
        Self(ArcSwap::from_pointee(applications))
    }

    /// Whether passwords are compared at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Takes the keys of `others` in place of these; answers whether they are others.
    pub fn replace(&self, others: &Self) -> bool {
        let is_other = self != others;
        self.0.store(others.0.load_full());
        is_other
    }

    /// What the sessions of a user with this password have to say.
    #[must_use]
    pub fn marks(&self, password: &[u8]) -> Box<[PasswordMark]> {
        self.0.load().iter().flat_map(|keys| keys.iter()).map(|key| key.mark(password)).collect()
    }

    /// Whether nothing is missing among the marks of a user.
    #[must_use]
    pub fn are_all_in(&self, marks: &[PasswordMark]) -> bool {
        let is_in = |key: &PasswordKey| marks.iter().any(|mark| mark.key == key.name);
        self.0.load().iter().flat_map(|keys| keys.iter()).all(is_in)
    }

    fn names(&self) -> Vec<KeyName> {
        self.0.load().iter().flat_map(|keys| keys.iter()).map(|key| key.name).collect()
    }
}

impl PartialEq for PasswordKeys {
    fn eq(&self, other: &Self) -> bool {
        self.names() == other.names()
    }
}

impl Eq for PasswordKeys {}

impl fmt::Debug for PasswordKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordKeys").field("applications", &self.0.load().len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWORD: &[u8] = b"pbkdf2_sha256$1$made-up$cGFzc3dvcmQ=";

    fn keys(secrets: &[&str]) -> Arc<[PasswordKey]> {
        secrets.iter().map(|secret| PasswordKey::of_django(secret.as_bytes())).collect()
    }

    fn claim(secrets: &[&str], made_with: &str) -> PasswordClaim {
        PasswordClaim::new(keys(secrets), PasswordKey::of_django(made_with.as_bytes()).mark(PASSWORD).digest)
    }

    #[test]
    fn a_session_fits_under_any_of_its_secrets_and_no_other() {
        let both = PasswordKeys::new(vec![keys(&["new", "old"])]);
        let (marks, others) = (both.marks(PASSWORD), both.marks(b"another"));
        for secret in ["new", "old"] {
            assert_eq!(claim(&["new", "old"], secret).judge(&marks), Password::Same);
            assert_eq!(claim(&["new", "old"], secret).judge(&others), Password::Changed);
        }
        assert_eq!(claim(&["new", "old"], "a third").judge(&marks), Password::Changed);
        assert_eq!(claim(&["new"], "old").judge(&marks), Password::Changed, "the old one is out of use");
    }

    #[test]
    fn what_was_read_without_a_key_decides_nothing_against_a_session() {
        let old = PasswordKeys::new(vec![keys(&["old"])]);
        let marks = old.marks(PASSWORD);
        assert_eq!(claim(&["new", "old"], "old").judge(&marks), Password::Same);
        assert_eq!(claim(&["new", "old"], "new").judge(&marks), Password::Unsaid);
        assert_eq!(claim(&["new", "old"], "new").judge(&[]), Password::Unsaid);
        assert!(old.are_all_in(&marks) && !PasswordKeys::new(vec![keys(&["new", "old"])]).are_all_in(&marks));
        assert!(old.replace(&PasswordKeys::new(vec![keys(&["old"]), keys(&["new"])])));
        assert!(!old.are_all_in(&marks) && old.are_all_in(&old.marks(PASSWORD)));
        assert!(PasswordKeys::default().is_empty() && PasswordKeys::default().are_all_in(&[]));
    }

    #[test]
    fn marks_are_read_back_and_neither_they_nor_keys_are_printed() {
        let mark = PasswordKey::of_django(b"secret").mark(PASSWORD);
        let text = serde_json::to_string(&mark).unwrap();
        assert_eq!(serde_json::from_str::<PasswordMark>(&text).unwrap(), mark);
        for bad in ["\"\"", "\"1:2\"", "\"x\"", "7", "\"0000000g:00\""] {
            assert!(serde_json::from_str::<PasswordMark>(bad).is_err(), "{bad}");
        }
        let shown =
            format!("{mark:?}{:?}{:?}", PasswordKey::of_django(b"secret"), claim(&["secret"], "secret"));
        assert!(!shown.contains(&text[11..20]) && !shown.contains("secret\""), "{shown}");
    }

    #[test]
    fn a_digest_is_written_in_one_way() {
        let text = "ab".repeat(32);
        assert_eq!(digest_of(text.as_bytes()), Some([0xab; 32]));
        for other in [text.to_uppercase(), text[..40].to_owned(), format!("{text}0"), "x".repeat(64)] {
            assert_eq!(digest_of(other.as_bytes()), None, "{other}");
        }
    }
}
