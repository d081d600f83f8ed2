//! What is noted, when it is written, and what happens when it cannot be.

use super::*;
use crate::cache::faults::Fault;
use crate::cache::world::World;

const SECOND: Duration = Duration::from_secs(1);

fn id(number: u32) -> SessionId {
    SessionId::of_token(&number.to_be_bytes())
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
    world.activity.note(&id, world.now());
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
        world.activity.note(&id, world.now());
        written += flush_store(&world).await.unwrap();
        world.clock.advance(SECOND);
    }
    assert_eq!(written, 3);
}

#[tokio::test]
async fn the_last_use_is_written_although_nobody_comes_back() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.activity.note(&id, world.now());
    flush_store(&world).await.unwrap();
    world.clock.advance(30 * SECOND);
    let last = world.now();
    world.activity.note(&id, last);
    assert_eq!(flush_store(&world).await, Ok(0));
    world.clock.advance(30 * SECOND);
    assert_eq!(flush_store(&world).await, Ok(1));
    assert_eq!(in_store(&world, &id).await, Some(last));
}

#[tokio::test]
async fn an_earlier_time_never_replaces_a_later_one() {
    let world = World::new().await;
    let (id, now) = (id(1), world.now());
    world.activity.note(&id, now);
    world.activity.note(&id, now.minus(SECOND));
    assert_eq!(world.activity.last_seen(&id), Some(now));
}

#[tokio::test]
async fn what_could_not_be_written_is_kept_and_tried_again() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.activity.note(&id, world.now());
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
        world.activity.note(&id(number), world.now());
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
    world.activity.note(&id(1), world.now());
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
        activity.note(&id(number), Timestamp::from_secs(1));
    }
    let noted = (0..10_000).filter(|number| activity.last_seen(&id(*number)).is_some()).count();
    assert!(noted <= 64, "{noted}");
}

#[tokio::test]
async fn what_is_left_is_written_when_the_process_ends() {
    let world = World::new().await;
    let id = world.cold("ana", None).await;
    world.activity.note(&id, world.now());
    flush_store(&world).await.unwrap();
    world.clock.advance(SECOND);
    world.activity.note(&id, world.now());
    let (store, directory) = (Arc::clone(&world.store), Arc::clone(&world.directory));
    let clock = Arc::clone(&world.clock);
    world.activity.run(store, directory, clock, Arc::clone(&world.metrics), std::future::ready(())).await;
    assert_eq!(in_store(&world, &id).await, Some(world.now()));
    assert_eq!(in_directory(&world, &id).await, Some(world.now()));
}
