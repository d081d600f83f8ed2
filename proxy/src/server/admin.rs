//! The listener for operators: health, metrics and public keys without a token, everything else with one.

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Response, header};
use pingora::apps::http_app::ServeHttp;
use pingora::http::RequestHeader;
use pingora::protocols::http::ServerSession;

use super::life::Life;
use super::reload::Reloads;
use crate::endpoints::operators::{self, OperatorState};
use crate::endpoints::reload::{self, Cause};
use crate::gateway::rules::Rules;
use crate::telemetry::Metrics;

/// Answers the requests of operators.
pub(super) struct Admin {
    pub(super) rules: Arc<ArcSwap<Rules>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) life: Arc<Life>,
    pub(super) reloads: Reloads,
}

impl Admin {
    /// What is answered about reloads; `None` when the request is about something else or may not be answered.
    async fn about_reloads(
        &self,
        request: &RequestHeader,
        state: &OperatorState<'_>,
    ) -> Option<Response<Bytes>> {
        if request.uri.path() != "/v1/reload" {
            return None;
        }
        if let Some(refusal) = operators::refuse(&request.headers, state) {
            return Some(refusal);
        }
        match request.method {
            Method::POST => Some(reload::answer(self.reloads.ask(Cause::Admin).await.as_deref())),
            Method::GET | Method::HEAD => Some(reload::status(&self.reloads.last())),
            _ => None,
        }
    }
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
        let answer = match self.about_reloads(request, &state).await {
            Some(answer) => answer,
            None => operators::answer(&request.method, request.uri.path(), &request.headers, &state),
        };
        let (mut parts, body) = answer.into_parts();
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        Response::from_parts(parts, body.to_vec())
    }
}
