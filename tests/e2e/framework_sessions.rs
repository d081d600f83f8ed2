//! Applications that know nothing of a proxy, with their own login, users and sessions in Redis: they log in, are
//! known, log out and are refused at once. Each runs under the lines of configuration that the guide shows.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign_verify::{Authn, Keys, Request, Verifier};
use e2e::client::{Answer, Call, Client};
use e2e::environment::{self, node_script, python, root};
use e2e::eventually::{eventually, until};
use e2e::ports;
use e2e::proxy::{Builder, Proxy};
use e2e::stores::Stores;
use e2e::verifier::{from_base64url, upstream_key};
use serde_json::Value;
use tokio::process::{Child, Command};

const SECRET: &str = "a-made-up-secret-of-the-application";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn express_sessions_are_read_as_express_session_made_them() {
    let mut command = Command::new("node");
    command.arg(node_script("apps/sessions/express.mjs"));
    the_application_is_not_changed(command, "Express, NestJS", "connect.sid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flask_sessions_are_read_as_flask_session_made_them() {
    the_application_is_not_changed(python_app("flask_app.py"), "Flask-Session", "session").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_sessions_are_read_as_django_made_them() {
    the_application_is_not_changed(python_app("django_app.py"), "Django", "sessionid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn django_sessions_in_a_table_are_read_as_django_made_them() {
    in_a_table(python_app("django_app.py"), "Django, in its database", "sessionid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn express_sessions_in_a_table_are_read_as_connect_pg_simple_made_them() {
    let mut command = Command::new("node");
    command.arg(node_script("apps/sessions/express.mjs"));
    in_a_table(command, "Express, in Postgres", "connect.sid").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn php_sessions_are_read_as_phpredis_made_them() {
    let mut command = Command::new("php");
    command.args(["-d", "session.save_handler=redis", "-d", "session.use_strict_mode=1"]);
    the_application_is_not_changed(command, "PHP", "PHPSESSID").await;
}

pub(crate) fn python_app(name: &str) -> Command {
    let mut command = Command::new(python());
    command.arg(root().join("tests/apps/sessions").join(name)).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The same, where the application keeps its sessions in Postgres.
async fn in_a_table(mut command: Command, section: &str, cookie: &str) {
    let mut stores = Stores::real();
    command.env("DATABASE_URL", &stores.servers().database);
    behind_the_proxy(command, section, cookie, stores).await;
}

async fn the_application_is_not_changed(command: Command, section: &str, cookie: &str) {
    behind_the_proxy(command, section, cookie, Stores::real()).await;
}

async fn behind_the_proxy(command: Command, section: &str, cookie: &str, mut stores: Stores) {
    let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let redis = format!("redis://127.0.0.1:{}", stores.redis().port());
    let _app = started(command, &redis, address).await;
    let proxy = configured(section, address).start(&stores).await;
    let browser = proxy.client();
    until("nobody is logged in", async || browser.get("/").send().await.status == 401).await;

    // Logs in through the proxy; the application's own session holds, and the context arrives signed.
    form(&browser, "/login", "name=ana&password=wrong").await.expect(403);
    let login = form(&browser, "/login", "name=ana&password=demo").await;
    assert!(login.status.is_redirection(), "{}", login.status);
    assert!(browser.cookie(cookie).is_some(), "the application sets its own cookie");
    until("the application's login is known", async || browser.get("/").send().await.status == 200).await;
    let seen = settled(|| browser.get("/")).await.expect(200).json();
    assert_eq!(seen["user"], 1, "the application's own session: {seen}");
    assert_eq!(signed_user(&proxy, &seen).await, Some("1".to_owned()));
    proven(&proxy, &format!("{cookie}={}", browser.cookie(cookie).unwrap()), 0, "user 1").await;

    // Who logs out in the application is refused at once, also with the cookie from before.
    let before = browser.cookie(cookie).unwrap();
    assert!(form(&browser, "/logout", "").await.status.is_redirection());
    let stranger = browser.stranger();
    let again = settled(|| stranger.get("/").cookies(format!("{cookie}={before}"))).await;
    assert_eq!(again.status, 401, "the log-out counts at the next request");
    assert_eq!(settled(|| browser.get("/")).await.status, 401);
    proven(&proxy, &format!("{cookie}={before}"), 3, "no").await;
}

/// The first answer that is no 503: on a machine that is busy Redis may be late, and then nobody can say.
pub(crate) async fn settled(call: impl Fn() -> Call) -> Answer {
    eventually("Redis answers in time", async || {
        let answer = call().send().await;
        (answer.status != 503).then_some(answer)
    })
    .await
}

/// The lines of the guide, in front of the application.
pub(crate) fn configured(section: &str, address: SocketAddr) -> Builder {
    configured_with(&guide_lines(section), address)
}

pub(crate) fn configured_with(lines: &str, address: SocketAddr) -> Builder {
    Proxy::builder()
        .upstream("app", address, "")
        .route("/login", "app", "\"nothing\"", "")
        .route("/logout", "app", "\"nothing\"", "")
        .route("/", "app", "\"session\"", "")
        .more(lines)
        .variable("SESSION_SECRET", SECRET)
        .variable("OLD_SESSION_SECRET", "another-secret-that-was-in-use-before")
}

/// The first block of configuration below a heading of the guide.
pub(crate) fn guide_lines(section: &str) -> String {
    let guide = std::fs::read_to_string(root().join("docs/bring-your-sessions.md")).unwrap();
    let (_, below) = guide.split_once(&format!("\n## {section}\n")).expect("the guide has this section");
    let (_, block) = below.split_once("```toml\n").expect("the section has a block");
    block.split_once("```").expect("the block ends").0.to_owned()
}

pub(crate) async fn started(mut command: Command, redis: &str, address: SocketAddr) -> Child {
    if command.as_std().get_program() == "php" {
        command.arg("-d").arg(format!("session.save_path=\"{}\"", redis.replace("redis://", "tcp://")));
        command.arg("-S").arg(address.to_string()).arg(root().join("tests/apps/sessions/app.php"));
    }
    command.env("REDIS_URL", redis).env("SESSION_SECRET", SECRET).env("PORT", address.port().to_string());
    let child = command.kill_on_drop(true).spawn().expect("the application can be started");
    until("the application listens", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
    child
}

/// The user in the headers that the application got, if their signature holds.
async fn signed_user(proxy: &Proxy, seen: &Value) -> Option<String> {
    let jwks = proxy.admin().get("/jwks.json").send().await.expect(200).text();
    let key = STANDARD.encode(from_base64url(&upstream_key(&proxy.secret("hmac"), "app")));
    let keys = Keys::default().with_hmac("hmac-1", &key).unwrap().with_jwks(&jwks).unwrap();
    let verifier = Verifier::new(keys, "app");
    let mut request = http::Request::get("/");
    for pair in seen["headers"].as_array().unwrap() {
        request = request.header(pair[0].as_str().unwrap(), pair[1].as_str().unwrap());
    }
    let request = request.body(()).unwrap();
    #[expect(clippy::disallowed_methods, reason = "an application has the time of its machine")]
    let now = std::time::SystemTime::now();
    let context = verifier.verify(&Request::of(&request).unwrap(), now).expect("the signature holds");
    assert_eq!(context.authn, Authn::Session);
    context.user_id
}

/// The one command of the guide says the same.
pub(crate) async fn proven(proxy: &Proxy, cookie: &str, code: i32, said: &str) {
    let mut command = Command::new(environment::binary());
    command.arg("test-session").arg(proxy.config()).args(["--cookie", "-"]);
    command.env("SESSION_SECRET", SECRET).env("OLD_SESSION_SECRET", "another-secret-that-was-in-use-before");
    let output = environment::run(&mut command, cookie.as_bytes()).await;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(said), "{text}");
    let value = cookie.split_once('=').unwrap().1;
    assert!(!text.contains(value), "the cookie is as secret as a password: {text}");
}

pub(crate) async fn form(browser: &Client, path: &str, fields: &str) -> Answer {
    let call = browser.post(path, fields.to_owned());
    call.header("content-type", "application/x-www-form-urlencoded").send().await
}
