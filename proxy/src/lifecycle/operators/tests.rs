//! What operators do, over the embedded store and directory.

use std::sync::Arc;

use super::*;
use crate::cache::faults::Fault::Fails;
use crate::cache::world::World;
use crate::store::{Entity, PutSession};

struct Scene {
    world: World,
    lifecycle: Lifecycle,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let lifecycle = Lifecycle::new(
            Arc::clone(&world.store) as Arc<dyn Store>,
            Arc::clone(&world.directory) as Arc<dyn Directory>,
            Arc::clone(&world.clock) as Arc<dyn crate::clock::Clock>,
            world.keys.clone(),
            world.settings.clone(),
            world.no_copies(),
            Arc::clone(&world.metrics),
        );
        Self { world, lifecycle }
    }

    async fn events(&self) -> Vec<(String, String)> {
        let page = AuditPage { user: None, since: None, after: None, limit: 100 };
        let lines = self.world.directory.inner().audit_log(&page).await.unwrap();
        lines.into_iter().rev().map(|line| (line.event, line.by)).collect()
    }

    /// A session that only the store holds.
    async fn only_in_store(&self) -> Session {
        let session = self.world.session("ana", None);
        let now = self.world.now();
        self.world.store.inner().put_session(&session, PutSession::IfNewer, now).await.unwrap();
        session
    }

    async fn is_over_in_store(&self, id: &SessionId) -> bool {
        let answer = self.world.store.inner().session(id).await.unwrap();
        answer.session == Lookup::Found(StoredSession::Ended)
    }
}

fn admin() -> Origin {
    Origin { by: "admin".to_owned(), from: Some("127.0.0.1".to_owned()), request_id: None }
}

fn line(event: &str) -> (String, String) {
    (event.to_owned(), "admin".to_owned())
}

#[tokio::test]
async fn a_session_is_ended_wherever_it_is_known_and_by_the_beginning_of_its_id() {
    let scene = Scene::new().await;
    let in_store = scene.only_in_store().await.id;
    let in_directory = scene.world.cold("ana", None).await;
    let in_both = scene.world.warm("ben", None).await;
    for (id, asked) in [
        (in_store, in_store.to_string()),
        (in_directory, in_directory.to_string()),
        (in_both, in_both.to_string()[..8].to_owned()),
    ] {
        assert_eq!(scene.lifecycle.end_by_id(&asked, &admin()).await, Ok(Ending::Ended(id, Ended::Durable)));
        assert!(scene.is_over_in_store(&id).await);
        assert_eq!(scene.lifecycle.end_by_id(&id.to_string(), &admin()).await, Ok(Ending::WasOver(id)));
    }
    assert_eq!(scene.events().await, vec![line("session_ended"); 3]);
}

#[tokio::test]
async fn what_nobody_knows_is_nothing_and_what_nobody_can_say_is_undetermined() {
    let scene = Scene::new().await;
    let nobodys = SessionId::of_token(b"nobody's").to_string();
    for text in [nobodys.as_str(), "short", "", "a'b%_xyz", &"A".repeat(5000), "abcdefgh"] {
        assert_eq!(scene.lifecycle.find(text).await, Ok(Sought::Nothing), "{text}");
    }
    scene.world.store.break_all(Fails);
    assert_eq!(scene.lifecycle.find(&nobodys).await, Err(LifecycleError::Undetermined));
    scene.world.store.repair();
    scene.world.directory.break_all(Fails);
    assert_eq!(scene.lifecycle.find(&nobodys).await, Err(LifecycleError::Undetermined));
    assert_eq!(scene.lifecycle.find(&nobodys[..9]).await, Err(LifecycleError::Undetermined));
    let held = scene.only_in_store().await;
    let found = scene.lifecycle.find(&held.id.to_string()).await.unwrap();
    assert!(matches!(found, Sought::Session(row, Layer::Store) if row.session == held));
}

