//! Listening for changes on real Postgres servers: what is told, and what a lost or mute connection comes to.

use std::time::Duration;

use e2e::postgres::{Postgres, run_sql};
use tokio::time::timeout;

use super::PostgresDirectory;
use crate::directory::contract::{session, user};
use crate::directory::{Changed, Changes, Directory, Kind, News, Settings, migrations};
use crate::secret::Secret;

async fn migrated(url: &str) -> PostgresDirectory {
    let directory = unmigrated(url);
    let settings = Settings::new(Kind::Postgres(Secret::from(url)), 2, Duration::from_secs(10));
    migrations::up(&settings, |_| ()).await.unwrap();
    directory
}

fn unmigrated(url: &str) -> PostgresDirectory {
    let kind = Kind::Postgres(Secret::from(url));
    let settings = Settings::new(kind, 2, Duration::from_secs(10));
    PostgresDirectory::open(&settings, &Secret::from(url)).unwrap()
}

/// The next piece of news; far longer is waited than any of it takes.
async fn next(changes: &mut Changes) -> News {
    let mut news = timeout(Duration::from_mins(1), changes.next(1)).await.expect("there is news");
    news.pop().expect("the listener lives")
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

const LISTENERS: &str = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%pg_notify%'";

#[tokio::test]
async fn changes_are_told_in_order_and_foreign_words_are_passed_over() {
    let server = Postgres::start();
    let url = server.new_database();
    let directory = migrated(&url).await;
    let mut changes = directory.changes().unwrap();
    assert_eq!(next(&mut changes).await, News::Listening);
    directory.put_user(&user("ana")).await.unwrap();
    let _ = run_sql(&url, "NOTIFY countersign, 'nonsense'; NOTIFY countersign, 'user:'");
    let session = session("one", "ana");
    directory.create_session(&session, None, session.created, None).await.unwrap();
    directory.end_sessions(&[session.id], session.created, None).await.unwrap();
    assert_eq!(next(&mut changes).await, News::Changed(Changed::User("ana".parse().unwrap())));
    assert_eq!(next(&mut changes).await, News::Changed(Changed::Session(session.id)));
}

#[tokio::test]
async fn a_killed_connection_is_a_loss_and_listening_begins_anew() {
    let server = Postgres::start();
    let url = server.new_database();
    let directory = migrated(&url).await;
    let mut changes = directory.changes().unwrap();
    assert_eq!(next(&mut changes).await, News::Listening);
    let killed = run_sql(&url, &format!("SELECT count(pg_terminate_backend(pid)) {LISTENERS}"));
    assert_eq!(killed, "1");
    assert_eq!(next(&mut changes).await, News::Lost);
    assert_eq!(next(&mut changes).await, News::Listening);
    directory.put_user(&user("ana")).await.unwrap();
    assert_eq!(next(&mut changes).await, News::Changed(Changed::User("ana".parse().unwrap())));
}

#[tokio::test]
async fn a_server_that_stops_or_freezes_is_a_loss_and_is_found_again() {
    let mut server = Postgres::start();
    let url = server.new_database();
    let directory = migrated(&url).await;
    let mut changes = directory.changes().unwrap();
    assert_eq!(next(&mut changes).await, News::Listening);
    server.restart();
    assert_eq!(next(&mut changes).await, News::Lost);
    assert_eq!(next(&mut changes).await, News::Listening);
    server.freeze();
    assert_eq!(next(&mut changes).await, News::Lost, "silence is noticed");
    server.thaw();
    assert_eq!(next(&mut changes).await, News::Listening);
}

#[tokio::test]
async fn without_its_triggers_a_database_is_not_believed_to_tell_of_changes() {
    let server = Postgres::start();
    let url = server.new_database();
    let directory = unmigrated(&url);
    let mut changes = directory.changes().unwrap();
    assert!(timeout(Duration::from_secs(1), changes.next(1)).await.is_err(), "nothing is claimed");
    let directory_later = migrated(&url).await;
    assert_eq!(next(&mut changes).await, News::Listening);
    drop((changes, directory_later));

    let _ = run_sql(&url, "ALTER TABLE users DISABLE TRIGGER countersign_user_changed");
    let mut changes = directory.changes().unwrap();
    assert!(timeout(Duration::from_secs(1), changes.next(1)).await.is_err(), "one is disabled");
}

#[tokio::test]
async fn the_connection_ends_with_its_reader_and_stands_outside_the_pool() {
    let server = Postgres::start();
    let url = server.new_database();
    let directory = migrated(&url).await;
    let mut changes = directory.changes().unwrap();
    assert_eq!(next(&mut changes).await, News::Listening);
    assert_eq!(directory.pool.pool.size(), 0);
    drop(changes);
    for _ in 0..600 {
        if run_sql(&url, &format!("SELECT count(*) {LISTENERS}")) == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} still has a listener", name_of(&url));
}
