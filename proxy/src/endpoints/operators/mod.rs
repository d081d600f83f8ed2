//! Answers on the admin listener. Health, metrics and public keys need no token; the admin API below `/v1/` needs one, and
//! so does what the page for people shows.
//! Who may is decided in `gate`, before anything is parsed or asked.

mod api;
pub mod console;
mod documents;
pub mod explain;
mod gate;
mod input;
pub mod openapi;
pub mod problem;
mod status;
pub mod trial;
pub mod view;

use std::net::IpAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use self::console::Console;
use self::input::Resource;
use self::problem::{Fault, Problem};
use super::health::Phase;
use super::reload::Report;
use super::{health, jwks, own_answer};
use crate::clock::Timestamp;
use crate::config::Snapshot;
use crate::lifecycle::Lifecycle;
use crate::secret::Secret;
use crate::signing::jwks::Jwks;
use crate::telemetry::Metrics;

/// The largest body that is read.
pub const LARGEST_BODY: usize = 64 * 1024;

/// What the answers are made from.
#[derive(Clone, Copy)]
pub struct OperatorState<'a> {
    /// All metrics.
    pub metrics: &'a Metrics,
    /// The public keys.
    pub jwks: &'a Jwks,
    /// Where the process is in its life.
    pub phase: Phase,
    /// The bearer token; without one there is no admin API.
    pub token: Option<&'a Secret>,
    /// Whether only this machine can reach the listener.
    pub loopback: bool,
    /// The configuration in force.
    pub snapshot: &'a Snapshot,
    /// How sessions change; `None` until the stores are opened.
    pub lifecycle: Option<&'a Lifecycle>,
    /// What the last reading of the configuration came to.
    pub report: &'a Report,
    /// What the page remembers.
    pub console: &'a Console,
    /// The present moment.
    pub now: Timestamp,
}

/// A request of an operator, read to its end.
#[derive(Debug)]
pub struct OperatorRequest<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path.
    pub path: &'a str,
    /// What follows the question mark.
    pub query: Option<&'a str>,
    /// All fields.
    pub headers: &'a HeaderMap,
    /// The body; empty when there is none.
    pub body: Bytes,
    /// Why the body is not here: longer than [`LARGEST_BODY`], or it did not arrive.
    pub body_fault: Option<Fault>,
    /// Where it comes from.
    pub from: Option<IpAddr>,
    /// Our number for it.
    pub id: &'a str,
}

/// Whether the body of such a request is wanted at all: only of those that passed the gate.
#[must_use]
pub fn wants_body(method: &Method, path: &str, headers: &HeaderMap, token: Option<&Secret>) -> bool {
    let calls = *method == Method::POST && path.starts_with(API) && gate::check(headers, token).is_ok();
    calls || console::wants_body(method, path, headers)
}

/// Where the admin API lies.
const API: &str = "/v1/";

/// Answers one request.
pub async fn answer(request: &OperatorRequest<'_>, state: &OperatorState<'_>) -> Response<Bytes> {
    if let Err(misdirected) = named(request.headers, state) {
        return Problem::from(misdirected).answer(request.id);
    }
    let (method, headers) = (request.method, request.headers);
    let reads = *method == Method::GET || *method == Method::HEAD;
    match request.path {
        "/jwks.json" | "/.well-known/jwks.json" => jwks::answer(state.jwks, method, headers),
        "/live" | "/ready" | "/metrics" if !reads => Problem::method("GET, HEAD").answer(request.id),
        "/live" => health::live(),
        "/ready" => health::ready(state.phase),
        "/metrics" => metrics(state.metrics, headers),
        path => {
            let answered = match console::answer(request, state) {
                Some(answered) => answered,
                None => api(path, request, state).await,
            };
            answered.unwrap_or_else(|problem| problem.answer(request.id))
        }
    }
}

/// The refusal of a request for something that only the server knows, and that needs the token; `None` when it may.
#[must_use]
pub fn refuse(request: &OperatorRequest<'_>, state: &OperatorState<'_>) -> Option<Response<Bytes>> {
    let refused = named(request.headers, state).and_then(|()| judge(request, state)).err()?;
    Some(Problem::from(refused).answer(request.id))
}

/// The refusal of a head before anything of it is looked at.
#[must_use]
pub fn refused_head(fault: Fault, id: &str) -> Response<Bytes> {
    match fault {
        Fault::MethodNotAllowed => Problem::method("GET, HEAD, POST, DELETE").answer(id),
        fault => Problem::from(fault).answer(id),
    }
}

/// Who may, and whether it is said in JSON.
fn judge(request: &OperatorRequest<'_>, state: &OperatorState<'_>) -> Result<(), Fault> {
    gate::admit(request, state)?;
    let writes = *request.method == Method::POST;
    if writes && input::is_of_another_type(request.headers) { Err(Fault::NotJson) } else { Ok(()) }
}

/// Whether a request is for this machine, where only this machine can send one, and from no page of another site.
fn named(headers: &HeaderMap, state: &OperatorState<'_>) -> Result<(), Fault> {
    if state.loopback && !gate::names_this_machine(headers) {
        return Err(Fault::Misdirected);
    }
    if gate::names_no_other_origin(headers) { Ok(()) } else { Err(Fault::ForeignOrigin) }
}

/// Everything that needs the token, and what is not there.
async fn api(
    path: &str,
    request: &OperatorRequest<'_>,
    state: &OperatorState<'_>,
) -> Result<Response<Bytes>, Problem> {
    judge(request, state)?;
    let path = path.strip_prefix(API).ok_or(Fault::NotThere)?;
    let resource = Resource::parse(path)?;
    if !resource.serves(request.method) {
        return Err(Problem::method(resource.methods()));
    }
    if let Some(fault) = request.body_fault {
        return Err(fault.into());
    }
    let lifecycle = state.lifecycle.ok_or(Fault::Starting)?;
    api::Call { request, state, lifecycle }.answer(&resource).await
}

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// In the format of OpenMetrics, which has room for traces, for whoever says that it reads it; else in the older one.
fn metrics(metrics: &Metrics, headers: &HeaderMap) -> Response<Bytes> {
    let accepts = |accept: &HeaderValue| {
        accept.to_str().is_ok_and(|text| text.contains("application/openmetrics-text"))
    };
    if headers.get_all(header::ACCEPT).iter().any(accepts) {
        let text = Bytes::from(metrics.render_open_metrics());
        return own_answer(StatusCode::OK, "metrics", OPEN_METRICS, text);
    }
    match metrics.render() {
        Ok(text) => {
            own_answer(StatusCode::OK, "metrics", "text/plain; version=0.0.4; charset=utf-8", text.into())
        }
        Err(error) => {
            tracing::error!(%error, "cannot render metrics");
            let said = Bytes::from_static(b"metrics cannot be rendered\n");
            own_answer(StatusCode::INTERNAL_SERVER_ERROR, "metrics", "text/plain; charset=utf-8", said)
        }
    }
}

#[cfg(test)]
mod tests;
