//! Reads Fernet tokens: base64url(0x80 || time || iv || AES-128-CBC ciphertext || HMAC-SHA256). The tag is verified,
//! in constant time, before anything is decrypted. The time in the token is not judged: credentials do not expire.

use std::fmt;

use aes::Aes128;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use ring::hmac;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Tokens and keys come with and without `=`.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
const VERSION: u8 = 0x80;
/// Version and time.
const HEAD: usize = 1 + 8;
const IV: usize = 16;
const TAG: usize = 32;

/// One Fernet key: 16 bytes to sign with, 16 to encrypt with.
pub(super) struct FernetKey {
    signing: hmac::Key,
    encryption: Zeroizing<[u8; 16]>,
}

/// A token whose shape is right; who made it is not known yet.
pub(super) struct Token {
    signed: Vec<u8>,
    tag: [u8; TAG],
}

/// Reads the shape of a token.
pub(super) fn parse(text: &str) -> Option<Token> {
    let mut signed = BASE64.decode(text).ok()?;
    let tag = *signed.last_chunk::<TAG>()?;
    signed.truncate(signed.len() - TAG);
    let ciphertext = signed.len().checked_sub(HEAD + IV)?;
    let fits = signed.first() == Some(&VERSION) && ciphertext > 0 && ciphertext.is_multiple_of(16);
    fits.then_some(Token { signed, tag })
}

impl FernetKey {
    pub(super) fn parse(text: &Secret) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64.decode(text.expose()).ok()?);
        let (signing, encryption) = bytes.split_at_checked(16)?;
        let encryption = Zeroizing::new(encryption.try_into().ok()?);
        Some(Self { signing: hmac::Key::new(hmac::HMAC_SHA256, signing), encryption })
    }

    /// The content of a token made with this key.
    pub(super) fn open(&self, token: &Token) -> Option<Secret> {
        hmac::verify(&self.signing, &token.signed, &token.tag).ok()?;
        let (_, rest) = token.signed.split_at_checked(HEAD)?;
        let (iv, ciphertext) = rest.split_first_chunk::<IV>()?;
        let cipher = cbc::Decryptor::<Aes128>::new((&*self.encryption).into(), iv.into());
        let mut buffer = ciphertext.to_vec();
        let length = cipher.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len();
        // The padding that stays behind the end is no secret.
        buffer.truncate(length);
        Some(Secret::new(buffer))
    }
}

impl fmt::Debug for FernetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FernetKey(redacted)")
    }
}
