//! Sessions over a real embedded store and directory that fail when told to, seen through the resolver.

mod foreign;

use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::*;
use crate::cache::faults::Fault::{Fails, Held, TimesOut};
use crate::cache::world::{COPIES, MINUTE, World, user};
use crate::context::{Context, Resolution};
use crate::directory::AuditPage;
use crate::reason::Reason;
use crate::resolve::{Resolver, Settings as ResolveSettings};
use crate::session::WhenExceeded;

struct Scene {
    world: World,
    resolver: Resolver,
    lifecycle: Lifecycle,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        let copies = world.copies(&COPIES);
        let resolver = Resolver::new(
            Arc::clone(&copies),
            Arc::clone(&world.store) as Arc<dyn Store>,
            Arc::clone(&world.directory) as Arc<dyn Directory>,
            Arc::clone(&world.clock) as Arc<dyn Clock>,
            Arc::clone(&world.activity),
            world.settings.clone(),
            ResolveSettings { budget: Duration::from_secs(5) },
            Arc::clone(&world.metrics),
        );
        let lifecycle = Lifecycle::new(
            Arc::clone(&world.store) as Arc<dyn Store>,
            Arc::clone(&world.directory) as Arc<dyn Directory>,
            Arc::clone(&world.clock) as Arc<dyn Clock>,
            world.keys.clone(),
            world.settings.clone(),
            copies,
            Arc::clone(&world.metrics),
        );
        Self { world, resolver, lifecycle }
    }

    async fn start(&self, user: &str) -> Started {
        self.lifecycle.start(&start(user), &origin()).await.unwrap()
    }

    async fn resolve(&self, id: &SessionId) -> Resolution {
        self.resolver.resolve(id, Instant::now() + Duration::from_mins(1)).await
    }

    async fn known(&self, id: &SessionId) -> Arc<Context> {
        match self.resolve(id).await {
            Resolution::Known(context) => context,
            other => panic!("not known: {other:?}"),
        }
    }

    async fn over(&self, id: &SessionId) -> Reason {
        match self.resolve(id).await {
            Resolution::Unknown(reason) => reason,
            other => panic!("not over: {other:?}"),
        }
    }

    /// The same with the store out of reach: what is durable.
    async fn over_durably(&self, id: &SessionId) -> Reason {
        self.world.store.break_all(Fails);
        let reason = self.over(id).await;
        self.world.store.repair();
        reason
    }

    fn metrics(&self) -> String {
        String::from_utf8(self.world.metrics.render().unwrap()).unwrap()
    }
}

fn start(user: &str) -> Start {
    Start { user: user.parse().unwrap(), platform: None, actor: None, acted: false, replaces: None }
}

fn origin() -> Origin {
    Origin { by: "upstream:app".to_owned(), from: Some("192.0.2.1".to_owned()), request_id: None }
}

fn platform(id: &str) -> PlatformId {
    id.parse().unwrap()
}

// start

