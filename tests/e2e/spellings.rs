//! A forged context header never arrives, whatever its spelling, route and protocol.

use std::time::Duration;

use e2e::client::Wire;
use e2e::fixture::{ANA, CHO};
use e2e::proxy::{COOKIE, Proxy};
use e2e::raw::{self, RawUpstream};
use e2e::stores::Stores;

use crate::setup::{Site, on_every_backend, routes};

const FORGED: &str = "forged-value";

/// Names that an application might take for ours.
const NAMES: &[&str] = &[
    "x-context-user-id",
    "x-context-roles",
    "x-context-authn",
    "x-context-jwt",
    "x-context-platform-authorization",
    "x-context-invented-tomorrow",
    "x-context",
    "x_context_user_id",
    "x-context_user-id",
    "x.context.user.id",
    "x~context!user*id",
    "x-context-",
    "x--context-user-id",
    "_x_context__user_id",
    "signature",
    "signature-input",
    "accept-signature",
    "countersign-session",
    "countersign_session",
    "x-original-url",
    "x-rewrite-url",
    "x-http-method-override",
    "x-forwarded-for",
    "x-forwarded-user",
    "x-real-ip",
];

on_every_backend! {
    async fn a_forged_header_never_arrives_on_any_route_over_any_protocol(stores) {
        let site = Site::start(stores).await;
        let cho = site.logged_in(CHO).await;
        for wire in [Wire::Http1, Wire::Http2, Wire::Tls1, Wire::Tls2] {
            let client = site.proxy.client_over(wire);
            client.set_cookie(COOKIE, &cho.cookie(COOKIE).unwrap());
            for path in ["/public/", "/optional/", "/session/", "/auth/"] {
                for name in NAMES {
                    let call = client.get(path).header(name, FORGED).header(name, "").header(name, FORGED);
                    let answer = call.header("x-harmless", "kept").send().await;
                    let arrived = site.app.take();
                    // Refusing the whole request is as good as removing the header.
                    assert!(arrived.is_empty() == (answer.status == 400), "{name}: {:?}", answer.status);
                    for request in arrived {
                        assert!(!format!("{:?}", request.headers).contains(FORGED), "{name} on {path}, {wire:?}");
                        assert_eq!(request.header("x-harmless"), Some("kept"));
                        if path == "/session/" {
                            assert_eq!(request.context("user-id"), Some(CHO));
                            assert_eq!(request.context("roles"), Some("viewer"));
                        }
                    }
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn upper_case_and_nominated_names_change_nothing_on_the_wire() {
    let app = RawUpstream::start().await;
    let stores = Stores::embedded();
    let proxy = routes(Proxy::builder().upstream("app", app.address(), "")).start(&stores).await;
    for head in [
        "X-CONTEXT-USER-ID: forged-value\r\n",
        "X-Context_User.Id: forged-value\r\nX_CONTEXT-roles:forged-value\r\n",
        "Connection: x-context-authn\r\n",
        "Connection: X-Context-Authn, signature, keep-alive\r\nConnection: x-context-request-id\r\n",
        "Connection: close, host, content-length , cookie,,x-context-authn\r\n",
        "Keep-Alive: x-context-authn\r\nProxy-Connection: x-context-authn\r\n",
    ] {
        let request = format!("GET /optional/ HTTP/1.1\r\nHost: app.test\r\n{head}X-Kept: yes\r\n\r\n");
        let exchange = raw::exchange(proxy.addresses().http1, request.as_bytes(), SILENCE).await;
        if exchange.status() == 400 {
            assert!(app.take().is_empty(), "{head} was forwarded");
            continue;
        }
        assert_eq!(exchange.status(), 200, "{head}: {}", exchange.text());
        let arrived = String::from_utf8(app.take()).unwrap().to_lowercase();
        assert!(!arrived.contains("forged-value"), "{arrived}");
        assert_eq!(arrived.matches("\r\nx-context-authn: none\r\n").count(), 1, "{arrived}");
        assert!(arrived.contains("\r\nsignature: countersign=:"), "{arrived}");
        assert!(arrived.contains("\r\nx-kept: yes\r\n"), "{arrived}");
        for line in arrived.lines().filter(|line| line.starts_with("connection:")) {
            assert!(
                !line.contains("x-context") && !line.contains("signature") && !line.contains("cookie"),
                "{line}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_application_says_about_identity_does_not_reach_the_client() {
    let site = Site::start(Stores::embedded()).await;
    let ana = site.logged_in(ANA).await;
    let answer = e2e::upstream::Prepared::status(200)
        .header("x-context-user-id", "1")
        .header("X-Context-Jwt", "leak")
        .header("x-other", "kept");
    site.app.prepare("/session/leaky", answer);
    let answer = ana.get("/session/leaky").send().await.expect(200);
    assert_eq!(answer.header("x-other"), "kept");
    assert!(!format!("{:?}", answer.headers).contains("x-context"), "{:?}", answer.headers);
}

const SILENCE: Duration = Duration::from_millis(300);
