//! The directory against real Postgres servers: the contract, the notifications, and what happens when the server goes.

use std::time::Duration;

use e2e::postgres::{Postgres, run_sql, shared_database};
use sqlx::postgres::PgListener;

use super::PostgresDirectory;
use crate::clock::{Clock, SystemClock};
use crate::context::Platform;
use crate::directory::contract::{keeps_the_contract, session, user, without_its_line_no_change_is_made};
use crate::directory::{Directory, DirectoryError, Kind, Settings, migrations, open};
use crate::secret::Secret;

fn settings(url: &str, timeout: Duration) -> Settings {
    Settings::new(Kind::Postgres(Secret::from(url)), 3, timeout)
}

async fn migrated(url: &str) -> PostgresDirectory {
    // Long enough for a busy machine; what is tested is never how long something takes.
    let settings = settings(url, Duration::from_secs(5));
    migrations::up(&settings, |_| ()).await.unwrap();
    PostgresDirectory::open(&settings, &Secret::from(url)).unwrap()
}

async fn until_it_answers(directory: &dyn Directory) {
    let begin = SystemClock.now();
    while let Err(error) = directory.ping().await {
        assert!(SystemClock.now().since(begin) < Duration::from_secs(30), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let directory = migrated(&shared_database()).await;
    keeps_the_contract(&directory).await;
    assert!(directory.ping().await.unwrap().starts_with("PostgreSQL "));
}

#[tokio::test]
async fn a_change_that_cannot_be_written_to_the_log_is_not_made() {
    let directory = migrated(&shared_database()).await;
    let away = async |is_away: bool| {
        let (old, new) = if is_away { ("audit", "aside") } else { ("aside", "audit") };
        let sql = sqlx::AssertSqlSafe(format!("ALTER TABLE {old} RENAME TO {new}"));
        sqlx::query(sql).execute(&directory.pool).await.unwrap();
    };
    without_its_line_no_change_is_made(&directory, away).await;
}

#[tokio::test]
async fn a_database_that_was_not_migrated_is_unreadable() {
    let url = shared_database();
    let directory = open(&settings(&url, Duration::from_secs(5))).await.unwrap();
    assert_eq!(directory.users(&["ana".parse().unwrap()]).await, Err(DirectoryError::Unreadable));
    assert!(directory.ping().await.is_ok(), "the server itself is there");
}

#[tokio::test]
async fn a_url_that_is_none_is_refused_and_no_password_is_printed() {
    assert!(open(&settings("mysql://u:s3cret@localhost/x", Duration::from_secs(1))).await.is_err());
    let url = "postgres://u:s3cret@127.0.0.1:1/x";
    let directory =
        PostgresDirectory::open(&settings(url, Duration::from_millis(200)), &Secret::from(url)).unwrap();
    let error = directory.ping().await.unwrap_err();
    assert_eq!(error, DirectoryError::Unavailable);
    assert!(!format!("{directory:?}{error:?}").contains("s3cret"));
}

#[tokio::test]
async fn a_stopped_server_is_a_failure_never_a_missing_row_and_it_is_found_again() {
    let mut server = Postgres::start();
    let directory = migrated(&server.new_database()).await;
    let session = session("kept", "ana");
    directory.put_user(&user("ana")).await.unwrap();
    directory.create_session(&session, None, session.created, None).await.unwrap();
    server.kill();
    assert!(directory.sessions(&[session.id]).await.is_err());
    assert!(directory.users(std::slice::from_ref(&session.user)).await.is_err());
    assert!(directory.end_sessions(&[session.id], session.created, None).await.is_err());
    server.restart();
    until_it_answers(&directory).await;
    let rows = directory.sessions(&[session.id]).await.unwrap();
    assert_eq!((&rows[0].session, rows[0].ended), (&session, None));
}

#[tokio::test]
async fn a_frozen_server_does_not_hold_a_call_beyond_its_deadline() {
    let server = Postgres::start();
    let url = server.new_database();
    migrations::up(&settings(&url, Duration::from_secs(5)), |_| ()).await.unwrap();
    let timeout = Duration::from_millis(400);
    let directory = PostgresDirectory::open(&settings(&url, timeout), &Secret::from(url.as_str())).unwrap();
    until_it_answers(&directory).await;
    server.freeze();
    for _ in 0..5 {
        let ids = ["ana".parse().unwrap()];
        let call = directory.users(&ids);
        let outcome = tokio::time::timeout(timeout * 20, call).await.expect("the call ends by itself");
        assert!(matches!(outcome, Err(DirectoryError::Timeout | DirectoryError::Unavailable)), "{outcome:?}");
    }
    server.thaw();
    until_it_answers(&directory).await;
    assert_eq!(directory.users(&["ana".parse().unwrap()]).await.unwrap(), []);
}

#[tokio::test]
async fn a_query_that_waits_is_ended_by_the_server_and_its_connection_is_free_again() {
    let url = shared_database();
    let patient = migrated(&url).await;
    patient.put_user(&user("ana")).await.unwrap();
    let directory =
        PostgresDirectory::open(&settings(&url, Duration::from_millis(500)), &Secret::from(url.as_str()))
            .unwrap();
    let mut lock = patient.pool.pool.begin().await.unwrap();
    sqlx::query("UPDATE users SET name = 'locked'").execute(&mut *lock).await.unwrap();
    for _ in 0..6 {
        let outcome = directory.put_user(&user("ana")).await;
        assert_eq!(outcome, Err(DirectoryError::Timeout));
    }
    lock.rollback().await.unwrap();
    directory.put_user(&user("ana")).await.unwrap();
}

#[tokio::test]
async fn every_change_that_a_context_could_show_is_told_and_nothing_else() {
    let url = shared_database();
    let directory = migrated(&url).await;
    let mut listener = PgListener::connect(&url).await.unwrap();
    listener.listen("countersign").await.unwrap();
    let told = async |listener: &mut PgListener| {
        let _ = run_sql(&url, "NOTIFY countersign, 'end'");
        let mut seen = Vec::new();
        loop {
            let notification = listener.recv().await.unwrap();
            match notification.payload() {
                "end" => return seen,
                payload => seen.push(payload.to_owned()),
            }
        }
    };
    let ana = user("a:na");
    directory.put_user(&ana).await.unwrap();
    assert_eq!(told(&mut listener).await, ["user:a:na"]);
    directory.put_user(&ana).await.unwrap();
    assert_eq!(told(&mut listener).await, [""; 0], "written again without a change");

    let platform = Platform {
        id: "p".parse().unwrap(),
        user: ana.id.clone(),
        kind: "k".into(),
        name: "n".into(),
        url: "u".into(),
        active: true,
        default: true,
        credential: None,
    };
    directory.put_platform(&platform).await.unwrap();
    assert_eq!(told(&mut listener).await, ["platform:p", "user_platforms:a:na"]);
    directory.put_settings(&ana.id, &platform.id, &serde_json::json!({"a": 1})).await.unwrap();
    assert_eq!(told(&mut listener).await, ["settings:a%3Ana:p"]);

    let session = session("told", "a:na");
    let now = session.created;
    directory.create_session(&session, None, now, None).await.unwrap();
    directory.note_activity(&[(session.id, now)]).await.unwrap();
    assert_eq!(
        told(&mut listener).await,
        [""; 0],
        "a new session is in nobody's cache, and being seen is no change"
    );
    directory.set_platform(&session.id, 1, Some(&platform.id), now, None).await.unwrap();
    assert_eq!(told(&mut listener).await, [format!("session:{}", session.id)]);
    directory.end_user_sessions(&ana.id, now, None).await.unwrap();
    assert_eq!(told(&mut listener).await, ["user:a:na".to_owned(), format!("session:{}", session.id)]);
    assert_eq!(directory.purge(now.plus(Duration::from_secs(1)), 10).await.unwrap(), 1);
    assert_eq!(told(&mut listener).await, [""; 0], "it was over before it was purged");
    let _ = run_sql(&url, "DELETE FROM platforms");
    assert_eq!(told(&mut listener).await, ["platform:p", "user_platforms:a:na", "settings:a%3Ana:p"]);
}

#[tokio::test]
async fn the_view_of_figures_counts_sessions_and_switches() {
    let url = shared_database();
    let directory = migrated(&url).await;
    directory.put_user(&user("ana")).await.unwrap();
    let _ = run_sql(
        &url,
        "INSERT INTO platforms (id, user_id, type, name, url, last_used) VALUES ('p''1', 'ana', 'k', 'n', 'u', 9)",
    );
    let session = session("one", "ana");
    directory.create_session(&session, None, session.created, None).await.unwrap();
    let figures = run_sql(&url, "SELECT user_id, platform_id, stats FROM platform_stats");
    assert_eq!(figures, r#"ana|p'1|{"sessions": 1, "switches": 0, "last_used": 9}"#);
}

#[tokio::test]
async fn the_schema_refuses_ids_that_the_program_could_not_read() {
    let url = shared_database();
    let directory = migrated(&url).await;
    let _ = run_sql(&url, "INSERT INTO users (id, name) VALUES ('ünï ☃:%', 'good')");
    for bad in ["''", r"E'a\nb'", r"U&'a\0085'", r"U&'a\007F'", "repeat('ü', 65)"] {
        let statement = format!("INSERT INTO users (id, name) VALUES ({bad}, 'bad')");
        let outcome = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&directory.pool).await;
        let error = outcome.expect_err(bad).into_database_error().unwrap();
        assert!(error.is_check_violation(), "{bad}: {error}");
    }
}
