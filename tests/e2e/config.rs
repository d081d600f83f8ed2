//! Broken configuration starts nothing and says everything that is wrong at once.

use std::net::TcpStream;

use e2e::ports;
use e2e::proxy::{Proxy, run_to_end};
use e2e::stores::Stores;
use e2e::verifier::{from_base64url, upstream_key};

fn broken(listen: u16, admin: u16) -> String {
    format!(
        r#"
[[listen]]
address = "127.0.0.1:{listen}"

[admin]
address = "127.0.0.1:{admin}"

[session]
idle_timout = "30m"
absolute_timeout = "twelve hours"

[keys]
token = [{{ id = "t1", secret = {{ env = "A_VARIABLE_THAT_IS_NOT_SET" }} }}]

[[upstream]]
name = "app"
servers = []

[[route]]
path = "/"
upstream = "ap"

[[route]]
path = "no-slash"
upstream = "app"
require = "sesion"
"#
    )
}

#[test]
fn all_problems_are_told_at_once_and_nothing_listens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("broken.toml");
    let (listen, admin) = (ports::free(), ports::free());
    std::fs::write(&path, broken(listen, admin)).unwrap();
    for command in ["run", "check"] {
        let output = run_to_end(&[command, path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        for expected in [
            "idle_timout",
            "idle_timeout",
            "twelve hours",
            "A_VARIABLE_THAT_IS_NOT_SET",
            "servers",
            "\"ap\"",
            "no-slash",
            "sesion",
            "broken.toml:",
        ] {
            assert!(said.contains(expected), "{command} does not mention {expected}:\n{said}");
        }
        for port in [listen, admin] {
            assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "something listens");
        }
    }
}

#[test]
fn a_missing_file_and_a_file_that_is_not_toml_are_problems_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("odd.toml");
    let missing = run_to_end(&["run", path.to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(2));
    std::fs::write(&path, b"\xff\xfe[[[").unwrap();
    let odd = run_to_end(&["check", path.to_str().unwrap()]);
    assert_eq!(odd.status.code(), Some(2));
}

#[tokio::test]
async fn a_good_file_is_checked_against_the_stores_and_gives_the_applications_key() {
    let mut stores = Stores::real();
    let app = e2e::upstream::Upstream::start().await;
    let builder = Proxy::builder().upstream("app", app.address(), "");
    let proxy = builder.route("/", "app", "\"nothing\"", "session_authority = true").start(&stores).await;
    let file = proxy.config().to_str().unwrap().to_owned();
    let run = async |arguments: &[&str]| {
        let arguments: Vec<String> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let ran = tokio::task::spawn_blocking(move || {
            run_to_end(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
        });
        ran.await.unwrap()
    };
    let good = run(&["check", &file, "--connect"]).await;
    let said = String::from_utf8_lossy(&good.stdout).into_owned() + &String::from_utf8_lossy(&good.stderr);
    assert!(good.status.success(), "{said}");
    for secret in ["token", "csrf", "sealing", "hmac", "admin-token"] {
        assert!(!said.contains(&proxy.secret(secret)), "{secret} was printed");
    }
    let derived = run(&["key", "derive", "--config", &file, "app"]).await;
    let printed = String::from_utf8_lossy(&derived.stdout).trim().replace('+', "-").replace('/', "_");
    let key = printed.trim_end_matches('=');
    assert_eq!(from_base64url(key), from_base64url(&upstream_key(&proxy.secret("hmac"), "app")));

    stores.redis().kill();
    let bad = run(&["check", &file, "--connect"]).await;
    assert!(!bad.status.success(), "a check with Redis down succeeded");
    assert!(run(&["check", &file]).await.status.success(), "a check without --connect needs nobody");
    let status = run(&["migrate", "status", &file]).await;
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}
