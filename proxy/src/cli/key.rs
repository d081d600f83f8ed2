//! `countersign key`: makes keys, and derives what an application needs for verifying. Prints secrets, on purpose, to
//! standard output and nowhere else.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use super::operators::{headings_in_bold, json_text, plain, table};
use crate::clock::{Clock, SystemClock};
use crate::config::Snapshot;
use crate::context::PlatformId;
use crate::keys::JwtAlgorithm;
use crate::sealing::{Place, Sealer};
use crate::secret::Secret;
use crate::signing::MessageAlgorithm;
use crate::signing::keyring::{self, KeyState, Keyring, Purpose};

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
    let algorithm = match (kind, algorithm) {
        // `Hs256` stands for 32 random bytes as text; the text itself is the key and is not decoded when it is read.
        (Kind::Token | Kind::Csrf | Kind::Sealing | Kind::Hmac, _) | (Kind::Jwt, Algorithm::Hs256) => {
            JwtAlgorithm::Hs256
        }
        (Kind::Jwt, Algorithm::Es256) => JwtAlgorithm::Es256,
        (Kind::Jwt | Kind::Message, Algorithm::EdDsa) => JwtAlgorithm::EdDsa,
        (Kind::Message, _) => bail!("a message key is always EdDSA (Ed25519); leave `--algorithm` out"),
    };
    let key = keyring::generate(algorithm).ok().context("this system gives no random bytes")?;
    out.write_all(key.expose())?;
    if !key.expose().ends_with(b"\n") {
        writeln!(out)?;
    }
    Ok(())
}

/// Prints the keys with which the application behind one upstream verifies, newest first, one a line: for message
/// signatures, or with `jwt` for HS256 tokens.
pub(super) fn derive(
    upstream: &str,
    jwt: bool,
    snapshot: &Snapshot,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let names =
        || snapshot.upstreams.iter().map(|upstream| upstream.name.as_str()).collect::<Vec<_>>().join(", ");
    let found = snapshot
        .upstream(upstream)
        .with_context(|| format!("there is no upstream `{upstream}`; the configuration has: {}", names()))?;
    let tokens = snapshot.keys.jwt.iter().filter(|key| key.algorithm == JwtAlgorithm::Hs256);
    let (roots, purpose): (Vec<&Secret>, _) = if jwt {
        (tokens.map(|key| &key.secret).collect(), Purpose::Token)
    } else {
        (snapshot.keys.hmac.iter().map(|key| &key.secret).collect(), Purpose::MessageSignature)
    };
    if jwt && (!found.jwt || roots.is_empty()) {
        bail!(
            "`{upstream}` is sent no HS256 tokens, so there is no key to hand out; the JWKS has the public keys"
        );
    }
    if !jwt && found.message_signature != Some(MessageAlgorithm::HmacSha256) {
        bail!("requests to `{upstream}` are not signed with hmac-sha256, so there is no key to hand out");
    }
    for root in roots {
        writeln!(out, "{}", keyring::derive_text(root, purpose, &found.name))?;
    }
    Ok(())
}

/// Reads a credential and prints it sealed to the row of `platform`. The end of its last line does not belong to it.
pub(super) fn seal(
    platform: &PlatformId,
    snapshot: &Snapshot,
    input: &mut dyn Read,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut text = zeroize::Zeroizing::new(String::new());
    input.take(LONGEST_CREDENTIAL + 1).read_to_string(&mut text).context("reading the credential")?;
    let trimmed = text.trim_end_matches(['\r', '\n']);
    if trimmed.is_empty() || trimmed.len() as u64 > LONGEST_CREDENTIAL {
        bail!("standard input must hold a credential of 1 to {LONGEST_CREDENTIAL} bytes");
    }
    let sealer = Sealer::new(snapshot.keys.sealing.clone(), &snapshot.keys.fernet)?;
    let credential = sealer.seal(&Secret::from(trimmed), Place::credential_of(platform)).context(
        "sealing; the configuration needs a key in `keys.sealing` (`countersign key new sealing` makes one)",
    )?;
    writeln!(out, "{}", credential.as_text())?;
    Ok(())
}

