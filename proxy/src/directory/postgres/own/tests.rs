//! The operator's own queries against a real Postgres: what fits, what does not and what is said about it, ids of every
//! type, roles in every form, rights, and triggers that tell of changes.

use std::sync::Arc;
use std::time::Duration;

use e2e::postgres::{run_sql, shared_database};

use crate::context::{PasswordKey, PasswordKeys, PlatformId, User, UserId};
use crate::directory::contract::reads_as_written;
use crate::directory::postgres::PostgresDirectory;
use crate::directory::{DirectoryError, Kind, News, Queries, QueryReport, Settings, migrations, open};
use crate::secret::Secret;

const PEOPLE: &str = "CREATE TABLE people (id bigint PRIMARY KEY, login varchar(150) NOT NULL, role text, \
     enabled boolean NOT NULL DEFAULT true, maybe boolean, flag integer NOT NULL DEFAULT 1, at timestamp, note text); \
     INSERT INTO people (id, login, role) VALUES (1, 'ana', 'admin, reviewer,,'), (2, 'ben', NULL), \
     (9007199254740993, 'big', 'viewer')";
const BY_MANY: &str =
    "SELECT id, login AS name, role AS roles, enabled AS active FROM people WHERE id = ANY($1)";

fn settings(url: &str, queries: Queries) -> Settings {
    let kind = Kind::Postgres(Secret::from(url));
    Settings { queries, ..Settings::new(kind, 3, Duration::from_secs(5)) }
}

fn for_users(sql: &str) -> Queries {
    Queries { user: Some(sql.to_owned()), ..Queries::default() }
}

async fn reports(url: &str, queries: Queries) -> Vec<QueryReport> {
    open(&settings(url, queries)).await.unwrap().check_queries().await.unwrap()
}

/// What is said against a query for users.
async fn against(url: &str, sql: &str) -> String {
    let report = reports(url, for_users(sql)).await.remove(0);
    assert_eq!(report.key, "directory.queries.user");
    report.result.expect_err(sql)
}

fn ids(texts: &[&str]) -> Vec<UserId> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

async fn users(url: &str, sql: &str, asked: &[&str]) -> Vec<User> {
    let directory = open(&settings(url, for_users(sql))).await.unwrap();
    directory.users(&ids(asked)).await.unwrap()
}

#[tokio::test]
async fn integer_ids_are_text_end_to_end_and_what_is_no_integer_is_not_there() {
    let url = shared_database();
    let _ = run_sql(&url, PEOPLE);
    let asked = ["2", "x", "01", "1.0", "9007199254740993", "99999999999999999999", "3", "1"];
    for sql in [BY_MANY, &BY_MANY.replace("ANY($1)", "$1 -- a comment")] {
        let mut found = users(&url, sql, &asked).await;
        found.sort_by(|one, other| one.id.cmp(&other.id));
        let seen: Vec<_> = found.iter().map(|user| (user.id.as_str(), user.name.as_ref())).collect();
        assert_eq!(seen, [("1", "ana"), ("2", "ben"), ("9007199254740993", "big")], "{sql}");
        assert_eq!(found[0].roles, ["admin", "reviewer"]);
        assert!(found[1].roles.is_empty() && found[1].active);
        assert_eq!(users(&url, sql, &["ana"]).await, []);
    }
}

#[tokio::test]
async fn uuid_and_text_ids_are_asked_for_in_their_own_type() {
    let url = shared_database();
    let one = "3f85fe62-0000-4000-8000-00000000002a";
    let _ = run_sql(
        &url,
        &format!(
            "CREATE DOMAIN code AS varchar(20); CREATE TABLE u (id uuid PRIMARY KEY, code code NOT NULL, small smallint); \
             INSERT INTO u VALUES ('{one}', 'ünï:%', 7)"
        ),
    );
    let asked = [one, "3F85FE62-0000-4000-8000-00000000002A", "7", "ünï:%", "42"];
    for (column, id) in [("id", one), ("code", "ünï:%"), ("small", "7")] {
        for list in ["ANY($1)", "$1"] {
            let sql =
                format!("SELECT {column} AS id FROM u WHERE {column} = {list} AND {column} IS NOT NULL");
            let sql = sql.replace("small AS id", "coalesce(small, 0) AS id");
            let found = users(&url, &sql, &asked).await;
            assert_eq!(found.iter().map(|user| user.id.as_str()).collect::<Vec<_>>(), [id], "{sql}");
        }
    }
}

