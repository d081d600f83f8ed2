//! A session that says with which password it began is over when its user has another one; never because what is kept of
//! the user is old, and never because nobody could say. Over the operator's own query on a real Postgres.

use std::time::Duration;

use e2e::postgres::{run_sql, shared_database};

use super::*;
use crate::cache::copies;
use crate::cache::faults::Fault::Fails;
use crate::cache::faults::Faulty;
use crate::cache::world::{COPIES, MINUTE, World};
use crate::context::{LastUse, Password, PasswordClaim, PasswordKey};
use crate::directory::{self, Kind, Queries};
use crate::resolve::tests::resolver_over;
use crate::secret::Secret;
use crate::store::{Entity, EntityKey as StoredKey};

const PATIENT: copies::Settings =
    copies::Settings { max_staleness: MINUTE, degraded_lease: MINUTE, ..COPIES };

fn keys(secrets: &[&str]) -> Arc<[PasswordKey]> {
    secrets.iter().map(|secret| PasswordKey::of_django(secret.as_bytes())).collect()
}

struct Scene {
    world: World,
    url: String,
    directory: Arc<Faulty<dyn Directory>>,
    resolver: Resolver,
    copies: Arc<Copies>,
}

impl Scene {
    /// One user, whose password is `first`, under the secrets `new` and `old`. Nobody tells of changes.
    async fn new() -> Self {
        let url = shared_database();
        let _ = run_sql(
            &url,
            "CREATE TABLE people (id text PRIMARY KEY, password text NOT NULL); \
             INSERT INTO people VALUES ('ana', 'first')",
        );
        let queries = Queries {
            user: Some("SELECT id, password FROM people WHERE id = ANY($1)".to_owned()),
            passwords: Arc::new(PasswordKeys::new(vec![keys(&["new", "old"])])),
            ..Queries::default()
        };
        let kind = Kind::Postgres(Secret::from(url.as_str()));
        let settings =
            directory::Settings { queries, ..directory::Settings::new(kind, 3, Duration::from_secs(5)) };
        let directory = Faulty::around(directory::open(&settings).await.unwrap());
        let world = World::new().await;
        let copies = world.copies(&PATIENT);
        let resolver = resolver_over(&world, Arc::clone(&copies), &directory, Duration::from_secs(5));
        Self { world, url, directory, resolver, copies }
    }

    fn becomes(&self, password: &str) {
        let _ = run_sql(&self.url, &format!("UPDATE people SET password = '{password}'"));
    }

    /// What becomes of a session that began with this password.
    async fn asks(&self, password: &str) -> Result<Entities, Stop> {
        let claim = claim(password);
        let pair = PairKey { user: "ana".parse().unwrap(), platform: None };
        self.resolver.layers.entities_with(EntityKey { pair, ask_store: true }, Some(&claim)).await
    }

    fn readings(&self) -> usize {
        self.directory.calls("users")
    }
}

/// Made with the older of two secrets, as before they were changed.
fn claim(password: &str) -> PasswordClaim {
    let mark: String = keys(&["old"])[0].mark(password.as_bytes()).into();
    let digest = crate::context::digest_of(mark.split_once(':').unwrap().1.as_bytes()).unwrap();
    PasswordClaim::new(keys(&["new", "old"]), digest)
}

const CHANGED: Stop = Stop::Unknown(Reason::PasswordChanged);

#[tokio::test]
async fn nobody_is_refused_or_let_in_by_what_is_older_than_the_session() {
    let scene = Scene::new().await;
    assert!(scene.asks("first").await.is_ok());
    assert!(scene.asks("first").await.is_ok());
    assert_eq!(scene.readings(), 1, "what is kept is enough for a session that fits it");
    assert_eq!(scene.asks("second").await.unwrap_err(), CHANGED);
    // Nobody has told of this, and the user is kept as before.
    scene.becomes("second");
    assert!(scene.asks("second").await.is_ok(), "the session is newer than what is kept of its user");
    let readings = scene.readings();
    assert!(scene.asks("second").await.is_ok());
    assert_eq!(scene.readings(), readings, "and what was read for it is kept");
    assert_eq!(scene.asks("first").await.unwrap_err(), CHANGED);
}

