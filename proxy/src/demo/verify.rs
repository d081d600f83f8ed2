//! The one place where the demo application decides what to believe: signature first, then headers, then JWT.
//! Everything else in the demo is handed [`Facts`] and never looks at a header of the context itself.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_verify::{Authn, KeyError, Keys, Request, Verified, Verifier, VerifyError};
use http::HeaderMap;
use serde::Serialize;
use sfv::{BareItem, Dictionary, InnerList, ListEntry, Parser};

use crate::clock::Timestamp;
use crate::keys::Key;
use crate::signing::jwks::Jwks;
use crate::signing::keyring::{Keyring, Purpose, derive_text};

/// Everything a request said about who sent it, verified. Its JSON is the answer of `/api/whoami`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Facts {
    /// `session`, `none`, `unchecked` or `undetermined`.
    pub(super) authn: String,
    /// The session's id.
    pub(super) session_id: Option<String>,
    /// Who it is; opaque.
    pub(super) user_id: Option<String>,
    /// What people call them.
    pub(super) user_name: Option<String>,
    /// Role names.
    pub(super) roles: Vec<String>,
    /// The platform in force; opaque.
    pub(super) platform_id: Option<String>,
    /// What kind of service it is.
    pub(super) platform_type: Option<String>,
    /// What people call it.
    pub(super) platform_name: Option<String>,
    /// Where it is.
    pub(super) platform_url: Option<String>,
    /// When the user last logged in, in seconds since the Unix epoch.
    pub(super) auth_time: Option<u64>,
    /// The proxy's id of this request.
    pub(super) request_id: Option<String>,
    /// Who acts for the user.
    pub(super) actor_id: Option<String>,
    /// What was verified, and with what.
    pub(super) signature: SignatureFacts,
    /// The verified claims of the JWT.
    pub(super) jwt: serde_json::Value,
}

/// The signature that made a request believable.
#[derive(Clone, Debug, Serialize)]
pub(super) struct SignatureFacts {
    /// Always true: what cannot be verified gets no further.
    pub(super) verified: bool,
    /// `hmac-sha256` or `ed25519`.
    pub(super) algorithm: String,
    /// The name of the key.
    pub(super) keyid: String,
    /// When it was made, in seconds since the Unix epoch.
    pub(super) created: u64,
    /// Until when it counts, in seconds since the Unix epoch.
    pub(super) expires: u64,
    /// What it covers, in its order.
    pub(super) components: Vec<String>,
}

/// What the operator of an application is handed for it.
#[derive(Clone)]
pub struct TrustSettings {
    /// What context headers begin with.
    pub prefix: String,
    /// Who signs JWTs.
    pub issuer: String,
    /// What the proxy calls this application.
    pub audience: String,
    /// The id of the HMAC key.
    pub hmac_id: String,
    /// The application's own HMAC key, in base64, as `key derive` prints it.
    pub hmac_key: String,
    /// The proxy's public keys: the text of its JWK Set.
    pub jwks: String,
}

impl TrustSettings {
    /// What the operator of a proxy with these keys hands to the application that it calls `upstream`.
    pub fn for_upstream(upstream: &str, hmac: &Key, keyring: &Keyring, issuer: &str, prefix: &str) -> Self {
        let jwks = Jwks::new(&[keyring], Duration::ZERO);
        Self {
            prefix: prefix.to_owned(),
            issuer: issuer.to_owned(),
            audience: upstream.to_owned(),
            hmac_id: hmac.id.clone(),
            hmac_key: derive_text(&hmac.secret, Purpose::MessageSignature, upstream),
            jwks: String::from_utf8_lossy(jwks.body()).into_owned(),
        }
    }
}

/// What the application verifies with.
#[derive(Clone, Debug)]
pub struct Trust {
    verifier: Verifier,
    jwt_header: String,
}

impl Trust {
    /// Reads the keys. Fails when one is too short or damaged.
    pub fn new(settings: &TrustSettings) -> Result<Self, KeyError> {
        let TrustSettings { prefix, issuer, audience, hmac_id, hmac_key, jwks } = settings;
        let keys = Keys::default().with_hmac(hmac_id, hmac_key)?.with_jwks(jwks)?;
        let verifier = Verifier::new(keys, audience).from_issuer(issuer).under_prefix(prefix);
        Ok(Self { verifier, jwt_header: format!("{prefix}jwt") })
    }

    /// Verifies the signature of a request and reads the context that it covers. Fails with the first cause for not
    /// believing it; nothing of it may be used then.
    pub(super) fn verify<B>(&self, request: &http::Request<B>, now: Timestamp) -> Result<Facts, VerifyError> {
        let now = UNIX_EPOCH + Duration::from_millis(now.as_millis());
        let verified = self.verifier.verify(&Request::of(request)?, now)?;
        // Both were found good just now; here they are only taken apart for being shown.
        let signature = signature_facts(request.headers()).ok_or(VerifyError::MalformedSignature)?;
        let jwt = self.claims(request.headers()).ok_or(VerifyError::MalformedToken)?;
        Ok(Facts::of(verified, signature, jwt))
    }

    /// The claims of a verified JWT (RFC 7515, section 3.1: the middle part).
    fn claims(&self, headers: &HeaderMap) -> Option<serde_json::Value> {
        let token = headers.get(&self.jwt_header)?.to_str().ok()?;
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        serde_json::from_slice(&claims).ok()
    }
}

impl Facts {
    fn of(verified: Verified, signature: SignatureFacts, jwt: serde_json::Value) -> Self {
        let platform = verified.platform.unwrap_or_default();
        let present = |text: String| Some(text).filter(|text| !text.is_empty());
        let authn = match verified.authn {
            Authn::Session => "session",
            Authn::None => "none",
            Authn::Unchecked => "unchecked",
            Authn::Undetermined => "undetermined",
        };
        Self {
            authn: authn.to_owned(),
            session_id: verified.session_id,
            user_id: verified.user_id,
            user_name: verified.user_name,
            roles: verified.roles,
            platform_id: present(platform.id),
            platform_type: present(platform.kind),
            platform_name: present(platform.name),
            platform_url: present(platform.url),
            auth_time: verified.auth_time,
            request_id: verified.request_id,
            actor_id: verified.actor_id,
            signature,
            jwt,
        }
    }
}

/// What a verified `Signature-Input` says (RFC 9421, section 4.1).
fn signature_facts(headers: &HeaderMap) -> Option<SignatureFacts> {
    let field = headers.get("signature-input")?;
    let dictionary: Dictionary = Parser::new(field.as_bytes()).parse().ok()?;
    let Some(ListEntry::InnerList(InnerList { items, params })) = dictionary.values().next() else {
        return None;
    };
    let text =
        |name: &str| params.get(name).and_then(BareItem::as_string).map(|text| text.as_str().to_owned());
    let seconds =
        |name: &str| params.get(name).and_then(BareItem::as_integer).and_then(|at| u64::try_from(at).ok());
    let component = |item: &sfv::Item| item.bare_item.as_string().map(|name| name.as_str().to_owned());
    Some(SignatureFacts {
        verified: true,
        algorithm: text("alg")?,
        keyid: text("keyid")?,
        created: seconds("created")?,
        expires: seconds("expires")?,
        components: items.iter().map(component).collect::<Option<_>>()?,
    })
}
