//! Sessions that frameworks keep in tables, against a real Postgres: tables as each of them makes its own, rows as it writes
//! them, a role that may only read, and triggers that tell of changes.

use std::sync::Arc;
use std::time::Duration;

use e2e::postgres::{run_sql, shared_database};

use crate::clock::Timestamp;
use crate::context::SessionId;
use crate::directory::{
    Changed, Directory, DirectoryError, Kind, News, Queries, SessionQuery, Settings, open,
};
use crate::formats::preset::{self, Options};
use crate::formats::table::{StoredIn, TableOptions};
use crate::secret::Secret;

macro_rules! file {
    ($path:literal) => {
        include_str!(concat!("../../../../../", $path))
    };
}

const APP_KEY: &str = "base64:xRif4hgrvRmodLGz4dMIlhP5ewbL025UfhGmKOXindA=";
/// As connect-pg-simple makes it (its own `table.sql`).
const SESSION: &str = "CREATE TABLE \"session\" (sid varchar NOT NULL COLLATE \"default\" PRIMARY KEY, sess json NOT NULL, \
     expire timestamp(6) NOT NULL)";

/// The query of a framework's own table.
fn query(kind: preset::Kind, set: impl FnOnce(&mut TableOptions)) -> Arc<SessionQuery> {
    let mut table =
        TableOptions { stored_in: StoredIn::Table, key: "session.format".into(), ..TableOptions::default() };
    set(&mut table);
    let secrets = vec![Secret::from(APP_KEY)];
    let options = Options { secrets, table, ..Options::default() };
    Arc::clone(&kind.format(options).unwrap().table.unwrap().query)
}

async fn directory(url: &str, query: &Arc<SessionQuery>) -> Arc<dyn Directory> {
    // The users are in tables of others too, as in front of an existing schema.
    let user = Some("SELECT '1'::text AS id WHERE '1' = ANY($1)".to_owned());
    let queries = Queries { user, sessions: vec![Arc::clone(query)], ..Queries::default() };
    let kind = Kind::Postgres(Secret::from(url));
    open(&Settings { queries, ..Settings::new(kind, 3, Duration::from_secs(5)) }).await.unwrap()
}

/// Makes a role that may read the table and nothing else, and answers its URL.
fn reader(owner: &str, table: &str) -> String {
    let name = format!("sessions_{}", owner.rsplit('_').next().unwrap());
    let _ = run_sql(owner, &format!("CREATE ROLE {name} LOGIN; GRANT SELECT ON {table} TO {name}"));
    owner.replace("postgres@", &format!("{name}@"))
}

/// Id, end and session of each row that is found.
async fn found(
    directory: &dyn Directory,
    query: &SessionQuery,
    keys: &[&str],
) -> Vec<(String, Timestamp, Option<String>)> {
    let keys: Vec<Secret> = keys.iter().map(|key| Secret::from(*key)).collect();
    let keys: Vec<&Secret> = keys.iter().collect();
    let mut rows: Vec<_> = directory
        .table_sessions(query, &keys)
        .await
        .unwrap()
        .into_iter()
        .map(|row| {
            let data = row.data.map(|data| String::from_utf8(data).unwrap());
            (row.key.expose_text().unwrap().to_owned(), row.ends, data.or(row.user))
        })
        .collect();
    rows.sort_by(|one, other| one.0.cmp(&other.0));
    rows
}

