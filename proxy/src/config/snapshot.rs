//! The configuration in force: whole, valid, immutable. Each request keeps one from its first byte to its last.
//! Made only by `config`; nothing here reads files, and no secret in it can be printed.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::fixed::Fixed;
use super::problem::Problem;
use crate::cache::copies;
pub use crate::headers::forwarded::Scheme;
use crate::keys::{Key, SigningKey};
use crate::lifecycle::settings::Schema;
use crate::policy::Limits;
use crate::policy::route::RouteTable;
use crate::policy::route::alias::Aliases;
use crate::secret::Secret;
use crate::session::profile::Profile;
use crate::telemetry::traces::{self, Share};
use crate::upstream::{Identity, Upstream};
use crate::{directory, headers, resolve, session, store};

/// Everything that a request, or the assembly of the server, may know of the configuration.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Where requests are accepted; at least one.
    pub listeners: Vec<Listener>,
    /// The listener for operators.
    pub admin: Admin,
    /// How to reach the store.
    pub store: store::Settings,
    /// How to reach the directory.
    pub directory: directory::Settings,
    /// How sessions look and how long they last.
    pub session: session::Settings,
    /// How anti-forgery tokens are made and judged.
    pub csrf: session::csrf::Settings,
    /// What users' settings for a platform may be.
    pub settings: Schema,
    /// How a request's claim to a session is read.
    pub profile: Profile,
    /// Which route a request takes.
    pub routes: RouteTable,
    /// Further paths of our own endpoints.
    pub aliases: Aliases,
    /// The applications, in the order of the file. Their names are unique.
    pub upstreams: Vec<Upstream>,
    /// Event streams of our own.
    pub events: crate::events::Settings,
    /// Limits on what is accepted at all.
    pub limits: Limits,
    /// Limits on connections.
    pub connections: Connections,
    /// How context headers look.
    pub headers: headers::Settings,
    /// How long resolving may take.
    pub resolve: resolve::Settings,
    /// How far copies in this process are believed.
    pub cache: copies::Settings,
    /// Key material.
    pub keys: Keys,
    /// How long after it was made a message signature expires (30 s).
    pub signature_lifetime: Duration,
    /// How long after it was made a JWT expires (60 s).
    pub jwt_lifetime: Duration,
    /// The issuer of JWTs.
    pub jwt_issuer: String,
    /// How long verifiers may keep the public keys (5 min).
    pub keys_max_age: Duration,
    /// Whether the public keys are served on the public listeners as well.
    pub public_jwks: bool,
    /// Path of the proxy's own endpoints; begins and ends with `/`.
    pub reserved_path: String,
    /// How browsers reach this proxy.
    pub public_scheme: Scheme,
    /// The least that is logged.
    pub log: LogLevel,
    /// Which requests get a line.
    pub request_log: RequestLog,
    /// What is recorded of requests, and where that goes; `None` records nothing.
    pub traces: Option<std::sync::Arc<traces::Settings>>,
    /// How long lines of the audit log are kept (a year).
    pub audit_retention: Duration,
    /// The whole configuration with its defaults, for people: sources of secrets, never a secret.
    pub shown: std::sync::Arc<serde_json::Value>,
    /// Whether changed files are read again by themselves.
    pub watch: bool,
    /// How long after SIGTERM requests are still accepted (5 s).
    pub lame_duck: Duration,
    /// How long requests under way may take to finish after that (30 s).
    pub grace: Duration,
    /// What cannot change while the process runs.
    pub fixed: Fixed,
    /// What is probably not as it was meant, though it can be used.
    pub warnings: Vec<Problem>,
    /// Position of each upstream in `upstreams` by name.
    pub(super) upstream_positions: HashMap<String, usize>,
}

impl Snapshot {
    /// The listener behind a local address: the one bound to it, else the one bound to every address of its port.
    pub fn listener(&self, local: SocketAddr) -> Option<&Listener> {
        let exact = self.listeners.iter().find(|listener| listener.place == Listening::Tcp(local));
        let wide = |listener: &&Listener| match &listener.place {
            Listening::Tcp(address) => address.port() == local.port() && address.ip().is_unspecified(),
            Listening::Unix { .. } => false,
        };
        exact.or_else(|| self.listeners.iter().find(wide))
    }

    /// The upstream called `name`. Every route's upstream is there.
    pub fn upstream(&self, name: &str) -> Option<&Upstream> {
        self.upstreams.get(*self.upstream_positions.get(name)?)
    }
}

/// What is told of requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestLog {
    /// The share of successful ones that get a line (all).
    pub successes: Share,
    /// Those that take as long as this are warnings, with the time of each step; `None` times no steps.
    pub slow: Option<Duration>,
}

/// Limits on connections of clients; a count of `None` is without limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connections {
    /// Open ones in all.
    pub total: Option<usize>,
    /// Open ones from one address.
    pub per_address: Option<usize>,
    /// Requests under way on one HTTP/2 connection (100).
    pub streams: u32,
    /// How long clients are waited for (1 min).
    pub patience: Duration,
}

/// Where requests are accepted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Listening {
    /// Address and port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Where it lies.
        path: PathBuf,
        /// Its permissions (0660).
        mode: u32,
    },
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { path, .. } => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A place where requests are accepted, and how.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Where.
    pub place: Listening,
    /// TLS; `None` is in the clear.
    pub tls: Option<ListenerTls>,
    /// Whether it speaks cleartext HTTP/2 with prior knowledge beside HTTP/1.1.
    pub h2c: bool,
    /// Whose `Forwarded` and `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whose connections begin with a PROXY protocol header.
    pub proxy_protocol: Vec<IpNet>,
}

/// TLS of a listener, as the files said when the configuration was loaded.
#[derive(Clone, Debug)]
pub struct ListenerTls {
    /// Certificates with their keys, the one for unknown names first; at least one.
    pub certificates: Vec<Identity>,
    /// PEM of the authorities of client certificates; `None` asks for none.
    pub client_ca: Option<Vec<u8>>,
    /// Whether clients must show one.
    pub client_required: bool,
}

/// The listener for operators.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Address and port.
    pub address: SocketAddr,
    /// Bearer token; `None` only on loopback.
    pub token: Option<Secret>,
}

/// Key material, each list newest first.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Make session tokens self-checking; never empty.
    pub token: Vec<Key>,
    /// Anti-forgery tokens.
    pub csrf: Vec<Key>,
    /// Seal platform credentials.
    pub sealing: Vec<Key>,
    /// Root keys of HMAC message signatures; not empty when an upstream is signed for in this way.
    pub hmac: Vec<Key>,
    /// Sign JWTs; not empty when an upstream is sent JWTs.
    pub jwt: Vec<SigningKey>,
    /// Sign messages with Ed25519; not empty when an upstream asks for it.
    pub message: Vec<SigningKey>,
    /// Fernet keys in their usual text form, for reading only.
    pub fernet: Vec<Secret>,
}

/// The least that is logged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LogLevel {
    /// What needs somebody.
    Error,
    /// What may need somebody soon.
    Warn,
    /// One line a request, and what changes.
    Info,
    /// For finding a fault.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Whether the line of each request is logged, which is information.
    #[must_use]
    pub const fn shows_requests(self) -> bool {
        !matches!(self, Self::Error | Self::Warn)
    }

    /// The level as filters write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}