/// Lists every key by purpose: its id, what it does at the moment, and how verifiers know it. Never the key itself.
pub(super) fn list(snapshot: &Snapshot, json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let keys = &snapshot.keys;
    let mut rows: Vec<[String; 5]> = Vec::new();
    for (purpose, list) in
        [("token", &keys.token), ("csrf", &keys.csrf), ("sealing", &keys.sealing), ("hmac", &keys.hmac)]
    {
        for (position, key) in list.iter().enumerate() {
            let state = if position == 0 { KeyState::Active } else { KeyState::Retiring };
            let known = if purpose == "hmac" { key.id.clone() } else { String::new() };
            rows.push([purpose, &key.id, "", state.as_str(), &known].map(str::to_owned));
        }
    }
    for (purpose, list) in [("jwt", &keys.jwt), ("message", &keys.message)] {
        let keyring = Keyring::new(&[], list)?;
        for (id, key_id, algorithm, state) in keyring.states(now) {
            let algorithm = match algorithm {
                JwtAlgorithm::EdDsa => "EdDSA",
                JwtAlgorithm::Es256 => "ES256",
                JwtAlgorithm::Hs256 => "HS256",
            };
            rows.push([purpose, id, algorithm, state.as_str(), key_id].map(str::to_owned));
        }
    }
    if json {
        let names = ["purpose", "id", "algorithm", "state", "key_id"];
        let shown = rows.iter().map(|row| {
            let members = names.iter().zip(row).filter(|(_, value)| !value.is_empty());
            members.map(|(name, value)| ((*name).to_owned(), value.as_str().into())).collect()
        });
        return json_text(&serde_json::Value::Array(shown.map(serde_json::Value::Object).collect()), out);
    }
    let rows = rows.into_iter().map(|row| row.iter().map(|cell| plain(cell)).collect());
    let text = table(&["PURPOSE", "ID", "ALGORITHM", "STATE", "KEY ID"], rows);
    Ok(writeln!(out, "{}", headings_in_bold(&text))?)
}

/// Makes the successor of a key: writes it into a file that only its owner can read, and says how it takes over without
/// anybody being locked out. The configuration is left for its owner to change.
pub(super) fn rotate(
    kind: Kind,
    algorithm: Option<Algorithm>,
    file: &Path,
    id: Option<&str>,
    snapshot: &Snapshot,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let algorithm = algorithm.unwrap_or_else(|| usual_algorithm(kind, snapshot));
    let now = SystemClock.now();
    let day = now.to_string();
    let name = kind_name(kind);
    let id = id.map_or_else(|| format!("{name}-{}", day.get(..10).unwrap_or(&day)), str::to_owned);
    if ids(kind, snapshot).any(|known| known == id) {
        bail!("the configuration has a key `{id}` for {name} already; choose another one with `--id`");
    }
    let mut secret = zeroize::Zeroizing::new(Vec::new());
    new(kind, algorithm, &mut *secret)?;
    let mut target = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("making {}; an existing file is never overwritten", file.display()))?;
    target.write_all(&secret)?;
    target.sync_all()?;
    let shown = file.display().to_string();
    let entry = |more: &str| format!("{{ id = {id:?}, {more}secret = {{ file = {shown:?} }} }}");
    writeln!(out, "A new {name} key is in {shown}; only its owner can read it.\n")?;
    if matches!(kind, Kind::Jwt | Kind::Message) {
        let from = now.plus(PUBLISHED_FIRST);
        let word = match algorithm {
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Es256 => "ES256",
            Algorithm::Hs256 => "HS256",
        };
        let more = if kind == Kind::Jwt { format!("algorithm = \"{word}\", ") } else { String::new() };
        let more = format!("{more}active_from = \"{from}\", ");
        writeln!(
            out,
            "1. Put it first in `keys.{name}` on every proxy, before {from}:\n     {}",
            entry(&more)
        )?;
        writeln!(out, "2. Until then it is published and does not sign; verifiers learn it meanwhile.")?;
    } else {
        writeln!(out, "1. Put it last in `keys.{name}` on every proxy:\n     {}", entry(""))?;
        writeln!(out, "2. When every proxy runs with it, put it first: from then on it is used.")?;
    }
    let after = match kind {
        Kind::Token | Kind::Csrf => format!("absolute_timeout ({})", span(snapshot.session.absolute_timeout)),
        Kind::Sealing => "every credential that was sealed with it was sealed anew".to_owned(),
        Kind::Hmac | Kind::Message => format!("signature.lifetime ({})", span(snapshot.signature_lifetime)),
        Kind::Jwt => format!("jwt.lifetime ({})", span(snapshot.jwt_lifetime)),
    };
    if kind == Kind::Hmac {
        writeln!(out, "   Before that, hand each application its key: `countersign key derive UPSTREAM`.")?;
    }
    writeln!(
        out,
        "3. Take the old key out after {after}.\n\nNext: `countersign key list CONFIG` shows what is in use."
    )?;
    Ok(())
}

