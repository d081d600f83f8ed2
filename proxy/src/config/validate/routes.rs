//! Judges routes: each by itself, then all of them together.

use std::collections::HashMap;
use std::sync::Arc;

use http::Method;
use url::Url;

use super::Judge;
use crate::config::problem::{Problem, shown};
use crate::config::raw;
use crate::config::raw::formats::{FormatName, Formats};
use crate::config::raw::traffic as written;
use crate::config::raw::traffic::{ContextExtra, Mode, Require, RequireWord};
use crate::config::raw::values::{OneOrMany, Switch};
use crate::policy::route::{Found, Overlap, RouteTable};
use crate::policy::target::Target;
use crate::policy::{ContextExtras, Cors, Demands, Requirement, Route};

const ORIGIN_EXPECTED: &str =
    "scheme and host, such as \"https://app.example.org\", without path and in lower case";
const PATH_EXPECTED: &str = "a path that begins with `/`, without `?`, `#`, `%`-escapes that mean a plain character, \
                             `//`, `.` or `..`";

impl Judge<'_> {
    pub(super) fn reserved_path(&mut self, path: Option<&str>) -> String {
        let path = path.unwrap_or(raw::DEFAULT_RESERVED_PATH);
        if path.len() < 3 || !path.ends_with('/') || !is_canonical_path(path) {
            self.tell(
                self.problem("reserved_path", "this cannot be the reserved path")
                    .found(shown(path))
                    .expected("a path that begins and ends with `/`, such as \"/.countersign/\""),
            );
        }
        path.to_owned()
    }

    pub(super) fn routes(&mut self, file: &raw::File, reserved: &str) -> RouteTable {
        let mut routes: Vec<Route> = Vec::new();
        // A route for several hosts stands in the table once for each; this leads back to the file.
        let mut origins: Vec<usize> = Vec::new();
        for (index, raw) in file.route.iter().enumerate() {
            let key = format!("route[{index}]");
            self.upstream_of_route(&key, raw, &file.upstream);
            let hosts = self.hosts(&key, raw);
            let Some(route) = self.route(&key, raw, file, reserved) else { continue };
            routes.extend(hosts.into_iter().map(|host| Route { host, ..route.clone() }));
            origins.resize(routes.len(), index);
        }
        self.unique_names(file, &routes, &origins);
        self.what_seems_forgotten(file);
        match RouteTable::build(routes, reserved) {
            Ok(table) => {
                self.redirects(&table, &origins);
                for overlap in table.shadowed() {
                    let problem = self.overlap(overlap, &origins).as_warning();
                    self.tell(problem);
                }
                table
            }
            Err(overlaps) => {
                for overlap in overlaps {
                    let problem = self.overlap(overlap, &origins);
                    self.tell(problem);
                }
                RouteTable::default()
            }
        }
    }

    fn overlap(&self, overlap: Overlap, origins: &[usize]) -> Problem {
        let origin = |index: usize| origins.get(index).copied().unwrap_or_default();
        let (first, second) = (origin(overlap.first), origin(overlap.second));
        let problem = self.problem(&format!("route[{second}].path"), overlap.what);
        if first == second {
            return problem;
        }
        problem.found(format!("the other route is at {}", self.places.find(&format!("route[{first}]"))))
    }

    fn upstream_of_route(&mut self, key: &str, raw: &written::Route, upstreams: &[written::Upstream]) {
        let Some(name) = raw.upstream.as_deref() else { return };
        let names: Vec<&str> = upstreams.iter().filter_map(|upstream| upstream.name.as_deref()).collect();
        if names.contains(&name) {
            return;
        }
        let problem = self.problem(&format!("{key}.upstream"), "there is no upstream of this name");
        let expected = if names.is_empty() {
            "an `[[upstream]]` of this name".to_owned()
        } else {
            format!("one of {}", names.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", "))
        };
        self.tell(problem.found(shown(name)).expected(expected).did_you_mean(name, names));
    }

    fn route(&mut self, key: &str, raw: &written::Route, file: &raw::File, reserved: &str) -> Option<Route> {
        for (name, path) in [("login", &raw.login), ("choose_platform", &raw.choose_platform)] {
            if let Some(path) = path.as_deref().filter(|path| !is_canonical_path(path)) {
                let problem =
                    self.problem(&format!("{key}.{name}"), format!("`{name}` is not a path of this site"));
                self.tell(problem.found(shown(path)).expected(PATH_EXPECTED));
            }
        }
        let requirement = self.requirement(&format!("{key}.require"), &raw.require);
        let (websocket, websocket_origins) = match &raw.websocket {
            Switch::Plain(on) => (*on, Vec::new()),
            Switch::With(particulars) => (true, particulars.origins.clone()),
        };
        self.origins(&format!("{key}.websocket.origins"), &websocket_origins);
        let cors = raw.cors.as_ref().map(|cors| Cors {
            origins: cors.origins.clone().unwrap_or_default(),
            preflight: cors.preflight,
        });
        if let Some(cors) = &cors {
            self.origins(&format!("{key}.cors.origins"), &cors.origins);
        }
        let extras = ContextExtras {
            settings: raw.context.contains(&ContextExtra::Settings),
            stats: raw.context.contains(&ContextExtra::Stats),
        };
        let path = raw.path.clone()?;
        let platform_from = self.platform_from(key, raw, &requirement, &file.context.prefix);
        if !self.path_is_fit(&format!("{key}.path"), &path, reserved) {
            return None;
        }
        let methods: Vec<Method> = raw.methods.iter().map(|method| method.0.clone()).collect();
        Some(Route {
            name: raw.name.clone().unwrap_or_else(|| derived_name(raw, &methods, &path)),
            host: None,
            path,
            methods,
            upstream: raw.upstream.clone().unwrap_or_default(),
            requirement,
            only_reports: raw.mode == Mode::Report,
            session_authority: raw.session_authority,
            csrf: raw.csrf,
            login: raw.login.clone(),
            choose_platform: raw.choose_platform.clone(),
            platform_from,
            extras,
            platform_authorization: raw.platform_authorization,
            websocket,
            websocket_origins,
            cors,
            body_limit: raw.body_limit.map(|size| size.0),
            read_timeout: raw.read_timeout.as_ref().map(|span| span.0),
        })
    }

    fn path_is_fit(&mut self, key: &str, path: &str, reserved: &str) -> bool {
        if !is_canonical_path(path) {
            let problem = self.problem(key, "this cannot be the path of a route");
            self.tell(problem.found(shown(path)).expected(PATH_EXPECTED));
            return false;
        }
        let below_reserved = path.starts_with(reserved) || path == reserved.trim_end_matches('/');
        if below_reserved {
            self.tell(
                self.problem(
                    key,
                    "this path is reserved for the proxy's own endpoints, so the route is never reached",
                )
                .found(shown(path))
                .expected(format!("a path outside {}", shown(reserved)))
                .hint("`reserved_path` moves the proxy's own endpoints"),
            );
        }
        !below_reserved
    }

    /// The hosts of a route, lower case; `None` alone is every host.
    fn hosts(&mut self, key: &str, raw: &written::Route) -> Vec<Option<String>> {
        let Some(hosts) = raw.host.as_ref().map(OneOrMany::as_slice) else { return vec![None] };
        if hosts.is_empty() {
            let problem = self.problem(&format!("{key}.host"), "a route for no host is never reached");
            self.tell(problem.found("an empty list").expected("a host, or no `host` for every host"));
        }
        let mut fit = Vec::with_capacity(hosts.len());
        for (index, written) in hosts.iter().enumerate() {
            let key = if hosts.len() == 1 { format!("{key}.host") } else { format!("{key}.host[{index}]") };
            let host = Some(written.to_lowercase());
            if !host.as_deref().is_some_and(is_host_pattern) {
                let problem = self.problem(&key, "this is not a host").found(shown(written));
                self.tell(
                    problem.expected("a host without port, such as \"app.example.org\" or \"*.example.org\""),
                );
            } else if fit.contains(&host) {
                let problem = self.problem(&key, "this host is named twice").found(shown(written));
                self.tell(problem.expected("each host once"));
            } else {
                fit.push(host);
            }
        }
        fit
    }

    fn requirement(&mut self, key: &str, require: &Require) -> Requirement {
        let table = match require {
            Require::Word(RequireWord::Nothing) => return Requirement::Nothing,
            Require::Word(RequireWord::Optional) => return Requirement::Optional,
            Require::Word(RequireWord::Session) => return Requirement::Session(Demands::default()),
            Require::Word(RequireWord::Platform) => {
                return Requirement::Session(Demands { platform: true, ..Demands::default() });
            }
            Require::Table(table) => table,
        };
        if table.session == Some(false) {
            self.tell(
                self.problem(&format!("{key}.session"), "a table of demands always asks for a session")
                    .found("false")
                    .hint("for a route without session, write `require = \"nothing\"` or \"optional\""),
            );
        }
        let roles = table.roles.clone().unwrap_or_default();
        if table.roles.is_some() && roles.is_empty() || roles.iter().any(String::is_empty) {
            self.tell(
                self.problem(&format!("{key}.roles"), "an empty role, or list of roles, says nothing")
                    .expected("at least one role, or no `roles`"),
            );
        }
        let recent_login = table.recent_login.as_ref().map(|span| span.0);
        Requirement::Session(Demands { platform: table.platform, roles, recent_login })
    }

    fn origins(&mut self, key: &str, origins: &[String]) {
        for (index, origin) in origins.iter().enumerate() {
            let is_origin = Url::parse(origin).is_ok_and(|url| {
                matches!(url.scheme(), "http" | "https") && url.origin().ascii_serialization() == *origin
            });
            if !is_origin {
                let problem =
                    self.problem(&format!("{key}[{index}]"), "this is not an origin").found(shown(origin));
                self.tell(problem.expected(ORIGIN_EXPECTED));
            }
        }
    }

    fn unique_names(&mut self, file: &raw::File, routes: &[Route], origins: &[usize]) {
        let mut seen: HashMap<&str, usize> = HashMap::new();
        for (index, (route, origin)) in routes.iter().zip(origins).enumerate() {
            if index > 0 && origins[index - 1] == *origin {
                continue;
            }
            let first = *seen.entry(&route.name).or_insert(*origin);
            // Names that were made from equal hosts and paths are told as an overlap.
            let is_written = file.route.get(*origin).is_some_and(|raw| raw.name.is_some());
            if first != *origin && is_written {
                let other = self.places.find(&format!("route[{first}]"));
                let problem = self.problem(&format!("route[{origin}].name"), "two routes have the same name");
                self.tell(problem.found(format!("{}, also at {other}", shown(&route.name))));
            }
            let is_label = !route.name.is_empty()
                && route.name.len() <= 200
                && !route.name.chars().any(char::is_control);
            if is_written && !is_label {
                let problem =
                    self.problem(&format!("route[{origin}].name"), "this cannot be the name of a route");
                self.tell(
                    problem.found(shown(&route.name)).expected("1 to 200 bytes without control characters"),
                );
            }
        }
    }

    /// A browser that is sent to a page which asks for the very thing it lacks goes round for ever.
    fn redirects(&mut self, table: &RouteTable, origins: &[usize]) {
        for (route, origin) in table.routes().iter().zip(origins) {
            let host = route.host.as_deref().unwrap_or("localhost").replacen("*.", "any.", 1);
            let demands = |path: &str| match table.find(&host, path, &Method::GET) {
                Found::Route(place) => match &table.routes()[place].requirement {
                    Requirement::Session(demands) => {
                        Some((Arc::clone(&table.routes()[place]), demands.clone()))
                    }
                    Requirement::Nothing | Requirement::Optional => None,
                },
                _ => None,
            };
            if let Some((target, _)) = route.login.as_deref().and_then(demands) {
                let problem = self
                    .problem(&format!("route[{origin}].login"), "the login page itself asks for a session");
                self.tell(
                    problem
                        .found(format!(
                            "{}, served by the route {}",
                            shown(route.login.as_deref().unwrap_or_default()),
                            shown(&target.name)
                        ))
                        .expected("a path whose route has `require = \"nothing\"` or \"optional\""),
                );
            }
            let choose = route.choose_platform.as_deref().and_then(demands);
            if let Some((target, _)) = choose.filter(|(_, demands)| demands.platform) {
                let problem = self.problem(
                    &format!("route[{origin}].choose_platform"),
                    "the page for choosing a platform itself asks for a platform",
                );
                self.tell(
                    problem
                        .found(format!(
                            "{}, served by the route {}",
                            shown(route.choose_platform.as_deref().unwrap_or_default()),
                            shown(&target.name)
                        ))
                        .expected("a path whose route asks for no more than a session")
                        .hint("add a route for it with `require = \"session\"`, or the browser goes round for ever")
                        .as_warning(),
                );
            }
        }
    }

    fn what_seems_forgotten(&mut self, file: &raw::File) {
        if file.route.is_empty() {
            let problem = self.problem("route", "there is no route: every request is answered with 404");
            self.tell_missing(problem.hint("add a `[[route]]`").as_warning());
        } else if makes_sessions(file) && !file.route.iter().any(|route| route.session_authority) {
            let problem = self.problem("route", "no route is a `session_authority`: nobody can log in");
            self.tell_missing(
                problem.hint("set `session_authority = true` on the route of the login page").as_warning(),
            );
        }
        for (index, _) in file.route.iter().enumerate().filter(|(_, route)| route.mode == Mode::Report) {
            let problem = self.problem(
                &format!("route[{index}].mode"),
                "this route only reports: it refuses nobody, whatever it requires",
            );
            self.tell(problem.hint("set `mode = \"enforce\"` when the reports are as expected").as_warning());
        }
        for (index, upstream) in file.upstream.iter().enumerate() {
            let Some(name) = upstream.name.as_deref() else { continue };
            if !file.route.iter().any(|route| route.upstream.as_deref() == Some(name)) {
                let problem = self.problem(&format!("upstream[{index}]"), "no route leads to this upstream");
                self.tell_missing(problem.found(shown(name)).as_warning());
            }
        }
    }
}

/// Whether sessions of our own are read: where they all are another framework's, nobody logs in through us.
fn makes_sessions(file: &raw::File) -> bool {
    match &file.session.format {
        None => true,
        Some(Formats::Name(name)) => *name == FormatName::Native,
        Some(Formats::One(format)) => format.name == FormatName::Native,
        Some(Formats::Several(formats)) => formats.iter().any(|format| format.name == FormatName::Native),
    }
}

fn derived_name(raw: &written::Route, methods: &[Method], path: &str) -> String {
    let host = raw.host.as_ref().and_then(|hosts| hosts.as_slice().first());
    let host = host.map(|host| host.to_lowercase()).unwrap_or_default();
    if methods.is_empty() {
        return format!("{host}{path}");
    }
    let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
    format!("{} {host}{path}", methods.join(","))
}

/// Whether requests can have this path at all: only canonical ones get past the gate.
pub(super) fn is_canonical_path(path: &str) -> bool {
    let no_end = !path.contains(['?', '#']);
    let parsed = Target::parse(path.as_bytes(), 1024);
    no_end && path.starts_with('/') && parsed.is_ok_and(|(target, _)| target.as_str() == path)
}

fn is_host_pattern(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}
