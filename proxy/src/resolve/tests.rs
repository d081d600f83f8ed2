//! Every row of the three outcomes, over a real embedded store and directory that fail when told to.

use std::time::Duration;

use futures_util::future::join_all;

use super::*;
use crate::cache::faults::Fault::{self, Fails, Hangs, Held, Misplaced, TimesOut, Unreadable};
use crate::cache::faults::Faulty;
use crate::cache::world::{MINUTE, World, user};
use crate::context::{Layer, Session, User};
use crate::directory::Directory;
use crate::store::{PutSession, StoredSession};

/// Long enough for a busy machine; calls that hang are given up after a quarter.
const BUDGET: Duration = Duration::from_secs(2);

fn resolver(world: &World) -> Resolver {
    resolver_with(world, BUDGET)
}

fn resolver_with(world: &World, budget: Duration) -> Resolver {
    resolver_over(world, world.no_copies(), &world.directory, budget)
}

/// Over the store and the clock of a world, with these copies and this directory.
pub(super) fn resolver_over(
    world: &World,
    copies: Arc<Copies>,
    directory: &Arc<Faulty<dyn Directory>>,
    budget: Duration,
) -> Resolver {
    Resolver::new(
        copies,
        Arc::clone(&world.store) as Arc<dyn Store>,
        Arc::clone(directory) as Arc<dyn Directory>,
        Arc::clone(&world.clock) as Arc<dyn Clock>,
        Arc::clone(&world.activity),
        world.settings.clone(),
        Settings { budget },
        Arc::clone(&world.metrics),
    )
}

async fn resolve(resolver: &Resolver, id: &SessionId) -> Resolution {
    resolver.resolve(id, Instant::now() + Duration::from_mins(1)).await
}

async fn known(resolver: &Resolver, id: &SessionId) -> Arc<Context> {
    match resolve(resolver, id).await {
        Resolution::Known(context) => context,
        other => panic!("not known: {other:?}"),
    }
}

async fn unknown(resolver: &Resolver, id: &SessionId) -> Reason {
    match resolve(resolver, id).await {
        Resolution::Unknown(reason) => reason,
        other => panic!("not unknown: {other:?}"),
    }
}

async fn undetermined(resolver: &Resolver, id: &SessionId) -> Reason {
    match resolve(resolver, id).await {
        Resolution::Undetermined(reason) => reason,
        other => panic!("not undetermined: {other:?}"),
    }
}

fn platform_of(context: &Context) -> Option<&str> {
    context.platform.as_ref().map(|platform| platform.id.as_str())
}