#[tokio::test]
async fn a_session_begins_with_the_default_platform_and_is_known_at_once() {
    let scene = Scene::new().await;
    let started = scene.start("ana").await;
    assert_eq!(started.token.id(), started.session.id);
    let context = scene.known(&started.session.id).await;
    assert_eq!(context.user.id.as_str(), "ana");
    assert_eq!(context.session.platform, Some(platform("a1")));
    assert_eq!(context.session.authenticated, scene.world.now());
    assert!(scene.metrics().contains(r#"sessions_total{event="started"} 1"#));
    assert_eq!(scene.start("cho").await.session.platform, None);
}

#[tokio::test]
async fn a_session_begins_with_the_platform_and_the_actor_that_were_asked_for() {
    let scene = Scene::new().await;
    let wanted =
        Start { platform: Some(platform("a2")), actor: Some("ben".parse().unwrap()), ..start("ana") };
    let started = scene.lifecycle.start(&wanted, &origin()).await.unwrap();
    let context = scene.known(&started.session.id).await;
    assert_eq!(context.session.platform, Some(platform("a2")));
    assert_eq!(context.session.actor, Some("ben".parse().unwrap()));
}

#[tokio::test]
async fn an_impossible_session_does_not_begin_in_part() {
    let scene = Scene::new().await;
    let old = scene.start("ana").await.session.id;
    let replaces = Some(old);
    for impossible in [
        Start { replaces, ..start("nobody") },
        Start { replaces, ..start("ida") },
        Start { replaces, platform: Some(platform("b1")), ..start("ana") },
        Start { replaces, platform: Some(platform("a3")), ..start("ana") },
        Start { replaces, platform: Some(platform("gone")), ..start("ana") },
        Start { replaces, actor: Some("ida".parse().unwrap()), ..start("ana") },
        Start { replaces, actor: Some("nobody".parse().unwrap()), ..start("ana") },
    ] {
        let result = scene.lifecycle.start(&impossible, &origin()).await;
        assert!(matches!(result, Err(LifecycleError::Impossible(_))), "{impossible:?}");
    }
    scene.known(&old).await;
    assert_eq!(scene.world.directory.calls("create_session"), 1);
}

#[tokio::test]
async fn a_login_ends_the_browsers_old_session_and_its_relatives() {
    let scene = Scene::new().await;
    let first = scene.start("ana").await.session;
    let second = scene.lifecycle.rotate(&first, false, &origin()).await.unwrap().session;
    for replaced in [first.id, second.id] {
        scene.known(&replaced).await;
    }
    let login = Start { replaces: Some(first.id), ..start("ben") };
    let third = scene.lifecycle.start(&login, &origin()).await.unwrap().session;
    for replaced in [first.id, second.id] {
        assert_eq!(scene.over(&replaced).await, Reason::SessionEnded);
        assert_eq!(scene.over_durably(&replaced).await, Reason::SessionEnded);
    }
    assert_eq!(scene.known(&third.id).await.user.id.as_str(), "ben");
}

#[tokio::test]
async fn a_login_that_finds_no_room_changes_nothing() {
    let mut scene = Scene::new().await;
    let (old, other) = (scene.start("ana").await.session, scene.start("ana").await.session);
    scene.known(&old.id).await;
    scene.lifecycle.settings.allowances.sessions_per_user = Some(1);
    scene.lifecycle.settings.allowances.when_exceeded = WhenExceeded::Refuse;
    let login = Start { replaces: Some(old.id), ..start("ana") };
    let refused = scene.lifecycle.start(&login, &origin()).await;
    assert_eq!(refused.unwrap_err(), LifecycleError::TooManySessions);
    for session in [old, other] {
        scene.known(&session.id).await;
        assert_eq!(scene.world.directory.sessions(&[session.id]).await.unwrap()[0].ended, None);
    }
}

#[tokio::test]
async fn a_login_after_a_log_out_everywhere_stands() {
    let scene = Scene::new().await;
    scene.lifecycle.end_all(&"ana".parse().unwrap(), &origin()).await.unwrap();
    scene.known(&scene.start("ana").await.session.id).await;
    // Also when the clock that wrote the moment is ahead of ours.
    let ahead = scene.world.now().plus(MINUTE);
    let ana = User { sessions_valid_after: Some(ahead), ..user("ana", true) };
    scene.world.directory.inner().put_user(&ana).await.unwrap();
    scene.world.store.inner().put_entities(&[crate::store::Entity::User(ana)]).await.unwrap();
    scene.known(&scene.start("ana").await.session.id).await;
}

#[tokio::test]
async fn a_store_that_is_down_keeps_nobody_from_logging_in() {
    let scene = Scene::new().await;
    scene.world.store.break_all(Fails);
    let started = scene.start("ana").await;
    scene.known(&started.session.id).await;
    assert!(scene.metrics().contains(r#"store_writes_failed_total{what="session"} 1"#));
}

#[tokio::test]
async fn without_the_directory_nothing_is_claimed() {
    for fault in [Fails, TimesOut] {
        let scene = Scene::new().await;
        let session = scene.start("ana").await.session;
        scene.world.directory.break_all(fault);
        let undetermined = Err(LifecycleError::Undetermined);
        let (lifecycle, origin) = (&scene.lifecycle, origin());
        assert_eq!(lifecycle.start(&start("ana"), &origin).await.map(drop), undetermined);
        assert_eq!(lifecycle.rotate(&session, true, &origin).await.map(drop), undetermined);
        assert_eq!(lifecycle.set_platform(&session, None, &origin).await.map(drop), undetermined);
        assert_eq!(lifecycle.end_all(&session.user, &origin).await.map(drop), undetermined);
        scene.world.directory.repair();
        assert_eq!(scene.known(&session.id).await.session.version, 1);
    }
}

// rotate

#[tokio::test]
async fn a_rotation_on_demand_leaves_the_old_token_valid_for_its_grace() {
    let scene = Scene::new().await;
    let old = scene.start("ana").await.session;
    scene.world.clock.advance(MINUTE);
    let new = scene.lifecycle.rotate(&old, false, &origin()).await.unwrap();
    assert_eq!(new.token.id(), new.session.id);
    assert_eq!((new.session.expires, new.session.authenticated), (old.expires, old.authenticated));
    assert_eq!(scene.known(&old.id).await.session.successor.as_deref(), Some(&new.session.id));
    assert_eq!(scene.known(&new.session.id).await.user.id, old.user);
    scene.world.clock.advance(Duration::from_secs(10));
    assert_eq!(scene.over(&old.id).await, Reason::SessionExpired);
    assert!(matches!(scene.over_durably(&old.id).await, Reason::SessionExpired | Reason::SessionNotFound));
    scene.known(&new.session.id).await;
}

#[tokio::test]
async fn a_rotation_at_a_login_leaves_no_grace_to_any_older_token() {
    let scene = Scene::new().await;
    let first = scene.start("ana").await.session;
    let second = scene.lifecycle.rotate(&first, false, &origin()).await.unwrap().session;
    scene.world.clock.advance(Duration::from_secs(1));
    let third = scene.lifecycle.rotate(&second, true, &origin()).await.unwrap().session;
    for old in [first.id, second.id] {
        assert_eq!(scene.over(&old).await, Reason::SessionEnded);
        assert_eq!(scene.over_durably(&old).await, Reason::SessionEnded);
    }
    assert_eq!(scene.known(&third.id).await.session.authenticated, scene.world.now());
}

#[tokio::test]
async fn a_rotated_session_is_not_idle_before_its_first_use() {
    let scene = Scene::new().await;
    let old = scene.start("ana").await.session;
    for _ in 0..3 {
        scene.world.clock.advance(20 * MINUTE);
        scene.world.activity.note_by_id(&old.id, scene.world.now());
    }
    let new = scene.lifecycle.rotate(&old, false, &origin()).await.unwrap().session;
    scene.known(&new.id).await;
}

#[tokio::test]
async fn parallel_rotations_leave_one_chain() {
    let scene = Scene::new().await;
    let old = scene.start("ana").await.session;
    let origin = origin();
    let results = join_all((0..3).map(|_| scene.lifecycle.rotate(&old, false, &origin))).await;
    let mut known = 0;
    for started in results.iter().flatten() {
        scene.known(&started.session.id).await;
        known += 1;
    }
    assert!(known >= 1);
    let newest = scene.lifecycle.newest(&old.id, scene.world.now()).await.unwrap();
    scene.lifecycle.end(&newest, &origin).await.unwrap();
    for started in results.iter().flatten() {
        assert_eq!(scene.over(&started.session.id).await, Reason::SessionEnded);
    }
    assert_eq!(scene.over(&old.id).await, Reason::SessionEnded);
}

#[tokio::test]
async fn a_session_that_is_over_cannot_be_rotated() {
    let scene = Scene::new().await;
    let session = scene.start("ana").await.session;
    scene.lifecycle.end(&session, &origin()).await.unwrap();
    let rotated = scene.lifecycle.rotate(&session, true, &origin()).await.map(drop);
    assert_eq!(rotated, Err(SESSION_OVER));
    let other = scene.start("ana").await.session;
    scene.world.clock.advance(MINUTE);
    scene.lifecycle.end_all(&other.user, &origin()).await.unwrap();
    assert_eq!(scene.lifecycle.rotate(&other, false, &origin()).await.map(drop), Err(SESSION_OVER));
}

// end

#[tokio::test]
async fn ending_a_session_ends_its_predecessor_and_its_successor() {
    let scene = Scene::new().await;
    for at in 0..3 {
        let first = scene.start("ana").await.session;
        let second = scene.lifecycle.rotate(&first, false, &origin()).await.unwrap().session;
        let third = scene.lifecycle.rotate(&second, false, &origin()).await.unwrap().session;
        let family = [&first, &second, &third];
        // The records as they were before the rotations: what a request under way holds.
        scene.lifecycle.end(family[at], &origin()).await.unwrap();
        for member in family {
            assert_eq!(scene.over(&member.id).await, Reason::SessionEnded, "ended by {at}");
            assert_eq!(scene.over_durably(&member.id).await, Reason::SessionEnded, "ended by {at}");
        }
    }
}

#[tokio::test]
async fn an_end_that_the_store_could_not_be_told_is_durable() {
    let scene = Scene::new().await;
    let session = scene.start("ana").await.session;
    scene.world.store.break_all(Fails);
    scene.lifecycle.end(&session, &origin()).await.unwrap();
    assert_eq!(scene.over(&session.id).await, Reason::SessionEnded);
    assert!(scene.metrics().contains(r#"store_writes_failed_total{what="tombstone"} 1"#));
}

#[tokio::test]
async fn an_end_that_the_directory_did_not_confirm_is_not_claimed_but_shown_by_the_store() {
    let scene = Scene::new().await;
    let session = scene.start("ana").await.session;
    scene.world.directory.break_all(Fails);
    assert_eq!(scene.lifecycle.end(&session, &origin()).await, Err(LifecycleError::Undetermined));
    assert_eq!(scene.over(&session.id).await, Reason::SessionEnded);
}

#[tokio::test]
async fn logging_out_everywhere_ends_what_began_before_and_nobody_elses() {
    let scene = Scene::new().await;
    let (one, two) = (scene.start("ana").await.session, scene.world.cold("ana", None).await);
    let other = scene.start("ben").await.session;
    scene.world.clock.advance(Duration::from_secs(1));
    scene.lifecycle.end_all(&one.user, &origin()).await.unwrap();
    for id in [one.id, two] {
        scene.over(&id).await;
        scene.over_durably(&id).await;
    }
    scene.known(&other.id).await;
    let unknown = scene.lifecycle.end_all(&"nobody".parse().unwrap(), &origin()).await;
    assert!(matches!(unknown, Err(LifecycleError::Impossible(_))));
}

// set_platform

#[tokio::test]
async fn a_switched_platform_is_served_at_once() {
    let scene = Scene::new().await;
    let session = scene.start("ana").await.session;
    scene.known(&session.id).await;
    let stands = scene.lifecycle.set_platform(&session, Some(&platform("a2")), &origin()).await.unwrap();
    assert_eq!((stands.id, stands.platform), (session.id, Some(platform("a2"))));
    assert_eq!(scene.known(&session.id).await.session.platform, Some(platform("a2")));
    // With a record from before the first switch in hand.
    let cleared = scene.lifecycle.set_platform(&session, None, &origin()).await.unwrap();
    assert_eq!(cleared.platform, None);
    assert_eq!(scene.known(&session.id).await.session.platform, None);
    assert!(scene.metrics().contains("platform_switches_total 2"));
}

#[tokio::test]
async fn a_request_after_a_switch_never_joins_a_reading_from_before_it() {
    let scene = Scene::new().await;
    let session = scene.start("ana").await.session;
    scene.world.store.break_only("entities", Held);
    let change = async {
        let stands = scene.lifecycle.set_platform(&session, Some(&platform("a2")), &origin()).await.unwrap();
        let (after, ()) = tokio::join!(scene.known(&stands.id), async { scene.world.store.let_go() });
        after
    };
    let (before, after) = tokio::join!(scene.known(&session.id), change);
    assert_eq!(before.session.platform, Some(platform("a1")));
    assert_eq!(after.session.platform, Some(platform("a2")));
}

#[tokio::test]
async fn only_an_active_platform_of_ones_own_can_be_chosen() {
    let scene = Scene::new().await;
    let session = scene.start("ana").await.session;
    for refused in ["b1", "a3", "gone"] {
        let result = scene.lifecycle.set_platform(&session, Some(&platform(refused)), &origin()).await;
        assert!(matches!(result, Err(LifecycleError::Impossible(_))), "{refused}");
    }
    assert_eq!(scene.known(&session.id).await.session.platform, Some(platform("a1")));
}

#[tokio::test]
async fn a_switch_with_an_old_token_reaches_the_session_that_took_over() {
    let scene = Scene::new().await;
    let old = scene.start("ana").await.session;
    let new = scene.lifecycle.rotate(&old, false, &origin()).await.unwrap().session;
    let stands = scene.lifecycle.set_platform(&old, Some(&platform("a2")), &origin()).await.unwrap();
    assert_eq!(stands.id, new.id);
    assert_eq!(scene.known(&new.id).await.session.platform, Some(platform("a2")));
}

#[tokio::test]
async fn parallel_switches_end_with_one_of_them_in_both_layers() {
    let scene = Scene::new().await;
    let session = scene.start("ana").await.session;
    let (origin, choices) = (origin(), [platform("a1"), platform("a2")]);
    let switches = choices.iter().cycle().take(4);
    let results =
        join_all(switches.map(|id| scene.lifecycle.set_platform(&session, Some(id), &origin))).await;
    assert!(results.iter().any(Result::is_ok));
    let stands = scene.lifecycle.newest(&session.id, scene.world.now()).await.unwrap();
    assert_eq!(*scene.known(&session.id).await.session, stands);
}

#[tokio::test]
async fn an_ended_session_gets_no_platform() {
    let scene = Scene::new().await;
    let session = scene.start("ana").await.session;
    scene.lifecycle.end(&session, &origin()).await.unwrap();
    let result = scene.lifecycle.set_platform(&session, None, &origin()).await;
    assert_eq!(result.map(drop), Err(SESSION_OVER));
}

// audit

#[tokio::test]
async fn every_change_is_in_the_log_though_nothing_can_be_written_to_it_afterwards() {
    let mut scene = Scene::new().await;
    scene.lifecycle.settings.allowances.impersonation_roles = vec!["reviewer".to_owned()];
    scene.world.directory.break_only("audit", Fails);
    let (lifecycle, origin) = (&scene.lifecycle, origin());
    let first = lifecycle.start(&start("ana"), &origin).await.unwrap().session;
    let login = Start { replaces: Some(first.id), actor: Some("ben".parse().unwrap()), ..start("ana") };
    let second = lifecycle.start(&login, &origin).await.unwrap().session;
    let third = lifecycle.rotate(&second, true, &origin).await.unwrap().session;
    let chosen = lifecycle.set_platform(&third, Some(&platform("a2")), &origin).await.unwrap();
    lifecycle.set_platform(&chosen, None, &origin).await.unwrap();
    let change = settings::SettingsChange::Replace(serde_json::Map::new());
    let schema = settings::Schema { fields: Vec::new(), bytes: 1000 };
    lifecycle.change_settings(&third, &platform("a1"), &change, &schema, &origin).await.unwrap();
    for _ in 0..2 {
        lifecycle.end(&third, &origin).await.unwrap();
    }
    lifecycle.end_all(&third.user, &origin).await.unwrap();
    let page = AuditPage { user: None, since: None, after: None, limit: 100 };
    let mut lines = scene.world.directory.inner().audit_log(&page).await.unwrap();
    lines.reverse();
    let told: Vec<_> =
        lines.iter().map(|line| (line.event.as_str(), line.session, line.by.as_str())).collect();
    let by = "upstream:app";
    // Those of one login are written together.
    assert_eq!(told[0], ("session_started", Some(first.id), by));
    assert!(told[1..3].contains(&("session_replaced", Some(first.id), by)));
    assert!(told[1..3].contains(&("impersonation_started", Some(second.id), "upstream:app for user:ben")));
    let rest = [
        ("session_rotated", Some(third.id), by),
        ("platform_switched", Some(third.id), by),
        ("platform_switched", Some(third.id), by),
        ("settings_changed", Some(third.id), by),
        ("session_ended", Some(third.id), by),
        ("sessions_ended", None, by),
    ];
    assert_eq!(told[3..], rest);
    let platforms: Vec<_> = lines[4..6].iter().map(|line| line.platform.clone()).collect();
    assert_eq!(platforms, [Some(platform("a2")), None]);
}

#[tokio::test]
async fn a_started_session_is_printed_without_its_token() {
    let scene = Scene::new().await;
    let started = scene.start("ana").await;
    let printed = format!("{started:?}");
    assert!(!printed.contains(started.token.expose()), "{printed}");
}

#[tokio::test]
async fn a_line_that_the_audit_log_did_not_take_is_written_later() {
    let scene = Scene::new().await;
    let session = scene.start("ana").await.session;
    scene.world.directory.break_all(Fails);
    let line = origin().line_about("session_ended", &session, scene.world.now());
    scene.lifecycle.audit(&line).await;
    scene.lifecycle.write_waiting_lines().await;
    let ends = async || {
        let page = AuditPage { user: None, since: None, after: None, limit: 100 };
        let lines = scene.world.directory.inner().audit_log(&page).await.unwrap();
        lines.iter().filter(|line| line.event == "session_ended").count()
    };
    assert_eq!(ends().await, 0);
    scene.world.directory.repair();
    scene.lifecycle.write_waiting_lines().await;
    scene.lifecycle.write_waiting_lines().await;
    assert_eq!(ends().await, 1, "once");
}
