//! What every store must do, whatever it is made of; each backend's tests run this suite against the real thing.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Entity, EntityKey, Lookup, PutSession, Store, StoredSession};
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::context::{Platform, PlatformId, SealedCredential, Session, SessionId, User, UserId};

/// A session of `user` that began just now, under an id of its own.
pub(super) fn sample_session(user: &str) -> Session {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemClock.now();
    let unique = format!("{user} {now} {}", COUNT.fetch_add(1, Ordering::Relaxed));
    Session {
        id: SessionId::of_token(unique.as_bytes()),
        user: user.parse().unwrap(),
        platform: Some("7".parse().unwrap()),
        created: now,
        authenticated: now,
        expires: now.plus(Duration::from_hours(12)),
        predecessor: Some(Box::new(SessionId::of_token(b"before"))),
        successor: None,
        actor: Some("support".parse().unwrap()),
        version: 1,
    }
}

/// A user whose name tries everything.
pub(super) fn sample_user(id: &str) -> User {
    User {
        id: id.parse().unwrap(),
        name: "Zoë \u{1F984} \"O'Neil\"\r\nX-Forged: 1\u{0} أحمد".into(),
        roles: vec!["admin".to_owned(), "re\"viewer".to_owned()],
        active: true,
        sessions_valid_after: Some(Timestamp::from_secs(5)),
        passwords: Box::default(),
    }
}

/// A platform of `user`.
pub(super) fn sample_platform(id: &str, user: &str) -> Platform {
    Platform {
        id: id.parse().unwrap(),
        user: user.parse().unwrap(),
        kind: "pixelfed".into(),
        name: "写真 'n' more".into(),
        url: "https://pixelfed.example.invalid".into(),
        active: true,
        default: true,
        credential: Some(SealedCredential::from_text("cs1.k1.AAAA".to_owned())),
    }
}

/// Runs the whole suite; ids are unlike from run to run, so a server can be shared.
pub(super) async fn keeps_the_contract(store: &dyn Store) {
    sessions_are_kept_as_written(store).await;
    a_session_ends_with_its_time(store).await;
    filling_never_overwrites(store).await;
    only_a_newer_version_replaces_a_live_session(store).await;
    a_tombstone_is_never_overwritten(store).await;
    entities_are_kept_as_written(store).await;
    forgotten_entities_are_missing(store).await;
    unusual_ids_keep_apart(store).await;
    activity_never_moves_backwards(store).await;
    empty_lists_are_no_work(store).await;
    assert!(!store.ping().await.unwrap().is_empty());
}

async fn stored(store: &dyn Store, id: &SessionId) -> Lookup<StoredSession> {
    store.session(id).await.unwrap().session
}

fn live(session: &Session) -> Lookup<StoredSession> {
    Lookup::Found(StoredSession::Live(session.clone()))
}

async fn sessions_are_kept_as_written(store: &dyn Store) {
    let session = sample_session("ana with \"quotes' and ☃");
    assert_eq!(stored(store, &session.id).await, Lookup::Missing);
    assert!(store.put_session(&session, PutSession::IfAbsent, SystemClock.now()).await.unwrap());
    assert_eq!(stored(store, &session.id).await, live(&session));
    assert!(store.user_sessions(&session.user).await.unwrap().contains(&session.id));
    assert_eq!(store.user_sessions(&"nobody".parse().unwrap()).await.unwrap(), []);
}

