//! What is served from the process, and what ends it, over the embedded store.

use std::time::Duration;

use super::*;
use crate::cache::Invalidate;
use crate::cache::copies;
use crate::cache::faults::Fault::Fails;
use crate::cache::world::{COPIES, MINUTE, World, platform, user};
use crate::context::{Session, User};
use crate::resolve::tests::resolver_over;
use crate::store::{Entity, EntityKey as StoredKey};

/// However slow the machine, what is young stays young.
const PATIENT: copies::Settings =
    copies::Settings { max_staleness: MINUTE, degraded_lease: MINUTE, ..COPIES };

struct Scene {
    world: World,
    copies: Arc<Copies>,
    resolver: Resolver,
}

impl Scene {
    async fn new(settings: &copies::Settings) -> Self {
        let world = World::new().await;
        let copies = world.copies(settings);
        let resolver = resolver_over(&world, Arc::clone(&copies), &world.directory, Duration::from_secs(5));
        Self { world, copies, resolver }
    }

    async fn resolve(&self, id: &SessionId) -> Resolution {
        self.resolver.resolve(id, Instant::now() + MINUTE).await
    }

    async fn known(&self, id: &SessionId) -> Arc<Context> {
        match self.resolve(id).await {
            Resolution::Known(context) => context,
            other => panic!("not known: {other:?}"),
        }
    }

    async fn unknown(&self, id: &SessionId) -> Reason {
        match self.resolve(id).await {
            Resolution::Unknown(reason) => reason,
            other => panic!("not unknown: {other:?}"),
        }
    }

    fn calls(&self) -> usize {
        self.world.store.all_calls() + self.world.directory.all_calls()
    }
}

#[tokio::test]
async fn a_session_in_the_process_asks_nobody() {
    let scene = Scene::new(&COPIES).await;
    let id = scene.world.warm("ana", Some("a2")).await;
    let first = scene.known(&id).await;
    let calls = scene.calls();
    for _ in 0..3 {
        let again = scene.known(&id).await;
        assert_eq!(again.layer, Layer::Process);
        assert!(Arc::ptr_eq(&again.session, &first.session) && Arc::ptr_eq(&again.user, &first.user));
    }
    assert_eq!(scene.calls(), calls);
}

#[tokio::test]
async fn a_session_of_a_user_in_the_process_costs_one_round_trip() {
    let scene = Scene::new(&COPIES).await;
    let (one, two) = (scene.world.warm("ana", Some("a2")).await, scene.world.warm("ana", Some("a2")).await);
    let (first, calls) = (scene.known(&one).await, scene.calls());
    let second = scene.known(&two).await;
    assert_eq!((second.layer, scene.calls()), (Layer::Store, calls + 1));
    assert!(Arc::ptr_eq(&first.user, &second.user));
}

#[tokio::test]
async fn every_write_under_a_key_of_the_context_ends_the_copy() {
    let scene = Scene::new(&PATIENT).await;
    let id = scene.world.warm("ana", Some("a2")).await;
    let (user, platform) = (user("ana", true), platform("a2", "ana", true));
    let renamed = User { name: "Anna".into(), ..user.clone() };
    let store = scene.world.store.inner();
    scene.known(&id).await;
    assert_eq!(scene.known(&id).await.layer, Layer::Process);

    store.put_entities(&[Entity::User(renamed)]).await.unwrap();
    assert_eq!(&*scene.known(&id).await.user.name, "Anna");
    store.forget(&[StoredKey::Platform(platform.id.clone())]).await.unwrap();
    assert_eq!(scene.known(&id).await.layer, Layer::Directory);
    scene.copies.user(&user.id);
    assert_ne!(scene.known(&id).await.layer, Layer::Process);
    scene.copies.platform(&platform.id);
    assert_ne!(scene.known(&id).await.layer, Layer::Process);
    scene.copies.session(&id);
    assert_ne!(scene.known(&id).await.layer, Layer::Process);
    scene.copies.everything();
    assert_ne!(scene.known(&id).await.layer, Layer::Process);
    store.end_sessions(&[(id, scene.world.now().plus(MINUTE))], scene.world.now()).await.unwrap();
    assert_eq!(scene.unknown(&id).await, Reason::SessionEnded);
}

#[tokio::test]
async fn the_default_platform_is_followed_through_the_list_and_the_platform() {
    let scene = Scene::new(&PATIENT).await;
    let id = scene.world.warm("ana", None).await;
    let store = scene.world.store.inner();
    let platform_of = |context: Arc<Context>| context.platform.clone().unwrap();
    assert_eq!(platform_of(scene.known(&id).await).id.as_str(), "a1");
    let mut renamed = platform("a1", "ana", true);
    renamed.name = "Photos".into();
    store.put_entities(&[Entity::Platform(renamed)]).await.unwrap();
    assert_eq!(&*platform_of(scene.known(&id).await).name, "Photos");
    let list = Entity::UserPlatforms("ana".parse().unwrap(), vec!["a2".parse().unwrap()]);
    store.put_entities(&[list]).await.unwrap();
    assert_eq!(platform_of(scene.known(&id).await).id.as_str(), "a2");
}

