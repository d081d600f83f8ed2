//! A reason as an answer: problem details (RFC 9457) for programs, a small page for people. Both say the same and
//! are fixed but for the request id: nothing a client sent is echoed (THREATS E8).

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_SECURITY_POLICY, REFERRER_POLICY, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::own_answer;
use crate::reason::Reason;

/// Seconds after which a client may ask again on 503: longer than a breaker waits before it probes, short enough
/// that people do not notice an outage much longer than it lasts.
const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("2");
/// What every route may serve; a route that names its methods says so itself (`RouteTable::allowed`).
const USUAL_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
/// RFC 9110, section 15.5.2 asks for a challenge. Browsers ignore a scheme they do not know, so no dialog opens.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Cookie realm=\"session\"");

/// A reason with particulars: members of the problem document beside those that every one has (RFC 9457, section 3.2).
#[derive(Clone, PartialEq, Debug)]
pub struct Fault {
    /// The cause.
    pub reason: Reason,
    /// Further members, of our own making: never what a client sent (THREATS E8).
    pub particulars: Map<String, Value>,
}

impl Fault {
    /// A fault with one more member.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.particulars.insert(name.to_owned(), value.into());
        self
    }
}

impl From<Reason> for Fault {
    fn from(reason: Reason) -> Self {
        Self { reason, particulars: Map::new() }
    }
}

/// `application/problem+json` with `type`, `title`, `status`, `code` and `request_id`.
#[must_use]
pub fn problem(reason: Reason, request_id: &str) -> Response<Bytes> {
    problem_of(reason.into(), request_id)
}

/// The same with the particulars of a fault.
#[must_use]
pub fn problem_of(fault: Fault, request_id: &str) -> Response<Bytes> {
    let reason = fault.reason;
    let mut body = json!({
        "type": format!("urn:countersign:problem:{reason}"),
        "title": reason.title(),
        "status": reason.status(),
        "code": reason.code(),
        "request_id": request_id,
    });
    if request_id.is_empty() {
        // What never became a request has no number.
        body.as_object_mut().map(|members| members.remove("request_id"));
    }
    let retry_after = fault.particulars.get("retry_after").and_then(Value::as_u64);
    for (name, value) in fault.particulars {
        // What every problem says is never overwritten.
        body.as_object_mut().map(|members| members.entry(name).or_insert(value));
    }
    let body = Bytes::from(body.to_string());
    let mut response = own_answer(status(reason), reason.code(), "application/problem+json", body);
    add_status_fields(&mut response, reason);
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// The same for a person: a page without links, scripts or anything loaded.
#[must_use]
pub fn page(reason: Reason, request_id: &str) -> Response<Bytes> {
    let (code, title) = (reason.status(), reason.title());
    let hint = if code == 503 { "<p>Please try again in a moment.</p>" } else { "" };
    // Ours is hexadecimal; whatever it is, it brings no markup.
    let id: String = request_id.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).collect();
    let body = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{hint}<p class=\"fine\">Status {code}. Request {id}</p></main></body></html>"
    );
    let mut response =
        own_answer(status(reason), reason.code(), "text/html; charset=utf-8", Bytes::from(body));
    add_status_fields(&mut response, reason);
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, PAGE_POLICY.clone());
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Whether the connection must end with this answer, because nobody knows where the request ends or what follows it
/// (THREATS F1 to F13). Other answers leave a connection that reads on once the body is drained.
#[must_use]
pub const fn closes_connection(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::MalformedRequest
            | Reason::AmbiguousFraming
            | Reason::AmbiguousPath // perhaps a request line that the HTTP layer mended
            | Reason::BadHost
            | Reason::TargetTooLong
            | Reason::HeadTooLarge
            | Reason::BodyTooLarge
            | Reason::UnsupportedVersion
            | Reason::UnsupportedExpectation
            | Reason::ClientTooSlow
            | Reason::UpgradeRefused
    )
}

fn status(reason: Reason) -> StatusCode {
    StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Fields that HTTP asks for with certain statuses.
fn add_status_fields(response: &mut Response<Bytes>, reason: Reason) {
    let headers = response.headers_mut();
    match reason.status() {
        401 => headers.insert(WWW_AUTHENTICATE, CHALLENGE),
        405 => headers.insert(ALLOW, USUAL_METHODS),
        503 => headers.insert(RETRY_AFTER, RETRY_AFTER_SECONDS),
        _ => None,
    };
}

/// Nothing may run, load, frame or submit; only this one style applies, named by its hash.
static PAGE_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 is visible ASCII")
});

const STYLE: &str = ":root{color-scheme:light dark}\
    body{margin:0;min-height:100vh;display:grid;place-items:center;font:16px/1.5 system-ui,sans-serif}\
    main{max-width:34rem;padding:2rem}h1{font-size:1.4rem;margin:0 0 .5rem}.fine{opacity:.6;font-size:.85rem}";

#[cfg(test)]
mod tests {
    use super::{page, problem};
    use crate::reason::Reason;

    #[test]
    fn every_reason_is_a_problem_with_its_own_code_and_status() {
        for &reason in Reason::ALL {
            let answer = problem(reason, "0af7");
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(answer.status().as_u16(), reason.status());
            assert_eq!(body["status"], reason.status());
            assert_eq!(body["code"], reason.code());
            assert_eq!(body["type"], format!("urn:countersign:problem:{}", reason.code()));
            assert_eq!(body["request_id"], "0af7");
            let headers = answer.headers();
            assert_eq!(headers["content-type"], "application/problem+json");
            assert_eq!(headers["countersign-answer"], reason.code());
            assert_eq!(headers["cache-control"], "no-store");
            assert_eq!(headers["x-content-type-options"], "nosniff");
            assert_eq!(headers["content-length"], answer.body().len().to_string().as_str());
            assert_eq!(headers.contains_key("retry-after"), reason.status() == 503);
            assert_eq!(headers.contains_key("www-authenticate"), reason.status() == 401);
            assert_eq!(headers.contains_key("allow"), reason.status() == 405);
            assert!(!headers.contains_key("set-cookie") && !headers.contains_key("location"));
        }
    }

    #[test]
    fn the_page_loads_nothing_and_carries_no_markup_of_others() {
        for &reason in Reason::ALL {
            let answer = page(reason, "<script>x");
            let text = std::str::from_utf8(answer.body()).unwrap();
            assert!(text.contains(reason.title()) && text.contains("Request scriptx"));
            assert!(!["<script", "<a ", "href", "src=", "url("].iter().any(|word| text.contains(word)));
            let policy = answer.headers()["content-security-policy"].to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"));
            assert_eq!(answer.status().as_u16(), reason.status());
        }
    }

    #[test]
    fn a_request_id_cannot_break_the_problem_document() {
        let answer = problem(Reason::NoCookie, "\"}\n");
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["request_id"], "\"}\n");
    }
}
