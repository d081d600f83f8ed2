//! `countersign verify`: whether a captured request carries a genuine context. It judges with what an application has:
//! the keys that belong to one upstream, and nothing else of the configuration.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;
use countersign_verify::{Authn, Demand, Keys, Request, Verified, Verifier, VerifyError};
use serde_json::json;

use super::operators::{json_text, plain};
use super::{NO, Stop, load};
use crate::clock::{Clock, SystemClock};
use crate::config::Snapshot;
use crate::keys::JwtAlgorithm;
use crate::signing::jwks::Jwks;
use crate::signing::keyring::{Keyring, Purpose, derive_text};
use crate::upstream::Upstream;

/// More than the limit on any request head.
const LONGEST: u64 = 1024 * 1024;
/// The most fields that are read.
const FIELDS: usize = 512;

/// Flags of `verify`.
#[derive(Clone, Debug, Args)]
pub(super) struct Verify {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The upstream that received the request [default: the only one there is].
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// When the request arrived, as `2026-11-21T06:00:00Z` [default: now].
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// The captured request, request line and headers as they were received [default: standard input].
    #[arg(value_name = "REQUEST")]
    file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Verifies. Exit code 3 when the request is not to be believed.
pub(super) fn verify(flags: &Verify, out: &mut dyn Write) -> anyhow::Result<()> {
    let snapshot = load(&flags.config)?;
    let upstream = upstream(&snapshot, flags.upstream.as_deref())?;
    let request = parse(&captured(flags.file.as_deref())?)?;
    let verifier = verifier(&snapshot, upstream)?;
    let at = match &flags.at {
        Some(text) => {
            humantime::parse_rfc3339_weak(text).context("`--at` is a moment as RFC 3339 writes it")?
        }
        None => UNIX_EPOCH + Duration::from_millis(SystemClock.now().as_millis()),
    };
    match judge(&verifier, &request, at) {
        Ok(context) => {
            if flags.json {
                json_text(&json!({ "genuine": true, "context": shown(&context) }), out)
            } else {
                Ok(writeln!(out, "genuine: made by this proxy for `{}`\n{}", upstream.name, lines(&context))?)
            }
        }
        Err(error) => {
            if flags.json {
                json_text(&json!({ "genuine": false, "code": error.code(), "why": error.to_string() }), out)?;
            } else {
                writeln!(out, "not to be believed: {} ({})", plain(&error.to_string()), error.code())?;
                if error == VerifyError::Expired {
                    writeln!(out, "Next: `--at TIME` judges a capture at the moment when it arrived.")?;
                }
            }
            Err(Stop::silent(NO))
        }
    }
}

fn judge(verifier: &Verifier, request: &http::Request<()>, at: SystemTime) -> Result<Verified, VerifyError> {
    verifier.verify(&Request::of(request)?, at)
}

fn upstream<'a>(snapshot: &'a Snapshot, name: Option<&str>) -> anyhow::Result<&'a Upstream> {
    let names = || snapshot.upstreams.iter().map(|one| one.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, snapshot.upstreams.as_slice()) {
        (Some(name), _) => snapshot
            .upstream(name)
            .with_context(|| format!("there is no upstream `{name}`; the configuration has: {}", names())),
        (None, [only]) => Ok(only),
        (None, _) => bail!("say with `--upstream` which of these received it: {}", names()),
    }
}

