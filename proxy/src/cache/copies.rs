//! The coherent copies of this process: contexts by session, and what sessions refer to. A hit asks nobody, waits for
//! nobody and holds no lock while it looks. The rules are in PROTOCOL.md; the numbers in comments are its rules.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::time::Instant;

use super::ends::Ends;
use super::marks::{Mark, Marks, Name};
use super::proof::{Held, Proof, Reading, Source};
use super::values::Value;
use super::{Activity, Invalidate, Resolutions};
use crate::clock::Timestamp;
use crate::context::{Context, Layer, Platform, PlatformId, Resolution, Session, SessionId, User, UserId};
use crate::reason::Reason;
use crate::store::{Change, EntityKey, Epoch, Follower, Lease, Store};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Counter, LookupResult};

/// Sessions known not to be valid that are remembered: about 8 MiB.
const UNKNOWN: usize = 65_536;
/// The longest that an unknown session is remembered.
const LONGEST_UNKNOWN: Duration = Duration::from_secs(1);
/// The size of a context for which the cache is laid out.
const USUAL_BYTES: usize = 1024;
/// What `quick_cache` adds to an entry (measured: 83 bytes) and the allocator to its five allocations.
const BOOKKEEPING: usize = 83 + 5 * 16;

/// How far copies may be believed, and how many there may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The longest that a revocation may go unnoticed here (100 ms).
    pub max_staleness: Duration,
    /// The longest that a session which the directory confirmed is believed while the store is away (1 s).
    pub degraded_lease: Duration,
    /// The longest that user and platform are believed without reading them again: a record in the store ends without
    /// word of it (STATE.md 2.1).
    pub entity_lifetime: Duration,
    /// The size of all copies together; 0 keeps none.
    pub bytes: u64,
    /// How long entities of the store stay usable while the directory is out of reach (15 min).
    pub entity_outage_limit: Duration,
    /// How many sessions are read ahead at the start; 0 reads none.
    pub warm_sessions: usize,
}

/// What a session refers to; `None` is the user's default platform.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PairKey {
    /// The user.
    pub user: UserId,
    /// The chosen platform.
    pub platform: Option<PlatformId>,
}

/// User and platform as a context shows them.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The user.
    pub user: Arc<User>,
    /// The platform in force.
    pub platform: Option<Arc<Platform>>,
    /// A platform was chosen but is gone, inactive or somebody else's.
    pub platform_refused: bool,
    /// What this rests on.
    pub proof: Proof,
}

/// All copies of this process. It is told of changes by the store that it follows, and by whoever changes something.
pub struct Copies {
    pub(super) settings: Settings,
    lease: Arc<Lease>,
    marks: Arc<Struck>,
    sessions: Cache<SessionId, Arc<Known>, Bytes>,
    pairs: Cache<PairKey, Arc<Pair>, Bytes>,
    /// Settings and figures.
    pub(super) values: Cache<EntityKey, Arc<Value>, Bytes>,
    unknown: Cache<SessionId, Arc<(Reason, Proof)>>,
    found: Counter,
    missed: Counter,
    metrics: Arc<Metrics>,
}

/// The cells with the flights: what an invalidation touches.
struct Struck {
    marks: Marks,
    flights: Resolutions,
    ends: Ends,
    /// Who else hears of changes, after the cells are marked.
    listener: OnceLock<Arc<dyn Follower>>,
    session: Counter,
    entity: Counter,
    everything: Counter,
    metrics: Arc<Metrics>,
}

/// A session that was found valid.
struct Known {
    context: Arc<Context>,
    proof: Proof,
    /// The absolute end of the session.
    ends: Timestamp,
}

/// The times of a session, as the request that asks for it judges them.
#[derive(Clone, Copy)]
pub struct Times<'a> {
    /// The present moment.
    pub now: Timestamp,
    /// How long a session may be unused.
    pub idle_timeout: Duration,
    /// When sessions were last used.
    pub activity: &'a Activity,
}

