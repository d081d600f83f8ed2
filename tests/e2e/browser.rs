//! In a real browser, headless Chromium driven by a script: the demo, and pages of an application over TLS and HTTP/2.

use std::net::SocketAddr;
use std::process::Stdio;

use e2e::client::Client;
use e2e::environment::{self, binary, keepsakes, node_script};
use e2e::eventually::until;
use e2e::ports;
use e2e::stores::Stores;
use tokio::process::{Child, Command};

use crate::apps::flask_behind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_works_in_a_browser_and_its_tabs_follow_each_other() {
    let (_demo, address) = start_demo().await;
    let mut script = Command::new("node");
    script.arg(node_script("browser/demo.mjs"));
    script.env("DEMO", format!("http://{address}"));
    script.env("SCREENSHOTS", keepsakes("screenshots"));
    succeeds(&mut script).await;
}

async fn succeeds(script: &mut Command) {
    let output = environment::run(script, b"").await;
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    #[expect(clippy::print_stdout, reason = "what the browser saw belongs beside the verdict")]
    {
        println!("{said}");
    }
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_tls_and_http2_tabs_follow_keep_their_own_platform_and_end_from_elsewhere() {
    let stores = Stores::real();
    let (proxy, _app) = flask_behind(&stores, |builder| {
        let own = "platform_from = { path_segment = 1 }\nlogin = \"/login\"";
        builder.https().route("/p/", "app", "\"platform\"", own).route(
            "/tab",
            "app",
            "\"platform\"",
            "login = \"/login\"",
        )
    })
    .await;
    let mut script = Command::new("node");
    script.arg(node_script("browser/lifecycle.mjs"));
    script.env("PORT", proxy.addresses().tls.port().to_string());
    succeeds(&mut script).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_answers_scripts_as_it_promises() {
    let (_demo, address) = start_demo().await;
    let browser = Client::new(address).naming(&address.to_string());
    browser.get("/public").send().await.expect(200);
    browser.get("/api/whoami").send().await.expect(401);
    assert!(browser.get("/").navigating().send().await.status.is_redirection());
    let log_in = async |name: &str, password: &str| {
        let call = browser.post("/login", format!("username={name}&password={password}"));
        let call = call.header("content-type", "application/x-www-form-urlencoded");
        call.header("origin", format!("http://{address}")).send().await
    };
    assert!(log_in("ana", "wrong").await.set_cookies().is_empty());
    assert!(log_in("ana", "demo").await.status.is_redirection());
    let who = browser.get("/api/whoami").send().await.expect(200).json();
    assert_eq!(who["user_id"], "1", "{who}");
    browser.get("/admin/").send().await.expect(200);
    log_in("cho", "demo").await;
    browser.get("/account").send().await.expect(200);
    browser.get("/admin/").send().await.expect(403);
    browser.get("/").send().await.expect(403);
}

async fn start_demo() -> (Child, SocketAddr) {
    let [address, admin] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], ports::free())));
    let mut command = Command::new(binary());
    command.arg("demo").args(["--listen", &address.to_string(), "--admin-listen", &admin.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    let child = command.spawn().expect("the binary was built");
    until("the demo serves", async || {
        tokio::net::TcpStream::connect(address).await.is_ok()
            && Client::new(address).naming(&address.to_string()).get("/public").send().await.status == 200
    })
    .await;
    (child, address)
}