#[tokio::test]
async fn the_end_of_a_session_that_cannot_be_made_durable_is_not_claimed() {
    let scene = Scene::new().await;
    let id = scene.world.warm("ana", None).await;
    scene.world.directory.break_all(Fails);
    assert_eq!(scene.lifecycle.end_by_id(&id.to_string(), &admin()).await, Err(LifecycleError::Undetermined));
    assert!(scene.is_over_in_store(&id).await, "whoever asks the store is told");
}

#[tokio::test]
async fn a_platform_is_cleared_from_all_sessions_and_each_is_in_the_log() {
    let scene = Scene::new().await;
    let (one, two) = (scene.world.warm("ana", Some("a2")).await, scene.world.cold("ana", Some("a2")).await);
    let other = scene.world.warm("ana", Some("a1")).await;
    let platform: PlatformId = "a2".parse().unwrap();
    assert_eq!(scene.lifecycle.clear_platform_everywhere(&platform, &admin()).await, Ok(2));
    assert_eq!(scene.lifecycle.clear_platform_everywhere(&platform, &admin()).await, Ok(0));
    for (id, chosen) in [(one, None), (two, None), (other, Some("a1".parse().unwrap()))] {
        let Sought::Session(row, _) = scene.lifecycle.find(&id.to_string()).await.unwrap() else {
            panic!("it stands")
        };
        assert_eq!(row.session.platform, chosen);
    }
    let stored = scene.world.store.inner().session(&one).await.unwrap().session;
    assert!(matches!(stored, Lookup::Found(StoredSession::Live(session)) if session.platform.is_none()));
    assert_eq!(scene.events().await, vec![line("platform_cleared"); 2]);
}

#[tokio::test]
async fn a_user_is_forgotten_with_all_that_hangs_on_it() {
    let scene = Scene::new().await;
    scene.world.warm("ana", Some("a2")).await;
    let (ana, a2): (UserId, PlatformId) = ("ana".parse().unwrap(), "a2".parse().unwrap());
    let store = scene.world.store.inner();
    let settings = Entity::UserSettings(ana.clone(), a2.clone(), Some(serde_json::json!({"a": 1})));
    let stats = Entity::PlatformStats(ana.clone(), a2.clone(), serde_json::json!({"b": 2}));
    store.put_entities(&[settings.clone(), stats.clone()]).await.unwrap();
    scene.lifecycle.invalidate(&Stale::User(ana.clone()), &admin()).await.unwrap();
    let answer = store.entities(&ana, Some(&a2)).await.unwrap();
    assert_eq!(answer.user, Lookup::Missing);
    assert_eq!(answer.platform, Lookup::Missing);
    assert_eq!(answer.user_platforms, Lookup::Missing);
    assert_eq!(store.json(&settings.key()).await, Ok(Lookup::Missing));
    assert_eq!(store.json(&stats.key()).await, Ok(Lookup::Missing));
    assert_eq!(scene.events().await, [line("user_invalidated")]);
}

#[tokio::test]
async fn without_the_store_the_directory_tells_and_without_both_nothing_is_claimed() {
    let scene = Scene::new().await;
    let (ana, a2): (UserId, PlatformId) = ("ana".parse().unwrap(), "a2".parse().unwrap());
    scene.world.store.break_all(Fails);
    for stale in [
        Stale::User(ana.clone()),
        Stale::Platform(a2.clone()),
        Stale::Settings(ana.clone(), a2.clone()),
        Stale::Stats(ana, a2),
    ] {
        let told = scene.world.directory.calls("tell");
        assert_eq!(scene.lifecycle.invalidate(&stale, &admin()).await, Ok(()));
        assert_eq!(scene.world.directory.calls("tell"), told + 1);
        scene.world.directory.break_all(Fails);
        assert_eq!(scene.lifecycle.invalidate(&stale, &admin()).await, Err(LifecycleError::Undetermined));
        scene.world.directory.repair();
    }
}
