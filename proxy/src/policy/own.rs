//! The proxy's own endpoints below the reserved path: names, paths, methods and what each asks of a request. One table,
//! from which dispatch, aliases, the `OpenAPI` description and the reference are made. It never answers anything.

use std::sync::LazyLock;

use http::Method;
use percent_encoding::percent_decode_str;

use crate::reason::Reason;

/// An endpoint of our own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Endpoint {
    /// Whose session it is, with which platform, until when, and the anti-forgery token.
    SessionState,
    /// Whether the session is valid.
    SessionValidate,
    /// Counts as use and answers the state.
    SessionHeartbeat,
    /// A fresh anti-forgery token.
    CsrfToken,
    /// Everything a front end shows about its user.
    Context,
    /// The user's platforms.
    Platforms,
    /// Chooses a platform.
    PlatformSwitch,
    /// Leaves the platform.
    PlatformClear,
    /// Settings for a platform.
    Settings,
    /// Changes some settings.
    SettingsChange,
    /// Replaces all settings.
    SettingsReplace,
    /// Figures about a platform.
    Stats,
    /// The user's sessions.
    Sessions,
    /// Ends another session of the user.
    SessionEnd,
    /// Ends this session.
    Logout,
    /// Ends all sessions of the user.
    LogoutEverywhere,
    /// What happens, as it happens.
    Events,
    /// The public keys.
    PublicKeys,
    /// This interface, described.
    Description,
}

/// Whom an endpoint answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Audience {
    /// Everybody; no cookie is read.
    Everybody,
    /// Everybody, and it says who it is; only "could not find out" is refused.
    Anybody,
    /// Whoever has a session.
    Session,
}

/// One line of the table.
#[derive(Clone, Debug)]
pub struct Line {
    /// Which endpoint.
    pub endpoint: Endpoint,
    /// Its name in aliases, logs, metrics and the description.
    pub name: &'static str,
    /// Its method. GET also answers HEAD, but for a stream.
    pub method: Method,
    /// Its path below the reserved one; a segment `{id}` is a parameter.
    pub path: &'static str,
    /// Whom it answers.
    pub audience: Audience,
    /// Whether it reads a JSON object from the body; others never look at one.
    pub body: bool,
    /// What it does, in one sentence.
    pub summary: &'static str,
}

impl Line {
    /// Whether it changes something, or might: then it has to be shown where a request comes from.
    #[must_use]
    pub fn is_unsafe(&self) -> bool {
        self.method != Method::GET
    }

    /// Whether its path has a parameter.
    #[must_use]
    pub fn has_parameter(&self) -> bool {
        self.path.split('/').any(is_parameter)
    }
}

/// A request's way to an endpoint.
#[derive(Clone, Debug)]
pub struct Call {
    /// The line of the table.
    pub line: &'static Line,
    /// The parameter in the path, decoded.
    pub parameter: Option<String>,
    /// Whether it came by an alias.
    pub alias: bool,
}

/// What is at a path, when no line serves the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Missing {
    /// Nothing.
    NoEndpoint,
    /// Something for other methods: what `Allow` says.
    Method(String),
}

impl Missing {
    /// The reason of the refusal.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NoEndpoint => Reason::NoRoute,
            Self::Method(_) => Reason::MethodNotAllowed,
        }
    }
}

/// Finds the endpoint for `method` at `path`, which is canonical and follows the reserved path without a slash.
///
/// # Errors
/// What is there instead.
pub fn find(path: &str, method: &Method) -> Result<Call, Missing> {
    let mut answers_head = false;
    let mut allowed: Vec<&str> = Vec::new();
    for line in lines() {
        let Some(parameter) = parameter_in(line.path, path) else { continue };
        if serves(line, method) {
            return Ok(Call { line, parameter, alias: false });
        }
        allowed.push(line.method.as_str());
        answers_head |= serves(line, &Method::HEAD);
    }
    if allowed.is_empty() {
        return Err(Missing::NoEndpoint);
    }
    if answers_head {
        allowed.push("HEAD");
    }
    Err(Missing::Method(allowed.join(", ")))
}

/// The line called `name`.
#[must_use]
pub fn named(name: &str) -> Option<&'static Line> {
    lines().iter().find(|line| line.name == name)
}

