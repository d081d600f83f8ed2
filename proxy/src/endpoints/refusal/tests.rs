//! Redirect, page or problem document: every reason and every kind of client.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response};

use super::{RefusalInput, answer};
use crate::policy::target::Target;
use crate::policy::{Cors, Requirement, Route};
use crate::reason::Reason;

const NAVIGATION: &[(&str, &str)] =
    &[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", "*/*")];

fn route() -> Route {
    Route {
        requirement: Requirement::Optional,
        login: Some("/login".into()),
        choose_platform: Some("/platforms?from=proxy".into()),
        cors: Some(Cors { origins: vec!["https://app.example".into()], preflight: false }),
        ..Route::example()
    }
}

fn refused(reason: Reason, method: &Method, target: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
    let headers: HeaderMap = fields
        .iter()
        .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
        .collect();
    let (target, _) = Target::parse(target.as_bytes(), 8192).unwrap();
    let route = route();
    let input = RefusalInput {
        method,
        headers: &headers,
        target: Some(&target),
        route: Some(&route),
        allowed: Some("GET, HEAD"),
        request_id: "0af7",
    };
    answer(reason, &input)
}

fn location(response: &Response<Bytes>) -> Option<&str> {
    response.headers().get("location").map(|value| value.to_str().unwrap())
}

#[test]
fn a_navigation_is_sent_to_the_page_that_cures_the_reason_and_to_no_other() {
    let curable = |reason: Reason| match reason {
        Reason::ConflictingCookies => None,
        Reason::PlatformMissing | Reason::PlatformUnavailable => {
            Some("/platforms?from=proxy&return_to=/a%3Fb")
        }
        _ if reason.status() == 401 => Some("/login?return_to=/a%3Fb"),
        _ => None,
    };
    for &reason in Reason::ALL {
        let response = refused(reason, &Method::GET, "/a?b", NAVIGATION);
        assert_eq!(location(&response), curable(reason), "{reason}");
        let expected = if curable(reason).is_some() { 303 } else { reason.status() };
        assert_eq!(response.status().as_u16(), expected, "{reason}");
        assert_eq!(response.headers()["countersign-answer"], reason.code());
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert!(!response.headers().contains_key("set-cookie"));
    }
}

#[test]
fn what_may_have_an_effect_is_never_redirected() {
    for &reason in Reason::ALL {
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let response = refused(reason, &method, "/a", NAVIGATION);
            assert_eq!((response.status().as_u16(), location(&response)), (reason.status(), None));
            assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        }
    }
}

#[test]
fn only_navigations_get_pages() {
    for (fields, navigation) in [
        (&[("sec-fetch-mode", "navigate"), ("accept", "*/*")][..], true),
        (&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")], true),
        (&[("sec-fetch-dest", "document")], true),
        (&[("sec-fetch-mode", "cors"), ("accept", "text/html")], false),
        (&[("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image"), ("accept", "text/html")], false),
        (&[("accept", "application/xhtml+xml, text/html;q=0.9")], true),
        (&[("accept", "text/html"), ("x-requested-with", "XMLHttpRequest")], false),
        (&[("accept", "application/json")], false),
        (&[("accept", "text/htmlx")], false),
        (&[("accept", "*/*")], false),
        (&[], false),
    ] {
        let response = refused(Reason::NoCookie, &Method::GET, "/a", fields);
        assert_eq!(response.status().as_u16() == 303, navigation, "{fields:?}");
        let response = refused(Reason::StoreUnavailable, &Method::GET, "/a", fields);
        let kind = if navigation { "text/html; charset=utf-8" } else { "application/problem+json" };
        assert_eq!(response.headers()["content-type"], kind, "{fields:?}");
        assert!(response.headers().contains_key("retry-after"));
    }
}

#[test]
fn the_login_page_does_not_redirect_to_itself() {
    for target in ["/login", "/login/", "/login?return_to=/a"] {
        let response = refused(Reason::NoCookie, &Method::GET, target, NAVIGATION);
        assert_eq!((response.status().as_u16(), location(&response)), (401, None), "{target}");
    }
    assert_eq!(refused(Reason::PlatformMissing, &Method::GET, "/platforms", NAVIGATION).status(), 403);
    assert_eq!(
        location(&refused(Reason::NoCookie, &Method::GET, "/loginx", NAVIGATION)),
        Some("/login?return_to=/loginx")
    );
}

#[test]
fn without_route_or_target_there_is_a_plain_answer() {
    let headers: HeaderMap = HeaderMap::new();
    let input = RefusalInput {
        method: &Method::GET,
        headers: &headers,
        target: None,
        route: None,
        allowed: None,
        request_id: "0af7",
    };
    assert_eq!(answer(Reason::BadHost, &input).status(), 400);
    assert_eq!(answer(Reason::NoCookie, &input).status(), 401);
}

#[test]
fn a_listed_origin_may_read_the_answer_and_others_may_not() {
    let listed = refused(Reason::NoCookie, &Method::GET, "/a", &[("origin", "https://app.example")]);
    assert_eq!(listed.headers()["access-control-allow-origin"], "https://app.example");
    assert_eq!(listed.headers()["access-control-allow-credentials"], "true");
    assert_eq!(listed.headers()["vary"], "Origin");
    for origin in ["https://evil.example", "null", "https://app.example.evil"] {
        let other = refused(Reason::NoCookie, &Method::GET, "/a", &[("origin", origin)]);
        assert!(!other.headers().contains_key("access-control-allow-origin"), "{origin}");
        assert_eq!(other.headers()["vary"], "Origin");
    }
}

#[test]
fn head_has_no_body_and_405_says_what_is_allowed() {
    let head = refused(Reason::NoRoute, &Method::HEAD, "/a", &[]);
    assert!(head.body().is_empty());
    assert_ne!(head.headers()["content-length"], "0");
    assert_eq!(refused(Reason::MethodNotAllowed, &Method::PUT, "/a", &[]).headers()["allow"], "GET, HEAD");
}