impl Copies {
    /// Nothing copied yet. Begins to follow `store`; for Redis a tokio runtime must be entered.
    #[must_use]
    pub fn new(settings: Settings, store: &dyn Store, metrics: Arc<Metrics>) -> Self {
        let invalidations = |what| metrics.invalidations.with_label_values(&[what]);
        let marks = Arc::new(Struck {
            marks: Marks::new(),
            // Half: a flight joins another one, and both together must not be older than the bound (rule 9).
            flights: Resolutions::joinable_for(settings.max_staleness / 2),
            ends: Ends::default(),
            listener: OnceLock::new(),
            session: invalidations("session"),
            entity: invalidations("entity"),
            everything: invalidations("everything"),
            metrics: Arc::clone(&metrics),
        });
        let lease = store.follow(Arc::clone(&marks) as Arc<dyn Follower>, settings.max_staleness);
        // Sessions are weighed with all they hold; a quarter for what new sessions of known users find, a sixteenth for
        // what few routes ask for.
        let (pairs, values) = (settings.bytes / 4, settings.bytes / 16);
        let sessions = settings.bytes - pairs - values;
        let usual = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX) / USUAL_BYTES;
        let lookups =
            |result: &str| metrics.lookups.with_label_values(&["context", Layer::Process.as_str(), result]);
        Self {
            settings,
            lease,
            marks,
            sessions: Cache::with_weighter(usual(sessions), sessions, Bytes),
            pairs: Cache::with_weighter(usual(pairs), pairs, Bytes),
            values: Cache::with_weighter(usual(values), values, Bytes),
            unknown: Cache::new(UNKNOWN),
            found: lookups(LookupResult::Found.as_str()),
            missed: lookups(LookupResult::Missing.as_str()),
            metrics,
        }
    }

    /// How far copies may be believed.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Tells `listener` of every change too, whether this process or another one made it, once no copy from before is
    /// served any more. Only the first listener is heard of.
    pub fn tell(&self, listener: Arc<dyn Follower>) {
        // Set once, by whoever puts the process together.
        let _ = self.marks.listener.set(listener);
    }

    /// The unbroken stretch of following that this moment belongs to: between two of them changes may have been missed.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.lease.epoch()
    }

    /// The flights that a change here must not be overtaken by.
    #[must_use]
    pub fn flights(&self) -> &Resolutions {
        &self.marks.flights
    }

    /// What was ended here while the directory was away.
    #[must_use]
    pub fn ends(&self) -> &Ends {
        &self.marks.ends
    }

    /// The copy of a context, or of the knowledge that there is none; `None` when the stores must be asked.
    pub fn resolution(&self, id: &SessionId, times: &Times<'_>) -> Option<Resolution> {
        let resolution = self.known(id, times).or_else(|| self.known_unknown(id));
        if resolution.is_some() {
            self.found.inc();
        } else {
            self.missed.inc();
        }
        resolution
    }

    fn known(&self, id: &SessionId, times: &Times<'_>) -> Option<Resolution> {
        let known = self.sessions.get(id)?;
        let served = known.context.session.id == *id
            && self.stands(&known.proof)
            && times.now < known.ends
            && known.is_in_use(id, times);
        served.then(|| Resolution::Known(Arc::clone(&known.context)))
    }

    fn known_unknown(&self, id: &SessionId) -> Option<Resolution> {
        let entry = self.unknown.get(id)?;
        self.stands(&entry.1).then_some(Resolution::Unknown(entry.0))
    }

    /// A copy of user and platform.
    pub fn pair(&self, key: &PairKey) -> Option<Arc<Pair>> {
        self.pairs.get(key).filter(|pair| self.stands(&pair.proof))
    }

    /// Notes what stands before something is read (rule 3). Everything read must be named, now or by [`Self::look`].
    #[must_use]
    pub fn reading(&self, names: &[Name<'_>]) -> Reading {
        let marks = names.iter().map(|name| self.look(*name)).collect();
        let (all, epoch) = (self.marks.marks.all(), self.lease.epoch());
        Reading { at: Instant::now(), all, epoch, marks }
    }

    /// Notes one more cell, before its key is read.
    #[must_use]
    pub fn look(&self, name: Name<'_>) -> Mark {
        self.marks.marks.look(name)
    }

    /// What an answer of `source` to a reading rests on.
    #[must_use]
    pub fn proof(&self, reading: Reading, source: Source) -> Proof {
        match source {
            Source::Store => reading.proves(true, self.settings.max_staleness),
            Source::Directory => reading.proves(false, self.settings.max_staleness),
            Source::DirectoryAlone => reading.proves(false, self.settings.degraded_lease),
        }
    }

    /// What a session rests on that lies in a table of others: the store tells when it was ended here, and nobody need
    /// tell what becomes of the row, which is read again after `age`.
    #[must_use]
    pub fn proof_of_row(&self, reading: Reading, age: Duration) -> Proof {
        let ends = reading.at + age;
        Proof { ends: Some(ends), ..self.proof(reading, Source::Store) }
    }

    /// What user and platform rest on: the same, but not for longer than their lifetime.
    #[must_use]
    pub fn proof_of_pair(&self, reading: Reading, source: Source) -> Proof {
        let ends = reading.at + self.settings.entity_lifetime;
        Proof { ends: Some(ends), ..self.proof(reading, source) }
    }

    /// Whether what was proven still stands: the hit rule (rule 1).
    #[must_use]
    pub fn stands(&self, proof: &Proof) -> bool {
        proof.stands(&self.lease, &self.marks.marks, Instant::now)
    }

    /// Whether no invalidation arrived since the reading began, however old it is.
    #[must_use]
    pub fn is_unstruck(&self, proof: &Proof) -> bool {
        proof.is_unstruck(&self.marks.marks)
    }

    /// Keeps a context. It was valid when its reading began; an invalidation since then leaves it marked.
    pub fn keep(&self, context: &Context, proof: Proof, ends: Timestamp) {
        if self.settings.bytes == 0 {
            return;
        }
        let id = context.session.id;
        let context = Arc::new(Context { layer: Layer::Process, ..context.clone() });
        self.sessions.insert(id, Arc::new(Known { context, proof, ends }));
    }

    /// Keeps user and platform.
    pub fn keep_pair(&self, key: PairKey, pair: Arc<Pair>) {
        if self.settings.bytes > 0 {
            self.pairs.insert(key, pair);
        }
    }

    /// Remembers for a moment that there is no valid session.
    pub fn keep_unknown(&self, id: &SessionId, reading: Reading, reason: Reason) {
        if self.settings.bytes == 0 {
            return;
        }
        self.sessions.remove(id);
        let age = self.settings.max_staleness.min(LONGEST_UNKNOWN);
        self.unknown.insert(*id, Arc::new((reason, reading.proves(false, age))));
    }

    /// Writes size and lease into the metrics.
    pub fn report(&self) {
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let entries = self.sessions.len() + self.pairs.len() + self.values.len() + self.unknown.len();
        self.metrics.cache_entries.set(number(entries as u64));
        self.metrics
            .cache_bytes
            .set(number(self.sessions.weight() + self.pairs.weight() + self.values.weight()));
        let age = self.lease.age(Instant::now());
        self.metrics.lease_age.set(age.map_or(-1.0, |age| age.as_secs_f64()));
    }
}