/// Waits for what happens beside the request.
async fn eventually<F: Future<Output = bool>>(mut check: impl FnMut() -> F) {
    for _ in 0..500 {
        if check().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen");
}

/// Lets everybody who can go on do so.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

async fn stored(world: &World, id: &SessionId) -> Lookup<StoredSession> {
    world.store.inner().session(id).await.unwrap().session
}

// Both layers answer

#[tokio::test]
async fn a_session_in_the_store_costs_two_round_trips_and_no_query() {
    let world = World::new().await;
    let id = world.warm("ana", Some("a2")).await;
    let context = known(&resolver(&world), &id).await;
    assert_eq!(context.session.id, id);
    assert_eq!((context.user.id.as_str(), platform_of(&context)), ("ana", Some("a2")));
    assert_eq!(context.layer, Layer::Store);
    assert!(!context.platform_refused);
    assert_eq!((world.store.all_calls(), world.directory.all_calls()), (2, 0));
}

#[tokio::test]
async fn a_session_that_only_the_directory_knows_is_known_and_refills_the_store() {
    let world = World::new().await;
    let id = world.cold("ana", Some("a2")).await;
    let resolver = resolver(&world);
    let context = known(&resolver, &id).await;
    assert_eq!((context.layer, platform_of(&context)), (Layer::Directory, Some("a2")));
    eventually(|| async {
        let user = context.user.id.clone();
        let entities = world.store.inner().entities(&user, context.session.platform.as_ref()).await.unwrap();
        matches!(stored(&world, &id).await, Lookup::Found(StoredSession::Live(_)))
            && matches!(entities.user, Lookup::Found(_))
            && matches!(entities.platform, Lookup::Found(_))
    })
    .await;
    assert_eq!(known(&resolver, &id).await.layer, Layer::Store);
}

#[tokio::test]
async fn a_session_that_nobody_knows_is_unknown() {
    let world = World::new().await;
    let id = SessionId::of_token(b"nobody's");
    assert_eq!(unknown(&resolver(&world), &id).await, Reason::SessionNotFound);
}

#[tokio::test]
async fn a_tombstone_ends_a_session_without_asking_the_directory() {
    let world = World::new().await;
    let id = world.warm("ana", None).await;
    let until = world.now().plus(MINUTE);
    world.store.inner().end_sessions(&[(id, until)], world.now()).await.unwrap();
    assert_eq!(unknown(&resolver(&world), &id).await, Reason::SessionEnded);
    assert_eq!(world.directory.all_calls(), 0);
}

#[tokio::test]
async fn a_session_that_ended_in_the_directory_leaves_a_tombstone_in_the_store() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.directory.inner().end_sessions(&[id], world.now(), None).await.unwrap();
    assert_eq!(unknown(&resolver(&world), &id).await, Reason::SessionEnded);
    eventually(|| async { stored(&world, &id).await == Lookup::Found(StoredSession::Ended) }).await;
}

// One of them cannot say