#[tokio::test]
async fn the_column_of_passwords_is_needed_and_read_only_where_sessions_are_compared_with_it() {
    let url = shared_database();
    let _ = run_sql(&url, PEOPLE);
    let keys: Arc<[PasswordKey]> = [PasswordKey::of_django(b"new"), PasswordKey::of_django(b"old")].into();
    let keys = PasswordKeys::new(vec![keys]);
    let with = "SELECT id, note AS password FROM people WHERE id = ANY($1)";
    let ana = ids(&["1"]);
    let opened = async |sql: &str| open(&settings(&url, for_users(sql))).await.unwrap();
    let directory = opened(with).await;
    assert!(directory.users(&ana).await.unwrap()[0].passwords.is_empty());
    assert!(directory.mark_passwords_with(&keys) && !directory.mark_passwords_with(&keys));
    assert_eq!(
        directory.users(&ana).await.unwrap()[0].passwords,
        keys.marks(b"None"),
        "NULL, as Python says it"
    );
    let _ = run_sql(&url, "UPDATE people SET note = 'pbkdf2$x' WHERE id = 1");
    assert_eq!(directory.users(&ana).await.unwrap()[0].passwords, keys.marks(b"pbkdf2$x"));
    // Without the column nobody can be found out, as soon as one is compared with it, and not before.
    let directory = opened(BY_MANY).await;
    assert_eq!(directory.users(&ana).await.unwrap().len(), 1);
    assert!(directory.mark_passwords_with(&keys));
    assert_eq!(directory.users(&ana).await, Err(DirectoryError::Unreadable));
    let why = directory.check_queries().await.unwrap().remove(0).result.unwrap_err();
    assert!(why.starts_with("column `password` is missing, expected text: `check_password`"), "{why}");
    assert!(directory.mark_passwords_with(&PasswordKeys::default()));
    assert_eq!(directory.users(&ana).await.unwrap().len(), 1);
}

#[tokio::test]
async fn roles_come_from_a_text_an_array_json_or_a_join() {
    let url = shared_database();
    let _ = run_sql(
        &url,
        "CREATE TYPE role AS ENUM ('admin', 'viewer'); CREATE TABLE u (id int PRIMARY KEY, one role, many role[], \
         js jsonb, old json, num int[]); CREATE TABLE r (u int, name text); \
         INSERT INTO u VALUES (1, 'admin', '{viewer,admin}', '[\"a,b\", null, \"c\"]', '\"x, y\"', '{3,4}'); \
         INSERT INTO r VALUES (1, 'p'), (1, 'q'), (1, 'p')",
    );
    for (column, roles) in [
        ("u.one", &["admin"][..]),
        ("u.many", &["viewer", "admin"]),
        ("u.js", &["a,b", "c"]),
        ("u.old", &["x", "y"]),
        ("u.num", &["3", "4"]),
        ("r.name", &["p", "q"]),
        ("(SELECT array_agg(DISTINCT name ORDER BY name) FROM r WHERE r.u = u.id)", &["p", "q"]),
        ("NULL::text", &[]),
    ] {
        let sql =
            format!("SELECT u.id, {column} AS roles FROM u LEFT JOIN r ON r.u = u.id WHERE u.id = ANY($1)");
        let found = users(&url, &sql, &["1"]).await;
        assert_eq!(found.len(), 1, "{column}");
        assert_eq!(found[0].roles, roles, "{column}");
    }
}

#[tokio::test]
async fn what_does_not_fit_is_said_with_the_column_what_was_found_and_what_to_write() {
    let url = shared_database();
    let _ = run_sql(&url, PEOPLE);
    let from = "FROM people WHERE id = ANY($1)";
    for (select, said) in [
        ("login AS name", "column `id` is missing, expected an integer, uuid or text"),
        (
            "id, flag AS active",
            "column `active` has type integer, expected boolean: write `active <> 0 AS active`",
        ),
        (
            "id, maybe AS active",
            "column `active` may be NULL, expected a value in every row: write `coalesce(active, true)",
        ),
        ("id, enabled AS actve", "column `actve` means nothing, expected id, name, roles, active"),
        ("id, enabled AS actve", "did you mean `active`?"),
        ("id, id", "column `id` is there twice"),
        ("id, login AS \"NAME\"", "expected `name`: write `\"NAME\" AS name`"),
        ("id, at AS sessions_valid_after", "has type timestamp, expected timestamptz, or bigint"),
        (
            "id::numeric",
            "column `id` has type numeric, expected an integer, uuid or text: write `id::text AS id`",
        ),
        ("note AS id", "column `id` may be NULL"),
        (
            "id, nowhere AS name",
            "the server refuses it: column \"nowhere\" does not exist (42703) at character 12",
        ),
    ] {
        let found = against(&url, &format!("SELECT {select} {from}")).await;
        assert!(found.contains(said), "{select}: {found}");
    }
    for (sql, said) in [
        ("SELECT id FROM people", "it has 0 parameters, expected 1: $1, the ids of users"),
        ("SELECT id FROM people WHERE id = $1 OR flag = $2", "it has 2 parameters, expected 1"),
        ("SELECT id FROM people WHERE enabled = $1", "parameter $1 (the ids of users) has type boolean"),
        ("SELECT id FROM peple WHERE id = $1", "relation \"peple\" does not exist (42P01)"),
        ("SELECT 1; DELETE FROM people", "multiple commands"),
        ("DELETE FROM people WHERE id = $1 RETURNING id", "the server refuses it"),
        (
            "WITH gone AS (DELETE FROM people WHERE id = $1 RETURNING id) SELECT id FROM gone",
            "the server refuses it",
        ),
        ("SELEC", "syntax error"),
        ("UPDATE people SET flag = 1 WHERE id = $1", "it answers no columns, expected a SELECT"),
    ] {
        let found = against(&url, sql).await;
        assert!(found.contains(said), "{sql}: {found}");
    }
    assert_eq!(run_sql(&url, "SELECT count(*) FROM people"), "3", "nothing was deleted");
    let mixed = Queries {
        settings: Some(
            "SELECT $1::int AS user_id, 1 AS platform_id, '{}'::json AS settings WHERE 1 = ANY($2::int[])"
                .into(),
        ),
        ..for_users(BY_MANY)
    };
    let found = reports(&url, mixed).await.remove(1).result.unwrap_err();
    assert!(found.contains("one parameter is an array and the other is not"), "{found}");
}