#[tokio::test]
async fn each_framework_s_own_table_is_read_by_a_role_that_may_only_read() {
    let spring = "CREATE TABLE spring_session (primary_id char(36) NOT NULL PRIMARY KEY, session_id char(36) NOT NULL UNIQUE, \
         creation_time bigint NOT NULL, last_access_time bigint NOT NULL, max_inactive_interval int NOT NULL, \
         expiry_time bigint NOT NULL, principal_name varchar(100)); INSERT INTO spring_session VALUES \
         ('p', '3f85fe62-0000-4000-8000-00000000002a', 1, 1, 1, 1800000000000, 'ana')";
    let better = "CREATE TABLE \"session\" (id text PRIMARY KEY, token text NOT NULL UNIQUE, \"userId\" text NOT NULL, \
         \"expiresAt\" timestamptz NOT NULL); INSERT INTO \"session\" VALUES ('i', 'token', 'u', to_timestamp(1800000000))";
    let cases = [
        (
            preset::Kind::Django,
            format!(
                "{}; INSERT INTO django_session VALUES ('key', 'data', to_timestamp(1800000000))",
                file!("tests/schemas/django.sql")
            ),
            "django_session",
            "key",
            "data",
        ),
        (
            preset::Kind::Laravel,
            format!(
                "{}; INSERT INTO sessions VALUES ('key', 42, NULL, NULL, 'cGF5bG9hZA==', 1799992800)",
                file!("tests/schemas/laravel.sql")
            ),
            "sessions",
            "key",
            "cGF5bG9hZA==",
        ),
        (
            preset::Kind::Express,
            format!(
                "{SESSION}; INSERT INTO session VALUES ('key', '{{\"user_id\":42}}', to_timestamp(1800000000))"
            ),
            "\"session\"",
            "key",
            "{\"user_id\":42}",
        ),
        (preset::Kind::BetterAuth, better.to_owned(), "\"session\"", "token", "\"userId\": \"u\""),
        (
            preset::Kind::Spring,
            spring.to_owned(),
            "spring_session",
            "3f85fe62-0000-4000-8000-00000000002a",
            "ana",
        ),
    ];
    for (kind, schema, table, key, data) in cases {
        let owner = shared_database();
        let _ = run_sql(&owner, &schema);
        let query = query(kind, |_| ());
        let directory = directory(&reader(&owner, table), &query).await;
        let reports = directory.check_queries().await.unwrap();
        let report = reports.iter().find(|report| report.key == "session.format.table").unwrap();
        let facts = report.result.as_ref().unwrap_or_else(|why| panic!("{kind:?}: {why}"));
        assert!(facts.shape.contains("many at once") && facts.finds_sessions, "{}", facts.shape);
        assert!(!facts.untold.as_ref().unwrap().is_empty() && !directory.tells_of(&query));
        let rows = found(directory.as_ref(), &query, &["another", key, "a\0b", "'"]).await;
        let [(id, ends, written)] = rows.as_slice() else { panic!("{kind:?}: {rows:?}") };
        assert_eq!((id.as_str(), *ends), (key, Timestamp::from_secs(1_800_000_000)), "{kind:?}");
        assert!(written.as_ref().is_some_and(|written| written.contains(data)), "{kind:?}: {written:?}");
        // It may not delete, and nobody is told that it did.
        assert!(directory.delete_table_session(&query, &Secret::from(key)).await.is_err());
        assert_eq!(found(directory.as_ref(), &query, &[key]).await.len(), 1);
        let _ = run_sql(&owner, &format!("GRANT DELETE ON {table} TO PUBLIC"));
        directory.delete_table_session(&query, &Secret::from(key)).await.unwrap();
        assert!(found(directory.as_ref(), &query, &[key]).await.is_empty());
    }
}

#[tokio::test]
async fn a_moment_without_a_zone_is_read_in_the_one_that_the_server_or_the_operator_names() {
    let owner = shared_database();
    let insert =
        "SET timezone = 'Asia/Kolkata'; INSERT INTO session VALUES ('k', '{}', to_timestamp(1800000000))";
    let _ = run_sql(&owner, &format!("{SESSION}; {insert}"));
    let ends = async |query: &Arc<SessionQuery>| {
        let directory = directory(&owner, query).await;
        found(directory.as_ref(), query, &["k"]).await[0].1
    };
    let named = query(preset::Kind::Express, |table| table.zone = Some("Asia/Kolkata".into()));
    assert_eq!(ends(&named).await, Timestamp::from_secs(1_800_000_000));
    let utc = query(preset::Kind::Express, |table| table.zone = Some("UTC".into()));
    assert_eq!(ends(&utc).await, Timestamp::from_secs(1_800_000_000 + 19_800));
    let of_server = query(preset::Kind::Express, |_| ());
    let log = run_sql(
        &owner,
        "SELECT extract(epoch FROM timestamp '2027-01-15 13:30:00' AT TIME ZONE current_setting('log_timezone'))::bigint",
    );
    assert_eq!(ends(&of_server).await, Timestamp::from_secs(log.trim().parse().unwrap()));
    // Once the column has a zone, none that is named counts.
    let _ =
        run_sql(&owner, "ALTER TABLE session ALTER expire TYPE timestamptz USING to_timestamp(1800000000)");
    assert_eq!(ends(&utc).await, Timestamp::from_secs(1_800_000_000));
}

