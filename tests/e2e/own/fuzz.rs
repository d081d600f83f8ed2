//! Calls made up from the `OpenAPI` description, and bodies of every kind on aliases: no answer may contradict what is
//! described, whatever is sent.

use e2e::environment::{self, python};
use e2e::stores::Stores;
use serde_json::json;
use tokio::process::Command;

use crate::setup::Site;

const MORE: &str = "[settings]\nsize = \"2KiB\"\n[[settings.field]]\nname = \"max_posts_per_run\"\n\
    type = \"integer\"\nmin = 1\nmax = 500\ndefault = 50\n\
    [[alias]]\npath = \"/api/switch_platform/{id}\"\nendpoint = \"platform-switch\"\n\
    [[alias]]\npath = \"/api/session/heartbeat\"\nendpoint = \"session-heartbeat\"\n\
    [[alias]]\npath = \"/api/update_user_settings\"\nendpoint = \"settings-change\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_that_the_description_allows_is_answered_as_it_says() {
    let site = Site::with(Stores::real(), |b| b.more(MORE)).await;
    let aliases = json!([
        ["POST", "/api/switch_platform/12", false],
        ["POST", "/api/session/heartbeat", false],
        ["POST", "/api/update_user_settings", true],
    ]);
    let said = run("own_endpoints.py", &site, &[("ALIASES", aliases.to_string())]).await;
    println!("{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_of_an_operator_that_the_description_allows_is_answered_as_it_says() {
    let site = Site::start(Stores::real()).await;
    println!("{}", run("admin_api.py", &site, &[]).await);
}

async fn run(name: &str, site: &Site, more: &[(&str, String)]) -> String {
    let addresses = site.proxy.addresses();
    let mut script = Command::new(python());
    script.arg(environment::root().join("tests/fuzz").join(name));
    script
        .env("BASE", format!("http://{}", addresses.http1))
        .env("ADMIN", format!("http://{}", addresses.admin))
        .env("ADMIN_TOKEN", site.proxy.secret("admin-token"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("HYPOTHESIS_STORAGE_DIRECTORY", site.proxy.directory().join("hypothesis"))
        .envs(more.iter().map(|(name, value)| (name, value)));
    let output = environment::run(&mut script, b"").await;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{said}");
    let answered = site.proxy.request_lines().iter().filter(|line| line["status"] == 500).count();
    assert_eq!(answered, 0, "an answer was a fault of ours");
    said
}