#[tokio::test]
async fn a_query_may_end_and_be_written_in_every_usual_way() {
    let url = shared_database();
    let _ = run_sql(&url, PEOPLE);
    let _ = run_sql(&url, "CREATE VIEW \"Members\" AS SELECT id AS \"ID\", login AS \"NAME\" FROM people");
    let plain = "SELECT id, login AS name FROM people WHERE id = ANY($1)";
    let mut queries: Vec<String> =
        ["", ";", " ;\n", ";;", "; -- the end", " -- the end", "\n-- the end\n;", ";\n-- one\n-- two"]
            .map(|end| format!("{plain}{end}"))
            .into();
    queries.extend(
        [
            "/* members */ SELECT id, login AS name FROM public.people AS p WHERE p.id = ANY($1::int[]) /* all */;",
            "SELECT \"ID\" AS id, \"NAME\" AS name FROM \"Members\" WHERE \"ID\" = ANY($1)",
            "WITH wanted AS (SELECT unnest($1::bigint[]) AS id) SELECT id, login AS name FROM people JOIN wanted USING (id)",
            "SELECT id, login || ';--' AS name FROM people WHERE id = ANY($1) AND login <> '; -- not the end'",
            "SELECT id, NULL::text AS name, NULL::text[] AS roles FROM people WHERE id = ANY($1::bigint[])",
        ]
        .map(str::to_owned),
    );
    for sql in queries {
        let found = users(&url, &sql, &["1"]).await;
        assert_eq!(found.len(), 1, "{sql}");
    }
    let found = against(&url, &format!("{plain}; SELECT 1")).await;
    assert!(found.contains("multiple commands"), "{found}");
}

