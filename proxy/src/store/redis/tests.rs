//! The store against real Redis servers: the contract, hostile values, and what happens when the server goes.

use std::time::Duration;

use e2e::redis::{Options, Redis, USER};

use super::RedisStore;
use crate::clock::{Clock, SystemClock};
use crate::context::User;
use crate::secret::Secret;
use crate::store::contract::{keeps_the_contract, sample_session, sample_user};
use crate::store::{
    Entity, EntityKey, Kind, Lookup, PutSession, RedisSettings, RedisTls, Settings, Store, StoreError,
    StoredSession,
};

const TIMEOUT: Duration = Duration::from_millis(500);

fn settings(server: &Redis) -> (Settings, RedisSettings) {
    let redis = RedisSettings {
        host: "localhost".to_owned(),
        port: server.port(),
        database: 0,
        username: None,
        password: None,
        tls: server.authority().map(|pem| RedisTls { ca: Some(pem.as_bytes().to_vec()) }),
        prefix: "cs:".to_owned(),
        foreign_prefixes: Vec::new(),
    };
    let settings = Settings {
        kind: Kind::Redis(redis.clone()),
        timeout: TIMEOUT,
        entity_lifetime: Duration::from_hours(1),
        stats_lifetime: Duration::from_mins(5),
    };
    (settings, redis)
}

async fn open(server: &Redis) -> RedisStore {
    let (settings, redis) = settings(server);
    let store = RedisStore::open(&settings, &redis).unwrap();
    until_it_answers(&store).await;
    store
}

