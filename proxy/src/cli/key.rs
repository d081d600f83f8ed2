//! `countersign key`: makes keys, and derives what an application needs for verifying. Prints secrets, on purpose, to
//! standard output and nowhere else.

use std::io::Write;

use anyhow::{Context as _, bail};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use clap::ValueEnum;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair};

use crate::config::Snapshot;
use crate::keys::SHORTEST_KEY;
use crate::signing::MessageAlgorithm;

/// What a key is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Kind {
    /// Session tokens.
    Token,
    /// Anti-forgery tokens.
    Csrf,
    /// Sealing platform credentials.
    Sealing,
    /// Root of HMAC message signatures.
    Hmac,
    /// Signing JWTs.
    Jwt,
    /// Ed25519 message signatures.
    Message,
}

/// Algorithms of jwt keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Algorithm {
    /// Ed25519.
    #[value(name = "EdDSA")]
    EdDsa,
    /// ECDSA with P-256.
    #[value(name = "ES256")]
    Es256,
    /// HMAC with SHA-256.
    #[value(name = "HS256")]
    Hs256,
}

/// Prints a new key of its kind: 43 characters for a symmetric key, PEM for a private one.
pub(super) fn new(kind: Kind, algorithm: Algorithm, out: &mut dyn Write) -> anyhow::Result<()> {
    let text = match kind {
        Kind::Token | Kind::Csrf | Kind::Sealing | Kind::Hmac => symmetric()?,
        Kind::Jwt => match algorithm {
            Algorithm::EdDsa => ed25519()?,
            Algorithm::Es256 => p256()?,
            Algorithm::Hs256 => symmetric()?,
        },
        Kind::Message if algorithm == Algorithm::EdDsa => ed25519()?,
        Kind::Message => bail!("a message key is always EdDSA (Ed25519); leave `--algorithm` out"),
    };
    out.write_all(text.as_bytes())?;
    Ok(())
}

/// Prints the HMAC key of one upstream, as its application needs it.
pub(super) fn derive(upstream: &str, snapshot: &Snapshot, _out: &mut dyn Write) -> anyhow::Result<()> {
    let names = || snapshot.upstreams.iter().map(|upstream| upstream.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = snapshot
        .upstream(upstream)
        .with_context(|| format!("there is no upstream `{upstream}`; the configuration has: {}", names()))?;
    if found.message_signature != Some(MessageAlgorithm::HmacSha256) {
        bail!("requests to `{upstream}` are not signed with hmac-sha256, so there is no key to hand out");
    }
    bail!("not wired yet")
}

/// 32 random bytes as text. The text itself is the key: it is not decoded when it is read.
fn symmetric() -> anyhow::Result<String> {
    let mut bytes = [0; SHORTEST_KEY];
    SystemRandom::new().fill(&mut bytes).ok().context("this system gives no random bytes")?;
    Ok(format!("{}\n", URL_SAFE_NO_PAD.encode(bytes)))
}

fn ed25519() -> anyhow::Result<String> {
    let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
    Ok(pem(key.ok().context("this system gives no random bytes")?.as_ref()))
}

fn p256() -> anyhow::Result<String> {
    let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
    Ok(pem(key.ok().context("this system gives no random bytes")?.as_ref()))
}

/// The textual form of a private key (RFC 7468, section 10).
fn pem(der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, more) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = more;
    }
    text.push_str("-----END PRIVATE KEY-----\n");
    text
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, Kind, new};

    fn printed(kind: Kind, algorithm: Algorithm) -> String {
        let mut out = Vec::new();
        new(kind, algorithm, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn symmetric_keys_are_43_characters_and_never_the_same() {
        let one = printed(Kind::Token, Algorithm::EdDsa);
        assert_eq!(one.trim_end().len(), 43);
        assert_ne!(one, printed(Kind::Token, Algorithm::EdDsa));
    }

    #[test]
    fn every_new_key_is_accepted_by_the_configuration() {
        for (kind, algorithm, name) in [
            (Kind::Jwt, Algorithm::EdDsa, "EdDSA"),
            (Kind::Jwt, Algorithm::Es256, "ES256"),
            (Kind::Jwt, Algorithm::Hs256, "HS256"),
        ] {
            let key = printed(kind, algorithm);
            let text = format!(
                "[[listen]]\naddress = \"127.0.0.1:8080\"\n[keys]\n\
                 token = [{{ id = \"t\", secret = {{ env = \"TOKEN\" }} }}]\n\
                 jwt = [{{ id = \"j\", algorithm = \"{name}\", secret = {{ env = \"JWT\" }} }}]\n"
            );
            let token = printed(Kind::Token, Algorithm::EdDsa);
            let environment = |variable: &str| match variable {
                "TOKEN" => Some(token.clone()),
                "JWT" => Some(key.clone()),
                _ => None,
            };
            let snapshot = crate::config::parse(&text, "test.toml", &environment).unwrap();
            assert_eq!(snapshot.keys.jwt.len(), 1);
        }
    }

    #[test]
    fn a_message_key_of_another_algorithm_is_refused() {
        assert!(new(Kind::Message, Algorithm::Es256, &mut Vec::new()).is_err());
    }
}
