//! From the raw file to settings that are valid by construction. Reads the files and variables that secrets lie in,
//! asks nobody else. Every problem is noted with its place and the walk goes on; what comes out is used only when
//! there was none.

mod formats;
mod keys;
mod own;
mod platform_from;
mod queries;
mod routes;
mod stores;
mod tables;
mod traces;
mod traffic;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::Environment;
use super::document::{Places, read_bounded};
use super::fixed::Fixed;
use super::problem::{Place, Problem, Problems, shown};
use super::raw;
use super::raw::values::SecretSource;
use super::snapshot::{Connections, LogLevel, Scheme, Snapshot};
use crate::cache::copies;
use crate::headers;
use crate::secret::Secret;
use crate::{events, policy, resolve, session};

/// The largest file that holds a secret or a certificate; real ones have a few KiB.
const LARGEST_FILE: u64 = 1024 * 1024;

/// Turns the raw file into a snapshot. What it gives is complete only if no error was noted.
pub(super) fn snapshot(
    file: &raw::File,
    places: &Places,
    environment: Environment<'_>,
    problems: &mut Problems,
    files: &mut Vec<PathBuf>,
) -> Snapshot {
    let mut judge = Judge { places, environment, problems, files, fixed: Fixed::of(file) };
    let listeners = judge.listeners(&file.listen);
    let admin = judge.admin(&file.admin, &listeners);
    let mut store = judge.store(&file.store);
    let mut directory = judge.directory(&file.directory);
    let upstreams = judge.upstreams(&file.upstream);
    let reserved_path = judge.reserved_path(file.reserved_path.as_deref());
    let routes = judge.routes(file, &reserved_path);
    let aliases = judge.aliases(&file.alias, &routes, &reserved_path);
    let keys = judge.keys(file);
    let any_tls = file.listen.iter().any(|listen| listen.tls.is_some());
    let public_scheme = match file.public_scheme {
        Some(raw::Scheme::Https) => Scheme::Https,
        None if any_tls => Scheme::Https,
        Some(raw::Scheme::Http) | None => Scheme::Http,
    };
    let session = judge.session(&file.session, public_scheme);
    let profile = judge.profile(file, &session.cookie, &keys.token, &mut store);
    directory.queries.sessions = judge.session_tables(file, &profile);
    directory.queries.passwords = Arc::new(judge.passwords(file, &profile));
    judge.people_of_others(file, profile.reads_own());
    let (limits, headers) = (judge.limits(&file.limits), judge.context(&file.context));
    let (cache, jwt_issuer) = (judge.cache(file), judge.issuer(&file.jwt.issuer));
    let upstream_positions =
        upstreams.iter().enumerate().map(|(index, upstream)| (upstream.name.clone(), index)).collect();
    Snapshot {
        listeners,
        admin,
        store,
        directory,
        profile,
        session,
        csrf: judge.csrf(&file.csrf, &keys.csrf),
        settings: judge.user_settings(&file.settings),
        routes,
        aliases,
        upstreams,
        events: events::Settings {
            per_session: file.events.streams_per_session,
            per_user: file.events.streams_per_user,
            in_all: file.events.streams,
            heartbeat: file.events.heartbeat.0,
            expiry_warning: file.events.expiry_warning.0,
        },
        limits,
        connections: Connections {
            total: file.limits.connections,
            per_address: file.limits.connections_per_address,
            streams: file.limits.streams,
            patience: judge.patience(&file.limits),
        },
        headers,
        resolve: resolve::Settings { budget: file.resolve.budget.0 },
        cache,
        keys,
        watch: file.reload.watch,
        lame_duck: file.shutdown.lame_duck.0,
        grace: file.shutdown.grace.0,
        signature_lifetime: file.signature.lifetime.0,
        jwt_lifetime: file.jwt.lifetime.0,
        jwt_issuer,
        keys_max_age: file.jwt.keys_max_age.0,
        public_jwks: file.jwt.public_jwks,
        reserved_path,
        public_scheme,
        log: match file.log.level {
            raw::Level::Error => LogLevel::Error,
            raw::Level::Warn => LogLevel::Warn,
            raw::Level::Info => LogLevel::Info,
            raw::Level::Debug => LogLevel::Debug,
            raw::Level::Trace => LogLevel::Trace,
        },
        request_log: judge.request_log(&file.log),
        traces: judge.traces(&file.traces),
        fixed: judge.fixed,
        audit_retention: file.directory.audit_retention.0,
        shown: Arc::new(serde_json::to_value(file).unwrap_or_default()),
        warnings: Vec::new(),
        upstream_positions,
    }
}

