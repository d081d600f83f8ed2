//! Answers on the admin listener. Health, metrics and public keys need no token; whatever else comes here needs one.

use std::net::Ipv4Addr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::health::Phase;
use super::{health, jwks};
use crate::policy::host::Authority;
use crate::secret::Secret;
use crate::signing::jwks::Jwks;
use crate::telemetry::Metrics;

/// What the answers are made from.
#[derive(Clone, Copy, Debug)]
pub struct OperatorState<'a> {
    /// All metrics.
    pub metrics: &'a Metrics,
    /// The public keys.
    pub jwks: &'a Jwks,
    /// Where the process is in its life.
    pub phase: Phase,
    /// The bearer token; `None` lets everybody in, which is possible on loopback only.
    pub token: Option<&'a Secret>,
    /// Whether only this machine can reach the listener.
    pub loopback: bool,
}

/// Answers one request.
#[must_use]
pub fn answer(
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    state: &OperatorState<'_>,
) -> Response<Bytes> {
    if let Some(misdirected) = misdirected(headers, state) {
        return misdirected;
    }
    let reads = *method == Method::GET || *method == Method::HEAD;
    match path {
        "/jwks.json" | "/.well-known/jwks.json" => jwks::answer(state.jwks, method, headers),
        "/live" | "/ready" | "/metrics" if !reads => {
            plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n")
        }
        "/live" => health::live(),
        "/ready" => health::ready(state.phase),
        "/metrics" => metrics(state.metrics),
        _ if !may(headers, state.token) => unauthorized(),
        _ => {
            plain(StatusCode::NOT_FOUND, "there is nothing here; try /live, /ready, /metrics or /jwks.json\n")
        }
    }
}

/// The refusal of a request that may not ask for anything that needs the token; `None` when it may.
#[must_use]
pub fn refuse(headers: &HeaderMap, state: &OperatorState<'_>) -> Option<Response<Bytes>> {
    let foreign_page = || {
        // Every write of a browser names its origin; no page has any business here (THREATS O2).
        let answer = plain(StatusCode::FORBIDDEN, "this listener does not answer to web pages\n");
        headers.contains_key(header::ORIGIN).then_some(answer)
    };
    misdirected(headers, state)
        .or_else(foreign_page)
        .or_else(|| (!may(headers, state.token)).then(unauthorized))
}

fn unauthorized() -> Response<Bytes> {
    let mut refused = plain(StatusCode::UNAUTHORIZED, "the admin token is needed\n");
    let challenge = HeaderValue::from_static("Bearer realm=\"countersign admin\"");
    refused.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    refused
}

fn misdirected(headers: &HeaderMap, state: &OperatorState<'_>) -> Option<Response<Bytes>> {
    (state.loopback && !names_this_machine(headers)).then(|| {
        plain(StatusCode::MISDIRECTED_REQUEST, "this listener answers to its address or to localhost\n")
    })
}

/// Whether the request asks for an address or for localhost. A web page that had its name pointed at this machine asks
/// for that name (DNS rebinding, THREATS O2).
fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| Authority::parse(host.as_bytes()).ok());
    host.is_some_and(|host| {
        let name = host.host();
        name == "localhost" || name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok()
    })
}

/// Whether the request carries the token; compared in constant time (THREATS C7).
fn may(headers: &HeaderMap, token: Option<&Secret>) -> bool {
    let Some(token) = token else { return true };
    let given = headers.get(header::AUTHORIZATION).map(HeaderValue::as_bytes);
    given.and_then(|value| value.strip_prefix(b"Bearer ")).is_some_and(|value| token.matches(value))
}

fn metrics(metrics: &Metrics) -> Response<Bytes> {
    match metrics.render() {
        Ok(text) => {
            let mut answer = Response::new(Bytes::from(text));
            let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            answer.headers_mut().insert(header::CONTENT_TYPE, format);
            answer
        }
        Err(error) => {
            tracing::error!(%error, "cannot render metrics");
            plain(StatusCode::INTERNAL_SERVER_ERROR, "metrics cannot be rendered\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Bytes> {
    let mut answer = Response::new(Bytes::from_static(text.as_bytes()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::signing::keyring::Keyring;

    fn ask(path: &str, authorization: Option<&'static str>) -> StatusCode {
        let metrics = Metrics::new();
        let jwks = Jwks::new(&[&Keyring::new(&[], &[]).unwrap()], Duration::from_mins(5));
        let token = Secret::from("operator");
        let state = OperatorState {
            metrics: &metrics,
            jwks: &jwks,
            phase: Phase::Draining,
            token: Some(&token),
            loopback: false,
        };
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        answer(&Method::GET, path, &headers, &state).status()
    }

    #[test]
    fn health_and_metrics_need_no_token_and_nothing_else_is_open() {
        assert_eq!(ask("/live", None), StatusCode::OK);
        assert_eq!(ask("/metrics", None), StatusCode::OK);
        assert_eq!(ask("/config", None), StatusCode::UNAUTHORIZED);
        assert_eq!(ask("/config", Some("Bearer wrong")), StatusCode::UNAUTHORIZED);
        assert_eq!(ask("/config", Some("Bearer operator")), StatusCode::NOT_FOUND);
    }

    #[test]
    fn on_this_machine_only_its_own_names_are_answered() {
        let metrics = Metrics::new();
        let jwks = Jwks::new(&[&Keyring::new(&[], &[]).unwrap()], Duration::from_mins(5));
        let state = OperatorState {
            metrics: &metrics,
            jwks: &jwks,
            phase: Phase::Serving,
            token: None,
            loopback: true,
        };
        for (host, status) in [
            (Some("127.0.0.1:9901"), 200),
            (Some("[::1]:9901"), 200),
            (Some("localhost:9901"), 200),
            (Some("rebound.example"), 421),
            (Some("127.0.0.1.example"), 421),
            (None, 421),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(host) = host {
                headers.insert(header::HOST, HeaderValue::from_static(host));
            }
            assert_eq!(answer(&Method::GET, "/metrics", &headers, &state).status(), status, "{host:?}");
        }
    }

    #[test]
    fn a_draining_process_is_alive_and_not_ready() {
        assert_eq!(ask("/ready", None), StatusCode::SERVICE_UNAVAILABLE);
    }
}
