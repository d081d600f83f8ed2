//! The admin API and the command line that speaks it, on both backends, driving the built binary.

mod api;
mod command_line;
mod page;

use std::process::Output;

use e2e::client::{Answer, Call};
use e2e::environment;
use e2e::proxy::Proxy;
use tokio::process::Command;

use crate::setup::Site;

/// The same call with the admin token.
pub(crate) fn authorized(site: &Site, call: Call) -> Call {
    call.header("authorization", format!("Bearer {}", site.proxy.secret("admin-token")))
}

pub(crate) async fn get(site: &Site, path: &str) -> Answer {
    authorized(site, site.proxy.admin().get(path)).send().await
}

async fn delete(site: &Site, path: &str) -> Answer {
    authorized(site, site.proxy.admin().call(http::Method::DELETE, path)).send().await
}

async fn post(site: &Site, path: &str, body: &serde_json::Value) -> Answer {
    let call = site.proxy.admin().post(path, body.to_string()).header("content-type", "application/json");
    authorized(site, call).send().await
}

/// Runs the command line beside a proxy; the token comes from its configuration.
pub(crate) async fn command(proxy: &Proxy, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(environment::binary());
    command.args(arguments).env_remove("COUNTERSIGN_ADMIN_TOKEN");
    let config = proxy.config().display().to_string();
    if !arguments.contains(&"--config") && arguments[0] != "test-session" {
        command.args(["--config", &config]);
    }
    environment::run(&mut command, input.as_bytes()).await
}

/// Everything that a command said.
pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}
