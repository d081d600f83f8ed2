//! Session id in, one of three outcomes out: from the copies of this process, else the store, the directory behind it.
//! Each layer that cannot say hands over to the next; only an answer of the directory, or a tombstone, makes a session
//! unknown. Never mixes "not there" with "could not find out".

mod apply;
mod entities;
mod follower;
mod foreign;
mod freshness;
pub mod inspect;
mod listing;
mod loader;
mod put_back;
mod reconcile;
mod refill;
mod session;
mod sightings;
mod values;
mod warm;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use crate::cache::copies::{Copies, PairKey, Times};
use crate::cache::marks::Name;
use crate::cache::proof::{Proof, Reading};
use crate::cache::values::Value;
use crate::cache::{Activity, Invalidate, SingleFlight};
use crate::clock::Clock;
use crate::context::{
    Context, LastUse, Layer, PasswordKeys, PlatformId, Resolution, Session, SessionId, UserId,
};
use crate::directory::Directory;
use crate::reason::Reason;
use crate::session::{Settings as SessionSettings, lifetime};
use crate::store::{EntityKey as StoreKey, Lookup, Store, StoreError};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Counter, LookupResult};
use apply::Applier;
use entities::Entities;
pub use follower::Follower;
use freshness::Freshness;
use loader::Loader;
pub use reconcile::Reconciler;
use refill::Refill;
use sightings::Sightings;

/// The most calls of the store at once: what one connection carries without making anybody wait long. A proxy that starts
/// into full traffic does not hammer the store, and its first calls are answered before its last are made.
const MOST_CALLS: usize = 256;

/// How long resolving may take.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The budget of one request (250 ms).
    pub budget: Duration,
}

/// Resolves sessions; one per process, shared by all requests.
pub struct Resolver {
    layers: Arc<Layers>,
    outcomes: [Counter; 3],
}

/// What a flight works with; it outlives the request that started it.
struct Layers {
    copies: Arc<Copies>,
    store: Arc<dyn Store>,
    loader: Loader,
    refill: Refill,
    sightings: Arc<Sightings>,
    freshness: Arc<Freshness>,
    clock: Arc<dyn Clock>,
    activity: Arc<Activity>,
    session: SessionSettings,
    settings: Settings,
    metrics: Arc<Metrics>,
    entities: SingleFlight<EntityKey, Result<Entities, Stop>>,
    values: SingleFlight<StoreKey, Result<Arc<Value>, Stop>>,
    /// Calls of the store under way.
    calls: Semaphore,
}

/// Who shares one lookup of entities: all who ask for the same user and platform in the same layers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct EntityKey {
    pair: PairKey,
    ask_store: bool,
}

/// Why there is no context.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stop {
    /// There is certainly no valid session.
    Unknown(Reason),
    /// The stores could not say.
    Undetermined(Reason),
}

impl Resolver {
    /// A resolver that looks into the copies first, then asks the store, and the directory behind it. `copies` follow
    /// that same store.
    #[must_use]
    #[expect(clippy::too_many_arguments, reason = "each is another neighbour; called in one place")]
    pub fn new(
        copies: Arc<Copies>,
        store: Arc<dyn Store>,
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        activity: Arc<Activity>,
        session: SessionSettings,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let outcomes = OUTCOMES.map(|outcome| metrics.resolutions.with_label_values(&[outcome]));
        let joinable = copies.settings().max_staleness / 2;
        let freshness = Arc::new(Freshness::new(copies.settings().entity_outage_limit));
        let sightings = Sightings::new(
            Arc::clone(&store),
            Arc::clone(&directory),
            Arc::clone(&clock),
            Arc::clone(&metrics),
        );
        let layers = Layers {
            copies,
            sightings: Arc::new(sightings),
            loader: Loader::new(directory, settings.budget, Arc::clone(&metrics)),
            refill: Refill::new(Arc::clone(&store), Arc::clone(&freshness)),
            freshness,
            store,
            clock,
            activity,
            session,
            settings,
            metrics,
            entities: SingleFlight::joinable_for(joinable),
            values: SingleFlight::joinable_for(joinable),
            calls: Semaphore::new(MOST_CALLS),
        };
        Self { layers: Arc::new(layers), outcomes }
    }

    /// Who keeps the store and `kept` true to a directory that tells of changes. From now on only what was read from
    /// there is believed, so that whoever is made must also follow.
    #[must_use]
    pub fn follower(&self, kept: Arc<dyn Invalidate>) -> Follower {
        Follower::new(Arc::clone(&self.layers), self.applier(kept))
    }

    /// Who goes through what changed before the store is believed; `None` for a store to which no write can get lost.
    /// From now on it is in doubt, so that whoever is made must also run.
    #[must_use]
    pub fn reconciler(&self, directory: Arc<dyn Directory>, kept: Arc<dyn Invalidate>) -> Option<Reconciler> {
        Reconciler::new(self.applier(kept), directory)
    }