impl Known {
    /// Whether the session was used recently enough. What this process noted since is looked up only when the time
    /// known here has run out; whatever others noted is for the stores to say.
    fn is_in_use(&self, id: &SessionId, times: &Times<'_>) -> bool {
        let in_use = |seen| times.now.since(seen) < times.idle_timeout;
        if in_use(self.context.last_seen.get()) {
            return true;
        }
        let Some(seen) = times.activity.last_seen(id).filter(|seen| in_use(*seen)) else { return false };
        self.context.last_seen.advance(seen);
        true
    }
}

impl Invalidate for Copies {
    fn user(&self, id: &UserId) {
        self.marks.user(id);
    }

    fn platform(&self, id: &PlatformId) {
        self.marks.platform(id);
    }

    fn user_settings(&self, user: &UserId, platform: &PlatformId) {
        self.marks.user_settings(user, platform);
    }

    fn session(&self, id: &SessionId) {
        self.marks.session(id);
    }

    fn everything(&self) {
        self.marks.everything();
        // Marked already; this gives the memory back.
        self.sessions.clear();
        self.pairs.clear();
        self.values.clear();
        self.unknown.clear();
    }
}

impl Struck {
    fn tell(&self, change: impl FnOnce() -> Change) {
        if let Some(listener) = self.listener.get() {
            listener.changed(&change());
        }
    }
}

