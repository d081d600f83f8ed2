//! RFC 9421 HTTP Message Signatures over method, authority, path, query and every context header. Signing is the
//! last change to a request: what is signed here is what the application receives, byte for byte (THREATS G4).
//! The lines that a context always has come first, so that they are hashed once and not for every request.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue};
use ring::hmac;
use ring::signature::Signature;

use super::keyring::{Keyring, Material, Purpose, derive};
use super::{MessageAlgorithm, Outgoing};
use crate::clock::{Timestamp, append_number};
use crate::headers::lines::Lines;
use crate::headers::names::{SIGNATURE, SIGNATURE_INPUT};
use crate::headers::render::encode;
use crate::reason::Reason;

/// The label of the one signature, and the value of its `tag` parameter.
const LABEL: &str = "countersign";

/// Signs messages to one upstream.
pub(super) struct MessageSigner {
    keys: Vec<MessageKey>,
    lifetime: Duration,
}

struct MessageKey {
    active_from: Option<Timestamp>,
    /// The parameters that are always the same. With created, expires and nonce in front this is the order that every
    /// verifier tried accepts, those included that serialise the parameters anew (STATE 7).
    constant_parameters: String,
    material: MessageMaterial,
}

enum MessageMaterial {
    Hmac(hmac::Key),
    /// Position in the keyring.
    Ed25519(usize),
}

/// A signature whose first lines are written: those of the headers that a context always has.
pub(super) struct Begun {
    key: usize,
    lines: Fed,
}

enum Fed {
    /// Fed already.
    Hmac(Box<hmac::Context>),
    Ed25519(Box<[u8]>),
}

/// What one request adds to a signature.
pub(super) struct Message<'a> {
    /// The request as it will be sent.
    pub(super) outgoing: &'a Outgoing<'a>,
    /// Context headers that only this request has.
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    /// Its id, the nonce of the signature.
    pub(super) request_id: &'a str,
    /// When it is signed.
    pub(super) now: Timestamp,
}

impl MessageSigner {
    /// A signer for `upstream`; `None` when the keyring has no key for the algorithm.
    pub(super) fn new(
        keyring: &Keyring,
        algorithm: MessageAlgorithm,
        upstream: &str,
        lifetime: Duration,
    ) -> Option<Self> {
        let keys: Vec<_> = match algorithm {
            MessageAlgorithm::HmacSha256 => {
                keyring.hmac.iter().take(1).map(|key| hmac_key(key, upstream)).collect()
            }
            MessageAlgorithm::Ed25519 => ed25519_keys(keyring),
        };
        if keys.is_empty() { None } else { Some(Self { keys, lifetime }) }
    }

    /// The key that signs at `now`.
    pub(super) fn key_at(&self, now: Timestamp) -> Result<usize, Reason> {
        let active = |key: &MessageKey| key.active_from.is_none_or(|from| from <= now);
        self.keys.iter().position(active).ok_or(Reason::CannotSign)
    }

    /// Begins signatures of requests that all carry `headers`.
    pub(super) fn begin(&self, key: usize, headers: &[(HeaderName, HeaderValue)]) -> Begun {
        let mut lines = Vec::with_capacity(1536);
        for (name, value) in headers {
            line(&mut lines, name.as_str(), value.as_bytes());
        }
        let lines = match &self.keys[key].material {
            MessageMaterial::Hmac(secret) => {
                let mut state = hmac::Context::with_key(secret);
                state.update(&lines);
                Fed::Hmac(Box::new(state))
            }
            MessageMaterial::Ed25519(_) => Fed::Ed25519(lines.into()),
        };
        Begun { key, lines }
    }