/// Whether a line answers this method.
pub(in crate::policy) fn serves(line: &Line, method: &Method) -> bool {
    let answers_head = line.method == Method::GET && line.endpoint != Endpoint::Events;
    line.method == *method || (answers_head && *method == Method::HEAD)
}

/// Whether a segment of a pattern stands for any one segment.
pub(in crate::policy) fn is_parameter(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}

/// Compares a path with a pattern, segment by segment. `None`: it does not fit. `Some(None)`: it fits, and the pattern
/// has no parameter. A parameter is never empty.
#[expect(clippy::option_option, reason = "whether it fits, and what with; callers pass the inner one on")]
pub(in crate::policy) fn parameter_in(pattern: &str, path: &str) -> Option<Option<String>> {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    let mut parameter = None;
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return Some(parameter),
            (Some(expected), Some(found)) if is_parameter(expected) && !found.is_empty() => {
                // Accepted targets decode to UTF-8 without control characters.
                parameter = Some(percent_decode_str(found).decode_utf8().ok()?.into_owned());
            }
            (Some(expected), Some(found)) if decoded_is(found, expected) => {}
            _ => return None,
        }
    }
}

/// Whether a segment of a path says `expected`: `%61` and `a` are the same (RFC 3986, section 6.2.2.2).
fn decoded_is(segment: &str, expected: &str) -> bool {
    segment == expected || percent_decode_str(segment).eq(expected.bytes())
}

/// Every endpoint, in the order of the documentation.
#[must_use]
pub fn lines() -> &'static [Line] {
    &LINES
}