    /// Compares passwords by these keys from now on. Whoever was read with others is read again.
    pub fn compare_passwords_by(&self, keys: &PasswordKeys) {
        if self.layers.loader.mark_passwords_with(keys) {
            self.layers.forget_entities();
            self.layers.copies.everything();
        }
    }

    fn applier(&self, kept: Arc<dyn Invalidate>) -> Applier {
        Applier { layers: Arc::clone(&self.layers), flights: self.layers.copies.flights().clone(), kept }
    }

    /// Resolves one session by `deadline`, or within the budget if that ends earlier. Cancellation safe.
    pub async fn resolve(&self, id: &SessionId, deadline: Instant) -> Resolution {
        let resolution = match self.copy(id) {
            Some(resolution) => resolution,
            None => self.ask(id, deadline).await,
        };
        self.outcomes[outcome(&resolution)].inc();
        resolution
    }

    /// The same context with another platform in place of the session's own choice: the one that the request names.
    /// Ownership and activity are checked; a platform that is gone, inactive or somebody else's is refused
    /// ([`Context::platform_refused`]), and nothing takes its place. Rests on the same copies and invalidations as the
    /// session's own platform. Cancellation safe.
    pub async fn with_platform(
        &self,
        context: &Arc<Context>,
        id: &PlatformId,
        deadline: Instant,
    ) -> Resolution {
        if context.platform.as_ref().is_some_and(|platform| platform.id == *id) {
            return Resolution::Known(Arc::clone(context));
        }
        let pair = PairKey { user: context.user.id.clone(), platform: Some(id.clone()) };
        let deadline = deadline.min(Instant::now() + self.layers.settings.budget);
        let key = EntityKey { pair, ask_store: true };
        let entities = self.layers.entities_with(key, context.password.as_deref());
        let Entities { pair, layer } = match timeout_at(deadline, entities).await {
            Ok(Ok(entities)) => entities,
            Ok(Err(Stop::Unknown(reason))) => return Resolution::Unknown(reason),
            Ok(Err(Stop::Undetermined(reason))) => return Resolution::Undetermined(reason),
            Err(_) => return Resolution::Undetermined(Reason::StoreTimeout),
        };
        // The user was perhaps read anew, and may have logged out everywhere meanwhile.
        if let Err(reason) = lifetime::check_user(&context.session, &pair.user) {
            return Resolution::Unknown(reason);
        }
        Resolution::Known(Arc::new(Context {
            session: Arc::clone(&context.session),
            user: Arc::clone(&pair.user),
            platform: pair.platform.clone(),
            platform_refused: pair.platform_refused,
            last_seen: context.last_seen.clone(),
            layer: context.layer.max(layer),
            password: context.password.clone(),
        }))
    }

    /// What the copies of this process say. Waits for nobody.
    fn copy(&self, id: &SessionId) -> Option<Resolution> {
        let Layers { copies, clock, session, activity, .. } = self.layers.as_ref();
        let times =
            Times { now: clock.now(), idle_timeout: session.idle_timeout, activity: activity.as_ref() };
        copies.resolution(id, &times)
    }

    async fn ask(&self, id: &SessionId, deadline: Instant) -> Resolution {
        let flight = self.layers.copies.flights().run(id, || Arc::clone(&self.layers).resolve(*id));
        let deadline = deadline.min(Instant::now() + self.layers.settings.budget);
        match timeout_at(deadline, flight).await {
            // The flight was for this id; an answer that is not is a fault, and nobody else's identity (THREATS S2).
            Ok(Resolution::Known(context)) if context.session.id != *id => {
                Resolution::Undetermined(Reason::Internal)
            }
            Ok(resolution) => resolution,
            Err(_) => Resolution::Undetermined(Reason::StoreTimeout),
        }
    }
}

impl Layers {
    /// One flight. It has a whole budget of its own: a caller with little time left must not fail those who join.
    async fn resolve(self: Arc<Self>, id: SessionId) -> Resolution {
        let reading = self.copies.reading(&[Name::Session(&id)]);
        match timeout(self.settings.budget, self.find_context(&id, reading.clone())).await {
            Ok(Ok((context, proof))) => {
                let ends = lifetime::absolute_end(&context.session, &self.session);
                self.copies.keep(&context, proof, ends);
                Resolution::Known(Arc::new(context))
            }
            Ok(Err(Stop::Unknown(reason))) => {
                self.copies.keep_unknown(&id, reading, reason);
                Resolution::Unknown(reason)
            }
            Ok(Err(Stop::Undetermined(reason))) => Resolution::Undetermined(reason),
            Err(_) => Resolution::Undetermined(Reason::StoreTimeout),
        }
    }

