//! The context as a short-lived token: claims as in the OAuth Transaction Tokens draft, signed once per session,
//! platform, audience and key, and reused for at most half of its life (`prepared` keeps it). It never outlives the
//! session. Settings and figures are not in it; where they are sent, their digests are.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, HeaderValue};
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::keyring::{Keyring, Material, ParsedKey, Purpose, derive};
use crate::clock::Timestamp;
use crate::context::{Authn, Context, SessionId};
use crate::headers::names::{ContextHeader, Names};
use crate::keys::JwtAlgorithm;
use crate::reason::Reason;

/// Makes the tokens of one upstream. Issuer, audience and lifetime are fixed for its whole life, so that kept
/// tokens need not be told apart by them.
pub(super) struct TokenMaker {
    issuer: String,
    audience: String,
    lifetime: Duration,
    keys: Vec<TokenKey>,
    random: SystemRandom,
}

struct TokenKey {
    active_from: Option<Timestamp>,
    /// The first part of every token, encoded, with its dot.
    header: String,
    material: TokenMaterial,
}

enum TokenMaterial {
    Hmac(Box<Hmac<Sha256>>),
    /// Position in the keyring.
    KeyPair(usize),
}

/// SHA-256 of the context headers that hold what no claim repeats, as they are sent: the token vouches for them without
/// carrying them.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Digests {
    pub(super) settings: Option<[u8; 32]>,
    pub(super) stats: Option<[u8; 32]>,
}

impl Digests {
    /// The digests of what is among `headers`: nothing, on most routes.
    pub(super) fn of(headers: &[(HeaderName, HeaderValue)], names: &Names) -> Self {
        let digest = |header| {
            let value = headers.iter().find(|(name, _)| name == names.of(header)).map(|(_, value)| value)?;
            Some(Sha256::digest(value.as_bytes()).into())
        };
        Self { settings: digest(ContextHeader::Settings), stats: digest(ContextHeader::Stats) }
    }
}

/// What a token is to say.
#[derive(Clone, Copy)]
pub(super) struct Statement<'a> {
    pub(super) authn: Authn,
    pub(super) identity: Option<&'a Context>,
    pub(super) digests: Digests,
}

/// A token, and until when it may be given to further requests.
pub(super) struct Token {
    pub(super) value: HeaderValue,
    pub(super) reuse_until: Timestamp,
}

impl TokenMaker {
    /// Tokens for `upstream`; `None` when the keyring is empty.
    pub(super) fn new(keyring: &Keyring, issuer: &str, upstream: &str, lifetime: Duration) -> Option<Self> {
        let keys: Vec<_> = keyring
            .keys
            .iter()
            .enumerate()
            .map(|(position, key)| TokenKey::new(position, key, upstream))
            .collect();
        if keys.is_empty() {
            return None;
        }
        Some(Self {
            issuer: issuer.to_owned(),
            audience: upstream.to_owned(),
            lifetime,
            keys,
            random: SystemRandom::new(),
        })
    }

    /// The key that signs at `now`.
    pub(super) fn key_at(&self, now: Timestamp) -> Result<usize, Reason> {
        let active = |key: &TokenKey| key.active_from.is_none_or(|from| from <= now);
        self.keys.iter().position(active).ok_or(Reason::CannotSign)
    }

    /// A new token that says what is known.
    pub(super) fn make(
        &self,
        keyring: &Keyring,
        key: usize,
        statement: Statement<'_>,
        now: Timestamp,
    ) -> Result<Token, Reason> {
        let mut token_id = [0; 16];
        self.random.fill(&mut token_id).map_err(|_| Reason::CannotSign)?;
        let token_id = URL_SAFE_NO_PAD.encode(token_id);
        let token = self.token_with_id(keyring, key, statement, now, &token_id)?;
        let mut value = HeaderValue::try_from(token).map_err(|_| Reason::CannotSign)?;
        value.set_sensitive(true);
        let life = self.end(statement.identity, now).since(now);
        Ok(Token { value, reuse_until: now.plus(life / 2) })
    }

    fn end(&self, identity: Option<&Context>, now: Timestamp) -> Timestamp {
        let end = now.plus(self.lifetime);
        identity.map_or(end, |context| end.min(context.session.expires))
    }

    /// The token in its compact form (RFC 7515, section 3.1), under a given `jti`.
    pub(super) fn token_with_id(
        &self,
        keyring: &Keyring,
        key: usize,
        statement: Statement<'_>,
        now: Timestamp,
        token_id: &str,
    ) -> Result<String, Reason> {
        let Statement { authn, identity, digests } = statement;
        let claims = Claims {
            issuer: &self.issuer,
            audience: &self.audience,
            issued_at: now.as_secs(),
            expires: self.end(identity, now).as_secs(),
            token_id,
            authn: authn.as_str(),
            identity: identity.map(|context| IdentityClaims::of(context, digests)),
        };
        let key = &self.keys[key];
        let claims = serde_json::to_vec(&claims).map_err(|_| Reason::CannotSign)?;
        let mut token = String::with_capacity(key.header.len() + claims.len() * 4 / 3 + 96);
        token.push_str(&key.header);
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signature = self.sign(keyring, key, token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut token);
        Ok(token)
    }

