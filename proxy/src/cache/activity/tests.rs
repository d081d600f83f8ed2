//! What is noted, when it is written, and what happens when it cannot be.

use super::*;
use crate::cache::faults::Fault;
use crate::cache::world::{World, user};
use crate::context::Session;

const SECOND: Duration = Duration::from_secs(1);

fn id(number: u32) -> SessionId {
    SessionId::of_token(&number.to_be_bytes())
}

/// A copy of the context of a session of ana's, which knows of no use.
fn context(world: &World, id: SessionId) -> Context {
    Context {
        session: Arc::new(Session { id, ..world.session("ana", None) }),
        user: Arc::new(user("ana", true)),
        platform: None,
        platform_refused: false,
        last_seen: LastUse::at(Timestamp::default()),
        layer: Layer::Process,
        password: None,
    }
}

async fn flush_store(world: &World) -> Result<usize, StoreError> {
    world.activity.flush_store(world.store.as_ref(), world.now()).await
}

async fn flush_directory(world: &World) -> Result<usize, DirectoryError> {
    world.activity.flush_directory(world.directory.as_ref(), world.now()).await
}

async fn in_store(world: &World, id: &SessionId) -> Option<Timestamp> {
    world.store.inner().session(id).await.unwrap().last_seen
}

async fn in_directory(world: &World, id: &SessionId) -> Option<Timestamp> {
    world.directory.inner().sessions(&[*id]).await.unwrap()[0].last_seen
}

#[tokio::test]
async fn a_use_is_known_at_once_and_written_with_the_next_batch() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.clock.advance(SECOND);
    world.activity.note_by_id(&id, world.now());
    assert_eq!(world.activity.last_seen(&id), Some(world.now()));
    assert_eq!(world.store.all_calls() + world.directory.all_calls(), 0);
    assert_eq!((flush_store(&world).await, flush_directory(&world).await), (Ok(1), Ok(1)));
    assert_eq!(in_store(&world, &id).await, Some(world.now()));
    assert_eq!(in_directory(&world, &id).await, Some(world.now()));
}

#[tokio::test]
async fn a_session_in_constant_use_is_written_once_per_touch_interval() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    let mut written = 0;
    for _ in 0..180 {
        world.activity.note_by_id(&id, world.now());
        written += flush_store(&world).await.unwrap();
        world.clock.advance(SECOND);
    }
    assert_eq!(written, 3);
}

#[tokio::test]
async fn the_last_use_is_written_although_nobody_comes_back() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.activity.note_by_id(&id, world.now());
    flush_store(&world).await.unwrap();
    world.clock.advance(30 * SECOND);
    let last = world.now();
    world.activity.note_by_id(&id, last);
    assert_eq!(flush_store(&world).await, Ok(0));
    world.clock.advance(30 * SECOND);
    assert_eq!(flush_store(&world).await, Ok(1));
    assert_eq!(in_store(&world, &id).await, Some(last));
}

#[tokio::test]
async fn an_earlier_time_never_replaces_a_later_one() {
    let world = World::new().await;
    let (id, now) = (id(1), world.now());
    world.activity.note_by_id(&id, now);
    world.activity.note_by_id(&id, now.minus(SECOND));
    assert_eq!(world.activity.last_seen(&id), Some(now));
}

#[tokio::test]
async fn uses_of_a_context_are_read_from_it_when_they_are_due() {
    let world = World::new().await;
    let context = context(&world, world.cold("ana", None).await);
    let id = context.session.id;
    world.activity.note(&context, world.now());
    assert_eq!(flush_store(&world).await, Ok(1));
    world.clock.advance(59 * SECOND);
    let last = world.now();
    world.activity.note(&context, last);
    assert_eq!(world.activity.last_seen(&id), Some(last));
    // Whoever held it has gone; the use is written all the same.
    drop(context);
    world.clock.advance(SECOND);
    assert_eq!(flush_store(&world).await, Ok(1));
    assert_eq!(in_store(&world, &id).await, Some(last));
}

