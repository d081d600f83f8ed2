//! The configuration as a whole: shipped files, defaults, includes, environment, secrets, and bytes of every kind.

use std::collections::HashMap;
use std::path::Path;

use proptest::prelude::*;

use super::{Problems, Severity, Snapshot, parse, reference, shape};
use crate::config::snapshot::Scheme;
use crate::keys::JwtAlgorithm;
use crate::policy::Requirement;
use crate::secret::Secret;
use crate::signing::keyring::generate;
use crate::{directory, store};

const DEFAULT: &str = include_str!("../../../config/default.toml");
const PRODUCTION: &str = include_str!("../../../config/production.toml");

/// The least that is a configuration, with what is left out still to come.
const LEAST: &str = r#"
listen = [{ address = "127.0.0.1:8080" }]
[keys]
token = [{ id = "t1", secret = { env = "COUNTERSIGN_TOKEN_KEY" } }]
csrf = [{ id = "c1", secret = { env = "COUNTERSIGN_CSRF_KEY" } }]
"#;

fn text_of(key: &Secret) -> String {
    key.expose_text().unwrap().to_owned()
}

/// An environment with every key that the shipped files name, and `more`.
fn environment(more: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> + use<> {
    let mut variables: HashMap<String, String> = HashMap::new();
    for kind in ["TOKEN", "CSRF", "SEALING", "HMAC"] {
        for prefix in ["COUNTERSIGN", "COUNTERSIGN_DEMO"] {
            let key = generate(JwtAlgorithm::Hs256).unwrap();
            variables.insert(format!("{prefix}_{kind}_KEY"), text_of(&key));
        }
    }
    for prefix in ["COUNTERSIGN", "COUNTERSIGN_DEMO"] {
        let key = generate(JwtAlgorithm::EdDsa).unwrap();
        variables.insert(format!("{prefix}_JWT_KEY"), text_of(&key));
    }
    variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    move |name: &str| variables.get(name).cloned()
}

fn accepted(text: &str, more: &[(&str, &str)]) -> Snapshot {
    parse(text, "test.toml", &environment(more)).unwrap_or_else(|problems| panic!("{problems}"))
}

fn refused(text: &str, more: &[(&str, &str)]) -> Problems {
    parse(text, "test.toml", &environment(more)).expect_err("this must be refused")
}

fn redis(snapshot: &Snapshot) -> &store::RedisSettings {
    match &snapshot.store.kind {
        store::Kind::Redis(settings) => settings,
        store::Kind::Embedded => panic!("the store is not redis"),
    }
}

#[test]
fn the_least_configuration_has_every_default_of_the_design() {
    let snapshot = accepted(LEAST, &[]);
    assert!(matches!(snapshot.store.kind, store::Kind::Embedded));
    assert!(
        matches!(&snapshot.directory.kind, directory::Kind::Sqlite(Some(path)) if path.ends_with("countersign.sqlite"))
    );
    assert_eq!(snapshot.session.cookie, "countersign-session");
    assert_eq!(snapshot.session.idle_timeout.as_secs(), 30 * 60);
    assert_eq!(snapshot.session.absolute_timeout.as_secs(), 12 * 3600);
    assert_eq!(snapshot.resolve.budget.as_millis(), 250);
    assert_eq!(snapshot.store.timeout.as_millis(), 100);
    assert_eq!(snapshot.directory.timeout.as_millis(), 200);
    assert_eq!(snapshot.directory.connections, 5);
    assert_eq!(snapshot.signature_lifetime.as_secs(), 30);
    assert_eq!(snapshot.jwt_lifetime.as_secs(), 60);
    assert_eq!(snapshot.reserved_path, "/.countersign/");
    assert_eq!(snapshot.admin.address.to_string(), "127.0.0.1:9901");
    assert_eq!(snapshot.limits, crate::policy::Limits::default());
}

#[test]
fn the_default_file_says_nothing_but_defaults() {
    let spelt_out = accepted(DEFAULT, &[]);
    let left_out = accepted(
        r#"
        listen = [{ address = "127.0.0.1:8080" }]
        upstream = [{ name = "app", servers = ["127.0.0.1:5000"] }]
        route = [{ path = "/", upstream = "app" }]
        [keys]
        token = [{ id = "t1", secret = { env = "COUNTERSIGN_TOKEN_KEY" } }]
        csrf = [{ id = "c1", secret = { env = "COUNTERSIGN_CSRF_KEY" } }]
        hmac = [{ id = "h1", secret = { env = "COUNTERSIGN_HMAC_KEY" } }]
        jwt = [{ id = "j1", algorithm = "EdDSA", secret = { env = "COUNTERSIGN_JWT_KEY" } }]
        "#,
        &[],
    );
    let without_warnings = |mut snapshot: Snapshot| {
        snapshot.warnings.clear();
        // What is shown of the two differs in what was left out.
        snapshot.shown = std::sync::Arc::default();
        format!("{snapshot:#?}")
    };
    assert_eq!(without_warnings(spelt_out), without_warnings(left_out));
}

#[test]
fn the_default_file_names_every_key_there_is() {
    let mut tables = vec![("File", &*shape::SCHEMA)];
    let definitions = shape::SCHEMA["$defs"].as_object().unwrap();
    tables.extend(definitions.iter().map(|(name, table)| (name.as_str(), table)));
    for (table, schema) in tables {
        for key in schema
            .get("properties")
            .and_then(|keys| keys.as_object())
            .into_iter()
            .flat_map(|keys| keys.keys())
        {
            let is_named = DEFAULT.contains(&format!("{key} = "))
                || DEFAULT.contains(&format!("[{key}]"))
                || DEFAULT.contains(&format!("[[{key}]]"));
            assert!(is_named, "config/default.toml does not show `{key}` of {table}");
        }
    }
}

#[test]
fn a_sqlite_file_can_be_written_as_a_path_or_as_a_url() {
    for written in
        ["path = \"/srv/people.db\"", "url = \"sqlite:///srv/people.db\"", "url = \"sqlite:/srv/people.db\""]
    {
        let keys = "[keys]\ntoken = [{ id = \"t\", secret = { env = \"COUNTERSIGN_TOKEN_KEY\" } }]\n\
            csrf = [{ id = \"c\", secret = { env = \"COUNTERSIGN_CSRF_KEY\" } }]\n";
        let listen = "[[listen]]\naddress = \"127.0.0.1:0\"\n";
        let text = format!("{listen}{keys}[directory]\nkind = \"sqlite\"\n{written}\n");
        let snapshot = accepted(&text, &[]);
        let directory::Kind::Sqlite(Some(path)) = snapshot.directory.kind else { panic!("{written}") };
        assert_eq!(path, Path::new("/srv/people.db"), "{written}");
    }
}

#[test]
fn the_shipped_demo_is_accepted_without_a_warning() {
    let snapshot = accepted(super::DEMO, &[]);
    assert_eq!(snapshot.warnings, Vec::new());
    assert!(matches!(snapshot.directory.kind, directory::Kind::Sqlite(None)));
}

/// The example of the design, word for word.
const DESIGN: &str = r#"
[[listen]]
address = "0.0.0.0:8443"
tls = { certificate = "/etc/countersign/tls.crt", key = "/etc/countersign/tls.key" }
trusted_proxies = ["10.0.0.0/8"]

[admin]
address = "127.0.0.1:9901"
token = { file = "/run/secrets/countersign-admin" }

[store]                       # sessions, shared by all proxies
kind = "redis"                # or "embedded": this process and its SQLite file
url = { env = "REDIS_URL" }

[directory]                   # users and platforms
kind = "postgres"             # or "sqlite"
url = { env = "DATABASE_URL" }
connections = 5

[session]
cookie = "__Host-session"
idle_timeout = "30m"
absolute_timeout = "12h"

[keys]                        # each a list, newest first
token = [{ id = "t1", secret = { file = "/run/secrets/countersign-token" } }]
csrf = [{ id = "c1", secret = { file = "/run/secrets/countersign-csrf" } }]
sealing = [{ id = "s1", secret = { file = "/run/secrets/countersign-sealing" } }]
hmac = [{ id = "h1", secret = { file = "/run/secrets/countersign-hmac" } }]
jwt = [{ id = "2026-11", algorithm = "EdDSA", secret = { file = "/run/secrets/countersign-jwt.pem" } }]

[[upstream]]
name = "captions"
servers = ["127.0.0.1:5000"]
sign = ["http-message-signature", "jwt"]

[[route]]
path = "/static/"
upstream = "captions"
require = "nothing"

[[route]]
path = "/login"
upstream = "captions"
require = "nothing"
session_authority = true

[[route]]
path = "/admin/"
upstream = "captions"
require = { roles = ["admin"] }

[[route]]
path = "/"
upstream = "captions"
require = "platform"
login = "/login"
choose_platform = "/platforms"
"#;

#[test]
fn the_example_of_the_design_is_accepted_as_it_stands() {
    let snapshot = accepted_with_secrets(DESIGN);
    assert_eq!(snapshot.routes.routes().len(), 4);
    let warnings: Vec<&str> = snapshot.warnings.iter().map(|warning| warning.key.as_str()).collect();
    // Its page for choosing a platform falls under "/", which asks for one.
    assert_eq!(warnings, ["route[3].choose_platform"]);
}

#[test]
fn the_shipped_production_file_is_accepted_without_a_warning() {
    let snapshot = production();
    assert_eq!(snapshot.warnings, Vec::new());
    assert_eq!(snapshot.public_scheme, Scheme::Https);
    assert_eq!(snapshot.keys.jwt.len(), 2);
    assert!(snapshot.keys.jwt[0].active_from.is_some());
    assert_eq!(snapshot.upstream("captions").unwrap().servers.len(), 2);
}

fn production() -> Snapshot {
    accepted_with_secrets(PRODUCTION)
}

/// Reads a configuration whose secrets and certificates lie in the usual directories.
fn accepted_with_secrets(text: &str) -> Snapshot {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    for kind in ["admin", "token", "csrf", "sealing", "hmac"] {
        place(&format!("countersign-{kind}"), &text_of(&generate(JwtAlgorithm::Hs256).unwrap()));
    }
    for name in ["jwt-2026-11", "jwt-2026-12", "jwt"] {
        place(&format!("countersign-{name}.pem"), &text_of(&generate(JwtAlgorithm::EdDsa).unwrap()));
    }
    let certificate = rcgen::generate_simple_self_signed(["app.example".to_owned()]).unwrap();
    place("tls.crt", &certificate.cert.pem());
    place("tls.key", &text_of(&generate(JwtAlgorithm::Es256).unwrap()));
    let text = ["/run/secrets/", "/etc/countersign/"].iter().fold(text.to_owned(), |text, usual| {
        text.replace(usual, &format!("{}/", directory.path().display()))
    });
    let urls = [
        ("REDIS_URL", "rediss://proxy:s%40crt@redis.internal:6380/3"),
        ("DATABASE_URL", "postgres://proxy:secret@db.internal/app"),
    ];
    accepted(&text, &urls)
}

#[test]
fn a_redis_url_is_taken_apart() {
    let snapshot = production();
    let redis = redis(&snapshot);
    assert_eq!((redis.host.as_str(), redis.port, redis.database), ("redis.internal", 6380, 3));
    assert_eq!(redis.username.as_deref(), Some("proxy"));
    assert!(redis.password.as_ref().unwrap().matches(b"s@crt"));
    assert!(redis.tls.is_some());
    assert_eq!(redis.prefix, "cs:");
}

#[test]
fn the_environment_of_older_deployments_supplies_what_the_file_leaves_out() {
    let text = format!("{LEAST}\n[store]\nkind = \"redis\"\nport = 7000\n");
    let fernet = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
    let variables = [
        ("REDIS_HOST", "redis.old"),
        ("REDIS_PORT", "6390"),
        ("REDIS_DB", "2"),
        ("REDIS_PASSWORD", "old-secret"),
        ("REDIS_SSL", "True"),
        ("PLATFORM_ENCRYPTION_KEY", fernet),
    ];
    let snapshot = accepted(&text, &variables);
    let redis = redis(&snapshot);
    assert_eq!((redis.host.as_str(), redis.port, redis.database), ("redis.old", 7000, 2));
    assert!(redis.password.as_ref().unwrap().matches(b"old-secret"));
    assert!(redis.tls.is_some());
    assert_eq!(snapshot.keys.fernet.len(), 1);
}

#[test]
fn wrong_values_in_the_environment_are_told_by_the_name_of_the_variable() {
    let text = format!("{LEAST}\n[store]\nkind = \"redis\"\n");
    let variables = [
        ("REDIS_HOST", "h"),
        ("REDIS_PORT", "66666"),
        ("REDIS_SSL", "maybe"),
        ("PLATFORM_ENCRYPTION_KEY", "short"),
    ];
    let problems = refused(&text, &variables).to_string();
    for name in ["REDIS_PORT", "REDIS_SSL", "PLATFORM_ENCRYPTION_KEY"] {
        assert!(problems.contains(&format!("environment variable {name}: error:")), "{problems}");
    }
    assert!(!problems.contains("short"), "{problems}");
}

#[test]
fn a_public_side_over_https_makes_the_cookie_a_host_cookie() {
    let snapshot = accepted(&format!("public_scheme = \"https\"\n{LEAST}"), &[]);
    assert!(snapshot.session.secure);
    assert_eq!(snapshot.session.cookie, "__Host-session");
}

#[test]
fn demands_of_a_route_are_read_in_one_word_and_in_a_table() {
    let text = format!(
        "{LEAST}
        [[upstream]]
        name = \"app\"
        servers = [\"127.0.0.1:5000\"]
        sign = [\"http-message-signature\"]
        [[route]]
        path = \"/a\"
        upstream = \"app\"
        require = \"platform\"
        [[route]]
        path = \"/b\"
        host = [\"One.example.org\", \"*.two.example.org\"]
        methods = [\"POST\"]
        upstream = \"app\"
        require = {{ session = true, platform = true, roles = [\"admin\"], recent_login = \"10m\" }}
        body_limit = \"10MiB\"
        "
    );
    let text = text
        .replace("[keys]", "[keys]\nhmac = [{ id = \"h1\", secret = { env = \"COUNTERSIGN_HMAC_KEY\" } }]");
    let snapshot = accepted(&text, &[]);
    let routes = snapshot.routes.routes();
    assert!(matches!(&routes[0].requirement, Requirement::Session(demands) if demands.platform));
    assert_eq!(routes.len(), 3, "one for each host");
    assert_eq!(routes[1].host.as_deref(), Some("one.example.org"));
    assert_eq!(routes[1].name, "POST one.example.org/b");
    assert_eq!(routes[2].body_limit, Some(10 * 1024 * 1024));
    let Requirement::Session(demands) = &routes[2].requirement else { panic!("no session is asked for") };
    assert_eq!((demands.platform, demands.roles.len()), (true, 1));
    assert_eq!(demands.recent_login.unwrap().as_secs(), 600);
}

#[test]
fn included_files_are_put_together_and_their_paths_begin_beside_them() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    std::fs::create_dir(directory.path().join("more")).unwrap();
    place(
        "main.toml",
        "include = [\"more/keys.toml\", \"more/listen.toml\"]\n[[listen]]\naddress = \"127.0.0.1:1\"\n",
    );
    let keys = "[keys]\ntoken = [{ id = \"t\", secret = { file = \"token\" } }]\n\
        csrf = [{ id = \"c\", secret = { file = \"csrf\" } }]\n";
    place("more/keys.toml", keys);
    place("more/csrf", "fedcba9876543210fedcba9876543210\n");
    place("more/listen.toml", "[[listen]]\naddress = \"127.0.0.1:2\"\n[log]\nlevel = \"warn\"\n");
    place("more/token", "0123456789abcdef0123456789abcdef\n");
    let snapshot =
        super::load(&directory.path().join("main.toml"), &|_| None).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(snapshot.listeners.len(), 2);
    assert_eq!(snapshot.keys.token[0].secret.expose(), b"0123456789abcdef0123456789abcdef");

    place("more/listen.toml", "include = [\"../main.toml\"]\n[[listen]]\naddress = \"127.0.0.1:2\"\n");
    let problems = super::load(&directory.path().join("main.toml"), &|_| None).unwrap_err().to_string();
    assert!(problems.contains("is included twice"), "{problems}");
}

#[test]
fn a_key_that_two_files_set_is_told_with_both_places() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
    place("main.toml", "include = [\"other.toml\"]\n[log]\nlevel = \"info\"\n");
    place("other.toml", "[log]\nlevel = \"warn\"\n");
    let problems = super::load(&directory.path().join("main.toml"), &|_| None).unwrap_err().to_string();
    assert!(problems.contains("other.toml:2:9: error: `log.level` is set twice"), "{problems}");
    assert!(problems.contains("main.toml:3:9"), "{problems}");
}

#[test]
fn a_file_that_is_not_there_is_one_problem_that_names_it() {
    let problems = super::load(Path::new("no/such.toml"), &|_| None).unwrap_err();
    assert_eq!(problems.iter().count(), 1);
    assert!(problems.to_string().contains("no/such.toml"));
}

#[test]
fn no_secret_is_ever_printed_wherever_it_is_put() {
    const SECRET: &str = "hunter2-hunter2-hunter2";
    let misplacements = [
        format!("[keys]\ntoken = \"{SECRET}\""),
        format!("[keys]\ntoken = [\"{SECRET}\"]"),
        format!("[keys]\ntoken = [{{ id = \"t\", secret = \"{SECRET}\" }}]"),
        format!("[keys]\ntoken = [{{ id = \"t\", secret = {{ env = \"{SECRET}\" }} }}]"),
        format!("[keys]\ntoken = [{{ id = \"t\", secret = {{ value = \"{SECRET}\" }} }}]"),
        format!("[keys]\nfernet = [\"{SECRET}\"]"),
        format!("[store]\nkind = \"redis\"\nurl = \"http://u:{SECRET}@host\""),
        format!("[store]\nkind = \"redis\"\nhost = \"h\"\npassword = \"{SECRET}\""),
        format!("[store]\nkind = \"redis\"\nurl = [\"{SECRET}\"]"),
        format!("[directory]\nkind = \"postgres\"\nurl = \"mysql://u:{SECRET}@host/db\""),
        format!("[directory]\nkind = \"postgres\"\nurl = \"postgres://u:{SECRET}@host/db\""),
        format!("[admin]\ntoken = \"{SECRET}\""),
        format!("[admin]\npassword = \"{SECRET}\""),
        format!("admin = \"{SECRET}\""),
    ];
    for text in misplacements {
        let problems = refused(&text, &[]).render(true);
        assert!(!problems.contains("hunter2"), "{text}\n{problems}");
    }
    let variables = [("SHORT", "hunter2-hunter2")];
    let text = LEAST.replace("COUNTERSIGN_TOKEN_KEY", "SHORT");
    assert!(!refused(&text, &variables).to_string().contains("hunter2"));
    let snapshot = accepted(LEAST, &[("COUNTERSIGN_TOKEN_KEY", "hunter2-hunter2-hunter2-hunter2-hunter2")]);
    assert!(!format!("{snapshot:?}").contains("hunter2"));
}

#[test]
fn what_follows_from_a_problem_is_not_told_again() {
    let text = "[[listen]]\naddress = 5\n[keys]\ntoken = 5\ncsrf = 5\n";
    let problems = refused(text, &[]);
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let keys: Vec<&str> = errors.map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["listen[0].address", "keys.token", "keys.csrf"]);
}

#[test]
fn colour_is_only_used_when_asked_for() {
    let problems = refused("oops", &[]);
    assert!(!problems.render(false).contains('\x1b'));
    assert!(problems.render(true).contains('\x1b'));
    assert!(problems.iter().all(|problem| problem.severity == Severity::Error));
}

#[test]
fn schema_and_reference_are_fresh() {
    let fresh = [
        (
            include_str!("../../../config/schema.json"),
            reference::schema_text(),
            "schema > config/schema.json",
        ),
        (
            include_str!("../../../config/reference.md"),
            reference::reference_text(),
            "schema --reference > config/reference.md",
        ),
    ];
    for (kept, wanted, command) in fresh {
        assert!(kept == wanted, "stale: run `cargo run -- {command}`");
    }
}

#[test]
fn the_shipped_files_fit_the_schema_as_editors_read_it() {
    let validator = jsonschema::validator_for(&shape::SCHEMA).unwrap();
    for text in [DEFAULT, PRODUCTION, super::DEMO] {
        let document: toml::Table = text.parse().unwrap();
        let document = serde_json::to_value(document).unwrap();
        let errors: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:?}");
    }
}

proptest! {
    #[test]
    fn arbitrary_text_is_never_a_panic(text in "\\PC{0,200}") {
        let _ = parse(&text, "test.toml", &|_| None);
    }

    #[test]
    fn arbitrary_bytes_are_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&String::from_utf8_lossy(&bytes), "test.toml", &|_| None);
    }

    #[test]
    fn a_damaged_configuration_is_never_a_panic(
        at in 0..DEFAULT.len(),
        length in 0_usize..40,
        put in prop_oneof!["[\\[\\]{}=\"',.a-z0-9 \n-]{0,12}", Just("= [[[".to_owned()), Just("\u{0}".to_owned())],
    ) {
        let mut text: Vec<char> = DEFAULT.chars().collect();
        let end = (at + length).min(text.len());
        text.splice(at.min(end)..end, put.chars());
        let text: String = text.into_iter().collect();
        let _ = parse(&text, "test.toml", &|_| Some("0123456789abcdef0123456789abcdef".to_owned()));
    }

    #[test]
    fn any_kind_of_value_at_any_key_is_never_a_panic(
        key in prop::sample::select(vec![
            "listen", "admin", "store", "directory", "session", "keys", "upstream", "route", "limits", "context",
            "include", "reserved_path", "admin.token", "keys.token", "keys.jwt", "store.url", "store.tls", "route.x",
        ]),
        value in prop::sample::select(vec![
            "1", "-1", "1e9", "\"\"", "\"x\"", "true", "[]", "{}", "[{}]", "[[]]", "[1]", "[\"\"]", "{ env = \"\" }",
            "{ file = \"\" }", "1979-05-27T07:32:00Z", "99999999999999999999", "{ ca = 1 }", "[{ id = \"x\" }]", "nan",
        ]),
    ) {
        let _ = parse(&format!("{key} = {value}"), "test.toml", &|_| None);
    }
}

#[test]
fn deep_nesting_is_refused_without_recursion_to_the_end() {
    for text in [
        format!("x = {}", "[".repeat(100_000)),
        format!("x = {}", "{a=".repeat(100_000)),
        format!("{}x = 1", "a.".repeat(100_000)),
        format!("[{}a]", "a.".repeat(100_000)),
        format!("a = {}1{}", "[".repeat(60), "]".repeat(60)),
    ] {
        assert!(refused(&text, &[]).has_errors());
    }
}
