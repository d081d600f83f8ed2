//! The listener for operators: health, metrics and public keys without a token, everything else with one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use http::{Response, header};
use pingora::apps::http_app::{HttpServer, ServeHttp};
use pingora::protocols::http::ServerSession;
use pingora::services::listening::Service;

use super::life::Life;
use crate::endpoints::operators::{self, OperatorState};
use crate::gateway::rules::Rules;
use crate::telemetry::Metrics;

/// Answers the requests of operators.
pub(super) struct Admin {
    rules: Arc<ArcSwap<Rules>>,
    metrics: Arc<Metrics>,
    life: Arc<Life>,
}

/// The service on the admin address, with a thread of its own, so that it answers however busy the proxy is.
pub(super) fn service(
    rules: &Rules,
    current: &Arc<ArcSwap<Rules>>,
    metrics: &Arc<Metrics>,
    life: &Arc<Life>,
) -> Service<HttpServer<Admin>> {
    let admin = Admin { rules: Arc::clone(current), metrics: Arc::clone(metrics), life: Arc::clone(life) };
    let mut service = Service::new("admin".to_owned(), HttpServer::new_app(admin));
    service.threads = Some(1);
    service.add_tcp(&rules.snapshot.admin.address.to_string());
    service
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let rules = self.rules.load();
        let state = OperatorState {
            metrics: &self.metrics,
            jwks: &rules.jwks,
            phase: self.life.phase(),
            loopback: rules.snapshot.admin.address.ip().is_loopback(),
            token: rules.snapshot.admin.token.as_ref(),
        };
        let answer = operators::answer(&request.method, request.uri.path(), &request.headers, &state);
        let (mut parts, body) = answer.into_parts();
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        Response::from_parts(parts, body.to_vec())
    }
}
