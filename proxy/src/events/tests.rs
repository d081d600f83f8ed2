//! What a tab is told: everything once and in order, from where it came in; who missed something is told so.

use super::*;
use crate::cache::faults::Fault::Fails;
use crate::cache::world::{COPIES, World};

const SETTINGS: Settings = Settings {
    per_session: 2,
    per_user: 3,
    in_all: 4,
    heartbeat: Duration::from_secs(15),
    expiry_warning: Duration::from_mins(5),
};

struct Scene {
    world: World,
    hub: Arc<Hub>,
    ana: UserId,
    session: SessionId,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let copies = world.copies(&COPIES);
        let hub = Hub::new(Arc::clone(&world.store) as Arc<dyn Store>, SETTINGS);
        copies.tell(Listener::new(Arc::clone(&hub), Streams::new()));
        tokio::spawn(Arc::clone(&hub).run(copies));
        Self { world, hub, ana: "ana".parse().unwrap(), session: SessionId::of_token(b"1") }
    }

    async fn happens(&self, platform: &str) {
        let event = event(platform);
        self.world.store.inner().append_events(&[(self.ana.clone(), event)]).await.unwrap();
    }

    async fn listen(&self, last: Option<EventId>) -> Subscription {
        self.hub.listen(&self.ana, &self.session, last).await.unwrap()
    }
}

fn event(platform: &str) -> Event {
    Event::SettingsChanged { platform: platform.parse().unwrap() }
}

async fn told(tab: &mut Subscription) -> (EventId, Event) {
    match tab.next().await.unwrap() {
        Told::Event(id, event) => (id, event),
        other @ Told::Anew(_) => panic!("not an event: {other:?}"),
    }
}

#[tokio::test]
async fn every_tab_is_told_everything_once_and_in_order() {
    let scene = Scene::new().await;
    scene.happens("before").await;
    let mut tabs = [scene.listen(None).await, scene.listen(None).await];
    for number in 0..20 {
        scene.happens(&number.to_string()).await;
    }
    for tab in &mut tabs {
        for number in 0..20 {
            assert_eq!(told(tab).await.1, event(&number.to_string()));
        }
    }
}

#[tokio::test]
async fn a_tab_that_was_cut_off_goes_on_where_it_stood() {
    let scene = Scene::new().await;
    let mut tab = scene.listen(None).await;
    scene.happens("1").await;
    scene.happens("2").await;
    let (last, _) = told(&mut tab).await;
    drop(tab);
    scene.happens("3").await;
    let mut again = scene.listen(Some(last)).await;
    scene.happens("4").await;
    for expected in ["2", "3", "4"] {
        assert_eq!(told(&mut again).await.1, event(expected));
    }
    assert_eq!(scene.hub.count(), 1);
}

#[tokio::test]
async fn who_may_have_missed_something_is_told_to_look_anew() {
    let scene = Scene::new().await;
    let mut tab = scene.listen(None).await;
    scene.happens("1").await;
    let (last, _) = told(&mut tab).await;
    for _ in 0..crate::store::events::MOST_KEPT {
        scene.happens("more").await;
    }
    let mut late = scene.listen(Some(last)).await;
    assert!(matches!(late.next().await, Some(Told::Anew(_))));
    scene.happens("after").await;
    assert_eq!(told(&mut late).await.1, event("after"));
    scene.hub.mark_all();
    assert!(matches!(late.next().await, Some(Told::Anew(_))));
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_loses_nothing() {
    let scene = Scene::new().await;
    let mut tab = scene.listen(None).await;
    scene.world.store.break_only("events", Fails);
    scene.happens("1").await;
    assert!(scene.hub.listen(&scene.ana, &scene.session, None).await.is_err());
    scene.world.store.repair();
    assert_eq!(told(&mut tab).await.1, event("1"));
    assert_eq!(scene.hub.count(), 1, "who could not come in has left");
}

#[tokio::test]
async fn only_so_many_may_listen() {
    let scene = Scene::new().await;
    let (other, ben) = (SessionId::of_token(b"2"), "ben".parse().unwrap());
    let _tabs = [scene.listen(None).await, scene.listen(None).await];
    let refused = |result: Result<Subscription, NotOpened>| result.err() == Some(NotOpened::TooMany);
    assert!(refused(scene.hub.listen(&scene.ana, &scene.session, None).await), "of one session");
    let _third = scene.hub.listen(&scene.ana, &other, None).await.unwrap();
    assert!(refused(scene.hub.listen(&scene.ana, &other, None).await), "of one user");
    let fourth = scene.hub.listen(&ben, &other, None).await.unwrap();
    assert!(refused(scene.hub.listen(&ben, &scene.session, None).await), "in all");
    drop(fourth);
    assert!(scene.hub.listen(&ben, &scene.session, None).await.is_ok());
}
