//! Which answer a refusal gets: a redirect for a browser's navigation that a login or a choice of platform would
//! cure, a page for other navigations, a problem document for everything else. It never touches a cookie, never
//! redirects what could have had an effect, and never redirects when the stores could not say (DESIGN section 1).

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
    ALLOW, LOCATION, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::{own_answer, problem, return_to};
use crate::policy::Route;
use crate::policy::origin;
use crate::policy::target::Target;
use crate::reason::Reason;

/// What an answer depends on besides the reason.
#[derive(Clone, Copy, Debug)]
pub struct RefusalInput<'a> {
    /// The request's method.
    pub method: &'a Method,
    /// The request's fields.
    pub headers: &'a HeaderMap,
    /// The target, once it was accepted.
    pub target: Option<&'a Target>,
    /// The route, once one was found.
    pub route: Option<&'a Route>,
    /// The methods that are served there (`RouteTable::allowed`), for 405.
    pub allowed: Option<&'a str>,
    /// The id under which the log knows the request.
    pub request_id: &'a str,
}

/// The answer to a refused request.
#[must_use]
pub fn answer(reason: Reason, input: &RefusalInput<'_>) -> Response<Bytes> {
    let navigation = is_navigation(input.headers);
    let way_out = if navigation { location(reason, input) } else { None };
    let mut response = match way_out {
        Some(location) => redirect(reason, &location),
        None if navigation => problem::page(reason, input.request_id),
        None => problem::problem(reason, input.request_id),
    };
    if let Some(allowed) = input.allowed.filter(|_| reason == Reason::MethodNotAllowed)
        && let Ok(allowed) = HeaderValue::try_from(allowed)
    {
        response.headers_mut().insert(ALLOW, allowed);
    }
    share_with_listed_origin(&mut response, input);
    if *input.method == Method::HEAD {
        response.body_mut().clear();
    }
    response
}

/// Whether a browser is about to show the answer as a page. Fetch Metadata knows; where it is missing (old browsers,
/// programs), the media type and the mark of script libraries have to do.
fn is_navigation(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-mode"), text("sec-fetch-dest")) {
        (Some(mode), _) => mode == "navigate",
        (None, Some(destination)) => destination == "document",
        (None, None) => accepts_pages(headers) && !headers.contains_key("x-requested-with"),
    }
}

fn accepts_pages(headers: &HeaderMap) -> bool {
    let ranges =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    ranges.map(|range| range.split(';').next().unwrap_or(range).trim()).any(|range| range == "text/html")
}

/// The page that would cure the reason, with the way back; only for GET and HEAD, and not from that page itself.
fn location(reason: Reason, input: &RefusalInput<'_>) -> Option<String> {
    let (route, target) = (input.route?, input.target?);
    let page = match remedy(reason) {
        Remedy::Login => route.login.as_deref()?,
        // Another choice in the session would change nothing where the request names the platform.
        Remedy::ChoosePlatform if route.platform_from.is_some() => return None,
        Remedy::ChoosePlatform => route.choose_platform.as_deref()?,
        Remedy::None => return None,
    };
    let page_path = page.split(['?', '#']).next().unwrap_or(page);
    let there_already = target.path().trim_end_matches('/') == page_path.trim_end_matches('/');
    let repeatable = *input.method == Method::GET || *input.method == Method::HEAD;
    (repeatable && !there_already).then(|| return_to::location(page, target))
}

/// What the person in front of the browser can do about a reason.
enum Remedy {
    Login,
    ChoosePlatform,
    None,
}

/// No `_` arm: a new reason has to say here what cures it.
const fn remedy(reason: Reason) -> Remedy {
    match reason {
        Reason::NoCookie
        | Reason::MalformedCookie
        | Reason::ForgedToken
        | Reason::SessionNotFound
        | Reason::ForeignUnreadable
        | Reason::SessionAnonymous
        | Reason::SessionEnded
        | Reason::SessionIdle
        | Reason::SessionExpired
        | Reason::SessionSuperseded
        | Reason::PasswordChanged
        | Reason::UserInactive
        | Reason::ImpersonationOver
        | Reason::LoginTooOld => Remedy::Login,
        Reason::PlatformMissing | Reason::PlatformUnavailable => Remedy::ChoosePlatform,
        // Logging in cannot remove the second cookie: it may lie on another path or domain. A redirect would come
        // back here for ever (THREATS C1).
        Reason::ConflictingCookies
        | Reason::MalformedRequest
        | Reason::AmbiguousFraming
        | Reason::AmbiguousPath
        | Reason::BadHost
        | Reason::UnknownHost
        | Reason::TargetTooLong
        | Reason::HeadTooLarge
        | Reason::BodyTooLarge
        | Reason::MethodNotAllowed
        | Reason::UnsupportedVersion
        | Reason::UnsupportedExpectation
        | Reason::NoRoute
        | Reason::UpgradeRefused
        | Reason::ForeignOrigin
        | Reason::OriginUnproven
        | Reason::CsrfMissing
        | Reason::CsrfInvalid
        | Reason::CsrfExpired
        | Reason::MalformedJson
        | Reason::UnsupportedMediaType
        | Reason::InvalidFields
        | Reason::SettingsTooLarge
        | Reason::PlatformNotFound
        | Reason::PlatformInactive
        | Reason::NoSuchSession
        | Reason::CurrentSession
        | Reason::ReadOnlyDirectory
        | Reason::ChangedMeanwhile
        | Reason::ChangeUndetermined
        | Reason::StoreUnavailable
        | Reason::StoreTimeout
        | Reason::StoreOverloaded
        | Reason::RoleMissing
        | Reason::TooManyStreams
        | Reason::TooManySessions
        | Reason::TooManySwitches
        | Reason::CannotSign
        | Reason::ContextTooLarge
        | Reason::CredentialUnreadable
        | Reason::UpstreamUnreachable
        | Reason::UpstreamTimeout
        | Reason::UpstreamMalformed
        | Reason::DirectiveRefused
        | Reason::DirectiveUndetermined
        | Reason::ClientTooSlow
        | Reason::ClientGone
        | Reason::Internal => Remedy::None,
    }
}

/// 303, so that whatever was asked becomes a GET there.
fn redirect(reason: Reason, location: &str) -> Response<Bytes> {
    let Ok(location) = HeaderValue::try_from(location) else {
        return problem::page(reason, "");
    };
    let mut response =
        own_answer(StatusCode::SEE_OTHER, reason.code(), "text/plain; charset=utf-8", Bytes::new());
    response.headers_mut().insert(LOCATION, location);
    response
}

/// Lets the scripts of a listed origin read the answer; without this they could not tell 401 from a broken network.
fn share_with_listed_origin(response: &mut Response<Bytes>, input: &RefusalInput<'_>) {
    let Some(cors) = input.route.and_then(|route| route.cors.as_ref()) else { return };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    let listed = origin::listed(input.headers, cors).and_then(|origin| HeaderValue::try_from(origin).ok());
    if let Some(listed) = listed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, listed);
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        let exposed = HeaderValue::from_static("countersign-answer, retry-after");
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

#[cfg(test)]
mod tests;
