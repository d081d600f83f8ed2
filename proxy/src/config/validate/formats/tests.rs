//! Session formats as the file writes them: every example of the documentation, and what is refused.

use crate::config::{Problems, Snapshot, parse};
use crate::session::profile::{Profile, Source};
use crate::store;

const DOCUMENTATION: &str = include_str!("../../../../../docs/session-formats.md");

fn read(session: &str, store: &str) -> Result<Snapshot, Problems> {
    let file = format!(
        "listen = [{{ address = \"127.0.0.1:8080\" }}]\n{store}\n\
         [keys]\ntoken = [{{ id = \"t1\", secret = {{ env = \"TOKEN\" }} }}]\n\
         csrf = [{{ id = \"c1\", secret = {{ env = \"CSRF\" }} }}]\n{session}\n"
    );
    let variable = |name: &str| {
        Some(str::to_owned(match name {
            "TOKEN" => "0123456789abcdef0123456789abcdef-token",
            "CSRF" => "0123456789abcdef0123456789abcdef-csrf",
            "APP_KEY" => "base64:xRif4hgrvRmodLGz4dMIlhP5ewbL025UfhGmKOXindA=",
            "REDIS_HOST"
            | "REDIS_PORT"
            | "REDIS_DB"
            | "REDIS_PASSWORD"
            | "REDIS_SSL"
            | "PLATFORM_ENCRYPTION_KEY" => {
                return None;
            }
            _ => "0123456789abcdef0123456789abcdef",
        }))
    };
    parse(&file, "test.toml", &variable)
}

const REDIS: &str = "[store]\nkind = \"redis\"\nhost = \"localhost\"";

const POSTGRES: &str = "\n[directory]\nkind = \"postgres\"\nurl = \"postgres://localhost/app\"";

fn prefixes(snapshot: &Snapshot) -> &[String] {
    match &snapshot.store.kind {
        store::Kind::Redis(redis) => &redis.foreign_prefixes,
        store::Kind::Embedded => &[],
    }
}

#[test]
fn every_example_of_the_documentation_is_accepted() {
    let examples: Vec<&str> = DOCUMENTATION
        .split("```toml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default())
        .collect();
    assert!(examples.len() >= 9);
    for example in examples {
        let is_in_table = example.contains("stored_in");
        let mut stores = format!("{REDIS}{}", if is_in_table { POSTGRES } else { "" });
        if example.contains("check_password") {
            let users =
                "\n[directory.queries]\nuser = \"SELECT id, password FROM auth_user WHERE id = ANY($1)\"\n";
            stores = format!("{REDIS}{POSTGRES}{users}");
        }
        let snapshot = read(example, &stores).unwrap_or_else(|problems| panic!("{example}\n{problems}"));
        assert!(matches!(&snapshot.profile, Profile::Several(sources) if !sources.is_empty()), "{example}");
        assert_eq!(
            prefixes(&snapshot).is_empty(),
            is_in_table,
            "a table is nothing to follow in Redis: {example}"
        );
        assert_eq!(snapshot.directory.queries.sessions.is_empty(), !is_in_table, "{example}");
    }
}

#[test]
fn the_formats_are_tried_in_the_order_of_the_list_and_their_prefixes_are_followed() {
    let session =
        "[session]\nformat = [{ name = \"starsessions\" }, { name = \"native\" }, { name = \"django\" }]";
    let snapshot = read(session, REDIS).unwrap();
    let Profile::Several(sources) = &snapshot.profile else { panic!("there are several") };
    let names: Vec<&str> = sources
        .iter()
        .map(|source| match source {
            Source::Native { .. } => "native",
            Source::Foreign(format) => format.name,
        })
        .collect();
    assert_eq!(names, ["starsessions", "native", "django"]);
    assert_eq!(prefixes(&snapshot), ["starsessions.", ":1:django.contrib.sessions.cache"]);
    assert!(matches!(read("[session]\nformat = \"native\"", REDIS).unwrap().profile, Profile::Native { .. }));
}

#[test]
fn what_does_not_make_a_format_is_refused_with_what_is_missing() {
    for (session, store, said) in [
        ("[session]\nformat = \"express\"", REDIS, "`secrets` are needed"),
        ("[session]\nformat = \"rails\"", REDIS, "`cookie` is needed"),
        (
            "[session.format]\nname = \"laravel\"\nsecrets = [{ env = \"APP_KEY\" }]",
            REDIS,
            "`prefix` is needed",
        ),
        (
            "[session.format]\nname = \"laravel\"\nprefix = \"p\"\nsecrets = [{ env = \"TOKEN\" }]",
            REDIS,
            "APP_KEY",
        ),
        ("[session.format]\nname = \"json\"\ncookie = \"c\"\nprefix = \"\"", REDIS, "any key"),
        ("[session.format]\nname = \"php\"\nserializer = \"json\"", REDIS, "never written"),
        (
            "[session.format]\nname = \"json\"\ncookie = \"c\"\nprefix = \"cs:session:\"",
            REDIS,
            "begin like ours",
        ),
        (
            "[session.format]\nname = \"json\"\ncookie = \"a b\"\nprefix = \"p:\"",
            REDIS,
            "name of the application's cookie",
        ),
        ("[session]\nformat = [{ name = \"flask\" }, { name = \"flask\" }]", REDIS, "same cookie"),
        ("[session]\nformat = \"django\"", "", "embedded store"),
        ("[session.format]\nname = \"django\"\ncheck_password = true", REDIS, "signed with SECRET_KEY"),
        ("[session.format]\nname = \"flask\"\ncheck_password = true", REDIS, "for sessions of Django"),
        (
            "[session.format]\nname = \"django\"\ncheck_password = true\nsecrets = [{ env = \"APP_KEY\" }]",
            REDIS,
            "needs `directory.queries.user`",
        ),
        (
            "[session.format]\nname = \"spring\"\nstored_in = \"table\"",
            REDIS,
            "sessions in a table need a postgres directory",
        ),
    ] {
        let problems = read(session, store).expect_err(session).to_string();
        assert!(problems.contains(said), "{session}\n{problems}");
    }
    for unknown in ["[session]\nformat = \"expres\"", "[session.format]\nname = \"flask\"\nsecret = \"x\""] {
        assert!(read(unknown, REDIS).is_err(), "{unknown}");
    }
}