    fn sign(&self, keyring: &Keyring, key: &TokenKey, message: &[u8]) -> Result<Vec<u8>, Reason> {
        let position = match &key.material {
            TokenMaterial::Hmac(state) => {
                let mut state = Hmac::clone(state);
                state.update(message);
                return Ok(state.finalize().into_bytes().to_vec());
            }
            TokenMaterial::KeyPair(position) => *position,
        };
        match keyring.keys.get(position).map(|key| &key.material) {
            Some(Material::Ed25519(pair)) => Ok(pair.sign(message).as_ref().to_vec()),
            Some(Material::Es256(pair)) => {
                let signature = pair.sign(&self.random, message).map_err(|_| Reason::CannotSign)?;
                Ok(signature.as_ref().to_vec())
            }
            _ => Err(Reason::CannotSign),
        }
    }
}

impl TokenKey {
    fn new(position: usize, key: &ParsedKey, upstream: &str) -> Self {
        let algorithm = match key.algorithm() {
            JwtAlgorithm::EdDsa => "EdDSA",
            JwtAlgorithm::Es256 => "ES256",
            JwtAlgorithm::Hs256 => "HS256",
        };
        // Key ids need no escapes: the keyring admits neither quotes nor backslashes nor controls.
        let header = format!(r#"{{"typ":"txntoken+jwt","alg":"{algorithm}","kid":"{}"}}"#, key.key_id);
        let material = match &key.material {
            Material::Hs256(root) => {
                let derived = derive(root, Purpose::Token, upstream);
                let state = Hmac::new_from_slice(derived.expose()).expect("HMAC takes keys of every length");
                TokenMaterial::Hmac(Box::new(state))
            }
            Material::Ed25519(_) | Material::Es256(_) => TokenMaterial::KeyPair(position),
        };
        Self { active_from: key.active_from, header: URL_SAFE_NO_PAD.encode(header) + ".", material }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    #[serde(rename = "iss")]
    issuer: &'a str,
    #[serde(rename = "aud")]
    audience: &'a str,
    #[serde(rename = "iat")]
    issued_at: u64,
    #[serde(rename = "exp")]
    expires: u64,
    #[serde(rename = "jti")]
    token_id: &'a str,
    authn: &'static str,
    #[serde(flatten)]
    identity: Option<IdentityClaims<'a>>,
}

#[derive(Serialize)]
struct IdentityClaims<'a> {
    #[serde(rename = "sub")]
    subject: &'a str,
    #[serde(rename = "sid")]
    session: SessionId,
    roles: Vec<&'a str>,
    auth_time: u64,
    #[serde(rename = "act", skip_serializing_if = "Option::is_none")]
    actor: Option<ActorClaim<'a>>,
    #[serde(rename = "tctx", skip_serializing_if = "Option::is_none")]
    transaction: Option<TransactionContext<'a>>,
}

/// Who acts for the subject (RFC 8693, section 4.1).
#[derive(Serialize)]
struct ActorClaim<'a> {
    sub: &'a str,
}

#[derive(Serialize)]
struct TransactionContext<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<PlatformClaim<'a>>,
    /// base64url(SHA-256) of the value of the header `settings`, as it was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    settings_sha256: Option<String>,
    /// The same of `stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    stats_sha256: Option<String>,
}

#[derive(Serialize)]
struct PlatformClaim<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    name: &'a str,
    url: &'a str,
}

impl<'a> IdentityClaims<'a> {
    fn of(context: &'a Context, digests: Digests) -> Self {
        let session = &context.session;
        let platform = context.platform.as_ref().map(|platform| PlatformClaim {
            id: platform.id.as_str(),
            kind: &platform.kind,
            name: &platform.name,
            url: &platform.url,
        });
        Self {
            subject: context.user.id.as_str(),
            session: session.id,
            // An empty role is no role; the header leaves it out as well.
            roles: context.user.roles.iter().map(String::as_str).filter(|role| !role.is_empty()).collect(),
            auth_time: session.authenticated.as_secs(),
            actor: session.actor.as_ref().map(|actor| ActorClaim { sub: actor.as_str() }),
            transaction: (platform.is_some() || digests != Digests::default()).then(|| TransactionContext {
                platform,
                settings_sha256: digests.settings.map(|digest| URL_SAFE_NO_PAD.encode(digest)),
                stats_sha256: digests.stats.map(|digest| URL_SAFE_NO_PAD.encode(digest)),
            }),
        }
    }
}
