//! The directory in SQLite: the contract in memory and in a file, and what a file must survive.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::directory::contract::{keeps_the_contract, session, user, without_its_line_no_change_is_made};
use crate::directory::{Directory, Kind, Settings, SqliteDirectory, open};

fn settings(kind: Kind) -> Settings {
    Settings::new(kind, 4, Duration::from_secs(5))
}

#[tokio::test]
async fn it_keeps_the_contract_in_memory() {
    let directory = open(&settings(Kind::Sqlite(None))).await.unwrap();
    keeps_the_contract(&*directory).await;
}

#[tokio::test]
async fn it_keeps_the_contract_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countersign.sqlite");
    let directory = open(&settings(Kind::Sqlite(Some(path)))).await.unwrap();
    keeps_the_contract(&*directory).await;
}

#[tokio::test]
async fn a_change_that_cannot_be_written_to_the_log_is_not_made() {
    let directory = SqliteDirectory::open(&settings(Kind::Sqlite(None)), None).await.unwrap();
    let away = async |is_away: bool| {
        let (old, new) = if is_away { ("audit", "aside") } else { ("aside", "audit") };
        let sql = sqlx::AssertSqlSafe(format!("ALTER TABLE {old} RENAME TO {new}"));
        sqlx::query(sql).execute(&directory.writer).await.unwrap();
    };
    without_its_line_no_change_is_made(&directory, away).await;
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_only_its_owner_may_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countersign.sqlite");
    let settings = settings(Kind::Sqlite(Some(path.clone())));
    let session = session("kept", "ana");
    {
        let directory = SqliteDirectory::open(&settings, Some(&path)).await.unwrap();
        directory.put_user(&user("ana")).await.unwrap();
        directory.create_session(&session, None, session.created, None).await.unwrap();
    }
    let directory = SqliteDirectory::open(&settings, Some(&path)).await.unwrap();
    assert_eq!(directory.sessions(&[session.id]).await.unwrap()[0].session, session);
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{file:?}");
    }
}

#[test]
fn the_schema_asks_for_nothing_that_an_older_sqlite_lacks() {
    // Whoever fills the file does so with what the system brings: `unixepoch('subsec')` came with 3.42, and before that
    // it is NULL, so that no row could be added.
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/sqlite");
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains("subsec"), "{text}");
    }
}

#[tokio::test]
async fn a_path_that_cannot_be_a_file_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing").join("countersign.sqlite");
    assert!(open(&settings(Kind::Sqlite(Some(path)))).await.is_err());
}

#[tokio::test]
async fn opening_waits_for_a_lock_longer_than_a_query_may() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countersign.sqlite");
    let other = sqlx::sqlite::SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let other = other.journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
    let mut other = sqlx::ConnectOptions::connect(&other).await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let settings = Settings::new(Kind::Sqlite(None), 4, Duration::from_millis(20));
    let mut opening = Box::pin(SqliteDirectory::open(&settings, Some(&path)));
    let early = tokio::time::timeout(settings.timeout * 20, &mut opening).await;
    assert!(early.is_err(), "it neither waited nor failed: {early:?}");
    sqlx::query("COMMIT").execute(&mut other).await.unwrap();
    assert!(opening.await.is_ok());
}