static LINES: LazyLock<Vec<Line>> = LazyLock::new(|| {
    use Audience::{Anybody, Everybody, Session};
    use Endpoint as E;
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let (patch, delete) = (Method::PATCH, Method::DELETE);
    let line = |endpoint, name, method: &Method, path, audience, body, summary| Line {
        endpoint,
        name,
        method: method.clone(),
        path,
        audience,
        body: body == "json",
        summary,
    };
    vec![
        line(
            E::SessionState,
            "session-state",
            &get,
            "session",
            Anybody,
            "",
            "Who is logged in, with which platform, since when and until when; not a use of the session",
        ),
        line(
            E::SessionValidate,
            "session-validate",
            &get,
            "session/validate",
            Anybody,
            "",
            "Whether the session is valid, and if not, why",
        ),
        line(
            E::SessionValidate,
            "session-validate",
            &post,
            "session/validate",
            Anybody,
            "",
            "The same, for those who ask with POST",
        ),
        line(
            E::SessionHeartbeat,
            "session-heartbeat",
            &post,
            "session/heartbeat",
            Session,
            "",
            "Counts as a use of the session, so that it does not time out, and answers its state",
        ),
        line(
            E::CsrfToken,
            "csrf-token",
            &get,
            "csrf-token",
            Session,
            "",
            "A fresh anti-forgery token for this session",
        ),
        line(
            E::Context,
            "context",
            &get,
            "context",
            Anybody,
            "",
            "What a front end shows: user, platforms, the platform in force, how many, and whether something is missing",
        ),
        line(
            E::Platforms,
            "platforms",
            &get,
            "platforms",
            Session,
            "",
            "The user's active platforms, the default one first",
        ),
        line(
            E::PlatformSwitch,
            "platform-switch",
            &post,
            "platforms/{id}/switch",
            Session,
            "",
            "Works with this platform from now on",
        ),
        line(
            E::PlatformSwitch,
            "platform-choose",
            &put,
            "platform",
            Session,
            "json",
            "The same, with the platform in the body, and on demand only if the session is still at a version",
        ),
        line(
            E::PlatformClear,
            "platform-clear",
            &delete,
            "platform",
            Session,
            "",
            "Works with the user's default platform again, or with none where there is none",
        ),
        line(
            E::Settings,
            "settings",
            &get,
            "settings",
            Session,
            "",
            "The settings for the platform in force",
        ),
        line(
            E::SettingsChange,
            "settings-change",
            &patch,
            "settings",
            Session,
            "json",
            "Changes the settings that are named and keeps all others (RFC 7396)",
        ),
        line(
            E::SettingsReplace,
            "settings-replace",
            &put,
            "settings",
            Session,
            "json",
            "Replaces the settings",
        ),
        line(
            E::Settings,
            "platform-settings",
            &get,
            "platforms/{id}/settings",
            Session,
            "",
            "The settings for one of the user's platforms",
        ),
        line(
            E::SettingsChange,
            "platform-settings-change",
            &patch,
            "platforms/{id}/settings",
            Session,
            "json",
            "Changes the settings that are named for one of the user's platforms",
        ),
        line(
            E::SettingsReplace,
            "platform-settings-replace",
            &put,
            "platforms/{id}/settings",
            Session,
            "json",
            "Replaces the settings for one of the user's platforms",
        ),
        line(
            E::Stats,
            "stats",
            &get,
            "stats",
            Session,
            "",
            "Figures about the platform in force, up to five minutes old",
        ),
        line(
            E::Stats,
            "platform-stats",
            &get,
            "platforms/{id}/stats",
            Session,
            "",
            "Figures about one of the user's platforms",
        ),
        line(E::Sessions, "sessions", &get, "sessions", Session, "", "The user's sessions, newest first"),
        line(
            E::SessionEnd,
            "session-end",
            &delete,
            "sessions/{id}",
            Session,
            "",
            "Ends another session of the user",
        ),
        line(
            E::Logout,
            "logout",
            &post,
            "logout",
            Session,
            "",
            "Ends this session and takes the cookie away",
        ),
        line(
            E::LogoutEverywhere,
            "logout-everywhere",
            &post,
            "logout/everywhere",
            Session,
            "",
            "Ends every session of the user, this one included",
        ),
        line(
            E::Events,
            "events",
            &get,
            "events",
            Session,
            "",
            "What happens to the session and the user's settings, as server-sent events or as a WebSocket; not a use of the session",
        ),
        line(
            E::PublicKeys,
            "public-keys",
            &get,
            "jwks.json",
            Everybody,
            "",
            "The public keys of signatures and JWTs, where they are public",
        ),
        line(
            E::Description,
            "description",
            &get,
            "openapi.json",
            Everybody,
            "",
            "This interface as an OpenAPI document",
        ),
    ]
});

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn found(method: &Method, path: &str) -> (&'static str, Option<String>) {
        let call = find(path, method).unwrap();
        (call.line.name, call.parameter)
    }

    #[test]
    fn a_path_and_a_method_lead_to_one_line() {
        for (method, path, name, parameter) in [
            (Method::GET, "session", "session-state", None),
            (Method::HEAD, "session", "session-state", None),
            (Method::POST, "platforms/12/switch", "platform-switch", Some("12")),
            (Method::POST, "platforms/a%20b/%73witch", "platform-switch", Some("a b")),
            (Method::DELETE, "platform", "platform-clear", None),
            (Method::PATCH, "platforms/12/settings", "platform-settings-change", Some("12")),
        ] {
            assert_eq!(found(&method, path), (name, parameter.map(str::to_owned)), "{method} {path}");
        }
    }

    #[test]
    fn what_is_not_there_says_so_and_what_is_says_its_methods() {
        for path in ["", "sessio", "session/", "Session", "platforms//switch", "platforms/1/switch/2"] {
            assert_eq!(find(path, &Method::GET).unwrap_err(), Missing::NoEndpoint, "{path}");
        }
        let missing = find("settings", &Method::DELETE).unwrap_err();
        assert_eq!(missing, Missing::Method("GET, PATCH, PUT, HEAD".to_owned()));
        assert_eq!(find("logout", &Method::GET).unwrap_err().reason(), Reason::MethodNotAllowed);
        // A stream has no head that is worth asking for.
        for method in [Method::HEAD, Method::POST] {
            assert_eq!(find("events", &method).unwrap_err(), Missing::Method("GET".to_owned()), "{method}");
        }
    }

    #[test]
    fn names_and_places_are_used_once() {
        let mut places = HashSet::new();
        for line in lines() {
            assert!(places.insert((line.path, line.method.clone())), "{}", line.name);
            assert_eq!(line.is_unsafe(), ![Method::GET].contains(&line.method));
            assert!(!line.body || line.is_unsafe(), "{}", line.name);
            assert_eq!(named(line.name).map(|first| first.endpoint), Some(line.endpoint));
        }
    }
}