/// Judges one configuration: knows where things stand and collects what is wrong.
struct Judge<'a> {
    places: &'a Places,
    environment: Environment<'a>,
    problems: &'a mut Problems,
    /// Every file that was asked for.
    files: &'a mut Vec<PathBuf>,
    /// What cannot change while the process runs.
    fixed: Fixed,
}

impl Judge<'_> {
    /// A problem at `key`, to be completed and told.
    fn problem(&self, key: &str, what: impl Into<String>) -> Problem {
        Problem::error(self.places.find(key), key, what)
    }

    fn tell(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Tells that something is missing, unless it was written and found wrong before.
    fn tell_missing(&mut self, problem: Problem) {
        self.problems.push_unless_known(problem);
    }

    /// The variable `name`, if it is set and not empty.
    fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// The path that `written` means at `key`: relative ones begin at the directory of the file that says them.
    fn path(&self, key: &str, written: &str) -> PathBuf {
        self.places.directory(key).join(written)
    }

    /// The secret that `source` leads to.
    fn secret(&mut self, key: &str, source: &SecretSource) -> Option<Secret> {
        let bytes = match source {
            SecretSource { env: Some(name), .. } => self.secret_variable(key, name)?,
            SecretSource { file: Some(file), .. } => self.read(&format!("{key}.file"), file)?,
            SecretSource { .. } => return None,
        };
        let bytes = without_newline(bytes);
        self.fixed.note_secret(key, &bytes);
        if bytes.is_empty() {
            self.tell(
                self.problem(key, format!("the secret of `{key}` is empty"))
                    .hint("one newline at the end is not counted"),
            );
            return None;
        }
        Some(Secret::new(bytes))
    }

    fn secret_variable(&mut self, key: &str, name: &str) -> Option<Vec<u8>> {
        let key = format!("{key}.env");
        let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit());
        // What is no name may be the secret itself, put in the wrong place.
        if !is_name {
            self.tell(
                self.problem(&key, "this is not the name of an environment variable")
                    .found("a string (not shown: it may be secret)")
                    .expected("a name of letters, digits and `_`, such as \"COUNTERSIGN_TOKEN_KEY\""),
            );
            return None;
        }
        let value = (self.environment)(name);
        if value.is_none() {
            self.tell(
                self.problem(&key, format!("the environment variable {name} is not set, or is not UTF-8"))
                    .hint(format!("set {name}, or name a file: {{ file = \"PATH\" }}")),
            );
        }
        value.map(String::into_bytes)
    }

    /// The content of a file that the configuration names.
    fn read(&mut self, key: &str, written: &str) -> Option<Vec<u8>> {
        let path = self.path(key, written);
        self.files.push(path.clone());
        match read_bounded(&path, LARGEST_FILE) {
            Ok(content) => Some(content),
            Err(error) => {
                self.tell(
                    self.problem(key, format!("the file of `{key}` cannot be read: {error}"))
                        .found(shown(&path.display().to_string()))
                        .hint("check the path, and that this user may read it"),
                );
                None
            }
        }
    }

    fn session(&mut self, raw: &raw::Session, public_scheme: Scheme) -> session::Settings {
        let secure = raw.secure.unwrap_or(public_scheme == Scheme::Https);
        let fallback = if secure { "__Host-session" } else { "countersign-session" };
        let cookie = raw.cookie.clone().unwrap_or_else(|| fallback.to_owned());
        self.cookie_name(&cookie, secure);
        let (idle, absolute, touch) = (raw.idle_timeout.0, raw.absolute_timeout.0, raw.touch_interval.0);
        if idle > absolute {
            self.tell(
                self.problem("session.idle_timeout", "`idle_timeout` is longer than `absolute_timeout`")
                    .found(humantime::format_duration(idle).to_string())
                    .expected(format!("at most {}", humantime::format_duration(absolute))),
            );
        }
        if touch >= idle {
            self.tell(
                self.problem("session.touch_interval", "`touch_interval` is not shorter than `idle_timeout`")
                    .found(humantime::format_duration(touch).to_string())
                    .expected(format!("less than {}", humantime::format_duration(idle)))
                    .hint("sessions in use would be taken for idle"),
            );
        }
        if raw.rotation_grace.0 > idle {
            self.tell(
                self.problem("session.rotation_grace", "`rotation_grace` is longer than `idle_timeout`")
                    .found(humantime::format_duration(raw.rotation_grace.0).to_string())
                    .expected(format!("at most {}", humantime::format_duration(idle))),
            );
        }
        session::Settings {
            cookie,
            secure,
            idle_timeout: idle,
            absolute_timeout: absolute,
            touch_interval: touch,
            rotation_grace: raw.rotation_grace.0,
            allowances: session::Allowances {
                sessions_per_user: raw.sessions_per_user,
                when_exceeded: match raw.when_exceeded {
                    raw::WhenExceeded::EndOldest => session::WhenExceeded::EndOldest,
                    raw::WhenExceeded::Refuse => session::WhenExceeded::Refuse,
                },
                switches_per_hour: raw.platform_switches_per_hour,
                impersonation_roles: raw.impersonation_roles.clone(),
            },
        }
    }

    fn cookie_name(&mut self, name: &str, secure: bool) {
        let key = "session.cookie";
        if !is_token(name) || name.len() > 64 {
            self.tell(
                self.problem(key, "this cannot be the name of a cookie")
                    .found(shown(name))
                    .expected("1 to 64 of letters, digits and !#$%&'*+-.^_`|~ (RFC 6265)"),
            );
        }
        let lower = name.to_ascii_lowercase();
        if !secure && (lower.starts_with("__host-") || lower.starts_with("__secure-")) {
            self.tell(
                self.problem(key, "browsers accept this cookie name only over https")
                    .found(shown(name))
                    .expected("a name without `__Host-` and `__Secure-`, or a public side that is https")
                    .hint("where TLS ends before this proxy, set `public_scheme = \"https\"`"),
            );
        }
        if name.eq_ignore_ascii_case("session") {
            self.tell(
                self.problem(key, "applications often use this cookie name themselves")
                    .found(shown(name))
                    .expected("a name of its own: the application's cookie of this name would be taken away")
                    .as_warning(),
            );
        }
    }

    fn limits(&mut self, raw: &raw::Limits) -> policy::Limits {
        let (target, head) = (raw.target_bytes.as_usize(), raw.head_bytes.as_usize());
        // The HTTP library beneath refuses larger heads whatever we say (PINGORA.md, section 2).
        let bounds = [("limits.target_bytes", target, 64), ("limits.head_bytes", head, 1024)];
        for (key, found, least) in bounds {
            if !(least..=1_048_575).contains(&found) {
                self.tell(
                    self.problem(key, format!("`{key}` is out of range"))
                        .found(format!("{found} bytes"))
                        .expected(format!("{least} to 1048575 bytes")),
                );
            }
        }
        policy::Limits { target_bytes: target, head_bytes: head, head_fields: raw.head_fields }
    }

    /// The idle time of a connection is told to the HTTP library in whole seconds.
    fn patience(&mut self, raw: &raw::Limits) -> Duration {
        let found = raw.patience.0;
        if !(Duration::from_secs(1)..=Duration::from_hours(1)).contains(&found) {
            self.tell(
                self.problem("limits.patience", "`limits.patience` is out of range")
                    .found(humantime::format_duration(found).to_string())
                    .expected("1s to 1h"),
            );
        }
        found
    }

    /// Copies of entities are read again ten times in the lifetime of a record, whose end the store does not report.
    fn cache(&mut self, file: &raw::File) -> copies::Settings {
        let max_staleness = file.cache.max_staleness.0;
        if !(Duration::from_millis(5)..=Duration::from_mins(1)).contains(&max_staleness) {
            self.tell(
                self.problem("cache.max_staleness", "`cache.max_staleness` is out of range")
                    .found(humantime::format_duration(max_staleness).to_string())
                    .expected("5ms to 1m"),
            );
        }
        copies::Settings {
            max_staleness,
            degraded_lease: file.cache.degraded_lease.0,
            entity_lifetime: file.store.entity_lifetime.0 / 10,
            bytes: file.cache.bytes.0,
            entity_outage_limit: file.cache.entity_outage_limit.0,
            warm_sessions: usize::try_from(file.cache.warm_sessions).unwrap_or(usize::MAX),
        }
    }

    fn context(&mut self, raw: &raw::ContextHeaders) -> headers::Settings {
        /// Whatever begins with the prefix is taken from every request; these must never be.
        const NEEDED: [&str; 12] = [
            "accept-encoding",
            "authorization",
            "connection",
            "content-length",
            "cookie",
            "countersign-session",
            "host",
            "sec-fetch-site",
            "traceparent",
            "upgrade",
            "x-forwarded-for",
            "x-requested-with",
        ];
        let prefix = raw.prefix.clone();
        let is_lower = prefix.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let takes_too_much = NEEDED.iter().any(|name| name.starts_with(&prefix));
        if !is_lower || !prefix.ends_with('-') || prefix.len() > 40 || takes_too_much {
            self.tell(
                self.problem("context.prefix", "this cannot be the prefix of context headers")
                    .found(shown(&prefix))
                    .expected(
                        "1 to 40 lower-case letters, digits and `-`, with `-` at the end, \
                         such as \"x-context-\"; no common header may begin with it",
                    ),
            );
        }
        let budget = raw.budget.as_usize();
        if !(512..=64 * 1024).contains(&budget) {
            self.tell(
                self.problem("context.budget", "`context.budget` is out of range")
                    .found(format!("{budget} bytes"))
                    .expected("512B to 64KiB; applications refuse larger request heads"),
            );
        }
        headers::Settings { prefix, budget }
    }

    fn issuer(&mut self, issuer: &str) -> String {
        if issuer.is_empty() || issuer.len() > 256 || issuer.chars().any(char::is_control) {
            self.tell(
                self.problem("jwt.issuer", "this cannot be an issuer")
                    .found(shown(issuer))
                    .expected("1 to 256 bytes without control characters"),
            );
        }
        issuer.to_owned()
    }
}

/// A problem with the value of an environment variable.
fn variable_problem(name: &str, key: &str, what: &str) -> Problem {
    let place = Place { file: format!("environment variable {name}"), ..Place::default() };
    Problem::error(place, key, what)
}

/// One newline at the end comes from the editor, not from the secret.
fn without_newline(mut bytes: Vec<u8>) -> Vec<u8> {
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    bytes
}

/// Whether `text` is a token of HTTP (RFC 9110, section 5.6.2).
fn is_token(text: &str) -> bool {
    let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(is_token_byte)
}

/// Whether `text` can name an upstream or a key: it goes into headers, metrics and derived keys as it is.
fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// What [`is_name`] expects, for people.
const NAME_EXPECTED: &str = "1 to 64 letters, digits, `.`, `_` or `-`";
