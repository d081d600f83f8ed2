//! What can be wrong with an operator's request, as problem details (RFC 9457): one stable code per cause, and what to do
//! next. Documented in docs/admin-api.md, which a test compares. Nothing that was sent is echoed.

use bytes::Bytes;
use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::endpoints::own_answer;
use crate::lifecycle::LifecycleError;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $status:literal, $title:literal, $next:literal;)+) => {
        /// The cause of a refusal on the admin listener.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Fault {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Fault {
            /// All there are.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The stable word.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code),+ }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status),+ }
            }

            /// One short sentence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title),+ }
            }

            /// What to do next.
            #[must_use]
            pub const fn next(self) -> &'static str {
                match self { $(Self::$name => $next),+ }
            }
        }
    };
}

faults! {
    /// No token, or a wrong one.
    TokenNeeded = "token_needed", 401, "The admin token is needed",
        "send `Authorization: Bearer TOKEN` with the token of `admin.token`";
    /// The configuration has no admin token.
    ApiOff = "admin_api_off", 403, "The admin API is switched off",
        "set `admin.token` in the configuration; without a token only health, metrics and public keys are served";
    /// A page of another site sent the request.
    ForeignOrigin = "foreign_origin", 403, "The request comes from a page of another site",
        "send the request without a browser, or from a page of this listener";
    /// The host that was asked for is not this machine.
    Misdirected = "misdirected", 421, "The request is for another host",
        "ask for the listener's address or for `localhost`";
    /// The head of the request breaks the grammar of HTTP.
    MalformedRequest = "malformed_request", 400, "The request is malformed",
        "send one well-formed HTTP/1.1 request with one `Host`";
    /// The path and query are longer than a request of ours can be.
    TargetTooLong = "target_too_long", 414, "Path and query are too long",
        "send a path and a query of at most 8 KiB together";
    /// The fields are more, or longer, than a request of ours can have.
    HeadTooLarge = "head_too_large", 431, "The header section is too large",
        "send at most 100 header fields of together at most 32 KiB";
    /// No such path.
    NotThere = "not_there", 404, "There is nothing at this address",
        "see docs/admin-api.md for the paths there are";
    /// Another method is served there.
    MethodNotAllowed = "method_not_allowed", 405, "The method is not served here",
        "use one of the methods in `Allow`";
    /// No session of this id, or with this beginning.
    SessionNotFound = "session_not_found", 404, "No such session is known",
        "list sessions to find the id; of an id at least the first six characters are needed";
    /// Several sessions begin like this.
    AmbiguousId = "ambiguous_id", 409, "Several sessions begin like this",
        "give more characters of the id";
    /// The directory has no such user.
    UserNotFound = "user_not_found", 404, "No such user is known",
        "check the id of the user";
    /// A parameter in path or query is not what it must be.
    InvalidParameter = "invalid_parameter", 422, "A parameter is not valid",
        "see docs/admin-api.md for the parameters of this path";
    /// The body is not JSON.
    MalformedJson = "malformed_json", 400, "The body is not JSON",
        "send one JSON object";
    /// The body is JSON, but not of the documented form.
    InvalidBody = "invalid_body", 422, "The body does not have the documented form",
        "see docs/admin-api.md for the members of the body";
    /// The body has another media type.
    NotJson = "not_json", 415, "The body must be JSON",
        "send `Content-Type: application/json`";
    /// The body is too large.
    BodyTooLarge = "body_too_large", 413, "The body is too large",
        "send at most 64 KiB";
    /// The body did not arrive.
    BodyMissing = "body_missing", 408, "The body did not arrive",
        "send the body within ten seconds";
    /// It cannot be done: an inactive user, a platform of somebody else.
    Impossible = "impossible", 422, "This cannot be done",
        "see `detail`";
    /// Others changed the session at the same time.
    Conflict = "conflict", 409, "The session was changed at the same time",
        "try again";
    /// The stores could not say or confirm.
    Undetermined = "undetermined", 503, "The stores could not say",
        "try again; `countersign status` shows which store is away";
    /// The stores are not opened yet.
    Starting = "starting", 503, "The proxy is starting",
        "try again in a moment";
}

/// A refusal with what is special about this one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Problem {
    fault: Fault,
    detail: Option<&'static str>,
    allow: Option<&'static str>,
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self { fault, detail: None, allow: None }
    }
}

impl From<LifecycleError> for Problem {
    fn from(error: LifecycleError) -> Self {
        match error {
            LifecycleError::Impossible(why) => Fault::Impossible.because(why),
            LifecycleError::Undetermined => Fault::Undetermined.into(),
            LifecycleError::Conflict => Fault::Conflict.into(),
            LifecycleError::TooManySessions => {
                Fault::Impossible.because("the user has too many sessions already")
            }
            LifecycleError::TooManySwitches { .. } => {
                Fault::Impossible.because("the user has switched platforms too often")
            }
        }
    }
}

impl Fault {
    /// The same, with words of ours about this case.
    pub(super) const fn because(self, detail: &'static str) -> Problem {
        Problem { fault: self, detail: Some(detail), allow: None }
    }
}

impl Problem {
    /// Another method is served there.
    pub(super) const fn method(allow: &'static str) -> Self {
        Self { fault: Fault::MethodNotAllowed, detail: None, allow: Some(allow) }
    }

    /// As an answer.
    pub(super) fn answer(&self, request_id: &str) -> Response<Bytes> {
        let fault = self.fault;
        let mut body = json!({
            "type": format!("urn:countersign:problem:{}", fault.code()),
            "title": fault.title(),
            "status": fault.status(),
            "code": fault.code(),
            "next": fault.next(),
            "request_id": request_id,
        });
        if let Some(detail) = self.detail {
            body["detail"] = detail.into();
        }
        let status = StatusCode::from_u16(fault.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = Bytes::from(body.to_string());
        let mut answer = own_answer(status, fault.code(), "application/problem+json", body);
        let headers = answer.headers_mut();
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        match status {
            StatusCode::UNAUTHORIZED => {
                let challenge = HeaderValue::from_static("Bearer realm=\"countersign admin\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        answer
    }
}
