//! Session id in, one of three outcomes out: session, user and platform from the store, the directory behind it.
//! Each layer that cannot say hands over to the next; only an answer of the directory, or a tombstone, makes a session
//! unknown. Never mixes "not there" with "could not find out".

mod entities;
mod follower;
mod freshness;
mod loader;
mod refill;
mod session;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::cache::{Activity, Invalidate, Resolutions, SingleFlight};
use crate::clock::Clock;
use crate::context::{Context, PlatformId, Resolution, SessionId, UserId};
use crate::directory::Directory;
use crate::reason::Reason;
use crate::session::{Settings as SessionSettings, lifetime};
use crate::store::{Lookup, Store, StoreError};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::LookupResult;
use entities::Entities;
pub use follower::Follower;
use freshness::Freshness;
use loader::Loader;
use refill::Refill;

/// How long resolving may take.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The budget of one request (250 ms).
    pub budget: Duration,
}

/// Resolves sessions; one per process, shared by all requests.
pub struct Resolver {
    flights: Resolutions,
    layers: Arc<Layers>,
}

/// What a flight works with; it outlives the request that started it.
struct Layers {
    store: Arc<dyn Store>,
    loader: Loader,
    refill: Refill,
    freshness: Arc<Freshness>,
    clock: Arc<dyn Clock>,
    activity: Arc<Activity>,
    session: SessionSettings,
    settings: Settings,
    metrics: Arc<Metrics>,
    entities: SingleFlight<EntityKey, Result<Entities, Stop>>,
}

/// Who shares one lookup of entities: all who ask for the same user and platform in the same layers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct EntityKey {
    user: UserId,
    platform: Option<PlatformId>,
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
    /// A resolver that asks the store first and the directory behind it.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        directory: Arc<dyn Directory>,
        clock: Arc<dyn Clock>,
        activity: Arc<Activity>,
        session: SessionSettings,
        settings: Settings,
        metrics: Arc<Metrics>,
    ) -> Self {
        let freshness = Arc::new(Freshness::new());
        let layers = Layers {
            loader: Loader::new(directory, settings.budget, Arc::clone(&metrics)),
            refill: Refill::new(Arc::clone(&store), Arc::clone(&freshness)),
            freshness,
            store,
            clock,
            activity,
            session,
            settings,
            metrics,
            entities: SingleFlight::new(),
        };
        Self { flights: Resolutions::new(), layers: Arc::new(layers) }
    }

    /// The flights of this resolver, for those who change sessions.
    #[must_use]
    pub fn flights(&self) -> Resolutions {
        self.flights.clone()
    }

    /// Who keeps the store and `kept` true to a directory that tells of changes. From now on only what was read from
    /// there is believed, so that whoever is made must also follow.
    #[must_use]
    pub fn follower(&self, kept: Arc<dyn Invalidate>) -> Follower {
        Follower::new(Arc::clone(&self.layers), self.flights.clone(), kept)
    }

    /// Resolves one session by `deadline`, or within the budget if that ends earlier. Cancellation safe.
    pub async fn resolve(&self, id: &SessionId, deadline: Instant) -> Resolution {
        // The coherent copy of this process will be asked here, before anything that waits.
        let flight = self.flights.run(id, || Arc::clone(&self.layers).resolve(*id));
        let deadline = deadline.min(Instant::now() + self.layers.settings.budget);
        let resolution = match timeout_at(deadline, flight).await {
            // The flight was for this id; an answer that is not is a fault, and nobody else's identity (THREATS S2).
            Ok(Resolution::Known(context)) if context.session.id != *id => {
                Resolution::Undetermined(Reason::Internal)
            }
            Ok(resolution) => resolution,
            Err(_) => Resolution::Undetermined(Reason::StoreTimeout),
        };
        self.layers.metrics.resolutions.with_label_values(&[outcome(&resolution)]).inc();
        resolution
    }
}

impl Layers {
    /// One flight. It has a whole budget of its own: a caller with little time left must not fail those who join.
    async fn resolve(self: Arc<Self>, id: SessionId) -> Resolution {
        match timeout(self.settings.budget, self.find_context(&id)).await {
            Ok(Ok(context)) => Resolution::Known(Arc::new(context)),
            Ok(Err(Stop::Unknown(reason))) => Resolution::Unknown(reason),
            Ok(Err(Stop::Undetermined(reason))) => Resolution::Undetermined(reason),
            Err(_) => Resolution::Undetermined(Reason::StoreTimeout),
        }
    }

    async fn find_context(self: &Arc<Self>, id: &SessionId) -> Result<Context, Stop> {
        let now = self.clock.now();
        let mut found = self.find_session(id).await?;
        lifetime::check_end(&found.session, &self.session, now).map_err(Stop::Unknown)?;
        self.check_use(&mut found, now).await?;
        let session = found.session;
        let key = EntityKey {
            user: session.user.clone(),
            platform: session.platform.clone(),
            ask_store: found.store_failure.is_none(),
        };
        let work = || Arc::clone(self).find_entities(key.clone());
        let entities = self.entities.run(&key, work).await?;
        lifetime::check_user(&session, &entities.user).map_err(Stop::Unknown)?;
        Ok(Context {
            session: Arc::new(session),
            user: entities.user,
            platform: entities.platform,
            platform_refused: entities.platform_refused,
            last_seen: found.last_seen,
            layer: found.layer.max(entities.layer),
        })
    }

    /// Waits for the store no longer than leaves time for the directory: at most three calls are made for a
    /// request, so that a quarter of the budget is left even if each of them takes all it may.
    async fn ask_store<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
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
        StoreError::Unavailable => Reason::StoreUnavailable,
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

const fn outcome(resolution: &Resolution) -> &'static str {
    match resolution {
        Resolution::Known(_) => "known",
        Resolution::Unknown(_) => "unknown",
        Resolution::Undetermined(_) => "undetermined",
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod follower_tests;
