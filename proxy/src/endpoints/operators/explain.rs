//! Why a request would be let through or not: which route, which requirement, what it comes to. Pure; the command line
//! explains with it offline, the admin API with what a session comes to.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, Request, header};
use schemars::JsonSchema;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::Snapshot;
use crate::context::Resolution;
use crate::policy::accept::{self, Accepted, Head};
use crate::policy::decide::{self, Decision};
use crate::policy::route::Found;
use crate::policy::{Requirement, Route};
use crate::reason::Reason;

/// Everything about one request, up to the decision.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Explanation {
    /// The method.
    pub method: String,
    /// The host that routing saw; empty when the request was not accepted.
    pub host: String,
    /// The path that routing saw; empty when the request was not accepted.
    pub path: String,
    /// The route, when one was found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<RouteView>,
    /// What happens, for each who could ask.
    pub cases: Vec<Case>,
}

/// A route in words.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct RouteView {
    /// Its name in logs and metrics.
    pub name: String,
    /// The host it serves; `None` is every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The path it serves.
    pub path: String,
    /// The methods it serves; empty is every method.
    pub methods: Vec<String>,
    /// Where it leads.
    pub upstream: String,
    /// What it asks for: `nothing`, `optional`, or `session` with what follows.
    pub requires: &'static str,
    /// Whether it asks for a platform.
    pub platform: bool,
    /// Of these roles it asks for one.
    pub roles: Vec<String>,
    /// It asks for a login within this many seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recent_login_seconds: Option<u64>,
}

/// What happens with the request when this one sends it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, JsonSchema)]
pub struct Case {
    /// Who: `anybody`, `nobody`, `stores_away`, or `session`.
    pub who: &'static str,
    /// `forward`, `refuse` or `own_endpoint`.
    pub decision: &'static str,
    /// What the signed context would say about identity, when it is forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authn: Option<&'static str>,
    /// The status of our own answer, when it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The reason's word, when it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
    /// Why.
    pub why: String,
    /// Where a browser's navigation is sent instead, when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<String>,
}

/// Explains a request for `url`, absolute or a path alone. With `resolution`, what it comes to with that session; without,
/// what it comes to for nobody and while the stores are away.
#[must_use]
pub fn explain(
    snapshot: &Snapshot,
    method: &Method,
    url: &str,
    resolution: Option<&Resolution>,
    now: Timestamp,
) -> Explanation {
    let mut explanation = Explanation {
        method: method.as_str().to_owned(),
        host: String::new(),
        path: String::new(),
        route: None,
        cases: Vec::new(),
    };
    let accepted = match accepted(snapshot, method, url) {
        Ok(accepted) => accepted,
        Err(reason) => {
            explanation.cases.push(refusal("anybody", reason));
            return explanation;
        }
    };
    accepted.authority.host().clone_into(&mut explanation.host);
    accepted.target.path().clone_into(&mut explanation.path);
    match snapshot.routes.find(accepted.authority.host(), accepted.target.path(), method) {
        Found::Route(place) => {
            let route = &snapshot.routes.routes()[place];
            explanation.route = Some(RouteView::of(route));
            explanation.cases = cases(route, resolution, now);
        }
        Found::Reserved(_) => explanation.cases.push(Case {
            why: "the proxy's own endpoints answer below the reserved path".to_owned(),
            ..case("anybody", "own_endpoint")
        }),
        Found::MethodNotAllowed => explanation.cases.push(refusal("anybody", Reason::MethodNotAllowed)),
        Found::NoRoute => explanation.cases.push(refusal("anybody", Reason::NoRoute)),
        Found::UnknownHost => explanation.cases.push(refusal("anybody", Reason::UnknownHost)),
    }
    explanation
}

/// The gate that every request passes, with nothing but what `url` says.
fn accepted(snapshot: &Snapshot, method: &Method, url: &str) -> Result<Accepted, Reason> {
    let (authority, target) = split(url);
    let host = HeaderValue::from_str(authority).map_err(|_| Reason::BadHost)?;
    let request = Request::builder().method(method).header(header::HOST, host).body(());
    let (parts, ()): (Parts, ()) = request.map_err(|_| Reason::MalformedRequest)?.into_parts();
    let head = Head { parts: &parts, raw_target: target.as_bytes(), raw_head: None };
    accept::accept(head, &snapshot.limits)
}

/// Host and target. A path alone is asked of this machine. What a browser leaves out (the fragment) is left out.
fn split(url: &str) -> (&str, &str) {
    let url = url.split('#').next().unwrap_or(url);
    let Some(rest) = url.split_once("://").map(|(_, rest)| rest) else { return ("localhost", url) };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    (authority, if target.is_empty() { "/" } else { target })
}

fn cases(route: &Arc<Route>, resolution: Option<&Resolution>, now: Timestamp) -> Vec<Case> {
    let nobody = Resolution::Unknown(Reason::NoCookie);
    let away = Resolution::Undetermined(Reason::StoreUnavailable);
    let who: Vec<(&'static str, &Resolution)> = match (&route.requirement, resolution) {
        (Requirement::Nothing, _) => vec![("anybody", &nobody)],
        (_, Some(resolution)) => vec![("session", resolution)],
        (_, None) => vec![("nobody", &nobody), ("stores_away", &away)],
    };
    who.into_iter().map(|(who, resolution)| decided(route, who, resolution, now)).collect()
}

