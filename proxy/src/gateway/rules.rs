//! The rules in force: a configuration's snapshot with everything built that requests need. One per request, from its
//! first phase to its last, so that no request ever sees two configurations.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use pingora::protocols::tls::CaType;
use pingora::utils::tls::CertKey;

use super::meters::{Meter, Meters};
use super::near::{Here, Near};
use super::servers::Servers;
use super::tls;
use crate::clock::Timestamp;
use crate::config::Snapshot;
use crate::endpoints::own;
use crate::headers::names::Names;
use crate::policy::Route;
use crate::sealing::Sealer;
use crate::signing::jwks::Jwks;
use crate::signing::keyring::{KeyError, Keyring};
use crate::signing::rotation::Published;
use crate::signing::{SHELF_BYTES, Shelf, Signer, SignerSettings};
use crate::telemetry::spread::Durations;
use crate::upstream::Upstream;

/// Numbers for groups of connections: none is given twice, so that no connection is reused under rules it was not made
/// for.
static NEXT_GROUP: AtomicU64 = AtomicU64::new(1);

/// A snapshot, made ready. Whoever holds it for a request takes [`Rules::here`].
#[derive(Debug)]
pub struct Rules {
    in_force: Arc<InForce>,
    near: Near<Arc<InForce>>,
}

/// What rules are made of.
pub struct InForce {
    /// The configuration.
    pub snapshot: Snapshot,
    /// Names of the context headers.
    pub(super) names: Arc<Names>,
    /// Upstreams by name.
    pub(super) upstreams: HashMap<String, Arc<UpstreamRules>>,
    /// What a request on each route needs, in the order of the routes.
    roads: Vec<Near<Road>>,
    /// Opens platform credentials.
    pub(super) sealer: Sealer,
    /// The public keys.
    pub jwks: Arc<Jwks>,
    /// Since when keys are published that came in by a reload.
    published: Published,
    /// What was prepared of contexts, with these keys.
    pub shelf: Arc<Shelf>,
    /// What our own endpoints may know.
    pub(super) own: Arc<own::Settings>,
    /// What is counted of requests without a road, by the name that stands for their route.
    pub(super) meters: Meters,
}

/// A route with where it leads.
#[derive(Debug)]
pub(super) struct Road {
    /// The route.
    pub(super) route: Arc<Route>,
    /// Where it leads.
    pub(super) upstream: Arc<UpstreamRules>,
    /// What is counted of it.
    pub(super) meter: Arc<Meter>,
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
    /// What the proxy shows to its servers.
    pub(super) identity: Option<Arc<CertKey>>,
    /// The server whose name its certificates must show, unless one is configured.
    pub(super) server_name: String,
    /// Keeps its connections apart from those made under other rules.
    pub(super) group: u64,
    /// How long its answers take; looked up by name once.
    pub(super) answers: OnceLock<Durations>,
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
    /// A route that leads nowhere; the configuration is refused before it comes to that.
    #[error("route `{0}`: its upstream does not exist")]
    NoUpstream(String),
}

impl std::fmt::Debug for InForce {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InForce").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for UpstreamRules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamRules").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

impl std::ops::Deref for Rules {
    type Target = InForce;

    fn deref(&self) -> &InForce {
        &self.in_force
    }
}

impl Rules {
    /// Builds everything, or says what cannot be built.
    ///
    /// # Errors
    /// A key or certificate that cannot be parsed.
    pub fn build(snapshot: Snapshot) -> Result<Self, RulesError> {
        Ok(Self::of(InForce::assemble(snapshot, None, Published::default())?))
    }

    /// Builds the rules that follow these: what an upstream's settings leave unchanged (its servers, their health, its
    /// connections) goes on, and a key that comes in signs only once verifiers know it. Also answers the ids of the keys
    /// that wait for that.
    ///
    /// # Errors
    /// As [`Rules::build`].
    pub fn follow(&self, mut snapshot: Snapshot, now: Timestamp) -> Result<(Self, Vec<String>), RulesError> {
        let mut published = self.published.clone();
        let (max_age, old) = (snapshot.keys_max_age, &self.snapshot.keys);
        let mut waiting = published.hold_back(&mut snapshot.keys.jwt, &old.jwt, max_age, now);
        waiting.extend(published.hold_back(&mut snapshot.keys.message, &old.message, max_age, now));
        Ok((Self::of(InForce::assemble(snapshot, Some(self), published)?), waiting))
    }