/// How long a new public key is published before it signs: longer than verifiers keep what they know.
const PUBLISHED_FIRST: Duration = Duration::from_mins(15);

fn span(span: Duration) -> String {
    humantime::format_duration(span).to_string()
}

const fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Token => "token",
        Kind::Csrf => "csrf",
        Kind::Sealing => "sealing",
        Kind::Hmac => "hmac",
        Kind::Jwt => "jwt",
        Kind::Message => "message",
    }
}

/// The ids of the keys of a kind, newest first.
fn ids(kind: Kind, snapshot: &Snapshot) -> impl Iterator<Item = &str> {
    let keys = &snapshot.keys;
    let (symmetric, signing) = match kind {
        Kind::Token => (keys.token.as_slice(), [].as_slice()),
        Kind::Csrf => (keys.csrf.as_slice(), [].as_slice()),
        Kind::Sealing => (keys.sealing.as_slice(), [].as_slice()),
        Kind::Hmac => (keys.hmac.as_slice(), [].as_slice()),
        Kind::Jwt => ([].as_slice(), keys.jwt.as_slice()),
        Kind::Message => ([].as_slice(), keys.message.as_slice()),
    };
    symmetric.iter().map(|key| key.id.as_str()).chain(signing.iter().map(|key| key.id.as_str()))
}

/// The algorithm of the key that is in use, or the default.
fn usual_algorithm(kind: Kind, snapshot: &Snapshot) -> Algorithm {
    let newest = snapshot.keys.jwt.first().filter(|_| kind == Kind::Jwt);
    match newest.map(|key| key.algorithm) {
        Some(JwtAlgorithm::Es256) => Algorithm::Es256,
        Some(JwtAlgorithm::Hs256) => Algorithm::Hs256,
        Some(JwtAlgorithm::EdDsa) | None => Algorithm::EdDsa,
    }
}

/// More than any token is long, and still within the byte budget of the context headers.
const LONGEST_CREDENTIAL: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::{Algorithm, Kind, new, seal};
    use crate::context::{PlatformId, SealedCredential};
    use crate::sealing::{Place, Sealer};

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
                 csrf = [{{ id = \"c\", secret = {{ env = \"TOKEN\" }} }}]\n\
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
    fn a_credential_that_was_sealed_here_opens_in_its_row_and_in_no_other() {
        let environment = |name: &str| (name == "K").then(|| "0123456789abcdef0123456789abcdef".to_owned());
        let text = "[[listen]]\naddress = \"127.0.0.1:8080\"\n[keys]\n\
                    token = [{ id = \"t\", secret = { env = \"K\" } }]\n\
                    csrf = [{ id = \"c\", secret = { env = \"K\" } }]\n\
                    sealing = [{ id = \"s\", secret = { env = \"K\" } }]\n";
        let snapshot = crate::config::parse(text, "test.toml", &environment).unwrap();
        let platform: PlatformId = "7".parse().unwrap();
        let mut out = Vec::new();
        seal(&platform, &snapshot, &mut "hunter2\n".as_bytes(), &mut out).unwrap();
        let printed = SealedCredential::from_text(String::from_utf8(out).unwrap().trim_end().to_owned());
        let sealer = Sealer::new(snapshot.keys.sealing.clone(), &[]).unwrap();
        let opened = sealer.open(&printed, Place::credential_of(&platform)).unwrap();
        assert!(opened.matches(b"hunter2"));
        assert!(sealer.open(&printed, Place::credential_of(&"8".parse().unwrap())).is_err());
        assert!(seal(&platform, &snapshot, &mut "\n".as_bytes(), &mut Vec::new()).is_err());
    }

    #[test]
    fn a_message_key_of_another_algorithm_is_refused() {
        assert!(new(Kind::Message, Algorithm::Es256, &mut Vec::new()).is_err());
    }
}
