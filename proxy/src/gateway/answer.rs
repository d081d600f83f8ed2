//! Answers of our own, written to the client. The only place where a reason becomes bytes.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;

use super::state::RequestState;
use crate::endpoints::refusal::{self, RefusalInput};
use crate::reason::Reason;

/// The answer to a request that is not let through.
pub(super) fn refused(session: &Session, state: &RequestState, reason: Reason) -> Response<Bytes> {
    let request = session.req_header();
    let allowed = match (reason, &state.accepted) {
        (Reason::MethodNotAllowed, Some(accepted)) => {
            state.rules.snapshot.routes.allowed(accepted.authority.host(), accepted.target.path())
        }
        _ => None,
    };
    let mut answer = refusal::answer(
        reason,
        &RefusalInput {
            method: &request.method,
            headers: &request.headers,
            target: state.accepted.as_ref().map(|accepted| &accepted.target),
            route: state.route(),
            allowed: allowed.as_deref(),
            request_id: &state.request_id,
        },
    );
    if let Some(seconds) = state.retry_after {
        answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    answer
}

/// Writes an answer whole. The length is always given, so that nobody waits for the end of the connection.
pub(super) async fn write(session: &mut Session, answer: Response<Bytes>) -> pingora::Result<()> {
    let (parts, body) = answer.into_parts();
    let head = head(&parts, body.len())?;
    let empty = body.is_empty();
    session.write_response_header(Box::new(head), empty).await?;
    if !empty {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// Writes an answer after a fault: nothing of the exchange is reused.
pub(super) async fn write_after_fault(session: &mut Session, answer: Response<Bytes>) -> pingora::Result<()> {
    let (parts, body) = answer.into_parts();
    let head = head(&parts, body.len())?;
    session.write_error_response(head, body).await
}

/// How long a client may take to receive what is left of an answer that goes no further.
const FAREWELL: Duration = Duration::from_secs(1);

/// Sends what has come of an answer that goes no further, and ends the connection: who got nothing at all could not tell
/// that there was an answer (THREATS F16).
pub(super) async fn leave_off(session: &mut Session) {
    // Nobody is left to be told when it takes longer.
    let _ = tokio::time::timeout(FAREWELL, session.downstream_session.shutdown()).await;
}

fn head(parts: &http::response::Parts, length: usize) -> pingora::Result<ResponseHeader> {
    let mut head = ResponseHeader::build(parts.status, Some(parts.headers.len() + 1))?;
    for (name, value) in &parts.headers {
        head.append_header(name.clone(), value.clone())?;
    }
    // The answer to HEAD has the length of a body that is not sent.
    if !parts.headers.contains_key(header::CONTENT_LENGTH) {
        head.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(head)
}
