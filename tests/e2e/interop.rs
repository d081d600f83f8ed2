//! Verifiers that we did not write believe every request as the application received it, and no altered one.

use e2e::client::Wire;
use e2e::environment::{self, node_script, python};
use e2e::fixture::{ANA, EVE};
use e2e::proxy::{COOKIE, KeyKind, Proxy};
use e2e::stores::Stores;
use e2e::upstream::Upstream;
use e2e::verifier::{upstream_key, verifier_keys};
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::setup::{Site, routes};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hmac_signatures_and_ed25519_tokens_are_believed_and_altered_ones_refused() {
    both_verifiers_agree(KeyKind::Ed25519, "").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ed25519_signatures_and_es256_tokens_are_believed_and_altered_ones_refused() {
    both_verifiers_agree(KeyKind::P256, "signature_algorithm = \"ed25519\"").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hmac_signatures_and_hs256_tokens_are_believed_and_altered_ones_refused() {
    both_verifiers_agree(KeyKind::Hmac, "").await;
}

async fn both_verifiers_agree(kind: KeyKind, upstream_keys: &str) {
    let app = Upstream::start().await;
    let stores = Stores::embedded();
    let builder = Proxy::builder().jwt_key(kind).upstream("app", app.address(), upstream_keys);
    let proxy = routes(builder).start(&stores).await;
    let site = Site { proxy, app, stores };
    let keys = verifier_keys(&site.proxy, "app", kind, upstream_keys.contains("ed25519")).await;
    let captured = capture(&site).await;
    let genuine: Vec<Value> = captured.clone();
    let altered: Vec<Value> = captured.iter().take(2).flat_map(alterations).collect();
    assert!(genuine.len() >= 9 && altered.len() >= 20);

    for (name, mut verifier) in [("Python", python_verifier()), ("Node", node_verifier())] {
        let all = [genuine.clone(), altered.clone()].concat();
        let verdicts = verdicts(&mut verifier, &keys, &all).await;
        assert_eq!(verdicts.len(), all.len());
        for (request, verdict) in all.iter().zip(&verdicts).take(genuine.len()) {
            assert_eq!(verdict["signature"], Value::Null, "{name} refuses {request:#}");
            assert_eq!(verdict["jwt"], Value::Null, "{name} refuses the token of {request:#}");
        }
        let claims = &verdicts[0]["claims"];
        assert_eq!((&claims["sub"], &claims["aud"]), (&json!(ANA), &json!("app")), "{claims}");
        assert!(claims["exp"].as_u64() > claims["iat"].as_u64() && claims["jti"].is_string(), "{claims}");
        for (request, verdict) in all.iter().zip(&verdicts).skip(genuine.len()) {
            let refused = !verdict["signature"].is_null();
            assert!(refused, "{name} believes an altered request: {request:#}");
        }
    }

    // A key of another application does not fit, and a token for another audience is refused.
    let mut other = keys.clone();
    other["audience"] = json!("another");
    if !upstream_keys.contains("ed25519") {
        other["message"]["hmac-1"]["secret"] = json!(upstream_key(&site.proxy.secret("hmac"), "another"));
    }
    for mut verifier in [python_verifier(), node_verifier()] {
        for verdict in verdicts(&mut verifier, &other, &genuine[..1]).await {
            assert!(upstream_keys.contains("ed25519") || !verdict["signature"].is_null(), "{verdict}");
            assert!(!verdict["jwt"].is_null(), "{verdict}");
        }
    }
}

/// Requests of many shapes, as they arrived.
async fn capture(site: &Site) -> Vec<Value> {
    let (ana, eve) = (site.logged_in(ANA).await, site.logged_in(EVE).await);
    let _ = site.app.take();
    for path in ["/platform/?q=1", "/session/", "/session/?", "/session/a%20b/%C3%A4;x=1?q=%2F&r=a+b&&="] {
        ana.get(path).send().await;
    }
    eve.get("/session/").send().await.expect(200);
    site.browser().get("/public/").send().await.expect(200);
    site.browser().call(Method::DELETE, "/optional/x").send().await.expect(200);
    ana.naming("App.Test:8080").get("/session/").send().await.expect(200);
    let over2 = site.proxy.client_over(Wire::Http2);
    over2.set_cookie(COOKIE, &ana.cookie(COOKIE).unwrap());
    over2
        .post("/session/", "body")
        .header("x-repeated", "a")
        .header("x-repeated", "b")
        .send()
        .await
        .expect(200);
    site.app.take().iter().map(e2e::upstream::Recorded::as_json).collect()
}

/// The request with one thing changed, in every place that the signature must cover.
fn alterations(request: &Value) -> Vec<Value> {
    let mut all = Vec::new();
    let mut change = |apply: &dyn Fn(&mut Value)| {
        let mut altered = request.clone();
        apply(&mut altered);
        all.push(altered);
    };
    change(&|r| r["method"] = json!("POST"));
    change(&|r| r["authority"] = json!("other.test"));
    change(&|r| r["target"] = json!("/admin/?q=1"));
    change(&|r| r["target"] = json!("/platform/?q=2"));
    change(&|r| r["headers"].as_array_mut().unwrap().push(json!(["x-context-actor-id", "1"])));
    let headers = request["headers"].as_array().unwrap();
    for (place, header) in headers.iter().enumerate() {
        let name = header[0].as_str().unwrap().to_owned();
        let covered = name.starts_with("x-context-");
        if !covered && !name.starts_with("signature") {
            continue;
        }
        change(&|r| {
            let value = &mut r["headers"][place][1];
            *value = json!(altered_text(value.as_str().unwrap()));
        });
        change(&|r| {
            r["headers"].as_array_mut().unwrap().remove(place);
        });
        if covered {
            change(&|r| r["headers"].as_array_mut().unwrap().push(json!([name, "twice"])));
        }
    }
    all
}

/// One character changed, in the middle: the last one of base64 can have bits that mean nothing.
fn altered_text(text: &str) -> String {
    let middle = text.len() / 2;
    let other = if text.as_bytes()[middle] == b'A' { "B" } else { "A" };
    format!("{}{other}{}", &text[..middle], &text[middle + 1..])
}

pub(crate) fn python_verifier() -> Command {
    let mut command = Command::new(python());
    command.arg(environment::root().join("tests/verifiers/verify.py"));
    command
}

fn node_verifier() -> Command {
    let mut command = Command::new("node");
    command.arg(node_script("verifiers/verify.mjs"));
    command
}

pub(crate) async fn verdicts(verifier: &mut Command, keys: &Value, requests: &[Value]) -> Vec<Value> {
    let input = json!({ "keys": keys, "requests": requests }).to_string();
    let output = environment::run(verifier, input.as_bytes()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("a list of verdicts")
}