    /// Writes `Signature-Input` and `Signature` for a request that carries exactly the headers begun with, which are
    /// `covered`, and its own. The parameters are signed where they are written.
    pub(super) fn sign(
        &self,
        begun: &Begun,
        covered: &[u8],
        keyring: &Keyring,
        message: &Message<'_>,
        lines: &mut Lines,
    ) -> Result<(), Reason> {
        let key = self.keys.get(begun.key).ok_or(Reason::CannotSign)?;
        let mut base = Vec::with_capacity(message.size());
        target_lines(&mut base, message.outgoing)?;
        for (name, value) in message.headers {
            line(&mut base, name.as_str(), value.as_bytes());
        }
        base.extend_from_slice(b"\"@signature-params\": ");
        let signature = lines.write(&SIGNATURE_INPUT, |input| {
            input.extend_from_slice(LABEL.as_bytes());
            input.push(b'=');
            let start = input.len();
            self.append_parameters(input, covered, message, &key.constant_parameters);
            key.material.sign(keyring, &begun.lines, [&base, &input[start..]])
        })??;
        lines.write(&SIGNATURE, |value| append_signature(value, signature.as_ref()))?
    }

    fn append_parameters(&self, input: &mut Vec<u8>, covered: &[u8], message: &Message<'_>, constant: &str) {
        input.push(b'(');
        // Without the blank in front of the first name.
        input.extend_from_slice(covered.get(1..).unwrap_or_default());
        for (name, _) in message.headers {
            cover(input, name.as_str());
        }
        input.extend_from_slice(b");created=");
        append_number(input, message.now.as_secs());
        input.extend_from_slice(b";expires=");
        append_number(input, message.now.plus(self.lifetime).as_secs());
        input.extend_from_slice(b";nonce=\"");
        for &byte in encode(message.request_id.as_bytes()).iter() {
            // The two characters that a structured string escapes (RFC 9651, section 3.3.3).
            if matches!(byte, b'"' | b'\\') {
                input.push(b'\\');
            }
            input.push(byte);
        }
        input.push(b'"');
        input.extend_from_slice(constant.as_bytes());
    }
}

impl Begun {
    /// Bytes that it holds besides itself.
    pub(super) fn weight(&self) -> usize {
        match &self.lines {
            Fed::Hmac(_) => size_of::<hmac::Context>(),
            Fed::Ed25519(lines) => lines.len(),
        }
    }
}

impl Message<'_> {
    /// More than the bytes that its part of the base takes, parameters that are always the same not counted.
    fn size(&self) -> usize {
        let Outgoing { method, authority, path, query } = self.outgoing;
        let target = method.len() + authority.len() + path.len() + query.map_or(0, str::len);
        let headers: usize =
            self.headers.iter().map(|(name, value)| 2 * name.as_str().len() + value.len() + 10).sum();
        target + headers + 3 * self.request_id.len() + 160
    }
}

fn hmac_key(key: &crate::keys::Key, upstream: &str) -> MessageKey {
    let derived = derive(&key.secret, Purpose::MessageSignature, upstream);
    MessageKey {
        active_from: None,
        constant_parameters: constant_parameters("hmac-sha256", &key.id),
        material: MessageMaterial::Hmac(hmac::Key::new(hmac::HMAC_SHA256, derived.expose())),
    }
}

fn ed25519_keys(keyring: &Keyring) -> Vec<MessageKey> {
    let keys = keyring.keys.iter().enumerate();
    keys.filter(|(_, key)| matches!(key.material, Material::Ed25519(_)))
        .map(|(position, key)| MessageKey {
            active_from: key.active_from,
            constant_parameters: constant_parameters("ed25519", &key.key_id),
            material: MessageMaterial::Ed25519(position),
        })
        .collect()
}

