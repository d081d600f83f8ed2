//! Every request leaves one log line and its mark in the metrics; no secret is in any output.

use e2e::client::Wire;
use e2e::eventually::until;
use e2e::fixture::{ANA, CHO};
use e2e::proxy::COOKIE;
use e2e::stores::Stores;

use serde_json::json;

use crate::admin::authorized;
use crate::setup::{Site, on_every_backend};

on_every_backend! {
    async fn every_request_leaves_one_line_with_route_outcome_and_reason(stores) {
        let site = Site::start(stores).await;
        let (nobody, cho) = (site.browser(), site.logged_in(CHO).await);
        for (browser, path, status, outcome, reason) in [
            (&nobody, "/public/one", 200, "forwarded", None),
            (&cho, "/session/one", 200, "forwarded", None),
            (&nobody, "/session/two", 401, "refused", Some("no_cookie")),
            (&cho, "/admin/one", 403, "refused", Some("role_missing")),
            (&nobody, "/nowhere", 404, "refused", Some("no_route")),
            (&nobody, "/public/%2e%2e/admin/", 400, "refused", Some("ambiguous_path")),
        ] {
            browser.get(&format!("{path}?secret=in-the-query")).send().await.expect(status);
            let line = site.proxy.request_line(path).await;
            assert_eq!(line["status"], status, "{line}");
            assert_eq!(line["outcome"], outcome, "{line}");
            assert_eq!(line["reason"].as_str(), reason, "{line}");
            assert_eq!(line["method"], "GET");
            assert!(line["duration_us"].as_u64().is_some() && line["request_id"].is_string(), "{line}");
            let same = site.proxy.request_lines().into_iter().filter(|line| line["path"] == path).count();
            assert_eq!(same, 1, "{path} has {same} lines");
        }
        let line = site.proxy.request_line("/session/one").await;
        assert_eq!((&line["user_id"], &line["authn"]), (&CHO.into(), &"session".into()), "{line}");
        assert!(!site.proxy.output().contains("in-the-query"));
    }

    async fn metrics_count_requests_lookups_sessions_and_refusals(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        ana.get("/session/").header("x-context-user-id", "2").send().await.expect(200);
        site.browser().get("/session/").cookies(format!("{COOKIE}={}", "A".repeat(43))).send().await.expect(401);
        site.direct(&ana, "platform;id=\"12\"").await.expect(200);
        site.direct(&ana, "rotate").await.expect(200);
        site.direct(&ana, "end").await.expect(200);
        for (name, labels) in [
            ("requests_total", &["outcome=\"forwarded\""][..]),
            ("requests_total", &["outcome=\"refused\""]),
            ("refusals_total", &["reason=\"forged_token\""]),
            ("rejected_tokens_total", &["reason=\"forged_token\""]),
            ("context_lookups_total", &["result=\"found\""]),
            ("resolutions_total", &["outcome=\"known\""]),
            ("scrubbed_headers_total", &[]),
            ("sessions_total", &["event=\"started\""]),
            ("sessions_total", &["event=\"rotated\""]),
            ("sessions_total", &["event=\"ended\""]),
            ("platform_switches_total", &[]),
            ("directives_total", &["result=\"carried_out\""]),
            ("signing_duration_seconds_count", &[]),
            ("request_duration_seconds_count", &[]),
        ] {
            let value = site.proxy.metric(&format!("countersign_{name}"), labels).await;
            assert!(value >= 1.0, "{name} {labels:?} is {value}");
        }
        let text = site.proxy.metrics().await;
        assert!(!text.contains("user_id") && !text.contains("path="), "a label of unbounded size");
    }

    async fn planted_secrets_are_in_no_output(stores) {
        let site = Site::with(stores, |b| b.more("[log]\nlevel = \"trace\"")).await;
        let ana = site.logged_in(ANA).await;
        let token = ana.cookie(COOKIE).unwrap();
        let mut answers = String::new();
        for wire in [Wire::Http1, Wire::Http2, Wire::Tls2] {
            let client = site.proxy.client_over(wire);
            client.set_cookie(COOKIE, &token);
            for path in ["/session/", "/public/", "/admin/", "/nowhere", "/.countersign/x", "/public/%00"] {
                let call = client.get(path).header("authorization", "Bearer planted-password");
                let answer = call.header("x-context-jwt", "planted-jwt").send().await;
                answers.extend([format!("{:?}", answer.headers), answer.text()]);
            }
        }
        for target in [format!("/public/;{COOKIE}={token}"), format!("/public/?{COOKIE}={token}"), format!("/nowhere;a={token}/b")] {
            site.browser().get(&target).header("user-agent", &token).send().await;
        }
        site.direct(&ana, "rotate").await.expect(200);
        let rotated = ana.cookie(COOKIE).unwrap();
        // What a page needs to act is told to that page alone.
        let state = ana.get("/.countersign/session").send().await.expect(200).json();
        let forgery = state["csrf_token"].as_str().unwrap().to_owned();
        let switch = ana.post("/.countersign/platforms/12/switch", "").header("origin", "http://app.test");
        switch.header("x-csrf-token", &forgery).send().await.expect(200);
        for path in ["/ready", "/live", "/metrics", "/jwks.json", "/nothing"] {
            answers += &authorized(&site, site.proxy.admin().get(path)).send().await.text();
        }
        for path in ["status", "overview", "config", "reload", "sessions", "users/1/sessions", "audit", "openapi.json"] {
            let answer = authorized(&site, site.proxy.admin().get(&format!("/v1/{path}"))).send().await;
            answers += &answer.expect(200).text();
        }
        for (path, body) in [
            ("explain", json!({ "method": "GET", "url": "http://app.test/session/", "cookie": rotated })),
            ("test-session", json!({ "cookie": rotated })),
            ("test-session", json!({ "cookie": format!("{COOKIE}={rotated}") })),
        ] {
            let call = site.proxy.admin().post(&format!("/v1/{path}"), body.to_string());
            answers += &authorized(&site, call.header("content-type", "application/json")).send().await.expect(200).text();
        }
        let open = site.proxy.admin().get("/metrics").header("accept", "application/openmetrics-text");
        answers += &open.send().await.expect(200).text();
        until("all lines are written", async || site.proxy.request_lines().len() >= 20).await;
        let output = site.proxy.output();
        let mut secrets = vec![token, rotated, forgery, "planted-password".to_owned(), "planted-jwt".to_owned()];
        for name in ["token", "csrf", "sealing", "hmac", "admin-token"] {
            secrets.push(site.proxy.secret(name));
        }
        secrets.extend(site.proxy.secret("jwt").lines().nth(1).map(str::to_owned));
        for secret in secrets {
            assert!(secret.len() > 10, "a secret is missing");
            assert!(!output.contains(&secret), "{secret} is in the log");
            assert!(!answers.contains(&secret), "{secret} is in an answer");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_admin_listener_tells_health_and_public_keys_without_a_token() {
    let site = Site::start(Stores::embedded()).await;
    let admin = site.proxy.admin();
    admin.get("/live").send().await.expect(200);
    admin.get("/ready").send().await.expect(200);
    let answer = admin.get("/jwks.json").send().await.expect(200);
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    assert!(!keys.is_empty());
    for key in keys {
        assert!(key.get("d").is_none(), "a private key is published");
        assert!(key["kid"].is_string());
    }
    let tag = answer.header("etag").to_owned();
    assert!(answer.header("cache-control").contains("max-age"));
    admin.get("/jwks.json").header("if-none-match", &tag).send().await.expect(304);
    for path in ["/ready", "/metrics", "/jwks.json"] {
        let answer = site.browser().get(path).send().await;
        assert_eq!(answer.status, 404, "{path} is served in public");
    }
}
