//! Further paths of our own endpoints, so that an existing front end keeps working. An alias matches whole, segment by
//! segment; spelled so that only a lenient reader would take it for one, it finds nothing at all, as with routes.

use http::Method;

use super::path::{Folded, Plain};
use crate::policy::Route;
use crate::policy::own::{Call, Line, Missing, is_parameter, lines, parameter_in, serves};

/// A path that leads to an endpoint of ours.
#[derive(Clone, Debug)]
pub struct Alias {
    /// The path; a segment `{id}` is a parameter. Canonical, without a slash at the end.
    pub path: String,
    /// The name of the endpoint.
    pub endpoint: &'static str,
}

/// All aliases of one configuration.
#[derive(Clone, Debug, Default)]
pub struct Aliases(Vec<Alias>);

impl Alias {
    /// The lines of the table that it stands for.
    fn lines(&self) -> impl Iterator<Item = &'static Line> + use<'_> {
        lines().iter().filter(|line| line.name == self.endpoint)
    }

    /// Whether some request could match it as well as this route's own path.
    #[must_use]
    pub fn meets(&self, route: &Route) -> bool {
        let (route, own) = (Folded::of(route.path.as_bytes()), Folded::of(self.path.as_bytes()));
        let (route, own) = (segments(&route), segments(&own));
        route.len() == own.len() && own.iter().zip(&route).all(|(own, route)| own == route || is_hole(own))
    }

    /// Whether some request could match both.
    #[must_use]
    pub fn meets_alias(&self, other: &Self) -> bool {
        let (own, others) = (Folded::of(self.path.as_bytes()), Folded::of(other.path.as_bytes()));
        let (own, others) = (segments(&own), segments(&others));
        let alike = own.len() == others.len()
            && own.iter().zip(&others).all(|(one, two)| one == two || is_hole(one) || is_hole(two));
        alike && self.lines().any(|line| other.lines().any(|others| line.method == others.method))
    }
}

impl Aliases {
    /// Aliases that were judged.
    #[must_use]
    pub const fn new(aliases: Vec<Alias>) -> Self {
        Self(aliases)
    }

    /// The endpoint behind `path`, what is there instead, or `None` when no alias has to do with it. What changes
    /// something is also served for POST, which is all that older pages know.
    #[must_use]
    pub fn find(&self, path: &str, method: &Method) -> Option<Result<Call, Missing>> {
        if self.0.is_empty() {
            return None;
        }
        let trimmed = path.strip_suffix('/').unwrap_or(path);
        let mut allowed: Vec<&str> = Vec::new();
        for alias in &self.0 {
            let Some(parameter) = parameter_in(&alias.path, trimmed) else { continue };
            for line in alias.lines() {
                if serves(line, method) || (line.is_unsafe() && *method == Method::POST) {
                    return Some(Ok(Call { line, parameter, alias: true }));
                }
                allowed.push(line.method.as_str());
                if line.is_unsafe() && !allowed.contains(&"POST") {
                    allowed.push("POST");
                }
            }
        }
        if !allowed.is_empty() {
            return Some(Err(Missing::Method(allowed.join(", "))));
        }
        let folded = Folded::of(&Plain::of(path));
        let folded = segments(&folded);
        let lenient = |alias: &Alias| {
            let own = Folded::of(alias.path.as_bytes());
            let own = segments(&own);
            own.len() == folded.len() && own.iter().zip(&folded).all(|(own, it)| own == it || is_hole(own))
        };
        self.0.iter().any(lenient).then_some(Err(Missing::NoEndpoint))
    }
}

fn segments(folded: &[u8]) -> Vec<&[u8]> {
    folded.split(|&byte| byte == b'/').filter(|segment| !segment.is_empty()).collect()
}

fn is_hole(segment: &[u8]) -> bool {
    std::str::from_utf8(segment).is_ok_and(is_parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aliases() -> Aliases {
        let alias = |path: &str, endpoint| Alias { path: path.to_owned(), endpoint };
        Aliases::new(vec![
            alias("/api/switch_platform/{id}", "platform-switch"),
            alias("/api/session/state", "session-state"),
            alias("/api/settings", "settings"),
            alias("/api/settings", "settings-change"),
        ])
    }

    #[test]
    fn an_alias_matches_whole_and_by_the_methods_of_its_endpoint() {
        let find = |method: Method, path: &str| aliases().find(path, &method);
        let name =
            |method, path: &str| find(method, path).unwrap().map(|call| (call.line.name, call.parameter));
        assert_eq!(
            name(Method::POST, "/api/switch_platform/12"),
            Ok(("platform-switch", Some("12".to_owned())))
        );
        assert_eq!(name(Method::GET, "/api/session/state/"), Ok(("session-state", None)));
        assert_eq!(name(Method::GET, "/api/settings"), Ok(("settings", None)));
        assert_eq!(name(Method::POST, "/api/settings"), Ok(("settings-change", None)));
        assert!(matches!(name(Method::GET, "/api/switch_platform/12"), Err(Missing::Method(_))));
        for path in ["/api/switch_platform", "/api/switch_platform/12/x", "/api", "/"] {
            assert!(find(Method::POST, path).is_none(), "{path}");
        }
    }

    #[test]
    fn odd_spelling_of_an_alias_finds_nothing() {
        for path in
            ["/API/session/state", "/api/session/state.", "/api/session/state;x", "/api/Switch_platform/1"]
        {
            assert_eq!(
                aliases().find(path, &Method::GET).unwrap().unwrap_err(),
                Missing::NoEndpoint,
                "{path}"
            );
        }
    }
}