#[tokio::test]
async fn whatever_befalls_the_store_the_directory_answers() {
    for fault in [Fails, TimesOut, Hangs, Unreadable] {
        let world = World::new().await;
        let id = world.warm("ana", Some("a2")).await;
        world.store.break_all(fault);
        let context = known(&resolver(&world), &id).await;
        assert_eq!((context.layer, platform_of(&context)), (Layer::Directory, Some("a2")), "{fault:?}");
        assert_eq!(world.store.calls("session"), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_store_that_failed_is_not_asked_again_for_the_same_request() {
    let world = World::new().await;
    let id = world.warm("ana", None).await;
    world.store.break_all(TimesOut);
    known(&resolver(&world), &id).await;
    assert_eq!(world.store.all_calls(), 1);
}

#[tokio::test]
async fn a_store_that_fails_halfway_is_followed_by_the_directory() {
    for fault in [Fails, TimesOut, Hangs, Unreadable] {
        let world = World::new().await;
        let id = world.warm("ana", None).await;
        world.store.break_only("entities", fault);
        let context = known(&resolver(&world), &id).await;
        assert_eq!((context.layer, platform_of(&context)), (Layer::Directory, Some("a1")), "{fault:?}");
        assert_eq!(world.directory.calls("sessions"), 0, "{fault:?}");
    }
}

#[tokio::test]
async fn an_unreadable_record_is_counted() {
    let world = World::new().await;
    let id = world.warm("ana", None).await;
    world.store.break_only("session", Unreadable);
    known(&resolver(&world), &id).await;
    let text = String::from_utf8(world.metrics.render().unwrap()).unwrap();
    let line = r#"context_lookups_total{layer="store",result="unreadable",what="session"} 1"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_record_under_the_wrong_key_is_nobodys_session() {
    let world = World::new().await;
    let (ana, ben) = (world.warm("ana", None).await, world.warm("ben", None).await);
    world.store.break_only("session", Misplaced);
    let resolver = resolver(&world);
    for (id, user) in [(ana, "ana"), (ben, "ben")] {
        let context = known(&resolver, &id).await;
        assert_eq!((context.session.id, context.user.id.as_str()), (id, user));
        assert_eq!(context.layer, Layer::Directory);
    }
}

#[tokio::test]
async fn whom_the_store_knows_is_served_without_the_directory() {
    for fault in [Fails, TimesOut, Hangs] {
        let world = World::new().await;
        let (chosen, default) = (world.warm("ana", Some("a2")).await, world.warm("ana", None).await);
        let none = world.warm("cho", None).await;
        world.directory.break_all(fault);
        let resolver = resolver(&world);
        assert_eq!(platform_of(&*known(&resolver, &chosen).await), Some("a2"), "{fault:?}");
        assert_eq!(platform_of(&*known(&resolver, &default).await), Some("a1"), "{fault:?}");
        assert_eq!(platform_of(&*known(&resolver, &none).await), None, "{fault:?}");
    }
}

#[tokio::test]
async fn a_store_that_is_down_does_not_make_an_absent_session_undetermined() {
    let world = World::new().await;
    world.store.break_all(Fails);
    let id = SessionId::of_token(b"nobody's");
    assert_eq!(unknown(&resolver(&world), &id).await, Reason::SessionNotFound);
}

// Nobody can say

#[tokio::test]
async fn what_the_store_does_not_hold_is_undetermined_without_the_directory() {
    let answers = [(Fails, Reason::StoreUnavailable), (TimesOut, Reason::StoreTimeout)];
    for (fault, reason) in answers.into_iter().chain([(Unreadable, Reason::StoreUnavailable)]) {
        let world = World::new().await;
        let session = world.cold("ana", None).await;
        world.directory.break_all(fault);
        let resolver = resolver(&world);
        assert_eq!(undetermined(&resolver, &session).await, reason, "{fault:?}");
        // A session whose user and platform are not cached.
        let half = world.session("ana", None);
        world.store.inner().put_session(&half, PutSession::IfNewer, world.now()).await.unwrap();
        assert_eq!(undetermined(&resolver, &half.id).await, reason, "{fault:?}");
    }
}

#[tokio::test]
async fn when_both_fail_nobody_is_logged_out() {
    let faults: [(Fault, Fault); 5] =
        [(Fails, Fails), (TimesOut, Fails), (Unreadable, Fails), (Fails, TimesOut), (Unreadable, Unreadable)];
    for (store, directory) in faults {
        let world = World::new().await;
        let id = world.warm("ana", None).await;
        world.store.break_all(store);
        world.directory.break_all(directory);
        let resolver = resolver(&world);
        let expected = if directory == TimesOut { Reason::StoreTimeout } else { Reason::StoreUnavailable };
        assert_eq!(undetermined(&resolver, &id).await, expected, "{store:?} {directory:?}");
        world.store.repair();
        world.directory.repair();
        known(&resolver, &id).await;
    }
}

#[tokio::test]
async fn when_both_hang_the_budget_ends_the_wait() {
    let world = World::new().await;
    let id = world.warm("ana", None).await;
    world.store.break_all(Hangs);
    world.directory.break_all(Hangs);
    let resolver = resolver_with(&world, Duration::from_millis(40));
    assert_eq!(undetermined(&resolver, &id).await, Reason::StoreTimeout);
    let text = String::from_utf8(world.metrics.render().unwrap()).unwrap();
    assert!(text.contains(r#"resolutions_total{outcome="undetermined"} 1"#), "{text}");
}

#[tokio::test]
async fn a_callers_own_deadline_ends_its_wait() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.directory.break_all(Hangs);
    let resolver = resolver_with(&world, Duration::from_hours(1));
    let deadline = Instant::now() + Duration::from_millis(20);
    let resolution = resolver.resolve(&id, deadline).await;
    assert!(matches!(resolution, Resolution::Undetermined(Reason::StoreTimeout)), "{resolution:?}");
}

// Times

#[tokio::test]
async fn the_absolute_end_needs_no_further_lookup() {
    let world = World::new().await;
    let id = world.warm("ana", None).await;
    world.clock.advance(720 * MINUTE);
    world.activity.note_by_id(&id, world.now());
    assert_eq!(unknown(&resolver(&world), &id).await, Reason::SessionExpired);
    assert_eq!((world.store.calls("entities"), world.directory.calls("users")), (0, 0));
}

#[tokio::test]
async fn a_predecessor_is_valid_until_the_end_of_its_grace() {
    let world = World::new().await;
    let grace = world.now().plus(Duration::from_secs(10));
    let old = Session { expires: grace, ..world.session("ana", None) };
    world.directory.inner().create_session(&old, None, world.now(), None).await.unwrap();
    let resolver = resolver(&world);
    known(&resolver, &old.id).await;
    world.clock.advance(Duration::from_secs(10));
    assert_eq!(unknown(&resolver, &old.id).await, Reason::SessionExpired);
}

#[tokio::test]
async fn a_session_is_idle_when_process_activity_set_and_directory_agree() {
    let world = World::new().await;
    let (warm, cold) = (world.warm("ana", None).await, world.cold("ana", None).await);
    world.clock.advance(31 * MINUTE);
    let resolver = resolver(&world);
    assert_eq!(unknown(&resolver, &warm).await, Reason::SessionIdle);
    assert_eq!(world.directory.calls("sessions"), 1);
    assert_eq!(unknown(&resolver, &cold).await, Reason::SessionIdle);
}

#[tokio::test]
async fn any_one_who_knows_of_a_later_use_keeps_the_session() {
    let world = World::new().await;
    let (process, set, directory) =
        (world.warm("ana", None).await, world.warm("ana", None).await, world.warm("ana", None).await);
    world.clock.advance(20 * MINUTE);
    let used = world.now();
    world.activity.note_by_id(&process, used);
    world.store.inner().note_activity(&[(set, used)]).await.unwrap();
    world.directory.inner().note_activity(&[(directory, used)]).await.unwrap();
    world.clock.advance(20 * MINUTE);
    let resolver = resolver(&world);
    assert_eq!(known(&resolver, &process).await.last_seen.get(), used);
    assert_eq!(known(&resolver, &set).await.last_seen.get(), used);
    assert_eq!(world.directory.all_calls(), 0);
    assert_eq!(known(&resolver, &directory).await.last_seen.get(), used);
}

#[tokio::test]
async fn an_apparently_idle_session_is_undetermined_while_the_directory_cannot_say() {
    let world = World::new().await;
    let id = world.warm("ana", None).await;
    world.clock.advance(31 * MINUTE);
    world.directory.break_all(Fails);
    assert_eq!(undetermined(&resolver(&world), &id).await, Reason::StoreUnavailable);
}

#[tokio::test]
async fn an_apparently_idle_session_is_undetermined_while_the_activity_set_cannot_say() {
    let world = World::new().await;
    let id = world.warm("ana", None).await;
    world.clock.advance(31 * MINUTE);
    world.store.break_all(TimesOut);
    let resolver = resolver(&world);
    assert_eq!(undetermined(&resolver, &id).await, Reason::StoreTimeout);
    world.activity.note_by_id(&id, world.now());
    known(&resolver, &id).await;
}

#[tokio::test]
async fn an_idle_looking_session_that_ended_in_the_directory_has_ended() {
    let world = World::new().await;
    let id = world.warm("ana", None).await;
    world.directory.inner().end_sessions(&[id], world.now(), None).await.unwrap();
    world.clock.advance(31 * MINUTE);
    assert_eq!(unknown(&resolver(&world), &id).await, Reason::SessionEnded);
}

// People and platforms

#[tokio::test]
async fn a_user_who_is_inactive_or_gone_has_no_session() {
    let world = World::new().await;
    let inactive = world.cold("ida", None).await;
    let resolver = resolver(&world);
    assert_eq!(unknown(&resolver, &inactive).await, Reason::UserInactive);
    let ghost = world.session("ghost", None);
    world.store.inner().put_session(&ghost, PutSession::IfNewer, world.now()).await.unwrap();
    assert_eq!(unknown(&resolver, &ghost.id).await, Reason::UserInactive);
    world.directory.break_all(Fails);
    let other = world.session("other-ghost", None);
    world.store.inner().put_session(&other, PutSession::IfNewer, world.now()).await.unwrap();
    assert_eq!(undetermined(&resolver, &other.id).await, Reason::StoreUnavailable);
}

#[tokio::test]
async fn a_log_out_everywhere_ends_sessions_that_nobody_enumerated() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    let after = world.now().plus(Duration::from_secs(1));
    let ana = User { sessions_valid_after: Some(after), ..user("ana", true) };
    world.directory.inner().put_user(&ana).await.unwrap();
    assert_eq!(unknown(&resolver(&world), &id).await, Reason::SessionSuperseded);
}

#[tokio::test]
async fn a_chosen_platform_that_cannot_be_used_is_refused_and_never_replaced() {
    let world = World::new().await;
    let resolver = resolver(&world);
    for platform in ["a3", "b1"] {
        let id = world.cold("ana", Some(platform)).await;
        for _ in 0..2 {
            let context = known(&resolver, &id).await;
            assert_eq!((platform_of(&context), context.platform_refused), (None, true), "{platform}");
        }
    }
    let gone = world.session("ana", Some("gone"));
    world.store.inner().put_session(&gone, PutSession::IfNewer, world.now()).await.unwrap();
    let context = known(&resolver, &gone.id).await;
    assert_eq!((platform_of(&context), context.platform_refused), (None, true));
}

#[tokio::test]
async fn without_a_choice_the_default_counts_if_there_is_one() {
    let world = World::new().await;
    let (ana, cho) = (world.cold("ana", None).await, world.cold("cho", None).await);
    let resolver = resolver(&world);
    let context = known(&resolver, &ana).await;
    assert_eq!((platform_of(&context), context.platform_refused), (Some("a1"), false));
    let context = known(&resolver, &cho).await;
    assert_eq!((platform_of(&context), context.platform_refused), (None, false));
}

// Together

#[tokio::test]
async fn a_hundred_requests_of_one_session_ask_once() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    let resolver = resolver(&world);
    world.directory.break_only("sessions", Held);
    let callers = join_all((0..100).map(|_| resolve(&resolver, &id)));
    let (outcomes, ()) = tokio::join!(callers, async {
        settle().await;
        world.directory.let_go();
    });
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Resolution::Known(_))));
    assert_eq!((world.directory.calls("sessions"), world.directory.calls("users")), (1, 1));
}