    async fn find_context(
        self: &Arc<Self>,
        id: &SessionId,
        reading: Reading,
    ) -> Result<(Context, Proof), Stop> {
        let now = self.clock.now();
        let mut found = self.find_session(id).await?;
        lifetime::check_end(&found.session, &self.session, now).map_err(Stop::Unknown)?;
        self.check_use(&mut found, now).await?;
        let session = found.session;
        let pair = PairKey { user: session.user.clone(), platform: session.platform.clone() };
        let ask_store = found.store_failure.is_none();
        let Entities { pair, layer } = self.entities_of(EntityKey { pair, ask_store }).await?;
        lifetime::check_user(&session, &pair.user).map_err(Stop::Unknown)?;
        self.check_ends(&session)?;
        let mut proof = self.copies.proof(reading, found.source).and(&pair.proof);
        if let Some(actor) = &session.actor {
            proof = proof.and(&self.check_actor(&session, actor, ask_store).await?);
        }
        let context = Context {
            session: Arc::new(session),
            user: Arc::clone(&pair.user),
            platform: pair.platform.clone(),
            platform_refused: pair.platform_refused,
            last_seen: LastUse::at(found.last_seen),
            layer: found.layer.max(layer),
            password: None,
        };
        Ok((context, proof))
    }

    /// Whether whoever acts in the session still may; answers what that rests on, so that the context ends with it.
    async fn check_actor(
        self: &Arc<Self>,
        session: &Session,
        actor: &UserId,
        ask_store: bool,
    ) -> Result<Proof, Stop> {
        let pair = PairKey { user: actor.clone(), platform: None };
        let found = self.entities_of(EntityKey { pair, ask_store }).await.map_err(|stop| match stop {
            Stop::Unknown(_) => Stop::Unknown(Reason::ImpersonationOver),
            Stop::Undetermined(reason) => Stop::Undetermined(reason),
        })?;
        lifetime::check_actor(session, &found.pair.user, &self.session).map_err(Stop::Unknown)?;
        Ok(found.pair.proof.clone())
    }

    /// What was ended here while the directory was away is over, whatever the stores say.
    fn check_ends(&self, session: &Session) -> Result<(), Stop> {
        if self.copies.ends().cover(session) { Err(Stop::Unknown(Reason::SessionEnded)) } else { Ok(()) }
    }

    /// What the session refers to: a copy, or what one lookup for all who ask answers.
    async fn entities_of(self: &Arc<Self>, key: EntityKey) -> Result<Entities, Stop> {
        if let Some(pair) = self.copies.pair(&key.pair) {
            return Ok(Entities { pair, layer: Layer::Process });
        }
        let entities = self.entities.run(&key, || Arc::clone(self).find_entities(key.clone())).await?;
        if self.copies.is_unstruck(&entities.pair.proof) {
            return Ok(entities);
        }
        // Something changed since that lookup began, perhaps before this request did: once more, by itself.
        Arc::clone(self).find_entities(key).await
    }

    /// Lets nobody join a lookup of entities that is under way: it may have been too early for a change.
    fn forget_entities(&self) {
        self.entities.forget_all();
        self.values.forget_all();
    }

    /// Waits for the store no longer than leaves time for the directory: at most three calls are made for a
    /// request, so that a quarter of the budget is left even if each of them takes all it may.
    async fn ask_store<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        // Waiting for a place is no failure of the store. The semaphore is never closed.
        let _place = self.calls.acquire().await;
        let started = Instant::now();
        let answer = timeout(self.settings.budget / 4, call).await.unwrap_or(Err(StoreError::Timeout));
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.lookup_seconds.with_label_values(&["store"]).observe(seconds);
        answer
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("settings", &self.layers.settings).finish_non_exhaustive()
    }
}

/// What a failure of the store means for a request that no other layer can answer.
const fn reason_of(error: StoreError) -> Reason {
    match error {
        StoreError::Unavailable | StoreError::Doubtful => Reason::StoreUnavailable,
        StoreError::Timeout => Reason::StoreTimeout,
    }
}

const fn result_of<T>(lookup: &Lookup<T>) -> LookupResult {
    match lookup {
        Lookup::Found(_) => LookupResult::Found,
        Lookup::Missing => LookupResult::Missing,
        Lookup::Unreadable => LookupResult::Unreadable,
    }
}

/// The words of the outcomes, at the place that [`outcome`] says.
const OUTCOMES: [&str; 3] = ["known", "unknown", "undetermined"];

const fn outcome(resolution: &Resolution) -> usize {
    match resolution {
        Resolution::Known(_) => 0,
        Resolution::Unknown(_) => 1,
        Resolution::Undetermined(_) => 2,
    }
}

#[cfg(test)]
mod coherence;
#[cfg(test)]
mod copies;
#[cfg(test)]
mod tests;

#[cfg(test)]
mod follower_tests;
#[cfg(test)]
mod password_tests;