/// Waits in the background task's own time; a store that never answers fails the test.
async fn until_it_answers(store: &RedisStore) {
    let begin = SystemClock.now();
    while let Err(error) = store.ping().await {
        assert!(SystemClock.now().since(begin) < Duration::from_secs(20), "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let server = Redis::start();
    let store = open(&server).await;
    keeps_the_contract(&store).await;
    assert!(store.ping().await.unwrap().starts_with("Redis "), "the server says who it is");
}

#[tokio::test]
async fn it_keeps_the_contract_over_tls_as_an_acl_user_that_may_touch_only_our_keys() {
    let password = Some("s3cret".to_owned());
    let server = Redis::start_with(&Options { tls: true, password, ..Options::default() });
    let (settings, mut redis) = settings(&server);
    redis.username = Some(USER.to_owned());
    redis.password = Some(Secret::from("s3cret"));
    let store = RedisStore::open(&settings, &redis).unwrap();
    until_it_answers(&store).await;
    keeps_the_contract(&store).await;
    assert!(!format!("{store:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_server_with_another_certificate_authority_or_password_is_never_believed() {
    let password = Some("right".to_owned());
    let server = Redis::start_with(&Options { tls: true, password, ..Options::default() });
    let (settings, mut redis) = settings(&server);
    redis.username = Some(USER.to_owned());
    redis.password = Some(Secret::from("wrong"));
    let wrong_password = RedisStore::open(&settings, &redis).unwrap();
    redis.password = Some(Secret::from("right"));
    redis.tls = Some(RedisTls::default());
    let wrong_authority = RedisStore::open(&settings, &redis).unwrap();
    for store in [wrong_password, wrong_authority] {
        for _ in 0..20 {
            assert_eq!(store.ping().await, Err(StoreError::Unavailable));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    redis.tls = Some(RedisTls { ca: Some(b"-----BEGIN CERTIFICATE-----\nnonsense".to_vec()) });
    assert!(RedisStore::open(&settings, &redis).is_err(), "an authority that is not PEM");
}

#[tokio::test]
async fn records_live_as_long_as_what_they_say() {
    let server = Redis::start();
    let store = open(&server).await;
    let (session, now) = (sample_session("ana"), SystemClock.now());
    store.put_session(&session, PutSession::IfAbsent, now).await.unwrap();
    store.put_entities(&[Entity::User(sample_user("ana"))]).await.unwrap();
    store.note_activity(&[(session.id, now)]).await.unwrap();
    let lives = |key: String, at_most: i64| {
        let left: i64 = server.command(&["PTTL", &key]).parse().unwrap();
        assert!(left > at_most - 20_000 && left <= at_most, "{key} lives {left} ms");
    };
    let (hour, record) = (3_600_000, format!("cs:session:{}", session.id));
    lives(record.clone(), 12 * hour);
    lives("cs:user_sessions:ana".to_owned(), 12 * hour);
    lives("cs:user:ana".to_owned(), hour);
    store.note_activity(&[(session.id, now.plus(Duration::from_mins(1)))]).await.unwrap();
    lives(record.clone(), 12 * hour);
    store.end_sessions(&[(session.id, now.plus(Duration::from_hours(1)))], now).await.unwrap();
    lives(record.clone(), hour);
    assert_eq!(server.command(&["GET", &record]), r#"{"v":1,"ended":true}"#);

    // A shorter session does not shorten the life of the set.
    let mut shorter = sample_session("ana");
    shorter.expires = now.plus(Duration::from_secs(30));
    store.put_session(&shorter, PutSession::IfAbsent, now).await.unwrap();
    lives("cs:user_sessions:ana".to_owned(), 12 * hour);
}

#[tokio::test]
async fn what_cannot_be_read_is_unreadable_and_is_not_overwritten() {
    let server = Redis::start();
    let store = open(&server).await;
    let session = sample_session("ana");
    let key = format!("cs:session:{}", session.id);
    let newer = format!(r#"{{"v":2,"id":"{}","version":0}}"#, session.id);
    for hostile in ["", "garbage", "[[[[", &newer, "\u{80}\u{4}pickle", r#"{"v":1,"v":1}"#, "{\"v\":1}"] {
        let _ = server.command(&["SET", &key, hostile]);
        assert_eq!(store.session(&session.id).await.unwrap().session, Lookup::Unreadable, "{hostile:?}");
        for how in [PutSession::IfAbsent, PutSession::IfNewer] {
            assert!(!store.put_session(&session, how, SystemClock.now()).await.unwrap(), "{hostile:?}");
        }
    }
    let nested = format!("{}1{}", "[".repeat(5_000), "]".repeat(5_000));
    let _ = server.command(&["SET", &key, &nested]);
    assert_eq!(store.session(&session.id).await.unwrap().session, Lookup::Unreadable);
}

#[tokio::test]
async fn a_key_of_the_wrong_type_is_unreadable_and_a_revocation_replaces_it() {
    let server = Redis::start();
    let store = open(&server).await;
    let session = sample_session("ana");
    let key = format!("cs:session:{}", session.id);
    let _ = server.command(&["HSET", &key, "user_id", "1"]);
    let _ = server.command(&["SADD", "cs:user:ana", "1"]);
    let _ = server.command(&["ZADD", "cs:platform:7", "1", "1"]);
    assert_eq!(store.session(&session.id).await.unwrap().session, Lookup::Unreadable);
    assert!(!store.put_session(&session, PutSession::IfNewer, SystemClock.now()).await.unwrap());
    let answer = store.entities(&session.user, session.platform.as_ref()).await.unwrap();
    assert_eq!((answer.user, answer.platform), (Lookup::Unreadable, Lookup::Unreadable));
    assert_eq!(store.platforms(&["7".parse().unwrap()]).await.unwrap(), [Lookup::Unreadable]);
    store.end_sessions(&[(session.id, session.expires)], SystemClock.now()).await.unwrap();
    assert_eq!(store.session(&session.id).await.unwrap().session, Lookup::Found(StoredSession::Ended));
}

#[tokio::test]
async fn a_refused_read_of_the_last_use_is_a_failure_and_not_never() {
    let server = Redis::start();
    let store = open(&server).await;
    let id = sample_session("ana").id;
    let _ = server.command(&["SET", &format!("cs:activity:{}", id.as_bytes()[0] % 64), "x"]);
    assert_eq!(store.session(&id).await.unwrap_err(), StoreError::Unavailable);
}

#[tokio::test]
async fn opening_does_not_wait_and_calls_fail_at_once_until_the_server_is_there() {
    let mut server = Redis::start();
    server.stop();
    let (settings, redis) = settings(&server);
    let store = RedisStore::open(&settings, &redis).unwrap();
    assert_eq!(store.session(&sample_session("ana").id).await.unwrap_err(), StoreError::Unavailable);
    server.restart();
    until_it_answers(&store).await;
}

#[tokio::test]
async fn a_killed_server_is_a_failure_never_a_missing_session_and_it_is_found_again() {
    let mut server = Redis::start();
    let store = open(&server).await;
    let session = sample_session("ana");
    store.put_session(&session, PutSession::IfAbsent, SystemClock.now()).await.unwrap();
    server.kill();
    assert!(store.session(&session.id).await.is_err());
    assert!(store.entities(&session.user, None).await.is_err());
    assert!(store.end_sessions(&[(session.id, session.expires)], SystemClock.now()).await.is_err());
    server.restart();
    until_it_answers(&store).await;
    assert_eq!(store.session(&session.id).await.unwrap().session, Lookup::Missing);
}

#[tokio::test]
async fn a_frozen_server_is_a_timeout_and_its_late_answers_go_to_nobody() {
    let server = Redis::start();
    let store = open(&server).await;
    let (ana, ben) = (sample_session("ana"), sample_session("ben"));
    store.put_session(&ana, PutSession::IfAbsent, SystemClock.now()).await.unwrap();
    store.put_session(&ben, PutSession::IfAbsent, SystemClock.now()).await.unwrap();
    server.freeze();
    let outcome = tokio::time::timeout(TIMEOUT * 20, store.session(&ana.id)).await;
    assert_eq!(outcome.expect("the call ends by itself").unwrap_err(), StoreError::Timeout);
    // Dropped in mid-flight.
    assert!(tokio::time::timeout(Duration::from_millis(20), store.session(&ana.id)).await.is_err());
    server.thaw();
    until_it_answers(&store).await;
    for session in [&ben, &ana, &ben] {
        let found = store.session(&session.id).await.unwrap().session;
        assert_eq!(found, Lookup::Found(StoredSession::Live(session.clone())));
    }
}

#[tokio::test]
async fn the_set_of_a_users_sessions_loses_what_is_gone() {
    let server = Redis::start();
    let store = open(&server).await;
    let last = sample_session("busy");
    let stale = (0_u32..500).map(|n| crate::context::SessionId::of_token(&n.to_be_bytes()).to_string());
    let words: Vec<String> =
        ["SADD", "cs:user_sessions:busy"].map(str::to_owned).into_iter().chain(stale).collect();
    let _ = server.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
    let mut kept = vec![last.id];
    store.put_session(&last, PutSession::IfAbsent, SystemClock.now()).await.unwrap();
    for _ in 0..40 {
        let session = sample_session("busy");
        store.put_session(&session, PutSession::IfAbsent, SystemClock.now()).await.unwrap();
        kept.push(session.id);
    }
    let mut remembered = store.user_sessions(&last.user).await.unwrap();
    remembered.sort();
    kept.sort();
    assert_eq!(remembered, kept);
}

#[tokio::test]
async fn of_many_writers_of_one_version_exactly_one_writes() {
    let server = Redis::start();
    let store = open(&server).await;
    let mut session = sample_session("ana");
    store.put_session(&session, PutSession::IfAbsent, SystemClock.now()).await.unwrap();
    session.version = 2;
    let writes = (0..50).map(|_| store.put_session(&session, PutSession::IfNewer, SystemClock.now()));
    let written = futures_util::future::join_all(writes).await;
    assert_eq!(written.into_iter().filter(|outcome| *outcome == Ok(true)).count(), 1);
}

#[tokio::test]
async fn what_is_forgotten_in_use_can_be_put_back_by_whoever_forgot_it_last_and_by_nobody_else() {
    let server = Redis::start();
    let store = open(&server).await;
    let (old, unused) = (sample_user("ana"), EntityKey::User("ben".parse().unwrap()));
    let key = EntityKey::User(old.id.clone());
    let named = |name: &str| Entity::User(User { name: name.into(), ..old.clone() });
    assert_eq!(store.put_entities(&[named("old")]).await.unwrap(), std::slice::from_ref(&key));

    let first = store.renew(&[key.clone(), unused.clone()]).await.unwrap();
    assert_eq!(first.keys, std::slice::from_ref(&key), "nobody used the other");
    // Whoever else hears of the change finds the mark, and knows all the same that it was in use.
    let second = store.renew(&[key.clone(), unused]).await.unwrap();
    assert_eq!(second.keys, std::slice::from_ref(&key));
    let name = async || match store.entities(&old.id, None).await.unwrap().user {
        Lookup::Found(user) => Some(user.name),
        _ => None,
    };
    assert_eq!(store.put_renewed(&[named("first")], &first).await.unwrap(), []);
    assert_eq!(store.put_entities(&[named("old")]).await.unwrap(), []);
    assert_eq!(name().await, None);
    assert_eq!(store.put_renewed(&[named("new")], &second).await.unwrap(), std::slice::from_ref(&key));
    assert_eq!(name().await.as_deref(), Some("new"));
    assert_eq!(store.put_entities(&[named("old")]).await.unwrap(), [], "from before the change");
    let again = store.put_entities(&[named("new")]).await.unwrap();
    assert_eq!(again, std::slice::from_ref(&key), "it says the same");
    assert_eq!(name().await.as_deref(), Some("new"));
    store.forget(&[key]).await.unwrap();
    assert_eq!(store.put_renewed(&[named("new")], &second).await.unwrap(), []);
    assert_eq!(name().await, None);
}
