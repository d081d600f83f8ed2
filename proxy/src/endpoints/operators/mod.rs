//! Answers on the admin listener. Health, metrics and public keys need no token; the admin API below `/v1/` needs one, and
//! so does what the page for people shows.
//! Who may is decided in `gate`, before anything is parsed or asked.

mod api;
pub mod console;
pub mod explain;
mod gate;
mod input;
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
use super::{health, jwks};
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
    if let Some(misdirected) = misdirected(request.headers, state) {
        return misdirected;
    }
    let (method, headers) = (request.method, request.headers);
    let reads = *method == Method::GET || *method == Method::HEAD;
    match request.path {
        "/jwks.json" | "/.well-known/jwks.json" => jwks::answer(state.jwks, method, headers),
        "/live" | "/ready" | "/metrics" if !reads => {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            refused
        }
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
    misdirected(request.headers, state).or_else(|| {
        let refused = judge(request, state).err()?;
        Some(Problem::from(refused).answer(request.id))
    })
}

/// The refusal of a head that could not be read.
#[must_use]
pub fn malformed(id: &str) -> Response<Bytes> {
    Problem::from(Fault::MalformedRequest).answer(id)
}

/// Who may, and whether it is said in JSON.
fn judge(request: &OperatorRequest<'_>, state: &OperatorState<'_>) -> Result<(), Fault> {
    gate::admit(request, state)?;
    let writes = *request.method == Method::POST;
    if writes && input::is_of_another_type(request.headers) { Err(Fault::NotJson) } else { Ok(()) }
}

fn misdirected(headers: &HeaderMap, state: &OperatorState<'_>) -> Option<Response<Bytes>> {
    (state.loopback && !gate::names_this_machine(headers)).then(|| {
        plain(StatusCode::MISDIRECTED_REQUEST, "this listener answers to its address or to localhost\n")
    })
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

/// In the format of OpenMetrics, which has room for traces, for whoever says that it reads it; else in the older one.
fn metrics(metrics: &Metrics, headers: &HeaderMap) -> Response<Bytes> {
    let accepts = |accept: &HeaderValue| {
        accept.to_str().is_ok_and(|text| text.contains("application/openmetrics-text"))
    };
    if headers.get_all(header::ACCEPT).iter().any(accepts) {
        let mut answer = Response::new(Bytes::from(metrics.render_open_metrics()));
        let format = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
        answer.headers_mut().insert(header::CONTENT_TYPE, format);
        return answer;
    }
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
mod tests;