/// What the application behind this upstream would verify with.
fn verifier(snapshot: &Snapshot, upstream: &Upstream) -> anyhow::Result<Verifier> {
    let keys = &snapshot.keys;
    let demand = match (upstream.message_signature.is_some(), upstream.jwt) {
        (true, true) => Demand::Both,
        (true, false) => Demand::MessageSignature,
        (false, true) => Demand::Token,
        (false, false) => {
            bail!("requests to `{}` are not signed, so there is nothing to verify", upstream.name)
        }
    };
    let messages = Keyring::new(&keys.hmac, &keys.message)?;
    let tokens = Keyring::new(&[], &keys.jwt)?;
    let jwks = Jwks::new(&[&tokens, &messages], Duration::ZERO);
    let mut known = Keys::default().with_jwks(std::str::from_utf8(jwks.body())?)?;
    for key in &keys.hmac {
        known =
            known.with_hmac(&key.id, &derive_text(&key.secret, Purpose::MessageSignature, &upstream.name))?;
    }
    let states = tokens.states(SystemClock.now());
    for (key, (_, key_id, algorithm, _)) in keys.jwt.iter().zip(states) {
        if algorithm == JwtAlgorithm::Hs256 {
            known = known.with_hs256(key_id, &derive_text(&key.secret, Purpose::Token, &upstream.name))?;
        }
    }
    let longest = snapshot.signature_lifetime.max(snapshot.jwt_lifetime).max(Duration::from_mins(1));
    Ok(Verifier::new(known, &upstream.name)
        .demanding(demand)
        .from_issuer(&snapshot.jwt_issuer)
        .under_prefix(&snapshot.headers.prefix)
        .with_longest_life(longest))
}

fn captured(file: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = match file {
        Some(file) => std::fs::File::open(file)
            .with_context(|| format!("opening {}", file.display()))?
            .take(LONGEST)
            .read_to_end(&mut bytes),
        None => std::io::stdin().take(LONGEST).read_to_end(&mut bytes),
    };
    read.context("reading the captured request")?;
    Ok(bytes)
}

/// Reads a head of HTTP/1.1. What `curl -v` shows is taken as well: its `> ` in front of each line is removed.
fn parse(bytes: &[u8]) -> anyhow::Result<http::Request<()>> {
    let mut head = Vec::with_capacity(bytes.len() + 4);
    for line in bytes.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.strip_prefix(b"> ").unwrap_or(if line == b">" { b"" } else { line });
        if line.is_empty() && !head.is_empty() {
            break;
        }
        if !line.is_empty() {
            head.extend_from_slice(line);
            head.extend_from_slice(b"\r\n");
        }
    }
    head.extend_from_slice(b"\r\n");
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut parsed = httparse::Request::new(&mut fields);
    let what = "this is not the head of an HTTP/1.1 request: a request line, then one header a line";
    match parsed.parse(&head) {
        Ok(httparse::Status::Complete(_)) => {}
        _ => bail!(what),
    }
    let (Some(method), Some(path)) = (parsed.method, parsed.path) else { bail!(what) };
    let mut request = http::Request::builder().method(method).uri(path);
    for field in parsed.headers.iter() {
        request = request.header(field.name, field.value);
    }
    request.body(()).context(what)
}

fn shown(verified: &Verified) -> serde_json::Value {
    json!({
        "authn": authn(verified.authn),
        "request_id": verified.request_id,
        "session_id": verified.session_id,
        "user_id": verified.user_id,
        "user_name": verified.user_name,
        "roles": verified.roles,
        "platform_id": verified.platform.as_ref().map(|platform| &platform.id),
        "auth_time": verified.auth_time,
        "actor_id": verified.actor_id,
    })
}

const fn authn(authn: Authn) -> &'static str {
    match authn {
        Authn::Session => "session",
        Authn::None => "none",
        Authn::Unchecked => "unchecked",
        Authn::Undetermined => "undetermined",
    }
}

fn lines(verified: &Verified) -> String {
    let shown = shown(verified);
    let rows = shown.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let rows = rows.map(|(name, value)| vec![name.clone(), super::operators::text(value)]);
    super::operators::table(&[], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_is_read_as_it_was_sent_or_as_curl_shows_it() {
        for text in [
            "GET /a?b HTTP/1.1\r\nHost: app\r\nX-A: 1\r\n\r\nbody: no field",
            "GET /a?b HTTP/1.1\nHost: app\nX-A: 1\n",
            "> GET /a?b HTTP/1.1\n> Host: app\n> X-A: 1\n>\n",
        ] {
            let request = parse(text.as_bytes()).unwrap();
            assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("GET", "/a?b"));
            assert_eq!(request.headers().len(), 2, "{text}");
        }
        for text in ["", "hello", "GET / HTTP/1.1\nno colon\n", "\0\u{1}", "GET /\u{7f} HTTP/9\n\n"] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
