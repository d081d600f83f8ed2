//! Broken configuration starts nothing and says everything that is wrong at once.

use std::net::TcpStream;

use e2e::ports;
use e2e::proxy::run_to_end;

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
