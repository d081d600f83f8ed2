//! The page for people: files that are part of the binary, a login with the admin token, and what is shown. A login lets a
//! browser do two things and nothing else: see the overview, and have the configuration read again.

pub mod history;
mod logins;
pub(super) mod overview;

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};

use self::history::History;
use self::logins::Logins;
use super::problem::{Fault, Problem};
use super::{OperatorRequest, OperatorState, gate};
use crate::clock::Timestamp;
use crate::endpoints::own_answer;
use crate::secret::Secret;

/// The page itself.
const PAGE: &str = "/";
/// Where people log in.
pub(super) const LOGIN: &str = "/login";
/// Where they log out.
const LOGOUT: &str = "/logout";
/// What may be loaded: only what this listener serves, and no script or style inside a page (THREATS O2).
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
);
/// What keeps pages of other sites out of this one's window and files.
const ISOLATION: [(HeaderName, HeaderValue); 3] = [
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    // With `no-referrer` browsers would name no origin in the forms of this very page.
    (REFERRER_POLICY, HeaderValue::from_static("same-origin")),
];

/// What the page remembers: who is logged in, and how the last minutes went.
#[derive(Debug)]
pub struct Console {
    logins: Logins,
    /// How the last minutes went.
    pub history: History,
    /// Since when the process runs.
    pub(super) since: Timestamp,
}

impl Console {
    /// Nobody is logged in, nothing was seen yet.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { logins: Logins::default(), history: History::default(), since: now }
    }

    /// Whether the cookie of the page opens this: a look, or a reload from the page itself. Anything else needs the token.
    pub(super) fn opens(
        &self,
        request: &OperatorRequest<'_>,
        token: Option<&Secret>,
        now: Timestamp,
    ) -> bool {
        let may = match (request.method, request.path) {
            (&(Method::GET | Method::HEAD), "/v1/overview") => true,
            (&Method::POST, "/v1/reload") => gate::is_from_own_page(request.headers),
            _ => false,
        };
        may && token.is_some_and(|token| self.logins.knows(request.headers, token, now))
    }
}

/// Whether the body of such a request is wanted: the form of the login, sent from here.
pub(super) fn wants_body(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    *method == Method::POST && path == LOGIN && gate::is_from_own_page(headers)
}

/// What is answered for the page; `None` when the request is about something else.
pub(super) fn answer(
    request: &OperatorRequest<'_>,
    state: &OperatorState<'_>,
) -> Option<Result<Response<Bytes>, Problem>> {
    let reads = *request.method == Method::GET || *request.method == Method::HEAD;
    let posts = *request.method == Method::POST;
    let file = match request.path {
        LOGIN if posts => return Some(log_in(request, state)),
        LOGOUT if posts => return Some(log_out(request, state)),
        LOGOUT => return Some(Err(Problem::method("POST"))),
        PAGE => ("text/html; charset=utf-8", include_str!("page/index.html")),
        LOGIN => ("text/html; charset=utf-8", include_str!("page/login.html")),
        "/page.css" => ("text/css; charset=utf-8", include_str!("page/page.css")),
        "/page.js" => ("text/javascript; charset=utf-8", include_str!("page/page.js")),
        "/plots.js" => ("text/javascript; charset=utf-8", include_str!("page/plots.js")),
        "/mark.svg" => ("image/svg+xml", include_str!("page/mark.svg")),
        _ => return None,
    };
    let allowed = if request.path == LOGIN { "GET, HEAD, POST" } else { "GET, HEAD" };
    Some(if reads { Ok(page(StatusCode::OK, file)) } else { Err(Problem::method(allowed)) })
}

/// Exchanges the token for a cookie.
fn log_in(request: &OperatorRequest<'_>, state: &OperatorState<'_>) -> Result<Response<Bytes>, Problem> {
    let token = state.token.ok_or(Fault::ApiOff)?;
    if !gate::is_from_own_page(request.headers) {
        return Err(Fault::ForeignOrigin.into());
    }
    if let Some(fault) = request.body_fault {
        return Err(fault.into());
    }
    let mut fields = form_urlencoded::parse(&request.body).filter(|(name, _)| name == "token");
    let given = fields.next().map(|(_, value)| value);
    if !given.is_some_and(|given| token.matches(given.trim().as_bytes())) {
        tracing::warn!(from = ?request.from, "a login to the admin page with a wrong token");
        let page_with_notice = include_str!("page/login.html").replace(" hidden", "");
        return Ok(page(StatusCode::FORBIDDEN, ("text/html; charset=utf-8", &page_with_notice)));
    }
    Ok(elsewhere(PAGE, state.console.logins.begin(token, state.now)))
}

/// Ends the login, also here: a copy of the cookie opens nothing any more.
fn log_out(request: &OperatorRequest<'_>, state: &OperatorState<'_>) -> Result<Response<Bytes>, Problem> {
    if !gate::is_from_own_page(request.headers) {
        return Err(Fault::ForeignOrigin.into());
    }
    Ok(elsewhere(LOGIN, state.console.logins.end(request.headers)))
}

fn page(status: StatusCode, (kind, text): (&'static str, &str)) -> Response<Bytes> {
    let mut answer = own_answer(status, "page", kind, Bytes::copy_from_slice(text.as_bytes()));
    isolate(answer.headers_mut());
    answer
}

fn elsewhere(path: &'static str, cookie: HeaderValue) -> Response<Bytes> {
    let mut answer = own_answer(StatusCode::SEE_OTHER, "page", "text/plain; charset=utf-8", Bytes::new());
    let headers = answer.headers_mut();
    isolate(headers);
    headers.insert(LOCATION, HeaderValue::from_static(path));
    headers.insert(SET_COOKIE, cookie);
    answer
}

fn isolate(headers: &mut HeaderMap) {
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    for (name, value) in ISOLATION {
        headers.insert(name, value);
    }
}
