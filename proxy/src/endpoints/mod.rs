//! Answers of our own: problems, refusals, redirects, health, public keys. Plain functions from facts to
//! `http::Response<Bytes>`; nothing here knows Pingora, asks a store or decides whether a request is let through.

pub mod health;
pub mod jwks;
pub mod operators;
pub mod own;
pub mod problem;
pub mod refusal;
pub mod return_to;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, Response, StatusCode};

/// Marks an answer as the proxy's own and says which; the gateway removes it from what applications answer.
pub const ANSWER: HeaderName = HeaderName::from_static("countersign-answer");

/// An answer of ours that no cache keeps and no browser guesses about.
fn own_answer(
    status: StatusCode,
    name: &'static str,
    content_type: &'static str,
    body: Bytes,
) -> Response<Bytes> {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ANSWER, HeaderValue::from_static(name));
    response
}
