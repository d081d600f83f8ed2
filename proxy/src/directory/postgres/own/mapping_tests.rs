//! The ready mappings in config/mappings, each against a schema as its framework makes it (tests/schemas), with a role that
//! may only read, before and after the triggers of migrations/existing are there.

use std::time::Duration;

use e2e::postgres::{run_sql, shared_database};
use serde_json::json;

use crate::context::{PasswordKey, PasswordKeys, PlatformId, UserId};
use crate::directory::{Changed, Directory, Kind, News, Queries, Settings, open};
use crate::secret::Secret;

macro_rules! file {
    ($path:literal) => {
        include_str!(concat!("../../../../../", $path))
    };
}

struct Case {
    /// The owner's URL.
    owner: String,
    queries: Queries,
    triggers: &'static str,
}

impl Case {
    fn new(schema: &str, mapping: &str, triggers: &'static str) -> Self {
        let owner = shared_database();
        let _ = run_sql(&owner, schema);
        let mapping: toml::Value = toml::from_str(mapping).unwrap();
        let sql = |name: &str| {
            mapping["directory"]["queries"].get(name).map(|sql| sql.as_str().unwrap().to_owned())
        };
        let queries = Queries {
            user: sql("user"),
            platforms: sql("platforms"),
            platform: sql("platform"),
            settings: sql("settings"),
            stats: sql("stats"),
            ..Queries::default()
        };
        Self { owner, queries, triggers }
    }

    /// A directory for a role that has no right but the ones named at the head of the mapping.
    async fn directory(&self, rights: &str) -> std::sync::Arc<dyn Directory> {
        let reader = format!("mapped_{}", self.owner.rsplit('_').next().unwrap());
        let known =
            run_sql(&self.owner, &format!("SELECT count(*) FROM pg_roles WHERE rolname = '{reader}'"));
        if known == "0" {
            let grants: Vec<String> =
                rights.split(';').map(|right| format!("GRANT SELECT {right} TO {reader}")).collect();
            let _ = run_sql(&self.owner, &format!("CREATE ROLE {reader} LOGIN; {}", grants.join("; ")));
        }
        let url = self.owner.replace("postgres@", &format!("{reader}@"));
        let kind = Kind::Postgres(Secret::from(url.as_str()));
        let settings =
            Settings { queries: self.queries.clone(), ..Settings::new(kind, 3, Duration::from_secs(5)) };
        open(&settings).await.unwrap()
    }

    async fn untold(&self, directory: &dyn Directory) -> Vec<String> {
        let mut untold: Vec<String> = Vec::new();
        for report in directory.check_queries().await.unwrap() {
            let facts = report.result.unwrap_or_else(|why| panic!("{}: {why}", report.key));
            assert!(facts.shape.contains("many at once"), "{}: {}", report.key, facts.shape);
            untold.extend(facts.untold.unwrap_or_default());
        }
        untold.sort();
        untold.dedup();
        untold
    }