#[tokio::test]
async fn a_context_that_was_forgotten_is_noted_anew() {
    let world = World::new().await;
    let context = context(&world, world.cold("ana", None).await);
    let id = context.session.id;
    world.activity.note(&context, world.now());
    assert_eq!((flush_store(&world).await, flush_directory(&world).await), (Ok(1), Ok(1)));
    world.clock.advance(120 * SECOND);
    assert_eq!(flush_store(&world).await, Ok(0));
    assert_eq!(world.activity.last_seen(&id), None);
    world.activity.note(&context, world.now());
    assert_eq!((flush_store(&world).await, flush_directory(&world).await), (Ok(1), Ok(1)));
    assert_eq!(in_directory(&world, &id).await, Some(world.now()));
}

#[tokio::test]
async fn copies_of_one_context_lose_no_use_to_each_other() {
    let world = World::new().await;
    let id = id(1);
    let (one, other) = (context(&world, id), context(&world, id));
    let begin = world.now();
    let after = |seconds: u32| begin.plus(SECOND * seconds);
    // In turn, and not in order: the latest counts.
    for (context, at, latest) in [(&one, 5, 5), (&other, 3, 5), (&one, 7, 7), (&other, 8, 8), (&one, 6, 8)] {
        world.activity.note(context, after(at));
        assert_eq!(world.activity.last_seen(&id), Some(after(latest)), "noted {at}");
    }
}

#[tokio::test]
async fn what_could_not_be_written_is_kept_and_tried_again() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.activity.note_by_id(&id, world.now());
    world.store.break_all(Fault::Fails);
    world.directory.break_all(Fault::TimesOut);
    for _ in 0..3 {
        world.clock.advance(SECOND);
        assert_eq!(flush_store(&world).await, Err(StoreError::Unavailable));
        assert_eq!(flush_directory(&world).await, Err(DirectoryError::Timeout));
    }
    world.store.repair();
    world.directory.repair();
    assert_eq!((flush_store(&world).await, flush_directory(&world).await), (Ok(1), Ok(1)));
    assert_eq!((flush_store(&world).await, flush_directory(&world).await), (Ok(0), Ok(0)));
}

#[tokio::test]
async fn many_sessions_are_written_in_few_batches_and_each_of_them_once() {
    let world = World::new().await;
    for number in 0..2500 {
        world.activity.note_by_id(&id(number), world.now());
    }
    assert_eq!(flush_store(&world).await, Ok(2500));
    assert_eq!(world.store.calls("note_activity"), 3);
    for number in 0..2500 {
        assert_eq!(in_store(&world, &id(number)).await, Some(world.now()));
    }
}

#[tokio::test]
async fn what_everybody_knows_is_forgotten_after_a_while() {
    let world = World::new().await;
    world.activity.note_by_id(&id(1), world.now());
    flush_store(&world).await.unwrap();
    world.clock.advance(120 * SECOND);
    flush_store(&world).await.unwrap();
    assert!(world.activity.last_seen(&id(1)).is_some(), "the directory does not know it yet");
    flush_directory(&world).await.unwrap();
    world.clock.advance(120 * SECOND);
    flush_store(&world).await.unwrap();
    assert_eq!(world.activity.last_seen(&id(1)), None);
}

#[test]
fn the_memory_is_bounded() {
    let activity = Activity::bounded(60 * SECOND, 64);
    for number in 0..10_000 {
        activity.note_by_id(&id(number), Timestamp::from_secs(1));
    }
    let noted = (0..10_000).filter(|number| activity.last_seen(&id(*number)).is_some()).count();
    assert!(noted <= 64, "{noted}");
}

#[tokio::test]
async fn what_is_left_is_written_when_the_process_ends() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.activity.note_by_id(&id, world.now());
    flush_store(&world).await.unwrap();
    world.clock.advance(SECOND);
    world.activity.note_by_id(&id, world.now());
    let (store, directory) = (Arc::clone(&world.store), Arc::clone(&world.directory));
    let clock = Arc::clone(&world.clock);
    world.activity.run(store, directory, clock, Arc::clone(&world.metrics), std::future::ready(())).await;
    assert_eq!(in_store(&world, &id).await, Some(world.now()));
    assert_eq!(in_directory(&world, &id).await, Some(world.now()));
}
