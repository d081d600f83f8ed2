//! Which origins may do what: open a WebSocket with somebody's session (THREATS C11), ask before a cross-origin
//! request, read our own answers. An origin that is missing, repeated or opaque (`null`) is never an allowed one.

use http::header::{
    ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, CONTENT_LENGTH, ORIGIN, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use super::host::Authority;
use super::{Cors, Requirement, Route};
use crate::reason::Reason;

/// Where a request comes from, as the browser itself says; no script can set it (Fetch Metadata, section 2.3).
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What becomes of a request's `Upgrade`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Upgrade {
    /// None was asked for.
    None,
    /// A WebSocket that the route allows; it becomes one when the upstream answers 101, not before (THREATS F7, F9).
    WebSocket,
    /// Something else (`h2c`). It is not forwarded; the request goes on as if it had not been asked for, as
    /// RFC 9110, section 7.8 allows.
    Dropped,
}

/// Judges the upgrade that a request asks for. `scheme` is the public one (`https`), `authority` the request's.
///
/// # Errors
/// `UpgradeRefused` when the route has no WebSockets or the request is none that could become one; `ForeignOrigin`
/// when the route asks for an identity and the origin is not allowed.
pub fn judge_upgrade(
    parts: &http::request::Parts,
    route: &Route,
    scheme: &str,
    authority: &Authority,
) -> Result<Upgrade, Reason> {
    let upgrade = shape_of_upgrade(parts);
    if !matches!(upgrade, Ok(Upgrade::None | Upgrade::Dropped)) && !route.websocket {
        return Err(Reason::UpgradeRefused);
    }
    if upgrade? != Upgrade::WebSocket {
        return upgrade;
    }
    let anonymous = route.requirement == Requirement::Nothing;
    if anonymous || may_open_websocket(&parts.headers, route, scheme, authority) {
        Ok(Upgrade::WebSocket)
    } else {
        Err(Reason::ForeignOrigin)
    }
}

/// Whether a request to an endpoint of our own is to become a WebSocket: only from a page of the same origin.
///
/// # Errors
/// As [`judge_upgrade`].
pub fn judge_own_upgrade(
    parts: &http::request::Parts,
    scheme: &str,
    authority: &Authority,
) -> Result<bool, Reason> {
    if shape_of_upgrade(parts)? != Upgrade::WebSocket {
        return Ok(false);
    }
    let own = only(&parts.headers, &ORIGIN).is_some_and(|origin| is_same(origin, scheme, authority));
    if !own {
        return Err(Reason::ForeignOrigin);
    }
    // We are the server here: of another version, or without a key of 16 bytes in base64, there is no handshake
    // (RFC 6455, section 4.2.1).
    let version = only(&parts.headers, &SEC_WEBSOCKET_VERSION);
    let key = only(&parts.headers, &SEC_WEBSOCKET_KEY);
    let key_fits = key.is_some_and(|key| key.len() == 24 && key.ends_with("=="));
    if version == Some("13") && key_fits { Ok(true) } else { Err(Reason::UpgradeRefused) }
}

/// What upgrade a request asks for, if it asks as it must.
fn shape_of_upgrade(parts: &http::request::Parts) -> Result<Upgrade, Reason> {
    let asked = || parts.headers.get_all(UPGRADE).iter();
    if parts.version != Version::HTTP_11 || asked().next().is_none() {
        return Ok(Upgrade::None);
    }
    if !asked().any(|value| names(value, b"websocket")) {
        return Ok(Upgrade::Dropped);
    }
    // One upgrade, on GET, without a body, and nominated: whatever else is asked for, somebody hopes that two of us
    // differ. (Pingora adds a missing `Connection: Upgrade` by itself.)
    let alone =
        asked().count() == 1 && asked().all(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    let has_body = parts.headers.contains_key(TRANSFER_ENCODING)
        || parts.headers.get(CONTENT_LENGTH).is_some_and(|length| length.as_bytes() != b"0");
    let nominated = parts.headers.get_all(CONNECTION).iter().any(|value| names(value, b"upgrade"));
    if !alone || !nominated || parts.method != Method::GET || has_body {
        return Err(Reason::UpgradeRefused);
    }
    Ok(Upgrade::WebSocket)
}

/// Whether a list of tokens holds this one.
fn names(list: &HeaderValue, token: &[u8]) -> bool {
    list.as_bytes().split(|&b| b == b',').any(|name| name.trim_ascii().eq_ignore_ascii_case(token))
}

fn may_open_websocket(headers: &HeaderMap, route: &Route, scheme: &str, authority: &Authority) -> bool {
    only(headers, &ORIGIN).is_some_and(|origin| {
        is_same(origin, scheme, authority) || route.websocket_origins.iter().any(|allowed| allowed == origin)
    })
}

/// Whether an unsafe request is shown to come from a page of this very site: Fetch Metadata says so, or where there is
/// none (old browsers, programs), `Origin`. `also` are further origins that are let in.
///
/// # Errors
/// `ForeignOrigin` when it comes from elsewhere (a sibling subdomain included), `OriginUnproven` when nothing tells.
pub fn judge_unsafe(
    headers: &HeaderMap,
    scheme: &str,
    authority: &Authority,
    also: &[String],
) -> Result<(), Reason> {
    let origin = only(headers, &ORIGIN);
    if origin.is_some_and(|origin| also.iter().any(|allowed| allowed == origin)) {
        return Ok(());
    }
    if headers.contains_key(&SEC_FETCH_SITE) {
        let same = only(headers, &SEC_FETCH_SITE) == Some("same-origin");
        return if same { Ok(()) } else { Err(Reason::ForeignOrigin) };
    }
    match origin {
        Some(origin) if is_same(origin, scheme, authority) => Ok(()),
        None if !headers.contains_key(ORIGIN) => Err(Reason::OriginUnproven),
        _ => Err(Reason::ForeignOrigin),
    }
}

/// Whether `origin`, as a browser sends it, is the origin of `scheme` and `authority`.
pub fn is_same(origin: &str, scheme: &str, authority: &Authority) -> bool {
    let Some((origin_scheme, rest)) = origin.split_once("://") else { return false };
    let Ok(from) = Authority::parse(rest.as_bytes()) else { return false };
    let default_port = if scheme == "https" { 443 } else { 80 };
    let port = |authority: &Authority| authority.port().unwrap_or(default_port);
    origin_scheme == scheme && from.host() == authority.host() && port(&from) == port(authority)
}

/// The origin of a request, when it is one that `cors` lists.
pub fn listed<'a>(headers: &'a HeaderMap, cors: &Cors) -> Option<&'a str> {
    only(headers, &ORIGIN).filter(|origin| cors.origins.iter().any(|listed| listed == origin))
}