#[tokio::test]
async fn triggers_tell_of_rows_by_a_hash_of_their_key_and_renewals_are_not_told() {
    for (kind, schema, table, triggers, column, changes) in [
        (
            preset::Kind::Django,
            file!("tests/schemas/django.sql").to_owned(),
            "django_session",
            file!("migrations/existing/django_session.sql"),
            "session_key",
            [
                "INSERT INTO django_session VALUES ('k', 'd', now())",
                "UPDATE django_session SET expire_date = now() + '1 h'",
                "UPDATE django_session SET session_data = 'e'",
            ],
        ),
        (
            preset::Kind::Laravel,
            file!("tests/schemas/laravel.sql").to_owned(),
            "sessions",
            file!("migrations/existing/laravel_sessions.sql"),
            "id",
            [
                "INSERT INTO sessions VALUES ('k', 1, '', '', 'p', 1)",
                "UPDATE sessions SET last_activity = 2",
                "UPDATE sessions SET payload = 'q'",
            ],
        ),
        (
            preset::Kind::Express,
            SESSION.to_owned(),
            "session",
            file!("migrations/existing/connect_pg_simple.sql"),
            "sid",
            [
                "INSERT INTO session VALUES ('k', '{}', now())",
                "UPDATE session SET expire = expire + interval '1 h'",
                "UPDATE session SET sess = '{\"a\":1}'",
            ],
        ),
    ] {
        let owner = shared_database();
        let _ = run_sql(&owner, &schema);
        let _ = run_sql(&owner, file!("migrations/existing/tell.sql"));
        let _ = run_sql(&owner, triggers);
        let query = query(kind, |_| ());
        let directory = directory(&owner, &query).await;
        let reports = directory.check_queries().await.unwrap();
        assert!(
            reports.iter().all(|report| report.result.as_ref().unwrap().untold.as_ref().unwrap().is_empty())
        );
        assert!(directory.tells_of(&query), "{kind:?}");
        let mut ear = directory.changes().unwrap();
        assert_eq!(ear.next(1).await, [News::Listening]);
        let id = SessionId::of_token(b"table:k");
        let told = News::Changed(Changed::TableSession(id));
        let delete = format!("DELETE FROM {table} WHERE {column} = 'k'");
        for statement in changes.into_iter().chain([delete.as_str()]) {
            let _ = run_sql(&owner, statement);
        }
        // One each for what was written, changed and deleted; both sides of a change are the same row, told once.
        for _ in 0..3 {
            assert_eq!(ear.next(1).await, std::slice::from_ref(&told), "{kind:?}");
        }
    }
}

#[tokio::test]
async fn the_operator_s_own_query_gives_records_and_what_does_not_fit_is_said() {
    let owner = shared_database();
    let _ = run_sql(
        &owner,
        "CREATE TABLE s (token uuid PRIMARY KEY, person int NOT NULL, tenant int, until timestamptz, body bytea); \
         INSERT INTO s VALUES ('3f85fe62-0000-4000-8000-00000000002a', 7, 9, '2027-01-15 08:00:00+00', NULL)",
    );
    let own = |sql: &str| {
        Arc::new(SessionQuery { key: "directory.queries.sessions".into(), sql: sql.to_owned(), delete: None })
    };
    let good = own(
        "SELECT token AS id, person AS user_id, tenant AS platform_id, coalesce(until, now()) AS expires, body AS data \
         FROM s WHERE token = ANY($1)",
    );
    let opened = directory(&owner, &good).await;
    let key = Secret::from("3f85fe62-0000-4000-8000-00000000002a");
    let rows = opened.table_sessions(&good, &[&key, &Secret::from("no uuid")]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].user.as_deref(), rows[0].platform.as_deref()), (Some("7"), Some("9")));
    assert_eq!(rows[0].ends, Timestamp::from_secs(1_800_000_000));
    for (sql, said) in [
        (
            "SELECT token AS id, until AS expires FROM s WHERE token = ANY($1)",
            "neither column `data` nor column `user_id`",
        ),
        ("SELECT token AS id, person AS user_id FROM s WHERE token = ANY($1)", "column `expires` is missing"),
        (
            "SELECT token AS id, person AS user_id, until AS expires FROM s WHERE token = ANY($1)",
            "column `expires` may be NULL",
        ),
        (
            "SELECT token AS id, person AS user_id, 5 AS expires FROM s WHERE token = ANY($1)",
            "write `to_timestamp(expires)",
        ),
        ("SELECT token AS id FROM s WHERE person = $1 OR tenant = $2", "it has 2 parameters"),
    ] {
        let bad = own(sql);
        let opened = directory(&owner, &bad).await;
        let reports = opened.check_queries().await.unwrap();
        let report = reports.into_iter().find(|report| report.key == "directory.queries.sessions").unwrap();
        let why = report.result.unwrap_err();
        assert!(why.contains(said), "{sql}: {why}");
        // A query that does not fit says nothing about any session.
        assert_eq!(opened.table_sessions(&bad, &[&key]).await.unwrap_err(), DirectoryError::Unreadable);
    }
}
