//! The listener for operators: health, metrics and public keys without a token, the admin API with one. Reads the request
//! to its end and hands it to `endpoints::operators`; nothing here decides.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Method, Response, header};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use tokio::sync::OnceCell;

use super::life::Life;
use super::reload::Reloads;
use crate::clock::Clock;
use crate::endpoints::operators::console::Console;
use crate::endpoints::operators::problem::Fault;
use crate::endpoints::operators::{self, LARGEST_BODY, OperatorRequest, OperatorState};
use crate::endpoints::reload::{self, Cause};
use crate::gateway::Core;
use crate::gateway::request_id::RequestIds;
use crate::gateway::rules::Rules;
use crate::telemetry::Metrics;

/// The longest that a body may take to arrive.
const BODY: Duration = Duration::from_secs(10);

/// Answers the requests of operators.
pub(super) struct Admin {
    /// The rules in force.
    pub(super) rules: Arc<ArcSwap<Rules>>,
    /// What answers questions about sessions, once it is opened.
    pub(super) core: Arc<OnceCell<Arc<Core>>>,
    /// All metrics.
    pub(super) metrics: Arc<Metrics>,
    /// Where the process is in its life.
    pub(super) life: Arc<Life>,
    /// The clock.
    pub(super) clock: Arc<dyn Clock>,
    /// Numbers for requests.
    pub(super) request_ids: RequestIds,
    /// Reads the configuration again.
    pub(super) reloads: Reloads,
    /// What the page for people remembers.
    pub(super) console: Arc<Console>,
}

impl Admin {
    /// What is answered about reloads; `None` when the request is about something else.
    async fn about_reloads(
        &self,
        request: &OperatorRequest<'_>,
        state: &OperatorState<'_>,
    ) -> Option<Response<Bytes>> {
        if request.path != "/v1/reload" {
            return None;
        }
        if let Some(refusal) = operators::refuse(request, state) {
            return Some(refusal);
        }
        match *request.method {
            Method::POST => Some(reload::answer(self.reloads.ask(Cause::Admin).await.as_deref())),
            Method::GET | Method::HEAD => Some(reload::status(&self.reloads.last())),
            _ => None,
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let rules = self.rules.load_full();
        let admin = &rules.snapshot.admin;
        let head = session.req_header().as_owned_parts();
        let (body, body_fault) =
            if operators::wants_body(&head.method, head.uri.path(), &head.headers, admin.token.as_ref()) {
                body(session).await
            } else {
                (Bytes::new(), None)
            };
        let request_id = self.request_ids.next();
        let request = OperatorRequest {
            method: &head.method,
            path: head.uri.path(),
            query: head.uri.query(),
            headers: &head.headers,
            body,
            body_fault,
            from: session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip),
            id: &request_id,
        };
        let report = self.reloads.last();
        let state = OperatorState {
            metrics: &self.metrics,
            jwks: &rules.jwks,
            phase: self.life.phase(),
            loopback: admin.address.ip().is_loopback(),
            token: admin.token.as_ref(),
            snapshot: &rules.snapshot,
            lifecycle: self.core.get().map(|core| &core.lifecycle),
            report: &report,
            console: &self.console,
            now: self.clock.now(),
        };
        let answer = match self.about_reloads(&request, &state).await {
            Some(answer) => answer,
            None => operators::answer(&request, &state).await,
        };
        let (mut parts, body) = answer.into_parts();
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        Response::from_parts(parts, body.to_vec())
    }
}

/// The whole body, or why it is not here.
async fn body(session: &mut ServerSession) -> (Bytes, Option<Fault>) {
    let mut all = BytesMut::new();
    let reading = async {
        loop {
            match session.read_request_body().await {
                Ok(Some(part)) if all.len() + part.len() > LARGEST_BODY => {
                    return Some(Fault::BodyTooLarge);
                }
                Ok(Some(part)) => all.extend_from_slice(&part),
                Ok(None) => return None,
                Err(_) => return Some(Fault::BodyMissing),
            }
        }
    };
    match tokio::time::timeout(BODY, reading).await {
        Ok(None) => (all.freeze(), None),
        Ok(Some(fault)) => (Bytes::new(), Some(fault)),
        Err(_) => (Bytes::new(), Some(Fault::BodyMissing)),
    }
}