#[tokio::test]
async fn sessions_of_different_people_at_once_are_never_mixed_up() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for user in ["ana", "ben", "cho"].into_iter().cycle().take(60) {
        ids.push((user, world.cold(user, None).await));
    }
    let resolver = resolver(&world);
    let contexts = join_all(ids.iter().map(|(_, id)| known(&resolver, id))).await;
    for ((user, id), context) in ids.iter().zip(contexts) {
        assert_eq!((context.user.id.as_str(), context.session.id), (*user, *id));
        assert_eq!(context.session.user.as_str(), *user);
    }
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_take_the_answer_from_the_others() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.directory.break_only("sessions", Held);
    let resolver = Arc::new(resolver(&world));
    let first = {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move { resolve(&resolver, &id).await })
    };
    settle().await;
    let second = tokio::spawn(async move { known(&resolver, &id).await.session.id });
    settle().await;
    first.abort();
    world.directory.let_go();
    assert_eq!(second.await.unwrap(), id);
    assert_eq!(world.directory.calls("sessions"), 1);
}

#[tokio::test]
async fn nobody_joins_a_reading_from_before_a_change() {
    let world = World::new().await;
    let id = world.warm("ana", None).await;
    world.store.break_only("entities", Held);
    let resolver = Arc::new(resolver(&world));
    let before = {
        let resolver = Arc::clone(&resolver);
        tokio::spawn(async move { known(&resolver, &id).await.session.id })
    };
    settle().await;
    let until = world.now().plus(MINUTE);
    world.store.inner().end_sessions(&[(id, until)], world.now()).await.unwrap();
    resolver.layers.copies.flights().forget(&id);
    assert_eq!(unknown(&resolver, &id).await, Reason::SessionEnded);
    world.store.let_go();
    assert_eq!(before.await.unwrap(), id);
}