#[tokio::test]
async fn a_query_that_fails_is_undetermined_and_is_used_again_once_it_fits() {
    let url = shared_database();
    let directory = open(&settings(&url, for_users(BY_MANY))).await.unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    directory.observe_queries(Arc::new(move |key, usable| {
        let _ = sender.send((key.to_owned(), usable));
    }));
    assert_eq!(directory.users(&ids(&["1"])).await, Err(DirectoryError::Unreadable));
    assert_eq!(told.try_recv().unwrap(), ("directory.queries.user".to_owned(), false));
    let _ = run_sql(&url, PEOPLE);
    assert!(directory.check_queries().await.unwrap()[0].result.is_ok());
    assert_eq!(directory.users(&ids(&["1"])).await.unwrap().len(), 1);
    let _ = run_sql(&url, "ALTER TABLE people RENAME COLUMN login TO nick");
    assert_eq!(directory.users(&ids(&["1"])).await, Err(DirectoryError::Unreadable));
    let why = directory.check_queries().await.unwrap().remove(0).result.unwrap_err();
    assert!(why.contains("\"login\" does not exist"), "{why}");
    let _ = run_sql(
        &url,
        "ALTER TABLE people RENAME COLUMN nick TO login; ALTER TABLE people ALTER id TYPE text",
    );
    assert!(directory.check_queries().await.unwrap()[0].result.is_ok());
    assert_eq!(directory.users(&ids(&["1", "x"])).await.unwrap().len(), 1);
    // A row that cannot be used is not left out: it would be "not there".
    let _ = run_sql(
        &url,
        "ALTER TABLE people ALTER enabled DROP NOT NULL; UPDATE people SET enabled = NULL WHERE id = '2'",
    );
    assert_eq!(directory.users(&ids(&["2", "1"])).await, Err(DirectoryError::Unreadable));
    assert_eq!(directory.users(&ids(&["1"])).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_role_that_may_only_read_suffices_and_one_that_may_not_is_told() {
    let url = shared_database();
    let reader = format!("reader_{}", url.rsplit('_').next().unwrap());
    let _ = run_sql(&url, &format!("{PEOPLE}; CREATE ROLE {reader} LOGIN"));
    let as_reader = url.replace("postgres@", &format!("{reader}@"));
    let found = against(&as_reader, BY_MANY).await;
    assert!(found.contains("permission denied for table people (42501)"), "{found}");
    let _ = run_sql(&url, &format!("GRANT SELECT (id, login, role, enabled) ON people TO {reader}"));
    assert_eq!(users(&as_reader, BY_MANY, &["1"]).await.len(), 1);
    let directory = open(&settings(&as_reader, for_users(BY_MANY))).await.unwrap();
    assert!(directory.changes().unwrap().next(1).now_or_later().await.is_none(), "no triggers, no news");
    assert_eq!(directory.platforms(&["1".parse::<PlatformId>().unwrap()]).await, Ok(Vec::new()));
    let ana = &ids(&["1"])[0];
    assert_eq!(
        directory.end_user_sessions(ana, crate::clock::Timestamp::from_secs(1), None).await,
        Err(DirectoryError::ReadOnly)
    );
}

/// Waits a moment for something that is not to come.
trait NowOrLater: Future + Sized {
    async fn now_or_later(self) -> Option<Self::Output> {
        tokio::time::timeout(Duration::from_millis(300), self).await.ok()
    }
}

impl<F: Future> NowOrLater for F {}

#[tokio::test]
async fn tables_without_triggers_are_named_and_with_them_changes_are_told() {
    let url = shared_database();
    let _ = run_sql(
        &url,
        &format!(
            "{PEOPLE}; CREATE TABLE extra (id int); CREATE VIEW v AS SELECT p.* FROM people p, extra WHERE p.enabled"
        ),
    );
    let sql = BY_MANY.replace("FROM people", "FROM v");
    let untold = async || reports(&url, for_users(&sql)).await.remove(0).result.unwrap().untold.unwrap();
    assert_eq!(untold().await, ["public.extra", "public.people"]);
    let directory = open(&settings(&url, for_users(&sql))).await.unwrap();
    directory.check_queries().await.unwrap();
    let _ = run_sql(&url, include_str!("../../../../../migrations/existing/tell.sql"));
    let _ = run_sql(
        &url,
        "CREATE TRIGGER countersign_people AFTER INSERT OR UPDATE OR DELETE ON people FOR EACH ROW \
         EXECUTE FUNCTION countersign_tell_row('user', 'id'); \
         CREATE TRIGGER countersign_extra AFTER INSERT OR UPDATE OR DELETE ON extra FOR EACH ROW \
         EXECUTE FUNCTION countersign_tell_row('user', 'id')",
    );
    assert!(untold().await.is_empty());
    // A directory that starts now hears.
    let directory = open(&settings(&url, for_users(&sql))).await.unwrap();
    directory.check_queries().await.unwrap();
    let mut changes = directory.changes().unwrap();
    assert_eq!(changes.next(1).await, [News::Listening]);
    let _ = run_sql(&url, "UPDATE people SET login = 'anna' WHERE id = 1");
    let told = changes.next(1).await;
    assert_eq!(told, [News::Changed(crate::directory::Changed::User(ids(&["1"]).remove(0)))]);
}

#[tokio::test]
async fn queries_over_our_own_tables_keep_the_contract() {
    let url = shared_database();
    let ours = Settings::new(Kind::Postgres(Secret::from(url.as_str())), 3, Duration::from_secs(5));
    migrations::up(&ours, |_| ()).await.unwrap();
    let platform = "SELECT id, user_id, type, name, url, active, is_default, credential FROM platforms WHERE";
    let queries = Queries {
        user: Some(
            "SELECT id, name, roles, active, sessions_valid_after FROM users WHERE id = ANY($1)".into(),
        ),
        platforms: Some(format!("{platform} user_id = ANY($1)")),
        platform: Some(format!("{platform} id = $1")),
        settings: None,
        stats: Some(
            "SELECT user_id, platform_id, stats FROM platform_stats JOIN unnest($1::text[], $2::text[]) \
             AS wanted (user_id, platform_id) USING (user_id, platform_id)"
                .into(),
        ),
        ..Queries::default()
    };
    // As behind a pooler: then nothing keeps this connection from filling the tables.
    let settings = Settings { queries, pooler: true, ..ours };
    let directory = PostgresDirectory::open(&settings, &Secret::from(url.as_str())).unwrap();
    reads_as_written(&directory).await;
}