fn constant_parameters(algorithm: &str, key_id: &str) -> String {
    format!(r#";alg="{algorithm}";keyid="{key_id}";tag="{LABEL}""#)
}

impl MessageMaterial {
    /// Signs what was begun, and the pieces of the rest behind it.
    fn sign(&self, keyring: &Keyring, begun: &Fed, rest: [&[u8]; 2]) -> Result<Made, Reason> {
        match (self, begun) {
            (Self::Hmac(_), Fed::Hmac(state)) => {
                let mut state = hmac::Context::clone(state);
                for piece in rest {
                    state.update(piece);
                }
                Ok(Made::Hmac(state.sign()))
            }
            (Self::Ed25519(position), Fed::Ed25519(lines)) => {
                match keyring.keys.get(*position).map(|key| &key.material) {
                    Some(Material::Ed25519(pair)) => {
                        Ok(Made::Ed25519(pair.sign(&[lines, rest[0], rest[1]].concat())))
                    }
                    _ => Err(Reason::CannotSign),
                }
            }
            // Begun with another key.
            _ => Err(Reason::CannotSign),
        }
    }
}

/// A signature.
enum Made {
    Hmac(hmac::Tag),
    Ed25519(Signature),
}

impl AsRef<[u8]> for Made {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Hmac(tag) => tag.as_ref(),
            Self::Ed25519(signature) => signature.as_ref(),
        }
    }
}

/// The value of the `Signature` field.
fn append_signature(value: &mut Vec<u8>, signature: &[u8]) -> Result<(), Reason> {
    value.extend_from_slice(LABEL.as_bytes());
    value.extend_from_slice(b"=:");
    let start = value.len();
    // As base64 writes it: four characters for every three bytes, the last group filled up.
    value.resize(start + signature.len().div_ceil(3) * 4, b'=');
    STANDARD.encode_slice(signature, &mut value[start..]).map_err(|_| Reason::CannotSign)?;
    value.push(b':');
    Ok(())
}

/// The lines of what is signed besides headers (RFC 9421, section 2.5).
fn target_lines(base: &mut Vec<u8>, outgoing: &Outgoing<'_>) -> Result<(), Reason> {
    let target = [outgoing.method, outgoing.authority, outgoing.path, outgoing.query.unwrap_or_default()];
    // A line break here would let a client write lines of the base itself (THREATS G12).
    if target.iter().any(|text| !text.bytes().all(|byte| matches!(byte, b'!'..=b'~'))) {
        return Err(Reason::CannotSign);
    }
    target_line(base, b"\"@method\": ", outgoing.method.as_bytes());
    let authority = b"\"@authority\": ";
    if outgoing.authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
        target_line(base, authority, outgoing.authority.to_ascii_lowercase().as_bytes());
    } else {
        target_line(base, authority, outgoing.authority.as_bytes());
    }
    let path = if outgoing.path.is_empty() { b"/" } else { outgoing.path.as_bytes() };
    target_line(base, b"\"@path\": ", path);
    // An absent query is a question mark alone (RFC 9421, section 2.2.7).
    target_line(base, b"\"@query\": ?", outgoing.query.unwrap_or_default().as_bytes());
    Ok(())
}

fn line(base: &mut Vec<u8>, name: &str, value: &[u8]) {
    base.push(b'"');
    base.extend_from_slice(name.as_bytes());
    base.extend_from_slice(b"\": ");
    base.extend_from_slice(value);
    base.push(b'\n');
}

/// The same for a part of the target, with all that is the same in front of it.
fn target_line<const N: usize>(base: &mut Vec<u8>, begun: &[u8; N], value: &[u8]) {
    base.extend_from_slice(begun);
    base.extend_from_slice(value);
    base.push(b'\n');
}

/// The beginning of the covered list: the headers that a context always has, and the parts of the target.
pub(super) fn covered<'a>(headers: impl Iterator<Item = &'a HeaderName>) -> Box<[u8]> {
    let mut covered = Vec::with_capacity(512);
    let derived = ["@method", "@authority", "@path", "@query"];
    headers.map(HeaderName::as_str).chain(derived).for_each(|name| cover(&mut covered, name));
    covered.into()
}

fn cover(covered: &mut Vec<u8>, name: &str) {
    covered.extend_from_slice(b" \"");
    covered.extend_from_slice(name.as_bytes());
    covered.push(b'"');
}
