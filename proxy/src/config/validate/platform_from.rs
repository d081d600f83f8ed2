//! Judges where a route takes the platform of a request from: a place that requests really fill, and a header that
//! means nothing else.

use http::HeaderName;

use super::Judge;
use crate::config::problem::{Problem, shown};
use crate::config::raw::traffic as written;
use crate::config::raw::values::OneOrMany;
use crate::headers::names::Names;
use crate::policy::{PlatformSource, Requirement};

/// Fields that mean something to the proxy, to HTTP or to the application: they are not ours to take away.
const TAKEN: [&str; 29] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "last-event-id",
    "origin",
    "range",
    "referer",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "x-real-ip",
    "x-requested-with",
];
/// The same by their beginnings.
const TAKEN_PREFIXES: [&str; 5] = ["if-", "proxy-", "sec-", "x-csrf", "x-forwarded-"];
/// The largest index that makes sense: hosts and paths with more parts are refused elsewhere.
const MOST_PARTS: usize = 64;

impl Judge<'_> {
    /// Where a route takes the platform from; `None` also when what was written is wrong.
    pub(super) fn platform_from(
        &mut self,
        key: &str,
        raw: &written::Route,
        requirement: &Requirement,
        prefix: &str,
    ) -> Option<PlatformSource> {
        let from = raw.platform_from.as_ref()?;
        let key = format!("{key}.platform_from");
        if !matches!(requirement, Requirement::Session(demands) if demands.platform) {
            self.tell(
                self.problem(&key, "a route that takes the platform from the request must require one")
                    .expected("`require = \"platform\"`, or a table with `platform = true`"),
            );
        }
        match from {
            written::PlatformFrom { header: Some(name), path_segment: None, host_label: None } => {
                self.platform_header(&key, name, prefix)
            }
            written::PlatformFrom { header: None, path_segment: Some(index), host_label: None } => {
                self.platform_segment(&key, *index, raw.path.as_deref().unwrap_or_default())
            }
            written::PlatformFrom { header: None, path_segment: None, host_label: Some(index) } => {
                self.platform_label(&key, *index, raw)
            }
            // Told by the shape.
            _ => None,
        }
    }

    fn platform_header(&mut self, key: &str, written: &str, prefix: &str) -> Option<PlatformSource> {
        let key = format!("{key}.header");
        let lower = written.to_ascii_lowercase();
        let Ok(name) = HeaderName::try_from(&lower) else {
            self.tell(self.problem(&key, "this cannot be the name of a header").found(shown(written)));
            return None;
        };
        // A wrong prefix is told elsewhere.
        let reserved = Names::new(prefix).is_ok_and(|names| names.reserved(&lower));
        let taken = TAKEN.contains(&lower.as_str())
            || TAKEN_PREFIXES.iter().any(|beginning| lower.starts_with(beginning));
        if reserved || taken {
            let what = if reserved {
                "this header is the proxy's own: it is taken from every request unread"
            } else {
                "this header means something else, and the application would not receive it"
            };
            let problem: Problem = self.problem(&key, what).found(shown(written));
            self.tell(problem.expected("a header of its own, such as \"x-platform\""));
            return None;
        }
        Some(PlatformSource::Header(name))
    }

    fn platform_segment(&mut self, key: &str, index: usize, path: &str) -> Option<PlatformSource> {
        let fixed = path.split('/').filter(|segment| !segment.is_empty()).count();
        if index < fixed || index > MOST_PARTS {
            self.tell(
                self.problem(
                    &format!("{key}.path_segment"),
                    "this segment of the path is the same in every request of the route",
                )
                .found(index.to_string())
                .expected(format!("{fixed} to {MOST_PARTS}; segments are counted from 0")),
            );
            return None;
        }
        Some(PlatformSource::PathSegment(index))
    }

    fn platform_label(&mut self, key: &str, index: usize, raw: &written::Route) -> Option<PlatformSource> {
        let hosts = raw.host.as_ref().map(OneOrMany::as_slice).unwrap_or_default();
        if hosts.is_empty() || !hosts.iter().all(|host| host.starts_with("*.")) || index > MOST_PARTS {
            self.tell(
                self.problem(
                    &format!("{key}.host_label"),
                    "the host of the route says the same in every request",
                )
                .found(index.to_string())
                .expected(
                    "`host = \"*.app.example.org\"`, and a label that the `*` stands for, counted from 0",
                ),
            );
            return None;
        }
        Some(PlatformSource::HostLabel(index))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Problems, parse};
    use crate::policy::PlatformSource;

    fn configuration(route: &str) -> String {
        format!(
            r#"
            listen = [{{ address = "127.0.0.1:8080" }}]
            upstream = [{{ name = "app", servers = ["127.0.0.1:1"], sign = ["http-message-signature"] }}]
            [keys]
            token = [{{ id = "t1", secret = {{ env = "TOKEN" }} }}]
            csrf = [{{ id = "c1", secret = {{ env = "CSRF" }} }}]
            hmac = [{{ id = "h1", secret = {{ env = "HMAC" }} }}]
            [[route]]
            upstream = "app"
            {route}
            "#
        )
    }

    fn judged(route: &str) -> Result<Option<PlatformSource>, Problems> {
        let environment = |name: &str| {
            matches!(name, "TOKEN" | "HMAC" | "CSRF")
                .then(|| format!("{name:A<8}{}", "0123456789abcdef".repeat(4)))
        };
        let snapshot = parse(&configuration(route), "test.toml", &environment)?;
        Ok(snapshot.routes.routes()[0].platform_from.clone())
    }

    #[test]
    fn a_place_that_requests_fill_is_accepted() {
        for (route, expected) in [
            ("path = \"/\"\nplatform_from = { path_segment = 0 }", PlatformSource::PathSegment(0)),
            ("path = \"/a/p/\"\nplatform_from = { path_segment = 2 }", PlatformSource::PathSegment(2)),
            (
                "path = \"/\"\nplatform_from = { header = \"X-Platform\" }",
                PlatformSource::Header("x-platform".parse().unwrap()),
            ),
            (
                "path = \"/\"\nhost = [\"*.a.test\", \"*.b.test\"]\nplatform_from = { host_label = 0 }",
                PlatformSource::HostLabel(0),
            ),
        ] {
            let found = judged(&format!("{route}\nrequire = \"platform\""));
            assert_eq!(found.unwrap_or_else(|problems| panic!("{problems}")), Some(expected), "{route}");
        }
    }

    #[test]
    fn a_place_that_says_nothing_or_means_something_else_is_refused() {
        for (route, named) in [
            ("path = \"/a/p/\"\nplatform_from = { path_segment = 1 }", "path_segment"),
            ("path = \"/\"\nplatform_from = { path_segment = 65 }", "path_segment"),
            ("path = \"/\"\nplatform_from = { host_label = 0 }", "host_label"),
            ("path = \"/\"\nhost = \"a.test\"\nplatform_from = { host_label = 0 }", "host_label"),
            (
                "path = \"/\"\nhost = [\"*.a.test\", \"b.test\"]\nplatform_from = { host_label = 0 }",
                "host_label",
            ),
            ("path = \"/\"\nplatform_from = { header = \"x_context_platform\" }", "the proxy's own"),
            ("path = \"/\"\nplatform_from = { header = \"Signature\" }", "the proxy's own"),
            ("path = \"/\"\nplatform_from = { header = \"Cookie\" }", "something else"),
            ("path = \"/\"\nplatform_from = { header = \"X-Forwarded-Platform\" }", "something else"),
            ("path = \"/\"\nplatform_from = { header = \"x platform\" }", "name of a header"),
            ("path = \"/\"\nplatform_from = {}", "platform_from"),
            ("path = \"/\"\nplatform_from = { header = \"x-p\", path_segment = 0 }", "platform_from"),
        ] {
            let refused = judged(&format!("{route}\nrequire = \"platform\"")).expect_err(route).to_string();
            assert!(refused.contains(named), "{route}: {refused}");
        }
    }

    #[test]
    fn the_route_must_require_what_it_takes() {
        for require in ["\"session\"", "\"optional\"", "\"nothing\"", "{ roles = [\"admin\"] }"] {
            let route = format!("path = \"/\"\nplatform_from = {{ path_segment = 0 }}\nrequire = {require}");
            let refused = judged(&route).expect_err(require).to_string();
            assert!(refused.contains("must require one"), "{require}: {refused}");
        }
    }
}