    fn of(in_force: InForce) -> Self {
        let in_force = Arc::new(in_force);
        Self { near: Near::new(|| Arc::clone(&in_force)), in_force }
    }

    /// For one request.
    pub(super) fn here(&self) -> Here<Arc<InForce>> {
        self.near.here()
    }
}

impl InForce {
    fn assemble(snapshot: Snapshot, before: Option<&Self>, published: Published) -> Result<Self, RulesError> {
        let names =
            Names::of_settings(&snapshot.headers).map_err(|error| RulesError::Key(error.to_string()))?;
        let names = Arc::new(names);
        let keys = Keyrings::new(&snapshot).map_err(|error| RulesError::Key(error.to_string()))?;
        let shelf = Arc::new(Shelf::new(SHELF_BYTES));
        let mut upstreams = HashMap::new();
        for settings in &snapshot.upstreams {
            let same = before.and_then(|before| before.upstreams.get(&settings.name));
            let same = same.filter(|old| old.settings == *settings);
            let rules = upstream(settings, same.map(Arc::as_ref), &snapshot, &names, &keys, &shelf)?;
            upstreams.insert(settings.name.clone(), Arc::new(rules));
        }
        let roads = roads(&snapshot, &upstreams)?;
        let sealer = Sealer::new(snapshot.keys.sealing.clone(), &snapshot.keys.fernet)
            .map_err(|error| RulesError::Key(error.to_string()))?;
        let jwks = Arc::new(Jwks::new(&[&keys.tokens, &keys.messages], snapshot.keys_max_age));
        let own = own::Settings {
            csrf: snapshot.csrf.clone(),
            session: snapshot.session.clone(),
            schema: snapshot.settings.clone(),
        };
        Ok(Self {
            snapshot,
            names,
            upstreams,
            roads,
            sealer,
            jwks,
            published,
            shelf,
            own: Arc::new(own),
            meters: Meters::default(),
        })
    }

    /// The road of the route at `place` of the route table.
    pub(super) fn road(&self, place: usize) -> Here<Road> {
        self.roads[place].here()
    }

    /// Until when all that a request needs must be found out: one budget, however many lookups there are.
    pub(super) fn lookups_until(&self, started: std::time::Instant) -> tokio::time::Instant {
        (started + self.snapshot.resolve.budget).into()
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

fn roads(
    snapshot: &Snapshot,
    upstreams: &HashMap<String, Arc<UpstreamRules>>,
) -> Result<Vec<Near<Road>>, RulesError> {
    let road = |route: &Arc<Route>| {
        let upstream = upstreams.get(&route.upstream).ok_or(RulesError::NoUpstream(route.name.clone()))?;
        let meter = Arc::new(Meter::default());
        Ok(Near::new(|| Road {
            route: Arc::clone(route),
            upstream: Arc::clone(upstream),
            meter: Arc::clone(&meter),
        }))
    };
    snapshot.routes.routes().iter().map(road).collect()
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
    same: Option<&UpstreamRules>,
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
    let group = same.map_or_else(|| NEXT_GROUP.fetch_add(1, Ordering::Relaxed), |same| same.group);
    let identity = settings.tls.as_ref().and_then(|tls| tls.identity.as_ref());
    let identity = identity.map(tls::own_certificate).transpose().map_err(RulesError::Key)?;
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
        servers: same.map_or_else(|| Arc::new(Servers::new(settings)), |same| Arc::clone(&same.servers)),
        signer,
        ca,
        server_name: settings.servers.first().cloned().unwrap_or_default(),
        group,
        identity,
        answers: OnceLock::new(),
        settings: settings.clone(),
    })
}
