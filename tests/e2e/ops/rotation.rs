//! The keys that sign change under load, and an application that keeps the public keys for as long as it may can verify
//! every single request.

use std::time::{Duration, Instant};

use e2e::eventually::until;
use e2e::fixture::ANA;
use e2e::proxy::{COOKIE, KeyKind, Proxy};
use e2e::stores::Stores;
use e2e::upstream::Upstream;
use e2e::verifier::verifier_keys;
use serde_json::{Value, json};

use super::load::Load;
use crate::interop::{python_verifier, verdicts};
use crate::setup::{Site, routes};

/// How long the application keeps the public keys.
const MAX_AGE: Duration = Duration::from_secs(2);

/// An application that asks for the public keys only when its copy is too old, however little it can make of a request.
struct Application<'a> {
    site: &'a Site,
    keys: Value,
    asked: Instant,
    /// Requests, with the keys that they are to be verified with.
    received: Vec<(Value, Vec<Value>)>,
}

impl<'a> Application<'a> {
    async fn new(site: &'a Site) -> Self {
        let asked = Instant::now();
        let keys = verifier_keys(&site.proxy, "app", KeyKind::Ed25519, true).await;
        Self { site, keys, asked, received: Vec::new() }
    }

    /// Takes what arrived since the last time; answers the ids of the keys that signed the tokens.
    async fn receive(&mut self) -> Vec<String> {
        if self.asked.elapsed() >= MAX_AGE {
            self.asked = Instant::now();
            self.keys = verifier_keys(&self.site.proxy, "app", KeyKind::Ed25519, true).await;
        }
        let arrived = self.site.app.take();
        let signed =
            arrived.iter().filter_map(|request| request.header("x-context-jwt").map(key_id)).collect();
        self.received
            .push((self.keys.clone(), arrived.iter().map(e2e::upstream::Recorded::as_json).collect()));
        signed
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_rotate_under_load_and_no_request_is_unverifiable() {
    let app = Upstream::start().await;
    let stores = Stores::embedded();
    let builder = Proxy::builder()
        .upstream("app", app.address(), "signature_algorithm = \"ed25519\"")
        .more("[jwt]\nkeys_max_age = \"2s\"\nlifetime = \"10s\"\n");
    let proxy = routes(builder).start(&stores).await;
    let site = Site { proxy, app, stores };
    let cookie = format!("{COOKIE}={}", site.logged_in(ANA).await.cookie(COOKIE).unwrap());
    let load = Load::start(3, site.proxy.addresses().http1, "/session/", &cookie);
    load.answers(10).await;
    let mut application = Application::new(&site).await;
    let old = application.receive().await.pop().unwrap();

    add_keys(&site.proxy);
    let report = site.proxy.reload().await;
    assert_eq!(report["result"], "applied", "{report}");
    assert_eq!(report["notes"].as_array().unwrap().len(), 2, "{report}");
    let mut signed = Vec::new();
    until("the new key signs", async || {
        signed = application.receive().await;
        signed.last().is_some_and(|last| *last != old)
    })
    .await;

    // Retired: it is taken out once nothing that it signed can be on its way any more.
    load.answers(50).await;
    let _ = application.receive().await;
    remove_old_keys(&site.proxy);
    assert_eq!(site.proxy.reload().await["result"], "applied");
    load.answers(50).await;
    let last = application.receive().await;
    assert!(!last.is_empty() && last.iter().all(|key| *key != old));

    let (_, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    let mut verified = 0;
    let mut by_keys: Vec<(Value, Vec<Value>)> = Vec::new();
    for (keys, requests) in std::mem::take(&mut application.received) {
        match by_keys.iter_mut().find(|(known, _)| *known == keys) {
            Some((_, all)) => all.extend(requests),
            None => by_keys.push((keys, requests)),
        }
    }
    for (keys, requests) in by_keys {
        // A few hundred of each phase say as much as all of them.
        let step = requests.len().div_ceil(300).max(1);
        let requests: Vec<Value> = requests.into_iter().step_by(step).collect();
        for verdict in verdicts(&mut python_verifier(), &keys, &requests).await {
            assert_eq!((&verdict["signature"], &verdict["jwt"]), (&Value::Null, &Value::Null), "{verdict}");
            verified += 1;
        }
    }
    assert!(verified > 100, "only {verified} requests were verified");
}

fn add_keys(proxy: &Proxy) {
    for (list, algorithm) in [("jwt", ", algorithm = \"EdDSA\""), ("message", "")] {
        let made = e2e::proxy::run_to_end(&["key", "new", list]);
        assert!(made.status.success());
        let file = proxy.directory().join(format!("{list}-2"));
        std::fs::write(&file, made.stdout).unwrap();
        let key = format!("{{ id = \"{list}-2\"{algorithm}, secret = {{ file = \"{}\" }} }}", file.display());
        proxy.edit(&format!("\n{list} = [{{"), &format!("\n{list} = [{key}, {{"));
    }
}

fn remove_old_keys(proxy: &Proxy) {
    let text = std::fs::read_to_string(proxy.config()).unwrap();
    for list in ["jwt", "message"] {
        let line = text.lines().find(|line| line.starts_with(&format!("{list} = ["))).unwrap();
        let first = &line[..line.find(", { id = ").or_else(|| line.find(", {id")).unwrap()];
        proxy.edit(line, &format!("{first}]"));
    }
}

/// The `kid` of a token.
fn key_id(token: &str) -> String {
    let header = e2e::verifier::from_base64url(token.split('.').next().unwrap());
    let header: Value = serde_json::from_slice(&header).unwrap_or(json!({}));
    header["kid"].as_str().unwrap_or_default().to_owned()
}
