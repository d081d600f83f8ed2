//! What is known of an upstream before anything is connected: names, servers, limits, how it is spoken to.

use std::time::Duration;

use crate::secret::Secret;
use crate::signing::MessageAlgorithm;

/// A set of servers that run one application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upstream {
    /// Its name: the audience of its tokens, the info of its HMAC key, a label in metrics.
    pub name: String,
    /// `host:port` of each server, or `unix:PATH`.
    pub servers: Vec<String>,
    /// TLS towards the servers; `None` speaks in the clear.
    pub tls: Option<UpstreamTls>,
    /// Which HTTP is spoken.
    pub http: HttpVersion,
    /// The message signature sent along; `None` sends none.
    pub message_signature: Option<MessageAlgorithm>,
    /// Whether the JWT is sent along.
    pub jwt: bool,
    /// The Host that the application sees; `None` passes the client's on.
    pub host: Option<String>,
    /// Longest wait for a connection, TLS included (2 s).
    pub connect_timeout: Duration,
    /// Longest silence of the upstream before its answer and between two parts of it (60 s).
    pub read_timeout: Duration,
    /// Longest wait for the upstream to take what is sent (60 s).
    pub write_timeout: Duration,
    /// How long an idle connection is kept (30 s); stay below the application's own keep-alive time-out.
    pub idle_timeout: Duration,
    /// How many more servers are tried when one cannot be reached (1).
    pub retries: u32,
    /// How servers are watched; `None` trusts them all.
    pub health: Option<HealthCheck>,
}

/// TLS towards an upstream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UpstreamTls {
    /// The name the certificate must show, and SNI; the server's host name when `None`.
    pub server_name: Option<String>,
    /// PEM of the certificate authority; the system's roots when `None`.
    pub ca: Option<Vec<u8>>,
    /// What the proxy shows to the servers; `None` shows nothing.
    pub identity: Option<Identity>,
}

/// A certificate and its private key.
#[derive(Clone, Debug)]
pub struct Identity {
    /// PEM of the certificate and its intermediates.
    pub certificate: Vec<u8>,
    /// PEM of the private key.
    pub key: Secret,
    /// What the certificate is called in messages: its file.
    pub called: String,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.certificate == other.certificate && self.key.matches(other.key.expose())
    }
}

impl Eq for Identity {}

/// Which HTTP is spoken with an upstream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HttpVersion {
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2, with prior knowledge in the clear.
    Http2,
    /// HTTP/2 where the server offers it in TLS, HTTP/1.1 else.
    Auto,
}

/// How the servers of an upstream are watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HealthCheck {
    /// Path asked with GET, expecting a 2xx; `None` only opens a connection.
    pub path: Option<String>,
    /// Time between two checks (5 s).
    pub interval: Duration,
    /// Longest wait for the answer (2 s).
    pub timeout: Duration,
}
