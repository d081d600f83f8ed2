//! Anti-forgery tokens: base64url(expiry || nonce || HMAC-SHA256(csrf key, purpose || session id || expiry || nonce)).
//! Bound to the hashed session id without holding it; a new session id makes every earlier token worthless (THREATS E7).
//! Every token differs, so that compression beside chosen text learns nothing (BREACH). Pure but for the nonce.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::Timestamp;
use crate::context::SessionId;
use crate::keys::Key;
use crate::reason::Reason;
use crate::secret::Secret;

/// What the keys are used for, so that nothing else made with them passes for a token.
const PURPOSE: &[u8] = b"countersign csrf 1\0";
const EXPIRY_BYTES: usize = 8;
const NONCE_BYTES: usize = 8;
const MAC_BYTES: usize = 32;
const RAW_BYTES: usize = EXPIRY_BYTES + NONCE_BYTES + MAC_BYTES;
/// Length of the text.
pub const TOKEN_LENGTH: usize = 64;
/// How far in the future the clock of a seeds' application may lie.
const SKEW: Duration = Duration::from_mins(1);
/// Random bytes in a seeds' token, and how many of them must differ (SEEDS.md, section 6).
const SEEDS_RANDOM_BYTES: usize = 32;
const SEEDS_DISTINCT_BYTES: usize = 16;

/// How anti-forgery tokens are made and judged.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Newest first; empty when none is configured, and then no token is valid.
    pub keys: Vec<Key>,
    /// How long a token is valid (12 h); it ends with its session anyway.
    pub lifetime: Duration,
    /// Tokens of the application that was there before, for a transition.
    pub seeds: Option<Seeds>,
}

/// The seeds' format: `session id:unix seconds:64 hex digits:hex HMAC-SHA256 of what comes before`.
#[derive(Clone, Debug)]
pub struct Seeds {
    /// The application's secret key.
    pub secret: Secret,
    /// How old a token may be (1 h).
    pub lifetime: Duration,
}

/// An anti-forgery token. It opens nothing by itself, yet is never logged (THREATS E7).
#[derive(Clone, PartialEq, Eq)]
pub struct CsrfToken {
    text: String,
    expires: Timestamp,
}

impl CsrfToken {
    /// The token as scripts send it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Until when it is valid; whole seconds.
    #[must_use]
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl fmt::Debug for CsrfToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CsrfToken(redacted)")
    }
}

/// A new token for a session under the newest key; `None` when there is no key.
///
/// # Panics
/// When the system has no randomness, without which nothing may go on.
pub fn issue(settings: &Settings, session: &SessionId, now: Timestamp) -> Option<CsrfToken> {
    let newest = settings.keys.first()?;
    let expires = Timestamp::from_secs(now.plus(settings.lifetime).as_secs());
    let mut raw = [0; RAW_BYTES];
    raw[..EXPIRY_BYTES].copy_from_slice(&expires.as_secs().to_be_bytes());
    let nonce = &mut raw[EXPIRY_BYTES..EXPIRY_BYTES + NONCE_BYTES];
    SystemRandom::new().fill(nonce).expect("the operating system gives randomness");
    let context = authenticated(session, &raw[..EXPIRY_BYTES + NONCE_BYTES]);
    let mac = hmac::sign(&key_of(newest), &context);
    raw[EXPIRY_BYTES + NONCE_BYTES..].copy_from_slice(mac.as_ref());
    Some(CsrfToken { text: URL_SAFE_NO_PAD.encode(raw), expires })
}

/// Judges the token that a request carries for this session.
///
/// # Errors
/// `CsrfExpired` for a token of this session that was valid once, `CsrfInvalid` for everything else.
pub fn verify(settings: &Settings, session: &SessionId, token: &[u8], now: Timestamp) -> Result<(), Reason> {
    if token.len() == TOKEN_LENGTH && !token.contains(&b':') {
        return verify_own(&settings.keys, session, token, now);
    }
    match &settings.seeds {
        Some(seeds) => verify_seeds(seeds, session, token, now),
        None => Err(Reason::CsrfInvalid),
    }
}

fn verify_own(keys: &[Key], session: &SessionId, token: &[u8], now: Timestamp) -> Result<(), Reason> {
    let mut raw = [0; RAW_BYTES];
    match URL_SAFE_NO_PAD.decode_slice(token, &mut raw) {
        Ok(RAW_BYTES) => {}
        _ => return Err(Reason::CsrfInvalid),
    }
    let (told, mac) = raw.split_at(EXPIRY_BYTES + NONCE_BYTES);
    let context = authenticated(session, told);
    // Every key is tried, so that the time tells nothing about which one it was (THREATS C7).
    let genuine = keys.iter().fold(false, |found, key| {
        let fits = hmac::verify(&key_of(key), &context, mac).is_ok();
        found | fits
    });
    if !genuine {
        return Err(Reason::CsrfInvalid);
    }
    let mut expiry = [0; EXPIRY_BYTES];
    expiry.copy_from_slice(&told[..EXPIRY_BYTES]);
    if Timestamp::from_secs(u64::from_be_bytes(expiry)) > now { Ok(()) } else { Err(Reason::CsrfExpired) }
}

fn verify_seeds(seeds: &Seeds, session: &SessionId, token: &[u8], now: Timestamp) -> Result<(), Reason> {
    let mut parts = token.rsplitn(2, |&byte| byte == b':');
    let (Some(signature), Some(signed)) = (parts.next(), parts.next()) else {
        return Err(Reason::CsrfInvalid);
    };
    let mac = from_hex::<MAC_BYTES>(signature).ok_or(Reason::CsrfInvalid)?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, seeds.secret.expose());
    hmac::verify(&key, signed, &mac).map_err(|_| Reason::CsrfInvalid)?;
    let mut parts = signed.split(|&byte| byte == b':');
    let (Some(id), Some(made), Some(random), None) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Reason::CsrfInvalid);
    };
    let random = from_hex::<SEEDS_RANDOM_BYTES>(random).ok_or(Reason::CsrfInvalid)?;
    let mut distinct = [false; 256];
    random.iter().for_each(|&byte| distinct[usize::from(byte)] = true);
    let varied = distinct.iter().filter(|seen| **seen).count() >= SEEDS_DISTINCT_BYTES;
    let made = seconds(made).ok_or(Reason::CsrfInvalid)?;
    // The applications name their session in clear; every store of ours knows it by its hash.
    let is_ours = SessionId::of_token(id) == *session;
    if !is_ours || !varied || made > now.plus(SKEW) {
        return Err(Reason::CsrfInvalid);
    }
    if now.since(made) <= seeds.lifetime { Ok(()) } else { Err(Reason::CsrfExpired) }
}

fn authenticated(session: &SessionId, told: &[u8]) -> Vec<u8> {
    [PURPOSE, session.as_bytes(), told].concat()
}

fn key_of(key: &Key) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, key.secret.expose())
}

fn seconds(text: &[u8]) -> Option<Timestamp> {
    let digits = !text.is_empty() && text.len() <= 15 && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| digits)?;
    text.parse().ok().map(Timestamp::from_secs)
}

fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(pair[at]).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests;
