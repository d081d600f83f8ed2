//! The rules in force: a configuration's snapshot with everything built that requests need. One per request, from its
//! first phase to its last, so that no request ever sees two configurations.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::tls::CaType;

use super::servers::Servers;
use super::tls;
use crate::config::Snapshot;
use crate::endpoints::own;
use crate::headers::names::Names;
use crate::sealing::Sealer;
use crate::signing::jwks::Jwks;
use crate::signing::keyring::{KeyError, Keyring};
use crate::signing::{SHELF_BYTES, Shelf, Signer, SignerSettings};
use crate::upstream::Upstream;

/// How long verifiers may keep the public keys.
const JWKS_MAX_AGE: Duration = Duration::from_mins(5);

/// A snapshot, made ready.
pub struct Rules {
    /// The configuration.
    pub snapshot: Snapshot,
    /// Names of the context headers.
    pub(super) names: Arc<Names>,
    /// Upstreams by name.
    pub(super) upstreams: HashMap<String, Arc<UpstreamRules>>,
    /// Opens platform credentials.
    pub(super) sealer: Sealer,
    /// The public keys.
    pub jwks: Arc<Jwks>,
    /// What was prepared of contexts, with these keys.
    pub shelf: Arc<Shelf>,
    /// What our own endpoints may know.
    pub(super) own: Arc<own::Settings>,
}

/// An upstream, made ready.
pub(super) struct UpstreamRules {
    /// As configured.
    pub(super) settings: Upstream,
    /// Its servers.
    pub(super) servers: Arc<Servers>,
    /// Signs for it.
    pub(super) signer: Signer,
    /// The authority its certificates must lead to.
    pub(super) ca: Option<Arc<CaType>>,
    /// The server whose name its certificates must show, unless one is configured.
    pub(super) server_name: String,
    /// Keeps its connections apart from those made under other rules.
    pub(super) group: u64,
}

/// Something in the configuration that only shows when it is built.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// A key that cannot be parsed.
    #[error("{0}")]
    Key(String),
    /// A certificate authority that cannot be parsed.
    #[error("upstream `{0}`: tls.ca holds no PEM certificate")]
    CertificateAuthority(String),
}

impl Rules {
    /// Builds everything, or says what cannot be built.
    ///
    /// # Errors
    /// A key or certificate that cannot be parsed.
    pub fn build(snapshot: Snapshot) -> Result<Self, RulesError> {
        let names =
            Names::of_settings(&snapshot.headers).map_err(|error| RulesError::Key(error.to_string()))?;
        let names = Arc::new(names);
        let keys = Keyrings::new(&snapshot).map_err(|error| RulesError::Key(error.to_string()))?;
        let shelf = Arc::new(Shelf::new(SHELF_BYTES));
        let mut upstreams = HashMap::new();
        for (settings, group) in snapshot.upstreams.iter().zip(1..) {
            let rules = upstream(settings, group, &snapshot, &names, &keys, &shelf)?;
            upstreams.insert(settings.name.clone(), Arc::new(rules));
        }
        let sealer = Sealer::new(snapshot.keys.sealing.clone(), &snapshot.keys.fernet)
            .map_err(|error| RulesError::Key(error.to_string()))?;
        let jwks = Arc::new(Jwks::new(&[&keys.tokens, &keys.messages], JWKS_MAX_AGE));
        let own = own::Settings { csrf: snapshot.csrf.clone(), session: snapshot.session.clone() };
        Ok(Self { snapshot, names, upstreams, sealer, jwks, shelf, own: Arc::new(own) })
    }

    /// The public keys, where they are served to everybody.
    pub(super) fn public_jwks(&self) -> Option<&Jwks> {
        self.snapshot.public_jwks.then_some(&*self.jwks)
    }

    /// The servers of every upstream, by upstream name.
    pub fn servers(&self) -> impl Iterator<Item = (&str, Arc<Servers>)> {
        self.upstreams.iter().map(|(name, rules)| (name.as_str(), Arc::clone(&rules.servers)))
    }
}

/// One keyring per purpose: what was signed for one must never pass for another.
struct Keyrings {
    tokens: Arc<Keyring>,
    messages: Arc<Keyring>,
}

impl Keyrings {
    fn new(snapshot: &Snapshot) -> Result<Self, KeyError> {
        let keys = &snapshot.keys;
        let tokens = Keyring::new(&[], &keys.jwt)?;
        let messages = Keyring::new(&keys.hmac, &keys.message)?;
        Ok(Self { tokens: Arc::new(tokens), messages: Arc::new(messages) })
    }
}

fn upstream(
    settings: &Upstream,
    group: u64,
    snapshot: &Snapshot,
    names: &Arc<Names>,
    keys: &Keyrings,
    shelf: &Arc<Shelf>,
) -> Result<UpstreamRules, RulesError> {
    let ca = match settings.tls.as_ref().and_then(|tls| tls.ca.as_ref()) {
        None => None,
        Some(pem) => Some(
            tls::certificate_authority(pem)
                .ok_or_else(|| RulesError::CertificateAuthority(settings.name.clone()))?,
        ),
    };
    let signer = Signer::new(&SignerSettings {
        upstream: settings.name.clone(),
        issuer: snapshot.jwt_issuer.clone(),
        names: Arc::clone(names),
        message_keys: Arc::clone(&keys.messages),
        token_keys: Arc::clone(&keys.tokens),
        message_signature: settings.message_signature,
        jwt: settings.jwt,
        message_lifetime: snapshot.signature_lifetime,
        jwt_lifetime: snapshot.jwt_lifetime,
        shelf: Arc::clone(shelf),
        number: group,
        budget: snapshot.headers.budget,
    })
    .map_err(|error| RulesError::Key(error.to_string()))?;
    Ok(UpstreamRules {
        servers: Arc::new(Servers::new(settings)),
        signer,
        ca,
        server_name: settings.servers.first().cloned().unwrap_or_default(),
        group,
        settings: settings.clone(),
    })
}