async fn a_session_ends_with_its_time(store: &dyn Store) {
    let now = SystemClock.now();
    let mut session = sample_session("ana");
    session.expires = now;
    assert!(!store.put_session(&session, PutSession::IfAbsent, now).await.unwrap());
    assert_eq!(stored(store, &session.id).await, Lookup::Missing);
    session.expires = now.plus(Duration::from_millis(150));
    assert!(store.put_session(&session, PutSession::IfNewer, now).await.unwrap());
    while stored(store, &session.id).await != Lookup::Missing {
        let late = SystemClock.now().since(now) > Duration::from_secs(10);
        assert!(!late, "the session is still there");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(SystemClock.now() >= session.expires, "the session was gone before its end");
}

async fn filling_never_overwrites(store: &dyn Store) {
    let now = SystemClock.now();
    let mut session = sample_session("ana");
    assert!(store.put_session(&session, PutSession::IfAbsent, now).await.unwrap());
    let first = session.clone();
    session.version = 2;
    assert!(!store.put_session(&session, PutSession::IfAbsent, now).await.unwrap());
    assert_eq!(stored(store, &session.id).await, live(&first));
}

async fn only_a_newer_version_replaces_a_live_session(store: &dyn Store) {
    let now = SystemClock.now();
    let mut session = sample_session("ana");
    session.version = 9;
    assert!(store.put_session(&session, PutSession::IfNewer, now).await.unwrap());
    session.platform = None;
    assert!(!store.put_session(&session, PutSession::IfNewer, now).await.unwrap(), "the same version");
    session.version = 8;
    assert!(!store.put_session(&session, PutSession::IfNewer, now).await.unwrap(), "an older version");
    session.version = 10;
    assert!(store.put_session(&session, PutSession::IfNewer, now).await.unwrap());
    assert_eq!(stored(store, &session.id).await, live(&session));
}

async fn a_tombstone_is_never_overwritten(store: &dyn Store) {
    let now = SystemClock.now();
    let mut known = sample_session("ana");
    let unknown = sample_session("ana");
    store.put_session(&known, PutSession::IfAbsent, now).await.unwrap();
    store.end_sessions(&[(known.id, known.expires), (unknown.id, unknown.expires)], now).await.unwrap();
    known.version = 100;
    for how in [PutSession::IfAbsent, PutSession::IfNewer] {
        for session in [&known, &unknown] {
            assert!(!store.put_session(session, how, now).await.unwrap());
            assert_eq!(stored(store, &session.id).await, Lookup::Found(StoredSession::Ended));
        }
    }
}

async fn entities_are_kept_as_written(store: &dyn Store) {
    let (user, platform) = (sample_user("ben"), sample_platform("p1", "ben"));
    let ids = vec![platform.id.clone(), "p0".parse().unwrap()];
    let nothing = store.entities(&user.id, Some(&platform.id)).await.unwrap();
    assert_eq!((nothing.user, nothing.platform), (Lookup::Missing, Lookup::Missing));
    store
        .put_entities(&[
            Entity::User(user.clone()),
            Entity::Platform(platform.clone()),
            Entity::UserPlatforms(user.id.clone(), ids.clone()),
            Entity::UserSettings(
                user.id.clone(),
                platform.id.clone(),
                Some(json!({"a": [1, null, "\u{0}é"]})),
            ),
            Entity::UserSettings(user.id.clone(), "p0".parse().unwrap(), None),
            Entity::PlatformStats(user.id.clone(), platform.id.clone(), json!({"posts": 3})),
        ])
        .await
        .unwrap();
    let answer = store.entities(&user.id, Some(&platform.id)).await.unwrap();
    assert_eq!(answer.user, Lookup::Found(user.clone()));
    assert_eq!(answer.platform, Lookup::Found(platform.clone()));
    assert_eq!(answer.user_platforms, Lookup::Found(ids));
    assert_eq!(store.entities(&user.id, None).await.unwrap().platform, Lookup::Missing);

    let asked: Vec<PlatformId> = ["nowhere", "p1"].map(|id| id.parse().unwrap()).to_vec();
    assert_eq!(store.platforms(&asked).await.unwrap(), [Lookup::Missing, Lookup::Found(platform.clone())]);
    let key = |id: &str| EntityKey::UserSettings(user.id.clone(), id.parse().unwrap());
    assert_eq!(store.json(&key("p1")).await.unwrap(), Lookup::Found(json!({"a": [1, null, "\u{0}é"]})));
    assert_eq!(store.json(&key("p0")).await.unwrap(), Lookup::Found(Value::Null));
    assert_eq!(store.json(&key("p2")).await.unwrap(), Lookup::Missing);
    let stats = EntityKey::PlatformStats(user.id.clone(), platform.id.clone());
    assert_eq!(store.json(&stats).await.unwrap(), Lookup::Found(json!({"posts": 3})));
}

async fn forgotten_entities_are_missing(store: &dyn Store) {
    let user = sample_user("cho");
    let key = EntityKey::UserSettings(user.id.clone(), "p".parse().unwrap());
    let settings =
        |text: String| Entity::UserSettings(user.id.clone(), "p".parse().unwrap(), Some(text.into()));
    store.put_entities(&[Entity::User(user.clone()), settings("small".into())]).await.unwrap();
    store
        .forget(&[EntityKey::User(user.id.clone()), EntityKey::User("none".parse().unwrap())])
        .await
        .unwrap();
    assert_eq!(store.entities(&user.id, None).await.unwrap().user, Lookup::Missing);
    // A reading from before the change, which arrives after it.
    store.put_entities(&[Entity::User(user.clone())]).await.unwrap();
    assert_eq!(store.entities(&user.id, None).await.unwrap().user, Lookup::Missing);
    // What is too large to be cached must not leave its predecessor behind.
    store.put_entities(&[settings("x".repeat(70_000))]).await.unwrap();
    assert_eq!(store.json(&key).await.unwrap(), Lookup::Missing);
}

async fn unusual_ids_keep_apart(store: &dyn Store) {
    let settings = |user: &str, platform: &str| {
        let (user, platform): (UserId, PlatformId) = (user.parse().unwrap(), platform.parse().unwrap());
        (EntityKey::UserSettings(user.clone(), platform.clone()), user, platform)
    };
    for (user, platform) in
        [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("o'neil\"; --", "*"), ("ünï ☃", "{x}")]
    {
        let (key, user, platform) = settings(user, platform);
        assert_eq!(store.json(&key).await.unwrap(), Lookup::Missing, "{key:?}");
        let value = json!(format!("{key:?}"));
        store.put_entities(&[Entity::UserSettings(user, platform, Some(value.clone()))]).await.unwrap();
        assert_eq!(store.json(&key).await.unwrap(), Lookup::Found(value));
    }
}

async fn activity_never_moves_backwards(store: &dyn Store) {
    let id = sample_session("ana").id;
    let now = SystemClock.now();
    assert_eq!(store.session(&id).await.unwrap().last_seen, None);
    store.note_activity(&[(id, now)]).await.unwrap();
    store.note_activity(&[(id, now.minus(Duration::from_secs(5)))]).await.unwrap();
    assert_eq!(store.session(&id).await.unwrap().last_seen, Some(now));
    let later = now.plus(Duration::from_millis(1));
    store.note_activity(&[(id, later), (id, now)]).await.unwrap();
    let answer = store.session(&id).await.unwrap();
    assert_eq!((answer.last_seen, answer.session), (Some(later), Lookup::Missing));
}

async fn empty_lists_are_no_work(store: &dyn Store) {
    let now = SystemClock.now();
    assert_eq!(store.platforms(&[]).await.unwrap(), []);
    store.end_sessions(&[], now).await.unwrap();
    store.put_entities(&[]).await.unwrap();
    store.forget(&[]).await.unwrap();
    store.note_activity(&[]).await.unwrap();
}