#[tokio::test]
async fn what_an_invalidation_overtook_is_never_served() {
    let scene = Scene::new(&PATIENT).await;
    let id = scene.world.warm("ana", None).await;
    let context = scene.known(&id).await;
    for name in [Name::Session(&id), Name::User(&context.user.id)] {
        let reading = scene.copies.reading(&[name]);
        match name {
            Name::Session(id) => scene.copies.session(id),
            _ => scene.copies.user(&context.user.id),
        }
        let ends = scene.world.now().plus(MINUTE);
        let late = scene.copies.proof(reading, crate::cache::proof::Source::Store);
        scene.copies.keep(&context, late, ends);
        assert!(scene.resolver.copy(&id).is_none(), "{name:?}");
        let timely = scene.copies.proof(scene.copies.reading(&[name]), crate::cache::proof::Source::Store);
        scene.copies.keep(&context, timely, ends);
        assert!(scene.resolver.copy(&id).is_some(), "{name:?}");
    }
}

#[tokio::test]
async fn a_copy_does_not_outlive_the_session() {
    let scene = Scene::new(&PATIENT).await;
    let idle_timeout = scene.world.settings.idle_timeout;
    let id = scene.world.warm("ana", None).await;
    scene.known(&id).await;
    scene.world.clock.advance(idle_timeout.saturating_sub(Duration::from_millis(1)));
    assert_eq!(scene.known(&id).await.layer, Layer::Process);
    scene.world.activity.note_by_id(&id, scene.world.now());
    scene.world.clock.advance(idle_timeout.saturating_sub(Duration::from_millis(1)));
    assert_eq!(scene.known(&id).await.layer, Layer::Process, "it was used meanwhile");
    scene.world.clock.advance(Duration::from_millis(1));
    assert_eq!(scene.unknown(&id).await, Reason::SessionIdle);

    let id = scene.world.warm("ana", None).await;
    scene.known(&id).await;
    let mut left = scene.world.settings.absolute_timeout;
    while let Some(rest) = left.checked_sub(idle_timeout / 2).filter(|rest| !rest.is_zero()) {
        left = rest;
        scene.world.clock.advance(idle_timeout / 2);
        scene.world.activity.note_by_id(&id, scene.world.now());
        assert_eq!(scene.known(&id).await.layer, Layer::Process);
    }
    scene.world.clock.advance(left);
    assert_eq!(scene.unknown(&id).await, Reason::SessionExpired);
}

#[tokio::test]
async fn while_the_store_is_away_the_directorys_word_is_leased() {
    let scene = Scene::new(&copies::Settings { max_staleness: Duration::from_millis(1), ..PATIENT }).await;
    let id = scene.world.warm("ana", None).await;
    scene.world.store.break_all(Fails);
    assert_eq!(scene.known(&id).await.layer, Layer::Directory);
    let calls = scene.calls();
    assert_eq!((scene.known(&id).await.layer, scene.calls()), (Layer::Process, calls));
    scene.world.directory.inner().end_sessions(&[id], scene.world.now(), None).await.unwrap();
    scene.copies.session(&id);
    assert_eq!(scene.unknown(&id).await, Reason::SessionEnded);
}

#[tokio::test]
async fn an_unknown_session_is_remembered_and_an_undetermined_one_is_not() {
    let scene = Scene::new(&PATIENT).await;
    let id = SessionId::of_token(b"nobody's");
    scene.world.store.break_all(Fails);
    scene.world.directory.break_all(Fails);
    for _ in 0..2 {
        assert!(matches!(scene.resolve(&id).await, Resolution::Undetermined(_)));
    }
    scene.world.store.repair();
    scene.world.directory.repair();
    assert_eq!(scene.unknown(&id).await, Reason::SessionNotFound);
    let calls = scene.calls();
    // Remembered for a second at most; only a machine that stood still for that long asks again.
    let asked = Instant::now();
    assert_eq!(scene.unknown(&id).await, Reason::SessionNotFound);
    assert!(scene.calls() == calls || asked.elapsed() > Duration::from_millis(500));
}

#[tokio::test]
async fn copies_stay_within_their_bytes() {
    let bytes = 256 * 1024;
    let scene = Scene::new(&copies::Settings { bytes, ..PATIENT }).await;
    let context = scene.known(&scene.world.warm("ana", Some("a2")).await).await;
    for n in 0..2_000_u32 {
        let session = Session { id: SessionId::of_token(&n.to_be_bytes()), ..(*context.session).clone() };
        let proof = scene.copies.proof(scene.copies.reading(&[]), crate::cache::proof::Source::Store);
        let context = Context { session: Arc::new(session), ..(*context).clone() };
        scene.copies.keep(&context, proof, scene.world.now().plus(MINUTE));
    }
    scene.copies.report();
    let (weight, entries) = (scene.world.metrics.cache_bytes.get(), scene.world.metrics.cache_entries.get());
    assert!(u64::try_from(weight).unwrap() <= bytes, "{weight}");
    assert!(entries > 100, "{entries}");
    let each = weight / entries;
    assert!(each <= 1024, "a context weighs {each} bytes");
    scene.copies.everything();
    scene.copies.report();
    assert_eq!(scene.world.metrics.cache_entries.get(), 0);
}
