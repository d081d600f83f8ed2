//! What Laravel encrypts: base64 of JSON with initialisation vector, value and either a MAC (AES-CBC) or a tag
//! (AES-GCM). The MAC is verified, in constant time, before anything is decrypted; every key is tried.

use std::borrow::Cow;

use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockModeDecrypt, KeyIvInit};
use aes::{Aes128, Aes256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{aead, hmac};
use serde::Deserialize;
use subtle::ConstantTimeEq;

use super::hex;
use crate::secret::Secret;

/// The block mode of an application's encryption, as its `cipher` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Cipher {
    /// AES-128-CBC or AES-256-CBC with HMAC-SHA256.
    #[default]
    Cbc,
    /// AES-128-GCM or AES-256-GCM.
    Gcm,
}

/// Opens what an application encrypted.
#[derive(Clone, Debug)]
pub struct Encrypter {
    cipher: Cipher,
    /// Newest first; each has 16 or 32 bytes.
    keys: Vec<Secret>,
}

/// Base64, in which a slash may be written as `\/`: not every version keeps PHP from that.
#[derive(Deserialize)]
struct Payload<'a> {
    #[serde(borrow)]
    iv: Cow<'a, str>,
    #[serde(borrow)]
    value: Cow<'a, str>,
    #[serde(borrow, default)]
    mac: Cow<'a, str>,
    #[serde(borrow, default)]
    tag: Cow<'a, str>,
}

impl Encrypter {
    /// With these keys, newest first; `None` when one is not 16 or 32 bytes long, or there is none. A key may be
    /// written as `base64:...`, as applications keep it.
    #[must_use]
    pub fn new(cipher: Cipher, keys: &[Secret]) -> Option<Self> {
        let keys = keys.iter().map(key).collect::<Option<Vec<_>>>()?;
        (!keys.is_empty()).then_some(Self { cipher, keys })
    }

    /// The keys, newest first.
    pub(super) fn keys(&self) -> &[Secret] {
        &self.keys
    }

    /// The content of an envelope; `None` when it was not made with any of the keys, or not with this cipher.
    pub(super) fn open(&self, envelope: &[u8]) -> Option<Vec<u8>> {
        let json = STANDARD.decode(envelope).ok()?;
        let payload: Payload<'_> = serde_json::from_slice(&json).ok()?;
        let iv = STANDARD.decode(payload.iv.as_ref()).ok()?;
        let value = STANDARD.decode(payload.value.as_ref()).ok()?;
        self.keys.iter().find_map(|key| match self.cipher {
            Cipher::Cbc => open_cbc(key, &payload, &iv, &value),
            Cipher::Gcm => open_gcm(key, &payload, &iv, &value),
        })
    }
}

fn key(secret: &Secret) -> Option<Secret> {
    let raw = match secret.expose().strip_prefix(b"base64:") {
        Some(text) => Secret::new(STANDARD.decode(text).ok()?),
        None => secret.clone(),
    };
    matches!(raw.expose().len(), 16 | 32).then_some(raw)
}

fn open_cbc(key: &Secret, payload: &Payload<'_>, iv: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key.expose()));
    context.update(payload.iv.as_bytes());
    context.update(payload.value.as_bytes());
    let mac = hex(context.sign().as_ref());
    if !payload.tag.is_empty() || !bool::from(mac.as_bytes().ct_eq(payload.mac.as_bytes())) {
        return None;
    }
    let mut buffer = value.to_vec();
    let length = if key.expose().len() == 16 {
        let cipher = cbc::Decryptor::<Aes128>::new_from_slices(key.expose(), iv).ok()?;
        cipher.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len()
    } else {
        let cipher = cbc::Decryptor::<Aes256>::new_from_slices(key.expose(), iv).ok()?;
        cipher.decrypt_padded::<Pkcs7>(&mut buffer).ok()?.len()
    };
    buffer.truncate(length);
    Some(buffer)
}

fn open_gcm(key: &Secret, payload: &Payload<'_>, iv: &[u8], value: &[u8]) -> Option<Vec<u8>> {
    let tag = STANDARD.decode(payload.tag.as_ref()).ok()?;
    if tag.len() != aead::AES_256_GCM.tag_len() {
        return None;
    }
    let algorithm = if key.expose().len() == 16 { &aead::AES_128_GCM } else { &aead::AES_256_GCM };
    let opening = aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, key.expose()).ok()?);
    let nonce = aead::Nonce::try_assume_unique_for_key(iv).ok()?;
    let mut buffer = [value, &tag].concat();
    let length = opening.open_in_place(nonce, aead::Aad::empty(), &mut buffer).ok()?.len();
    buffer.truncate(length);
    Some(buffer)
}
