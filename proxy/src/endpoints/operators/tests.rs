//! What is open, what needs the token, and what is refused before anything is asked.

use std::time::Duration;

use super::*;
use crate::signing::keyring::Keyring;

const CONFIGURATION: &str = r#"
[[listen]]
address = "127.0.0.1:8080"
[keys]
token = [{ id = "t", secret = { env = "K" } }]
csrf = [{ id = "c", secret = { env = "K" } }]
"#;

struct Asked {
    method: Method,
    path: &'static str,
    headers: Vec<(&'static str, &'static str)>,
    token: Option<Secret>,
    loopback: bool,
}

impl Asked {
    fn path(path: &'static str) -> Self {
        let token = Some(Secret::from("operator"));
        Self { method: Method::GET, path, headers: Vec::new(), token, loopback: false }
    }

    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    async fn answer(self) -> (u16, String) {
        let metrics = Metrics::new();
        let jwks = Jwks::new(&[&Keyring::new(&[], &[]).unwrap()], Duration::from_mins(5));
        let environment = |name: &str| (name == "K").then(|| "0123456789abcdef0123456789abcdef".to_owned());
        let snapshot = crate::config::parse(CONFIGURATION, "test.toml", &environment).unwrap();
        let state = OperatorState {
            metrics: &metrics,
            jwks: &jwks,
            phase: Phase::Draining,
            token: self.token.as_ref(),
            loopback: self.loopback,
            snapshot: &snapshot,
            lifecycle: None,
            report: &Report::of_the_start(Timestamp::from_secs(1)),
            console: &Console::new(Timestamp::from_secs(1)),
            now: Timestamp::from_secs(1),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in self.headers {
            headers.append(name, HeaderValue::from_static(value));
        }
        let request = OperatorRequest {
            method: &self.method,
            path: self.path,
            query: None,
            headers: &headers,
            body: Bytes::new(),
            body_fault: None,
            from: None,
            id: "r",
        };
        let answer = answer(&request, &state).await;
        let code = serde_json::from_slice::<serde_json::Value>(answer.body())
            .ok()
            .and_then(|body| body["code"].as_str().map(str::to_owned));
        (answer.status().as_u16(), code.unwrap_or_default())
    }
}

#[tokio::test]
async fn health_and_metrics_need_no_token_and_nothing_else_is_open() {
    assert_eq!(Asked::path("/live").answer().await.0, 200);
    assert_eq!(Asked::path("/metrics").answer().await.0, 200);
    for path in ["/v1/status", "/v1/overview", "/v1/nothing", "/v1", "/config", "/v1/sessions/%FF"] {
        let refused = (401, "token_needed".to_owned());
        assert_eq!(Asked::path(path).answer().await, refused, "{path}");
        let wrong = Asked::path(path).with("authorization", "Bearer wrong");
        assert_eq!(wrong.answer().await, refused, "{path}");
        let mut off = Asked::path(path).with("authorization", "Bearer operator");
        off.token = None;
        assert_eq!(off.answer().await, (403, "admin_api_off".to_owned()), "{path}");
    }
}

#[tokio::test]
async fn with_the_token_every_path_is_told_apart() {
    for (method, path, status, code) in [
        (Method::GET, "/v1/nothing", 404, "not_there"),
        (Method::GET, "/config", 404, "not_there"),
        (Method::GET, "/v1/sessions/%FF", 422, "invalid_parameter"),
        (Method::PUT, "/v1/sessions", 405, "method_not_allowed"),
        (Method::GET, "/v1/explain", 405, "method_not_allowed"),
        (Method::GET, "/v1/status", 503, "starting"),
    ] {
        let mut asked = Asked::path(path).with("authorization", "Bearer operator");
        asked.method = method;
        assert_eq!(asked.answer().await, (status, code.to_owned()), "{path}");
    }
}

#[tokio::test]
async fn on_this_machine_only_its_own_names_are_answered() {
    for (host, status) in [
        (Some("127.0.0.1:9901"), 200),
        (Some("[::1]:9901"), 200),
        (Some("localhost:9901"), 200),
        (Some("rebound.example"), 421),
        (Some("127.0.0.1.example"), 421),
        (None, 421),
    ] {
        let mut asked = Asked::path("/metrics");
        asked.loopback = true;
        asked.headers.extend(host.map(|host| ("host", host)));
        assert_eq!(asked.answer().await.0, status, "{host:?}");
    }
}

#[tokio::test]
async fn a_draining_process_is_alive_and_not_ready() {
    assert_eq!(Asked::path("/ready").answer().await.0, 503);
}

#[test]
fn every_fault_is_documented_with_its_status() {
    let page = include_str!("../../../../docs/admin-api.md");
    for fault in Fault::ALL {
        let row = format!("| `{}` | {} | {} |", fault.code(), fault.status(), fault.title());
        assert!(page.contains(&row), "docs/admin-api.md lacks: {row}");
    }
}
