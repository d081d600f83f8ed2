//! What is true in the directory becomes true in the store, also after changes that nobody told. Over a real Postgres.

use std::time::Duration;

use e2e::postgres::{Postgres, run_sql};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::*;
use crate::cache::faults::Fault::Fails;
use crate::cache::faults::Faulty;
use crate::cache::world::{World, platform, user};
use crate::context::{PlatformId, UserId};
use crate::directory::{self, Kind, migrations};
use crate::resolve::tests::resolver_over;
use crate::secret::Secret;
use crate::store::{PutSession, StoredSession};

/// Counts what it is told.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Invalidate for Told {
    fn user(&self, id: &UserId) {
        self.0.lock().push(format!("user {id}"));
    }

    fn platform(&self, id: &PlatformId) {
        self.0.lock().push(format!("platform {id}"));
    }

    fn user_settings(&self, user: &UserId, platform: &PlatformId) {
        self.0.lock().push(format!("settings {user} {platform}"));
    }

    fn session(&self, id: &SessionId) {
        self.0.lock().push(format!("session {id}"));
    }

    fn everything(&self) {
        self.0.lock().push("everything".to_owned());
    }
}

/// One proxy in front of a Postgres of its own.
struct Scene {
    world: World,
    server: Postgres,
    url: String,
    directory: Arc<Faulty<dyn Directory>>,
    resolver: Resolver,
    told: Arc<Told>,
    follower: JoinHandle<()>,
}

impl Scene {
    async fn new() -> Self {
        let server = Postgres::start();
        let url = server.new_database();
        let kind = Kind::Postgres(Secret::from(url.as_str()));
        let settings = directory::Settings::new(kind, 3, Duration::from_secs(2));
        migrations::up(&settings, |_| ()).await.unwrap();
        let directory = Faulty::around(directory::open(&settings).await.unwrap());
        directory.inner().put_user(&user("ana", true)).await.unwrap();
        directory.inner().put_platform(&platform("a1", "ana", true)).await.unwrap();
        let world = World::new().await;
        let resolver = resolver_over(&world, world.no_copies(), &directory, Duration::from_secs(10));
        let told = Arc::new(Told::default());
        let follower = resolver.follower(Arc::clone(&told) as Arc<dyn Invalidate>);
        let follower = tokio::spawn(follower.follow(directory.inner().changes().unwrap()));
        let scene = Self { world, server, url, directory, resolver, told, follower };
        scene.until("changes are told", async || scene.is_listening()).await;
        scene
    }

    fn is_listening(&self) -> bool {
        self.world.metrics.directory_listening.get() == 1
    }

    async fn until(&self, what: &str, mut check: impl AsyncFnMut() -> bool) {
        for _ in 0..1200 {
            assert!(!self.follower.is_finished());
            if check().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("it did not happen: {what}; told: {:?}", self.told.0.lock());
    }

    /// A session that both layers hold.
    async fn session(&self) -> SessionId {
        let now = self.world.now();
        let session = self.world.session("ana", None);
        self.directory.inner().create_session(&session, None, now, None).await.unwrap();
        self.world.store.inner().put_session(&session, PutSession::IfNewer, now).await.unwrap();
        session.id
    }

    async fn known(&self, id: &SessionId) -> Arc<Context> {
        match self.resolver.resolve(id, Instant::now() + Duration::from_mins(1)).await {
            Resolution::Known(context) => context,
            other => panic!("not known: {other:?}"),
        }
    }

    /// Until the session is served without the directory.
    async fn until_cached(&self, id: &SessionId) {
        self.until("the store is believed", async || {
            // The store keeps out for a while what was forgotten just now.
            self.world.clock.advance(Duration::from_secs(1));
            self.known(id).await.layer == Layer::Store
        })
        .await;
    }

    fn sql(&self, statements: &str) {
        let _ = run_sql(&self.url, statements);
    }

    async fn name(&self, id: &SessionId) -> String {
        self.known(id).await.user.name.to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_behind_our_back_is_seen_and_an_end_leaves_a_tombstone() {
    let scene = Scene::new().await;
    let id = scene.session().await;
    scene.until_cached(&id).await;
    scene.sql("UPDATE users SET name = 'Ana the Second'");
    scene.until("the new name", async || scene.name(&id).await == "Ana the Second").await;
    scene.sql("UPDATE platforms SET name = 'Moved'");
    scene
        .until("the new platform", async || {
            scene.known(&id).await.platform.as_ref().is_some_and(|platform| &*platform.name == "Moved")
        })
        .await;
    scene.sql(&format!("UPDATE sessions SET ended_at = {}", scene.world.now().as_millis()));
    scene
        .until("the tombstone", async || {
            let stored = scene.world.store.inner().session(&id).await.unwrap().session;
            stored == Lookup::Found(StoredSession::Ended)
        })
        .await;
    let told = scene.told.0.lock().clone();
    for piece in ["user ana".to_owned(), "platform a1".to_owned(), format!("session {id}")] {
        assert!(told.contains(&piece), "{piece} in {told:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_in_the_gap_of_a_lost_listener_is_seen_when_it_is_back() {
    let mut scene = Scene::new().await;
    let id = scene.session().await;
    scene.until_cached(&id).await;
    // The change is committed in the moment in which the listener's connection ends.
    scene.sql(
        "ALTER TABLE users DISABLE TRIGGER USER; UPDATE users SET name = 'Untold'; \
         ALTER TABLE users ENABLE TRIGGER USER; \
         SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%pg_notify%'",
    );
    scene.until("the untold name", async || scene.name(&id).await == "Untold").await;
    scene.until("changes are told again", async || scene.is_listening()).await;
    scene.until_cached(&id).await;

    scene.server.restart();
    scene.until("the loss", async || !scene.is_listening()).await;
    scene.until("changes are told after a restart", async || scene.is_listening()).await;
    scene.sql("UPDATE users SET name = 'Told again'");
    scene.until("the name after the restart", async || scene.name(&id).await == "Told again").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_directory_what_the_store_holds_goes_on_being_served() {
    let mut scene = Scene::new().await;
    let id = scene.session().await;
    scene.until_cached(&id).await;
    scene.server.kill();
    scene.until("the loss", async || !scene.is_listening()).await;
    assert_eq!(scene.known(&id).await.user.id.as_str(), "ana");
    // Even when it would have to be asked again.
    scene.resolver.layers.freshness.begin(Duration::from_hours(1));
    scene.resolver.layers.freshness.lose();
    let answer = scene.resolver.resolve(&id, Instant::now() + Duration::from_mins(1)).await;
    assert!(matches!(answer, Resolution::Undetermined(_)), "it may have changed unheard: {answer:?}");
    scene.server.restart();
    scene.until_cached(&id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_could_not_forget_is_read_again() {
    let scene = Scene::new().await;
    let id = scene.session().await;
    scene.until_cached(&id).await;
    scene.world.store.break_only("forget", Fails);
    scene.sql("UPDATE users SET name = 'Not forgotten'");
    scene.until("the new name", async || scene.name(&id).await == "Not forgotten").await;
    let metrics = String::from_utf8(scene.world.metrics.render().unwrap()).unwrap();
    assert!(metrics.contains(r#"store_writes_failed_total{what="entities"} 1"#));
}