    /// With the triggers: what one statement tells.
    async fn told(&self, rights: &str, statement: &str) -> Vec<Changed> {
        let _ = run_sql(&self.owner, file!("migrations/existing/tell.sql"));
        let _ = run_sql(&self.owner, self.triggers);
        let directory = self.directory(rights).await;
        assert!(self.untold(directory.as_ref()).await.is_empty());
        let mut ear = directory.changes().unwrap();
        assert_eq!(ear.next(1).await, [News::Listening]);
        let _ = run_sql(&self.owner, statement);
        let end = Changed::User("the end".parse().unwrap());
        directory.tell(std::slice::from_ref(&end)).await.unwrap();
        let mut told = Vec::new();
        loop {
            for news in ear.next(1).await {
                match news {
                    News::Changed(changed) if changed == end => return told,
                    News::Changed(changed) => told.push(changed),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

fn user(id: &str) -> UserId {
    id.parse().unwrap()
}

fn platform(id: &str) -> PlatformId {
    id.parse().unwrap()
}

#[tokio::test]
async fn django() {
    let case = Case::new(
        file!("tests/schemas/django.sql"),
        file!("config/mappings/django.toml"),
        file!("migrations/existing/django.sql"),
    );
    let rights =
        "(id, username, is_active, is_staff, is_superuser) ON auth_user; ON auth_user_groups; ON auth_group";
    let directory = case.directory(rights).await;
    assert_eq!(
        case.untold(directory.as_ref()).await,
        ["public.auth_group", "public.auth_user", "public.auth_user_groups"]
    );
    let found = directory.users(&[user("42"), user("43"), user("ana")]).await.unwrap();
    let [ana, ben] = &found[..] else { panic!("{found:?}") };
    assert_eq!((ana.name.as_ref(), ana.active), ("ana", true));
    assert_eq!(ana.roles, ["Art, design", "editors", "staff"]);
    assert_eq!((ben.roles.as_slice(), ben.active), (&["superuser".to_owned()][..], false));
    let statement = "UPDATE auth_user SET last_login = now() WHERE id = 42; \
         DELETE FROM auth_user_groups WHERE user_id = 42 AND group_id = 2; \
         UPDATE auth_group SET name = 'writers' WHERE id = 1; UPDATE auth_user SET is_active = true WHERE id = 43";
    let told = case.told(rights, statement).await;
    assert_eq!(told, [Changed::User(user("42")), Changed::User(user("43"))], "once in a transaction");
}

#[tokio::test]
async fn django_with_the_column_of_passwords() {
    let mut case = Case::new(
        file!("tests/schemas/django.sql"),
        &file!("config/mappings/django.toml").replace("-- u.password", "u.password"),
        file!("migrations/existing/django.sql"),
    );
    let keys: std::sync::Arc<[PasswordKey]> = [PasswordKey::of_django(b"key")].into();
    case.queries.passwords = std::sync::Arc::new(PasswordKeys::new(vec![keys]));
    let rights = "(id, username, is_active, is_staff, is_superuser, password) ON auth_user; ON auth_user_groups; ON auth_group";
    let directory = case.directory(rights).await;
    let ana = || async { directory.users(&[user("42")]).await.unwrap().remove(0) };
    assert_eq!(ana().await.passwords, case.queries.passwords.marks(b"x"));
    let told = case.told(rights, "UPDATE auth_user SET password = 'y' WHERE id = 42").await;
    assert_eq!(told, [Changed::User(user("42"))]);
    assert_eq!(ana().await.passwords, case.queries.passwords.marks(b"y"));
}

#[tokio::test]
async fn laravel() {
    let case = Case::new(
        file!("tests/schemas/laravel.sql"),
        file!("config/mappings/laravel.toml"),
        file!("migrations/existing/laravel.sql"),
    );
    let directory = case.directory("(id, name) ON users").await;
    assert_eq!(case.untold(directory.as_ref()).await, ["public.users"]);
    let found = directory.users(&[user("42"), user("7")]).await.unwrap();
    assert_eq!((found.len(), found[0].name.as_ref(), found[0].active), (1, "Ana", true));
    assert_eq!(directory.user_platforms(&[user("42")]).await, Ok(Vec::new()));
    let told =
        case.told("(id, name) ON users", "UPDATE users SET remember_token = 'x'; DELETE FROM users").await;
    assert_eq!(told, [Changed::User(user("42"))]);
}

#[tokio::test]
async fn rails() {
    let case = Case::new(
        file!("tests/schemas/rails.sql"),
        file!("config/mappings/rails.toml"),
        file!("migrations/existing/rails.sql"),
    );
    let rights = "(id, email, locked_at) ON users";
    let directory = case.directory(rights).await;
    assert_eq!(case.untold(directory.as_ref()).await, ["public.users"]);
    let found = directory.users(&[user("42"), user("43")]).await.unwrap();
    let seen: Vec<_> = found.iter().map(|user| (user.name.as_ref(), user.active)).collect();
    assert_eq!(seen, [("ana@example.test", true), ("ben@example.test", false)]);
    let told = case.told(rights, "UPDATE users SET locked_at = NULL, sign_in_count = 2").await;
    assert_eq!(told, [Changed::User(user("43"))]);
}

#[tokio::test]
async fn captions() {
    let case = Case::new(
        file!("tests/schemas/captions.sql"),
        file!("config/mappings/captions.toml"),
        file!("migrations/existing/captions.sql"),
    );
    let rights = "(id, username, role, is_active, account_locked) ON users; ON platform_connections; \
         ON caption_generation_user_settings";
    let directory = case.directory(rights).await;
    assert_eq!(
        case.untold(directory.as_ref()).await,
        ["public.caption_generation_user_settings", "public.platform_connections", "public.users"]
    );
    let found = directory.users(&[user("42"), user("43")]).await.unwrap();
    assert_eq!((found[0].roles.as_slice(), found[0].active), (&["reviewer".to_owned()][..], true));
    assert_eq!((found[1].roles.len(), found[1].active), (0, false), "locked");
    let platforms = directory.user_platforms(&[user("42")]).await.unwrap();
    let names: Vec<_> = platforms.iter().map(|one| (one.name.as_ref(), one.default)).collect();
    assert_eq!(names, [("Art", true), ("Zed", true), ("Mid", false)], "two defaults: the first by name");
    let off = directory.platforms(&[platform("3"), platform("none")]).await.unwrap();
    assert_eq!((off.len(), off[0].active), (1, false));
    let pairs = [(user("42"), platform("1")), (user("43"), platform("1")), (user("42"), platform("x"))];
    let settings = directory.settings_of(&pairs).await.unwrap();
    assert_eq!(settings.len(), 1);
    assert_eq!((&settings[0].0, &settings[0].1["processing_delay"]), (&pairs[0], &json!(1)));
    let statement = "UPDATE platform_connections SET last_used = now(); \
         UPDATE platform_connections SET is_default = false WHERE id = 1; \
         UPDATE caption_generation_user_settings SET max_posts_per_run = 7";
    let told = case.told(rights, statement).await;
    let expected = [
        Changed::Platform(platform("1")),
        Changed::UserPlatforms(user("42")),
        Changed::Settings(user("42"), platform("1")),
    ];
    assert_eq!(told, expected);
}