fn decided(route: &Route, who: &'static str, resolution: &Resolution, now: Timestamp) -> Case {
    let decision = decide::decide(&route.requirement, Some(resolution), now);
    let decision =
        if route.only_reports { decide::only_reported(decision, Some(resolution)) } else { decision };
    match decision {
        Decision::Report(authn, reason) => Case {
            authn: Some(authn.as_str()),
            code: Some(reason.code()),
            why: format!("the route only reports; it would refuse: {}", reason.explanation().trim()),
            ..case(who, "forward")
        },
        Decision::Forward(authn) => {
            let why = match &route.requirement {
                Requirement::Nothing => "the route asks for nothing",
                Requirement::Optional => "the route takes a session if there is one",
                Requirement::Session(_) => "the session meets all that the route asks for",
            };
            Case { authn: Some(authn.as_str()), why: why.to_owned(), ..case(who, "forward") }
        }
        Decision::Refuse(reason) => {
            let page = match reason.status() {
                401 if reason != Reason::ConflictingCookies => route.login.clone(),
                403 if matches!(reason, Reason::PlatformMissing | Reason::PlatformUnavailable) => {
                    route.choose_platform.clone()
                }
                _ => None,
            };
            Case { redirect: page, ..refusal(who, reason) }
        }
    }
}

fn case(who: &'static str, decision: &'static str) -> Case {
    Case { who, decision, authn: None, status: None, code: None, why: String::new(), redirect: None }
}

fn refusal(who: &'static str, reason: Reason) -> Case {
    Case {
        status: Some(reason.status()),
        code: Some(reason.code()),
        why: reason.explanation().trim().to_owned(),
        ..case(who, "refuse")
    }
}

impl RouteView {
    /// This route.
    pub(super) fn of(route: &Route) -> Self {
        let (requires, demands) = match &route.requirement {
            Requirement::Nothing => ("nothing", None),
            Requirement::Optional => ("optional", None),
            Requirement::Session(demands) => ("session", Some(demands)),
        };
        Self {
            name: route.name.clone(),
            host: route.host.clone(),
            path: route.path.clone(),
            methods: route.methods.iter().map(|method| method.as_str().to_owned()).collect(),
            upstream: route.upstream.clone(),
            requires,
            platform: demands.is_some_and(|demands| demands.platform),
            roles: demands.map(|demands| demands.roles.clone()).unwrap_or_default(),
            recent_login_seconds: demands.and_then(|demands| demands.recent_login).map(|span| span.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIGURATION: &str = r#"
[[listen]]
address = "127.0.0.1:8080"
[keys]
token = [{ id = "t", secret = { env = "K" } }]
csrf = [{ id = "c", secret = { env = "K" } }]
hmac = [{ id = "h", secret = { env = "K" } }]
jwt = [{ id = "j", algorithm = "HS256", secret = { env = "K" } }]
[[upstream]]
name = "app"
servers = ["127.0.0.1:5000"]
[[route]]
path = "/"
upstream = "app"
require = "platform"
login = "/login"
[[route]]
path = "/login"
upstream = "app"
require = "nothing"
[[route]]
path = "/maybe/"
upstream = "app"
require = "optional"
[[route]]
host = "admin.example"
path = "/admin/"
methods = ["GET"]
upstream = "app"
require = { roles = ["admin"], recent_login = "10m" }
"#;

    fn explained(method: &str, url: &str) -> Explanation {
        let environment = |name: &str| (name == "K").then(|| "0123456789abcdef0123456789abcdef".to_owned());
        let snapshot = crate::config::parse(CONFIGURATION, "test.toml", &environment).unwrap();
        explain(&snapshot, &method.parse().unwrap(), url, None, Timestamp::from_secs(1))
    }

    #[test]
    fn the_route_and_what_it_comes_to_are_told() {
        for (method, url, route, cases) in [
            ("GET", "/", Some("/"), vec![("nobody", "no_cookie"), ("stores_away", "store_unavailable")]),
            ("GET", "/login", Some("/login"), vec![("anybody", "unchecked")]),
            (
                "GET",
                "/maybe/x?y#z",
                Some("/maybe/"),
                vec![("nobody", "none"), ("stores_away", "undetermined")],
            ),
            (
                "GET",
                "https://Admin.Example:443/admin/users",
                Some("/admin/"),
                vec![("nobody", "no_cookie"), ("stores_away", "store_unavailable")],
            ),
            ("POST", "https://admin.example/admin/", None, vec![("anybody", "method_not_allowed")]),
            (
                "GET",
                "https://admin.example/other",
                Some("/"),
                vec![("nobody", "no_cookie"), ("stores_away", "store_unavailable")],
            ),
            ("GET", "/.countersign/x", None, vec![("anybody", "own_endpoint")]),
            ("GET", "/a/../b", None, vec![("anybody", "ambiguous_path")]),
            ("GET", "http://a b/", None, vec![("anybody", "bad_host")]),
            ("TRACE", "/", None, vec![("anybody", "method_not_allowed")]),
            ("GET", "no-slash", None, vec![("anybody", "malformed_request")]),
        ] {
            let told = explained(method, url);
            assert_eq!(told.route.as_ref().map(|route| route.path.as_str()), route, "{method} {url}");
            let outcomes: Vec<_> = told
                .cases
                .iter()
                .map(|case| (case.who, case.code.or(case.authn).unwrap_or(case.decision)))
                .collect();
            assert_eq!(outcomes, cases, "{method} {url}");
        }
    }

    #[test]
    fn a_browser_without_a_session_is_told_where_to_log_in() {
        let told = explained("GET", "/");
        assert_eq!(told.cases[0].redirect.as_deref(), Some("/login"));
        assert_eq!(told.cases[1].redirect, None, "an outage sends nobody to the login page");
        let route = told.route.unwrap();
        assert_eq!((route.requires, route.platform), ("session", true));
    }
}
