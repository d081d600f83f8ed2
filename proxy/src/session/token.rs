//! Self-checking tokens: base64url(24 random bytes || first 8 bytes of HMAC-SHA256(token key, random bytes)).
//! Pure but for the randomness of a new token; reading one asks nobody, so that a forged token costs nothing.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::context::SessionId;
use crate::keys::Key;
use crate::reason::Reason;

/// Random bytes in a token: 192 bits, more than the 128 that THREATS C8 asks for.
const RANDOM_BYTES: usize = 24;
/// Bytes of the tag: 2^64 guesses for a forger, each of which costs one lookup at most.
const TAG_BYTES: usize = 8;
/// Bytes behind the text.
const RAW_BYTES: usize = RANDOM_BYTES + TAG_BYTES;
/// Length of the text: 32 bytes in base64 without padding (RFC 4648, section 5).
pub const TOKEN_LENGTH: usize = 43;

/// The secret in the session cookie. Never stored, never logged, never forwarded.
///
/// Invariant: 43 characters of canonical base64url whose tag was made with one of the token keys.
#[derive(Clone)]
pub struct SessionToken(Zeroizing<String>);

/// Keys that tokens are checked with, made ready once: keying is half of the work of checking.
#[derive(Clone, Debug)]
pub struct TokenKeys(Vec<hmac::Key>);

impl From<&[Key]> for TokenKeys {
    fn from(keys: &[Key]) -> Self {
        Self(keys.iter().map(keyed).collect())
    }
}

impl SessionToken {
    /// A new token under the newest key.
    ///
    /// # Panics
    /// When there is no key (the configuration refuses that) or the system has no randomness, without which nothing
    /// may go on.
    pub fn mint(keys: &[Key]) -> Self {
        let newest = keys.first().expect("the configuration holds at least one token key");
        let mut raw = Zeroizing::new([0; RAW_BYTES]);
        let (random, tag) = raw.split_at_mut(RANDOM_BYTES);
        SystemRandom::new().fill(random).expect("the operating system gives randomness");
        tag.copy_from_slice(&tag_of(&keyed(newest), random));
        Self(Zeroizing::new(URL_SAFE_NO_PAD.encode(*raw)))
    }

    /// Reads a cookie value. No I/O: a forged token costs nothing. Takes as long for a near miss as for a far one, and
    /// looks at every key (THREATS C7).
    ///
    /// # Errors
    /// `MalformedCookie` when it does not have the shape of a token, `ForgedToken` when its tag fits no key.
    pub fn parse(value: &[u8], keys: &TokenKeys) -> Result<Self, Reason> {
        if value.len() != TOKEN_LENGTH {
            return Err(Reason::MalformedCookie);
        }
        let mut raw = Zeroizing::new([0; RAW_BYTES]);
        // Refuses padding, foreign characters and stray bits in the last character: one token has one spelling.
        match URL_SAFE_NO_PAD.decode_slice(value, raw.as_mut_slice()) {
            Ok(RAW_BYTES) => {}
            _ => return Err(Reason::MalformedCookie),
        }
        let (random, tag) = raw.split_at(RANDOM_BYTES);
        let genuine =
            keys.0.iter().fold(Choice::from(0), |found, key| found | tag_of(key, random).ct_eq(tag));
        if !bool::from(genuine) {
            return Err(Reason::ForgedToken);
        }
        let text = std::str::from_utf8(value).map_err(|_| Reason::MalformedCookie)?;
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    /// The id of the session that this token opens.
    pub fn id(&self) -> SessionId {
        SessionId::of_token(self.0.as_bytes())
    }

    /// The 43 characters; only for Set-Cookie.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(redacted)")
    }
}

fn keyed(key: &Key) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.secret.expose())
}

fn tag_of(key: &hmac::Key, random: &[u8]) -> [u8; TAG_BYTES] {
    let whole = hmac::sign(key, random);
    let mut tag = [0; TAG_BYTES];
    tag.copy_from_slice(&whole.as_ref()[..TAG_BYTES]);
    tag
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::secret::Secret;

    fn parse(value: &[u8], keys: &[Key]) -> Result<SessionToken, Reason> {
        SessionToken::parse(value, &TokenKeys::from(keys))
    }

    fn key(id: &str, byte: u8) -> Key {
        Key { id: id.to_owned(), secret: Secret::new(vec![byte; 32]) }
    }

    #[test]
    fn a_minted_token_is_read_back_as_itself() {
        let keys = [key("new", 1), key("old", 2)];
        let token = SessionToken::mint(&keys);
        assert_eq!(token.expose().len(), TOKEN_LENGTH);
        let read = parse(token.expose().as_bytes(), &keys).unwrap();
        assert_eq!(read.expose(), token.expose());
        assert_eq!(read.id(), token.id());
    }

    #[test]
    fn two_tokens_are_never_the_same() {
        let keys = [key("k", 1)];
        assert_ne!(SessionToken::mint(&keys).expose(), SessionToken::mint(&keys).expose());
    }

    #[test]
    fn a_token_of_a_retiring_key_is_accepted_and_of_a_removed_key_forged() {
        let token = SessionToken::mint(&[key("old", 2)]);
        let value = token.expose().as_bytes();
        assert!(parse(value, &[key("new", 1), key("old", 2)]).is_ok());
        assert_eq!(parse(value, &[key("new", 1)]).unwrap_err(), Reason::ForgedToken);
        assert_eq!(parse(value, &[]).unwrap_err(), Reason::ForgedToken);
    }

    #[test]
    fn the_stray_bits_of_the_last_character_cannot_be_varied() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let keys = [key("k", 1)];
        let token = SessionToken::mint(&keys);
        let mut value = token.expose().as_bytes().to_vec();
        let spellings = alphabet
            .iter()
            .filter(|last| {
                value[TOKEN_LENGTH - 1] = **last;
                parse(&value, &keys).is_ok()
            })
            .count();
        assert_eq!(spellings, 1);
    }

    #[test]
    fn a_session_id_is_not_a_token() {
        let keys = [key("k", 1)];
        let id = SessionToken::mint(&keys).id().to_string();
        assert_eq!(parse(id.as_bytes(), &keys).unwrap_err(), Reason::ForgedToken);
    }

    #[test]
    fn a_token_is_never_printed() {
        let token = SessionToken::mint(&[key("k", 1)]);
        assert_eq!(format!("{token:?}"), "SessionToken(redacted)");
    }

    proptest! {
        #[test]
        fn a_token_with_one_byte_altered_is_refused(at in 0..TOKEN_LENGTH, byte: u8) {
            let keys = [key("k", 1)];
            let mut value = SessionToken::mint(&keys).expose().as_bytes().to_vec();
            prop_assume!(value[at] != byte);
            value[at] = byte;
            prop_assert!(parse(&value, &keys).is_err());
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(parse(&value, &[key("k", 1)]).is_err());
        }
    }
}
