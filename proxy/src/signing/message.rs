//! RFC 9421 HTTP Message Signatures over method, authority, path, query and every context header. Signing is the
//! last change to a request: what is signed here is what the application receives, byte for byte (THREATS G4).

use std::io::Write;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue};
use sha2::Sha256;

use super::keyring::{Keyring, Material, Purpose, derive};
use super::{MessageAlgorithm, Outgoing};
use crate::clock::Timestamp;
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
    /// Keyed once, cloned for each message.
    Hmac(Box<Hmac<Sha256>>),
    /// Position in the keyring.
    Ed25519(usize),
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

    /// `Signature-Input` and `Signature` for a request that carries exactly these context headers.
    pub(super) fn sign(
        &self,
        keyring: &Keyring,
        outgoing: &Outgoing<'_>,
        context_headers: &[(HeaderName, HeaderValue)],
        request_id: &str,
        now: Timestamp,
    ) -> Result<[(HeaderName, HeaderValue); 2], Reason> {
        let key = self
            .keys
            .iter()
            .find(|key| key.active_from.is_none_or(|from| from <= now))
            .ok_or(Reason::CannotSign)?;
        let parameters = Parameters {
            created: now.as_secs(),
            expires: now.plus(self.lifetime).as_secs(),
            nonce: request_id,
            constant: &key.constant_parameters,
        };
        let (base, parameters_start) = signature_base(outgoing, context_headers, &parameters)?;
        let signature = key.material.sign(keyring, &base)?;
        let header = |bytes: Vec<u8>| HeaderValue::try_from(bytes).map_err(|_| Reason::CannotSign);
        let mut input = Vec::with_capacity(LABEL.len() + 1 + base.len() - parameters_start);
        input.extend_from_slice(LABEL.as_bytes());
        input.push(b'=');
        input.extend_from_slice(&base[parameters_start..]);
        Ok([(SIGNATURE_INPUT, header(input)?), (SIGNATURE, header(signature)?)])
    }
}

fn hmac_key(key: &crate::keys::Key, upstream: &str) -> MessageKey {
    let derived = derive(&key.secret, Purpose::MessageSignature, upstream);
    let state = Hmac::new_from_slice(derived.expose()).expect("HMAC takes keys of every length");
    MessageKey {
        active_from: None,
        constant_parameters: constant_parameters("hmac-sha256", &key.id),
        material: MessageMaterial::Hmac(Box::new(state)),
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
    /// The value of the `Signature` field.
    fn sign(&self, keyring: &Keyring, base: &[u8]) -> Result<Vec<u8>, Reason> {
        let mut value = Vec::with_capacity(LABEL.len() + 3 + 88);
        value.extend_from_slice(LABEL.as_bytes());
        value.extend_from_slice(b"=:");
        match self {
            Self::Hmac(state) => {
                let mut state = Hmac::clone(state);
                state.update(base);
                append_base64(&mut value, &state.finalize().into_bytes())?;
            }
            Self::Ed25519(position) => {
                let Some(Material::Ed25519(pair)) = keyring.keys.get(*position).map(|key| &key.material)
                else {
                    return Err(Reason::CannotSign);
                };
                append_base64(&mut value, pair.sign(base).as_ref())?;
            }
        }
        value.push(b':');
        Ok(value)
    }
}

fn append_base64(value: &mut Vec<u8>, signature: &[u8]) -> Result<(), Reason> {
    let start = value.len();
    value.resize(start + 88, 0);
    let written = STANDARD.encode_slice(signature, &mut value[start..]).map_err(|_| Reason::CannotSign)?;
    value.truncate(start + written);
    Ok(())
}

struct Parameters<'a> {
    created: u64,
    expires: u64,
    nonce: &'a str,
    constant: &'a str,
}

/// The signature base (RFC 9421, section 2.5) in one buffer, and where in it the signature parameters begin.
fn signature_base(
    outgoing: &Outgoing<'_>,
    context_headers: &[(HeaderName, HeaderValue)],
    parameters: &Parameters<'_>,
) -> Result<(Vec<u8>, usize), Reason> {
    let target = [outgoing.method, outgoing.authority, outgoing.path, outgoing.query.unwrap_or_default()];
    // A line break here would let a client write lines of the base itself (THREATS G12).
    if target.iter().any(|text| !text.bytes().all(|byte| matches!(byte, b'!'..=b'~'))) {
        return Err(Reason::CannotSign);
    }
    let headers: usize =
        context_headers.iter().map(|(name, value)| 2 * name.as_str().len() + value.len() + 10).sum();
    let target: usize = target.iter().map(|text| text.len()).sum();
    let mut base =
        Vec::with_capacity(headers + target + parameters.nonce.len() + parameters.constant.len() + 256);

    let mut line = |name: &str, parts: &[&[u8]]| {
        base.push(b'"');
        base.extend_from_slice(name.as_bytes());
        base.extend_from_slice(b"\": ");
        for part in parts {
            base.extend_from_slice(part);
        }
        base.push(b'\n');
    };
    line("@method", &[outgoing.method.as_bytes()]);
    if outgoing.authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
        line("@authority", &[outgoing.authority.to_ascii_lowercase().as_bytes()]);
    } else {
        line("@authority", &[outgoing.authority.as_bytes()]);
    }
    line("@path", &[if outgoing.path.is_empty() { b"/" } else { outgoing.path.as_bytes() }]);
    // An absent query is a question mark alone (RFC 9421, section 2.2.7).
    line("@query", &[b"?", outgoing.query.unwrap_or_default().as_bytes()]);
    for (name, value) in context_headers {
        line(name.as_str(), &[value.as_bytes()]);
    }

    base.extend_from_slice(b"\"@signature-params\": ");
    let parameters_start = base.len();
    append_parameters(&mut base, context_headers, parameters).map_err(|_| Reason::CannotSign)?;
    Ok((base, parameters_start))
}

fn append_parameters(
    base: &mut Vec<u8>,
    context_headers: &[(HeaderName, HeaderValue)],
    parameters: &Parameters<'_>,
) -> std::io::Result<()> {
    base.extend_from_slice(br#"("@method" "@authority" "@path" "@query""#);
    for (name, _) in context_headers {
        base.extend_from_slice(b" \"");
        base.extend_from_slice(name.as_str().as_bytes());
        base.push(b'"');
    }
    write!(base, ");created={};expires={};nonce=\"", parameters.created, parameters.expires)?;
    for &byte in encode(parameters.nonce.as_bytes()).iter() {
        // The two characters that a structured string escapes (RFC 9651, section 3.3.3).
        if matches!(byte, b'"' | b'\\') {
            base.push(b'\\');
        }
        base.push(byte);
    }
    base.push(b'"');
    base.extend_from_slice(parameters.constant.as_bytes());
    Ok(())
}
