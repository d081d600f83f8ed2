//! The steps end where a request ends: compared with the resolver itself over everything that can be wrong.

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::cache::faults::Fault::Fails;
use crate::cache::world::{MINUTE, World};
use crate::resolve::Resolver;
use crate::resolve::tests::resolver_over;

fn resolver(world: &World) -> Resolver {
    resolver_over(world, world.no_copies(), &world.directory, Duration::from_secs(5))
}

/// What an outcome comes to, in words that can be compared.
fn told(resolution: &Resolution) -> String {
    match resolution {
        Resolution::Known(context) => {
            let platform = context.platform.as_ref().map(|platform| platform.id.clone());
            format!("{} {} {platform:?} {}", context.session.id, context.user.id, context.platform_refused)
        }
        Resolution::Unknown(reason) => format!("unknown {reason}"),
        Resolution::Undetermined(reason) => format!("undetermined {reason}"),
    }
}

async fn look(world: &World, id: &SessionId) -> Inspection {
    inspect(id, world.store.as_ref(), world.directory.as_ref(), &world.settings, world.now()).await
}

/// Looks, and then resolves. Answers the steps and the outcome of both, which is the same.
async fn both(world: &World, id: &SessionId) -> (Vec<(&'static str, Verdict)>, String) {
    let inspection = look(world, id).await;
    let resolution = resolver(world).resolve(id, Instant::now() + MINUTE).await;
    assert_eq!(told(&inspection.resolution), told(&resolution), "{:?}", inspection.steps);
    (inspection.steps.iter().map(|step| (step.step, step.verdict)).collect(), told(&resolution))
}

#[tokio::test]
async fn the_steps_end_where_a_request_ends() {
    use Verdict::{Bad, Good, Silent, Undetermined};
    let world = World::new().await;
    let warm = world.warm("ana", Some("a2")).await;
    let (steps, told) = both(&world, &warm).await;
    let good = |step| (step, Good);
    assert_eq!(steps, ["store", "directory", "lifetime", "user", "platform"].map(good));
    assert!(told.contains("a2"), "{told}");

    let cold = world.cold("ana", None).await;
    let (steps, told) = both(&world, &cold).await;
    assert_eq!(steps[0], ("store", Silent));
    assert!(told.contains("a1"), "the default platform: {told}");

    let (steps, _) = both(&world, &world.cold("ana", Some("a3")).await).await;
    assert_eq!(steps.last(), Some(&("platform", Bad)));
    let (steps, _) = both(&world, &world.cold("cho", None).await).await;
    assert_eq!(steps.last(), Some(&("platform", Silent)));
    let (steps, told) = both(&world, &world.cold("ida", None).await).await;
    assert_eq!((steps.last(), told.as_str()), (Some(&("user", Bad)), "unknown user_inactive"));
    let (steps, told) = both(&world, &SessionId::of_token(b"nobody's")).await;
    assert_eq!((steps.last(), told.as_str()), (Some(&("directory", Bad)), "unknown session_not_found"));

    let ended = world.cold("ana", None).await;
    world.directory.inner().end_sessions(&[ended], world.now(), None).await.unwrap();
    let (steps, told) = both(&world, &ended).await;
    assert_eq!((steps.last(), told.as_str()), (Some(&("directory", Bad)), "unknown session_ended"));
    let until = world.now().plus(MINUTE);
    world.store.inner().end_sessions(&[(warm, until)], world.now()).await.unwrap();
    assert_eq!(both(&world, &warm).await.1, "unknown session_ended");

    let user = "ben".parse().unwrap();
    let before = world.cold("ben", None).await;
    world.clock.advance(Duration::from_millis(1));
    world.directory.inner().end_user_sessions(&user, world.now(), None).await.unwrap();
    assert_eq!(both(&world, &before).await.1, "unknown session_ended");

    let idle = world.cold("ana", None).await;
    world.clock.advance(world.settings.idle_timeout);
    let (steps, told) = both(&world, &idle).await;
    assert_eq!((steps.last(), told.as_str()), (Some(&("lifetime", Bad)), "unknown session_idle"));
    world.store.break_all(Fails);
    let (steps, told) = both(&world, &idle).await;
    assert_eq!(steps.last(), Some(&("lifetime", Undetermined)));
    assert_eq!(told, "undetermined store_unavailable");
    world.store.repair();
    world.clock.advance(world.settings.absolute_timeout);
    assert_eq!(both(&world, &idle).await.1, "unknown session_expired");
}

#[tokio::test]
async fn stores_that_are_down_are_told_apart_from_a_session_that_is_over() {
    let world = World::new().await;
    let (warm, cold) = (world.warm("ana", Some("a2")).await, world.cold("ben", None).await);
    world.store.break_all(Fails);
    assert_eq!(both(&world, &warm).await.0[0], ("store", Verdict::Undetermined));
    assert!(!both(&world, &cold).await.1.starts_with("un"));
    world.directory.break_all(Fails);
    for id in [warm, cold] {
        assert_eq!(both(&world, &id).await.1, "undetermined store_unavailable");
    }
    world.store.repair();
    let (steps, told) = both(&world, &warm).await;
    assert_eq!(steps[1], ("directory", Verdict::Undetermined));
    assert!(told.contains("a2"), "what the store holds is enough: {told}");
}

#[tokio::test]
async fn looking_leaves_no_trace() {
    let world = World::new().await;
    let cold = world.cold("ana", None).await;
    for _ in 0..3 {
        look(&world, &cold).await;
    }
    for write in ["put_session", "end_sessions", "put_entities", "forget", "note_activity"] {
        assert_eq!(world.store.calls(write) + world.directory.calls(write), 0, "{write}");
    }
    assert!(world.activity.last_seen(&cold).is_none());
}