/// The method that a preflight asks about; `None` when the request is no preflight. A preflight carries no cookie,
/// so the route of the method it asks about is the one to look at.
pub fn preflight(parts: &http::request::Parts) -> Option<Method> {
    if parts.method != Method::OPTIONS {
        return None;
    }
    only(&parts.headers, &ORIGIN)?;
    only(&parts.headers, &ACCESS_CONTROL_REQUEST_METHOD)?.parse().ok()
}

/// Whether a preflight from this origin passes a route without a session (opt-in per route, THREATS R11).
pub fn preflight_passes(headers: &HeaderMap, route: &Route) -> bool {
    route.cors.as_ref().is_some_and(|cors| cors.preflight && listed(headers, cors).is_some())
}

/// The value of a field that occurs exactly once.
fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    if values.next().is_some() { None } else { first.to_str().ok() }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn route(websocket: bool, requirement: Requirement) -> Route {
        Route {
            name: "chat".into(),
            requirement,
            websocket,
            websocket_origins: vec!["https://partner.example".into()],
            cors: Some(Cors { origins: vec!["https://app.example".into()], preflight: true }),
            ..Route::example()
        }
    }

    fn parts(method: &str, fields: &[(&str, &str)]) -> http::request::Parts {
        let mut request = Request::builder().method(method);
        for &(name, value) in fields {
            request = request.header(name, value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn judge(method: &str, fields: &[(&str, &str)], route: &Route) -> Result<Upgrade, Reason> {
        let authority = Authority::parse(b"example.org").unwrap();
        let mut parts = parts(method, fields);
        parts.headers.append(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        judge_upgrade(&parts, route, "https", &authority)
    }

    #[test]
    fn a_websocket_with_a_session_needs_an_allowed_origin() {
        let ours = route(true, Requirement::Optional);
        for (origin, expected) in [
            ("https://example.org", Ok(Upgrade::WebSocket)),
            ("https://example.org:443", Ok(Upgrade::WebSocket)),
            ("https://partner.example", Ok(Upgrade::WebSocket)),
            ("http://example.org", Err(Reason::ForeignOrigin)),
            ("https://example.org:8443", Err(Reason::ForeignOrigin)),
            ("https://example.org.evil", Err(Reason::ForeignOrigin)),
            ("https://u@example.org", Err(Reason::ForeignOrigin)),
            ("https://example.org/", Err(Reason::ForeignOrigin)),
            ("null", Err(Reason::ForeignOrigin)),
        ] {
            assert_eq!(
                judge("GET", &[("upgrade", "WebSocket"), ("origin", origin)], &ours),
                expected,
                "{origin}"
            );
        }
        assert_eq!(judge("GET", &[("upgrade", "websocket")], &ours), Err(Reason::ForeignOrigin));
        let twice =
            [("upgrade", "websocket"), ("origin", "https://example.org"), ("origin", "https://example.org")];
        assert_eq!(judge("GET", &twice, &ours), Err(Reason::ForeignOrigin));
        let open = route(true, Requirement::Nothing);
        assert_eq!(
            judge("GET", &[("upgrade", "websocket"), ("origin", "null")], &open),
            Ok(Upgrade::WebSocket)
        );
    }

    #[test]
    fn a_websocket_to_us_needs_our_origin_and_a_whole_handshake() {
        let authority = Authority::parse(b"example.org").unwrap();
        let origin = ("origin", "https://example.org");
        let (version, key) = (("sec-websocket-version", "13"), "dGhlIHNhbXBsZSBub25jZQ==");
        for (fields, expected) in [
            (&[origin, version, ("sec-websocket-key", key)][..], Ok(true)),
            (
                &[("origin", "https://evil.example"), version, ("sec-websocket-key", key)],
                Err(Reason::ForeignOrigin),
            ),
            (&[version, ("sec-websocket-key", key)], Err(Reason::ForeignOrigin)),
            (
                &[origin, ("sec-websocket-version", "12"), ("sec-websocket-key", key)],
                Err(Reason::UpgradeRefused),
            ),
            (&[origin, version, version, ("sec-websocket-key", key)], Err(Reason::UpgradeRefused)),
            (&[origin, version, ("sec-websocket-key", "short==")], Err(Reason::UpgradeRefused)),
            (&[origin, ("sec-websocket-key", key)], Err(Reason::UpgradeRefused)),
            (&[origin, version], Err(Reason::UpgradeRefused)),
        ] {
            let mut parts = parts("GET", fields);
            parts.headers.append(UPGRADE, HeaderValue::from_static("websocket"));
            parts.headers.append(CONNECTION, HeaderValue::from_static("Upgrade"));
            assert_eq!(judge_own_upgrade(&parts, "https", &authority), expected, "{fields:?}");
        }
    }

    #[test]
    fn an_unsafe_request_shows_that_it_comes_from_here() {
        let authority = Authority::parse(b"example.org").unwrap();
        let foreign = Err(Reason::ForeignOrigin);
        for (fields, expected) in [
            (&[("sec-fetch-site", "same-origin")][..], Ok(())),
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://other.example")], Ok(())),
            (&[("origin", "https://example.org")], Ok(())),
            (&[("sec-fetch-site", "cross-site"), ("origin", "https://partner.example")], Ok(())),
            (&[("sec-fetch-site", "same-site"), ("origin", "https://example.org")], foreign),
            (&[("sec-fetch-site", "cross-site")], foreign),
            (&[("sec-fetch-site", "none")], foreign),
            (&[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "same-origin")], foreign),
            (&[("origin", "https://other.example")], foreign),
            (&[("origin", "http://example.org")], foreign),
            (&[("origin", "null")], foreign),
            (&[("origin", "https://example.org"), ("origin", "https://example.org")], foreign),
            (&[], Err(Reason::OriginUnproven)),
            (&[("referer", "https://example.org/")], Err(Reason::OriginUnproven)),
        ] {
            let headers = parts("POST", fields).headers;
            let also = ["https://partner.example".to_owned()];
            assert_eq!(judge_unsafe(&headers, "https", &authority, &also), expected, "{fields:?}");
        }
    }

    #[test]
    fn other_upgrades_are_dropped_and_odd_websockets_refused() {
        let open = route(true, Requirement::Nothing);
        assert_eq!(judge("GET", &[], &open), Ok(Upgrade::None));
        assert_eq!(judge("GET", &[("upgrade", "h2c")], &open), Ok(Upgrade::Dropped));
        for (method, fields) in [
            ("GET", &[("upgrade", "websocket, h2c")][..]),
            ("GET", &[("upgrade", "h2c"), ("upgrade", "websocket")]),
            ("POST", &[("upgrade", "websocket")]),
            ("GET", &[("upgrade", "websocket"), ("content-length", "5")]),
            ("GET", &[("upgrade", "websocket"), ("transfer-encoding", "chunked")]),
        ] {
            assert_eq!(judge(method, fields, &open), Err(Reason::UpgradeRefused), "{method} {fields:?}");
        }
        let authority = Authority::parse(b"example.org").unwrap();
        let not_nominated = parts("GET", &[("upgrade", "websocket"), ("connection", "close")]);
        assert_eq!(judge_upgrade(&not_nominated, &open, "https", &authority), Err(Reason::UpgradeRefused));
        let closed = route(false, Requirement::Nothing);
        assert_eq!(judge("GET", &[("upgrade", "websocket")], &closed), Err(Reason::UpgradeRefused));
    }

    #[test]
    fn only_a_preflight_from_a_listed_origin_passes() {
        let open = route(false, Requirement::Optional);
        let asked =
            parts("OPTIONS", &[("origin", "https://app.example"), ("access-control-request-method", "PUT")]);
        assert_eq!(preflight(&asked), Some(Method::PUT));
        assert!(preflight_passes(&asked.headers, &open));
        let foreign =
            parts("OPTIONS", &[("origin", "https://evil.example"), ("access-control-request-method", "PUT")]);
        assert!(!preflight_passes(&foreign.headers, &open));
        assert!(!preflight_passes(&asked.headers, &Route { cors: None, ..open }));
        assert_eq!(preflight(&parts("OPTIONS", &[("origin", "https://app.example")])), None);
        assert_eq!(
            preflight(&parts("GET", &[("origin", "x"), ("access-control-request-method", "PUT")])),
            None
        );
    }
}
