//! Applications that existed before: Flask and Express, each with its own login form, behind the proxy with nothing
//! added but the directive, verifying signatures with a library of their own ecosystem.

use std::net::SocketAddr;

use e2e::client::Client;
use e2e::environment::{self, node_script, python};
use e2e::eventually::until;
use e2e::ports;
use e2e::proxy::{Builder, COOKIE, KeyKind, Proxy};
use e2e::stores::Stores;
use e2e::verifier::verifier_keys;
use tokio::process::{Child, Command};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flask_application_logs_in_sees_the_context_switches_and_logs_out() {
    the_application_works(flask(), Stores::real()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_express_application_logs_in_sees_the_context_switches_and_logs_out() {
    let mut command = Command::new("node");
    command.arg(node_script("apps/express/app.mjs"));
    the_application_works(command, Stores::real()).await;
}

/// A proxy with the Flask application behind it, whose login form is the only way in.
pub(crate) async fn flask_behind(stores: &Stores, change: impl FnOnce(Builder) -> Builder) -> (Proxy, Child) {
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let builder = Proxy::builder()
        .upstream("app", address, "")
        .route("/login", "app", "\"nothing\"", "session_authority = true")
        .route("/logout", "app", "\"session\"", "session_authority = true");
    let proxy = change(builder).start(stores).await;
    let keys = verifier_keys(&proxy, "app", KeyKind::Ed25519, false).await;
    let mut command = flask();
    let app =
        start(command.env("KEYS", keys.to_string()).env("PORT", address.port().to_string()), address).await;
    (proxy, app)
}

fn flask() -> Command {
    let mut command = Command::new(python());
    command.arg(environment::root().join("tests/apps/flask/app.py"));
    command.env("VERIFIERS", environment::root().join("tests/verifiers")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

async fn the_application_works(mut command: Command, stores: Stores) {
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let proxy = Proxy::builder()
        .upstream("app", address, "")
        .route("/login", "app", "\"nothing\"", "session_authority = true")
        .route("/logout", "app", "\"session\"", "session_authority = true")
        .route("/switch/", "app", "\"session\"", "session_authority = true")
        .route("/", "app", "\"platform\"", "login = \"/login\"")
        .start(&stores)
        .await;
    let keys = verifier_keys(&proxy, "app", KeyKind::Ed25519, false).await;
    let _app =
        start(command.env("KEYS", keys.to_string()).env("PORT", address.port().to_string()), address).await;
    let browser = proxy.client();

    let answer = browser.get("/account/a%20b?c=d").navigating().send().await;
    let login = answer.header("location").to_owned();
    assert!(login.starts_with("/login?return_to="), "{login}");
    assert!(browser.get(&login).send().await.expect(200).text().contains("<form"));
    let wrong = form(&browser, &login, "name=ana&password=wrong").await.expect(403);
    assert!(wrong.set_cookies().is_empty());
    let answer = form(&browser, &login, "name=ana&password=demo").await.expect(303);
    assert_eq!(answer.header("location"), "/account/a%20b?c=d");
    assert!(browser.cookie(COOKIE).is_some());

    let context = browser.get("/account/a%20b?c=d").send().await.expect(200).json();
    assert_eq!((&context["user-id"], &context["platform-id"]), (&"1".into(), &"11".into()), "{context}");
    assert_eq!(context["claims"]["sub"], "1", "{context}");
    assert_eq!(context["user-name"], "Ana Kovac");
    form(&browser, "/switch/12", "").await.expect(303);
    assert_eq!(browser.get("/").send().await.expect(200).json()["platform-id"], "12");
    form(&browser, "/switch/21", "").await.expect(502);
    form(&browser, "/logout", "").await.expect(303);
    assert_eq!(browser.cookie(COOKIE), None);
    browser.get("/").send().await.expect(401);

    // Whoever goes around the proxy is nobody.
    let around =
        Client::new(address).get("/").header("x-context-user-id", "1").header("x-context-authn", "session");
    around.send().await.expect(403);
}

pub(crate) async fn form(browser: &Client, path: &str, fields: &str) -> e2e::client::Answer {
    let call =
        browser.post(path, fields.to_owned()).header("content-type", "application/x-www-form-urlencoded");
    call.send().await
}

async fn start(command: &mut Command, address: SocketAddr) -> Child {
    let child = command.kill_on_drop(true).spawn().expect("the application can be started");
    until("the application listens", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
    child
}
