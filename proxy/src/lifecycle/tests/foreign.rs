//! Sessions of other frameworks, over a store that keeps none: what lasts is in the directory.

use super::*;
use crate::lifecycle::operators::Ending;

#[tokio::test]
async fn an_operator_ends_a_noted_session_by_its_id() {
    let scene = Scene::new().await;
    let session = Session { version: Session::FOREIGN, ..scene.world.session("ana", None) };
    let end = async || scene.lifecycle.end_by_id(&session.id.to_string(), &origin()).await;
    assert_eq!(end().await, Ok(Ending::Nothing), "nobody has seen it");
    scene.lifecycle.set_platform(&session, Some(&platform("a2")), &origin()).await.unwrap();
    assert_eq!(end().await, Ok(Ending::Ended(session.id, Ended::Durable)));
    assert_eq!(end().await, Ok(Ending::WasOver(session.id)));
}

#[tokio::test]
async fn a_foreign_session_is_ended_where_it_lasts_and_never_claimed_to_be_elsewhere() {
    let scene = Scene::new().await;
    let session = Session { version: Session::FOREIGN, ..scene.world.session("ana", None) };
    let kept = async || scene.world.directory.inner().foreign_records(&[session.id]).await.unwrap().pop();
    // This store is no place for it, and has its tombstones all the same.
    scene.world.directory.break_all(Fails);
    assert_eq!(scene.lifecycle.end(&session, &origin()).await, Err(LifecycleError::Undetermined));
    let chosen = scene.lifecycle.set_platform(&session, Some(&platform("a2")), &origin()).await;
    assert_eq!((chosen, kept().await), (Err(LifecycleError::Undetermined), None));
    scene.world.directory.repair();
    scene.lifecycle.set_platform(&session, Some(&platform("a2")), &origin()).await.unwrap();
    assert_eq!(kept().await.unwrap().platform, Some(Some(platform("a2"))));
    assert_eq!(scene.lifecycle.end(&session, &origin()).await, Ok(Ended::Durable));
    assert!(kept().await.unwrap().ended.is_some());
    assert_eq!(scene.lifecycle.set_platform(&session, None, &origin()).await, Err(SESSION_OVER));
}
