//! For tests: an embedded store and an in-memory directory with a few people in it, behind [`Faulty`], and a clock that
//! stands still.

use std::sync::Arc;
use std::time::Duration;

use super::Activity;
use super::copies::{self, Copies};
use super::faults::Faulty;
use crate::clock::{Clock, ManualClock, Timestamp};
use crate::context::{Platform, Session, SessionId, User};
use crate::directory::{self, Directory};
use crate::keys::Key;
use crate::secret::Secret;
use crate::session::Settings;
use crate::session::token::SessionToken;
use crate::store::{self, Entity, PutSession, Store};
use crate::telemetry::Metrics;

pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// As the defaults of the configuration.
pub(crate) const COPIES: copies::Settings = copies::Settings {
    max_staleness: Duration::from_millis(100),
    degraded_lease: Duration::from_secs(1),
    entity_lifetime: Duration::from_mins(6),
    bytes: 64 * 1024 * 1024,
    entity_outage_limit: Duration::from_mins(15),
    warm_sessions: 0,
};

/// Ana has the platforms `a1` (her default), `a2` and the inactive `a3`; Ben has `b1`; Cho has none; Ida is inactive.
pub(crate) struct World {
    pub(crate) store: Arc<Faulty<dyn Store>>,
    pub(crate) directory: Arc<Faulty<dyn Directory>>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) activity: Arc<Activity>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) settings: Settings,
    pub(crate) keys: Vec<Key>,
}

impl World {
    pub(crate) async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
        let (store, directory) = open(Arc::clone(&clock) as Arc<dyn Clock>).await;
        for (id, active) in [("ana", true), ("ben", true), ("cho", true), ("ida", false)] {
            directory.put_user(&user(id, active)).await.unwrap();
        }
        for (id, owner, active) in
            [("a1", "ana", true), ("a2", "ana", true), ("a3", "ana", false), ("b1", "ben", true)]
        {
            directory.put_platform(&platform(id, owner, active)).await.unwrap();
        }
        let settings = Settings {
            cookie: "session".to_owned(),
            secure: true,
            idle_timeout: 30 * MINUTE,
            absolute_timeout: 720 * MINUTE,
            touch_interval: MINUTE,
            rotation_grace: Duration::from_secs(10),
            allowances: crate::session::Allowances {
                impersonation_roles: vec!["reviewer".to_owned()],
                ..crate::session::Allowances::default()
            },
        };
        Self {
            store: Faulty::around(store),
            directory: Faulty::around(directory),
            clock,
            activity: Arc::new(Activity::new(settings.touch_interval)),
            metrics: Arc::new(Metrics::new()),
            settings,
            keys: vec![Key { id: "k".to_owned(), secret: Secret::new(vec![1; 32]) }],
        }
    }

    /// Copies that keep nothing: every request asks the store. Flights can be joined however slow the machine is.
    pub(crate) fn no_copies(&self) -> Arc<Copies> {
        self.copies(&copies::Settings { bytes: 0, max_staleness: MINUTE, ..COPIES })
    }

    /// Copies of what this store holds.
    pub(crate) fn copies(&self, settings: &copies::Settings) -> Arc<Copies> {
        Arc::new(Copies::new(*settings, self.store.as_ref(), Arc::clone(&self.metrics)))
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A session that begins now and is nowhere yet.
    pub(crate) fn session(&self, user: &str, platform: Option<&str>) -> Session {
        Session {
            id: SessionToken::mint(&self.keys).id(),
            user: user.parse().unwrap(),
            platform: platform.map(|id| id.parse().unwrap()),
            created: self.now(),
            authenticated: self.now(),
            expires: self.now().plus(self.settings.absolute_timeout),
            predecessor: None,
            successor: None,
            actor: None,
            version: 1,
        }
    }

    /// A session that the directory holds and the store does not.
    pub(crate) async fn cold(&self, user: &str, platform: Option<&str>) -> SessionId {
        let session = self.session(user, platform);
        self.directory.inner().create_session(&session, None, self.now(), None).await.unwrap();
        session.id
    }

    /// A session that both hold, with what it refers to.
    pub(crate) async fn warm(&self, user: &str, platform: Option<&str>) -> SessionId {
        let session = self.session(user, platform);
        self.directory.inner().create_session(&session, None, self.now(), None).await.unwrap();
        self.store.inner().put_session(&session, PutSession::IfNewer, self.now()).await.unwrap();
        let user = session.user.clone();
        let users = self.directory.inner().users(std::slice::from_ref(&user)).await.unwrap();
        let platforms = self.directory.inner().user_platforms(std::slice::from_ref(&user)).await.unwrap();
        let ids = platforms.iter().map(|platform| platform.id.clone()).collect();
        let mut entities = vec![Entity::UserPlatforms(user, ids)];
        entities.extend(users.into_iter().map(Entity::User));
        entities.extend(platforms.into_iter().map(Entity::Platform));
        self.store.inner().put_entities(&entities).await.unwrap();
        session.id
    }
}

async fn open(clock: Arc<dyn Clock>) -> (Arc<dyn Store>, Arc<dyn Directory>) {
    let timeout = Duration::from_secs(10);
    let store = store::Settings {
        kind: store::Kind::Embedded,
        timeout,
        entity_lifetime: 60 * MINUTE,
        stats_lifetime: 5 * MINUTE,
    };
    let directory = directory::Settings::new(directory::Kind::Sqlite(None), 2, timeout);
    (store::open(&store, clock).unwrap(), directory::open(&directory).await.unwrap())
}

pub(crate) fn user(id: &str, active: bool) -> User {
    User {
        id: id.parse().unwrap(),
        name: id.to_uppercase().into(),
        roles: vec!["reviewer".to_owned()],
        active,
        sessions_valid_after: None,
        passwords: Box::default(),
    }
}

pub(crate) fn platform(id: &str, owner: &str, active: bool) -> Platform {
    Platform {
        id: id.parse().unwrap(),
        user: owner.parse().unwrap(),
        kind: "mastodon".into(),
        name: id.to_uppercase().into(),
        url: format!("https://{id}.example").into(),
        active,
        default: id.ends_with('1'),
        credential: None,
    }
}