impl Invalidate for Struck {
    fn user(&self, id: &UserId) {
        self.entity.inc();
        self.marks.strike(Name::User(id));
        self.marks.strike(Name::UserPlatforms(id));
        self.tell(|| Change::Entity(EntityKey::User(id.clone())));
    }

    fn platform(&self, id: &PlatformId) {
        self.entity.inc();
        self.marks.strike(Name::Platform(id));
    }

    fn user_settings(&self, user: &UserId, platform: &PlatformId) {
        self.entity.inc();
        self.marks.strike(Name::Settings(user, platform));
    }

    fn session(&self, id: &SessionId) {
        self.session.inc();
        self.marks.strike(Name::Session(id));
        self.flights.forget(id);
        self.tell(|| Change::Session(*id));
    }

    fn everything(&self) {
        self.everything.inc();
        self.marks.strike_all();
        self.flights.forget_all();
        self.tell(|| Change::Everything);
    }
}

impl Follower for Struck {
    fn changed(&self, change: &Change) {
        match change {
            Change::Session(id) => {
                self.session(id);
                self.metrics.session_told(id);
            }
            Change::Everything => {
                self.everything();
                self.ends.tell();
            }
            Change::Ends => self.ends.tell(),
            // No copy is made of them.
            Change::Events(_) => self.tell(|| change.clone()),
            Change::Entity(key) => {
                self.entity.inc();
                self.marks.strike(Name::of(key));
                if matches!(key, EntityKey::User(_)) {
                    self.tell(|| change.clone());
                }
            }
        }
    }
}

/// Weighs copies with all they hold, though contexts of one user share much of it: what is shared may lose its other
/// owners.
#[derive(Clone)]
pub(super) struct Bytes;

impl Weighter<SessionId, Arc<Known>> for Bytes {
    fn weight(&self, _id: &SessionId, known: &Arc<Known>) -> u64 {
        let context = &known.context;
        let password = context.password.as_deref().map_or(0, size_of_val);
        // The key, and those that lie elsewhere.
        let ids = context.session.family().count() * size_of::<SessionId>();
        let own = size_of::<Known>() + size_of::<Context>() + size_of::<Session>() + ids + password;
        let platform = context.platform.as_deref();
        total(own + spilled(&known.proof.marks) + bytes_of(&context.user, platform))
    }
}

impl Weighter<PairKey, Arc<Pair>> for Bytes {
    fn weight(&self, _key: &PairKey, pair: &Arc<Pair>) -> u64 {
        let own = size_of::<Pair>() + size_of::<PairKey>() + spilled(&pair.proof.marks);
        total(own + bytes_of(&pair.user, pair.platform.as_deref()))
    }
}

pub(super) fn total(bytes: usize) -> u64 {
    (bytes + BOOKKEEPING) as u64
}

pub(super) fn spilled(marks: &Held) -> usize {
    if marks.spilled() { marks.capacity() * size_of::<Mark>() } else { 0 }
}

fn bytes_of(user: &User, platform: Option<&Platform>) -> usize {
    let roles: usize = user.roles.iter().map(|role| role.len() + size_of::<String>()).sum();
    let of_user =
        size_of::<User>() + user.id.as_str().len() + user.name.len() + roles + size_of_val(&*user.passwords);
    let of_platform = platform.map_or(0, |platform| {
        let sealed = platform.credential.as_ref().map_or(0, |credential| credential.as_text().len());
        let texts = platform.id.as_str().len() + platform.user.as_str().len() + platform.kind.len();
        size_of::<Platform>() + texts + platform.name.len() + platform.url.len() + sealed
    });
    of_user + of_platform
}

impl fmt::Debug for Copies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Copies")
            .field("settings", &self.settings)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}