#[tokio::test]
async fn who_cannot_be_read_again_is_undetermined() {
    let scene = Scene::new().await;
    assert!(scene.asks("first").await.is_ok());
    scene.directory.break_all(Fails);
    assert!(scene.asks("first").await.is_ok());
    assert_eq!(scene.asks("second").await.unwrap_err(), Stop::Undetermined(Reason::StoreUnavailable));
    scene.copies.everything();
    assert!(scene.asks("first").await.is_ok(), "the store has what the session has to say");
    assert_eq!(scene.asks("second").await.unwrap_err(), Stop::Undetermined(Reason::StoreUnavailable));
}

#[tokio::test]
async fn a_user_who_was_written_with_other_secrets_is_read_again() {
    let scene = Scene::new().await;
    let mut ana = scene.asks("first").await.unwrap().pair.user.as_ref().clone();
    assert_eq!((ana.passwords.len(), claim("first").judge(&ana.passwords)), (2, Password::Same));
    // As another proxy wrote it, before it knew the newer secret.
    ana.passwords = PasswordKeys::new(vec![keys(&["old"])]).marks(b"first");
    scene.world.store.inner().put_entities(&[Entity::User(ana)]).await.unwrap();
    scene.copies.everything();
    let readings = scene.readings();
    assert_eq!(scene.asks("first").await.unwrap().pair.user.passwords.len(), 2);
    assert_eq!(scene.readings(), readings + 1);
    // A reload brings a third.
    let all = PasswordKeys::new(vec![keys(&["newest", "new", "old"])]);
    scene.resolver.compare_passwords_by(&all);
    assert_eq!(scene.asks("first").await.unwrap().pair.user.passwords, all.marks(b"first"));
    scene.resolver.compare_passwords_by(&all);
    let readings = scene.readings();
    assert!(scene.asks("first").await.is_ok());
    assert_eq!(scene.readings(), readings, "the same again changes nothing");
}

#[tokio::test]
async fn no_store_and_no_log_has_the_column_itself() {
    let scene = Scene::new().await;
    scene.becomes("pbkdf2_sha256$1$made-up$hash");
    let entities = scene.asks("pbkdf2_sha256$1$made-up$hash").await.unwrap();
    let shown = format!("{entities:?}{}", serde_json::to_string(&*entities.pair.user).unwrap());
    assert!(!shown.contains("pbkdf2") && !format!("{entities:?}").contains(&marked(&entities)), "{shown}");
    let key = StoredKey::User("ana".parse().unwrap());
    let stored = scene.world.store.inner().entities(&"ana".parse().unwrap(), None).await.unwrap();
    assert!(!format!("{stored:?}").contains(&marked(&entities)), "{key:?}");
}

/// The hash that every session of the user holds.
fn marked(entities: &Entities) -> String {
    let text: String = entities.pair.user.passwords[0].into();
    text.split_once(':').unwrap().1.to_owned()
}

#[tokio::test]
async fn a_request_that_names_a_platform_meets_the_same_check() {
    let scene = Scene::new().await;
    let session = scene.world.session("ana", None);
    let user = Arc::clone(&scene.asks("first").await.unwrap().pair.user);
    let known = |password: &str| {
        Arc::new(Context {
            session: Arc::new(session.clone()),
            user: Arc::clone(&user),
            platform: None,
            platform_refused: false,
            last_seen: LastUse::at(scene.world.now()),
            layer: Layer::Process,
            password: Some(Box::new(claim(password))),
        })
    };
    let platform: PlatformId = "none".parse().unwrap();
    let named = async |password: &str| {
        scene.resolver.with_platform(&known(password), &platform, Instant::now() + MINUTE).await
    };
    assert!(matches!(named("first").await, Resolution::Known(context) if context.platform_refused));
    scene.becomes("second");
    scene.copies.user(&user.id);
    let key = StoredKey::User(user.id.clone());
    scene.world.store.inner().forget(&[key]).await.unwrap();
    assert!(matches!(named("first").await, Resolution::Unknown(Reason::PasswordChanged)));
    assert!(matches!(named("second").await, Resolution::Known(_)));
}
