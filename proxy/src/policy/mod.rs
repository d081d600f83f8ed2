//! What a request may be and what a route demands. Pure: requests in, decisions out.

pub mod accept;
pub mod decide;
pub mod host;
pub mod origin;
pub mod own;
pub mod platform_source;
pub mod proxy_header;
pub mod route;
pub mod target;
pub mod wire;

use std::time::Duration;

use http::Method;

pub use platform_source::PlatformSource;

/// What a route asks of the context.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Requirement {
    /// Nothing: no store is asked.
    Nothing,
    /// A context if there is one.
    Optional,
    /// A session, and perhaps more.
    Session(Demands),
}

/// What a route asks beyond a session.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Demands {
    /// A platform.
    pub platform: bool,
    /// At least one of these roles; empty asks for none.
    pub roles: Vec<String>,
    /// A login no longer ago than this.
    pub recent_login: Option<Duration>,
}

/// Cross-origin answers of our own: which origins may read them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cors {
    /// Origins, as browsers send them (`https://app.example.org`).
    pub origins: Vec<String>,
    /// Whether a preflight without a session is passed on to the upstream.
    pub preflight: bool,
}

/// One route as configured.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own in the configuration")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Label in metrics and logs; unique.
    pub name: String,
    /// Host it serves; `None` serves every host. Lower case, without port; `*.` in front covers one or more labels.
    pub host: Option<String>,
    /// Path it serves, whole segments: `/admin/` covers `/admin` and everything below.
    pub path: String,
    /// Methods it serves; empty serves every method (but TRACE and CONNECT).
    pub methods: Vec<Method>,
    /// Name of the upstream it leads to.
    pub upstream: String,
    /// What it asks for.
    pub requirement: Requirement,
    /// Whether a request that would be refused for what it lacks is forwarded all the same, and only reported.
    pub only_reports: bool,
    /// Whether the upstream may start, change and end sessions by directives.
    pub session_authority: bool,
    /// Whether unsafe requests must show that no other site made them.
    pub csrf: bool,
    /// Path a browser is sent to when it has to log in.
    pub login: Option<String>,
    /// Path a browser is sent to when it has to choose a platform.
    pub choose_platform: Option<String>,
    /// Where the platform is taken from instead of from the session.
    pub platform_from: Option<PlatformSource>,
    /// What is sent along about the user's platform.
    pub extras: ContextExtras,
    /// Whether the opened platform credential is sent along.
    pub platform_authorization: bool,
    /// Whether WebSocket upgrades may pass.
    pub websocket: bool,
    /// Origins that may open a WebSocket besides the request's own.
    pub websocket_origins: Vec<String>,
    /// Who may read our own answers across origins.
    pub cors: Option<Cors>,
    /// Largest request body in bytes; `None` is without limit.
    pub body_limit: Option<u64>,
    /// How long the upstream may be silent before its answer and between two parts of it.
    pub read_timeout: Option<Duration>,
}

/// Parts of the context that a route asks for, because not every application needs them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ContextExtras {
    /// The user's settings for the platform.
    pub settings: bool,
    /// Figures about the user's platform.
    pub stats: bool,
}

#[cfg(test)]
impl Route {
    /// A route for everything that asks for nothing, to be changed by tests.
    pub(crate) fn example() -> Self {
        Self {
            name: "example".to_owned(),
            host: None,
            path: "/".to_owned(),
            methods: Vec::new(),
            upstream: "app".to_owned(),
            requirement: Requirement::Nothing,
            only_reports: false,
            session_authority: false,
            csrf: false,
            login: None,
            choose_platform: None,
            platform_from: None,
            extras: ContextExtras::default(),
            platform_authorization: false,
            websocket: false,
            websocket_origins: Vec::new(),
            cors: None,
            body_limit: None,
            read_timeout: None,
        }
    }
}

/// Limits on what is accepted at all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Largest request target in bytes (8 KiB).
    pub target_bytes: usize,
    /// Largest header section in bytes (32 KiB).
    pub head_bytes: usize,
    /// Largest number of header fields (100).
    pub head_fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { target_bytes: 8 * 1024, head_bytes: 32 * 1024, head_fields: 100 }
    }
}
