//! Our own answers: request in, response out. Nothing here knows Pingora.

pub mod health;
pub mod jwks;
pub mod operators;
pub mod problem;
pub mod refusal;
pub mod return_to;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};

use crate::reason::Reason;
use crate::signing::jwks::Jwks;

/// Answers a request below the reserved path. `path` is what follows it, without a leading slash.
///
/// # Errors
/// `NoRoute` for what is not there; nothing below the reserved path is ever forwarded (THREATS R12).
pub fn public(
    path: &str,
    method: &Method,
    headers: &HeaderMap,
    jwks: Option<&Jwks>,
) -> Result<Response<Bytes>, Reason> {
    match (path, jwks) {
        ("jwks.json", Some(keys)) if *method == Method::GET || *method == Method::HEAD => {
            Ok(jwks::answer(keys, headers))
        }
        ("jwks.json", Some(_)) => Err(Reason::MethodNotAllowed),
        _ => Err(Reason::NoRoute),
    }
}
