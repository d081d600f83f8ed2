//! Mirror of what describes traffic in the configuration file: listeners, upstreams, routes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{Address, Cidr, MethodName, OneOrMany, Size, Span, Switch};

/// `[[listen]]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Listen {
    /// Address and port. Either this or `socket`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<Address>,
    /// Path of a Unix socket, made when the proxy starts. Either this or `address`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<String>,
    /// Who may connect to the Unix socket, as `chmod` writes it. Default: `"0660"`, the user and the group of the proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket_mode: Option<String>,
    /// TLS; HTTP/2 is then offered beside HTTP/1.1. Default: in the clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<ListenTls>,
    /// Whether this listener speaks cleartext HTTP/2 with prior knowledge beside HTTP/1.1.
    pub(crate) h2c: bool,
    /// Networks of the proxies in front of this one whose `Forwarded` and `X-Forwarded-*` are believed.
    pub(crate) trusted_proxies: Vec<Cidr>,
    /// Networks of the balancers in front of this one that begin each connection with a PROXY protocol header (version 1
    /// or 2). From there the header must come; from anywhere else it is refused. On a Unix socket, any network here means
    /// that every connection begins so.
    pub(crate) proxy_protocol: Vec<Cidr>,
}

/// TLS of a listener.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificate", "key"]))]
pub(crate) struct ListenTls {
    /// PEM file of the certificate, followed by its intermediates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
    /// PEM file of the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    /// Further certificates. The client's server name (SNI) chooses by the names that the certificates bear, exact names
    /// before wildcards; where none fits, `certificate` is shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) more_certificates: Vec<CertificateAndKey>,
    /// PEM file of the authorities whose client certificates are accepted. Default: clients are not asked for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) client_ca: Option<String>,
    /// Whether clients must show a certificate, where `client_ca` is set.
    pub(crate) client_certificate: ClientCertificate,
}

/// A certificate and its key.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["certificate", "key"]))]
pub(crate) struct CertificateAndKey {
    /// PEM file of the certificate, followed by its intermediates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
    /// PEM file of the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// What is asked of clients.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientCertificate {
    /// A certificate is welcome; applications see whether there was one.
    #[default]
    Optional,
    /// Without a certificate there is no connection.
    Required,
}

/// `[[upstream]]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "servers"]))]
pub(crate) struct Upstream {
    /// Name: 1 to 64 letters, digits, `.`, `_` or `-`. It is the audience of this application's JWTs, goes into its
    /// HMAC key, and is a label in metrics.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// `host:port` of each server, or `unix:PATH` of a socket; at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) servers: Option<Vec<String>>,
    /// TLS towards the servers: `true`, or a table with particulars. Default: in the clear.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Switch<UpstreamTls>>,
    /// Which HTTP is spoken with the servers. `auto` needs TLS.
    pub(crate) http: Http,
    /// What proves to the application that the context is ours.
    pub(crate) sign: Vec<Sign>,
    /// The algorithm of the message signature.
    pub(crate) signature_algorithm: SignatureAlgorithm,
    /// The Host that the application sees. Default: what the client asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// The longest wait for a connection, TLS included.
    pub(crate) connect_timeout: Span,
    /// The longest silence of the application before its answer and between two parts of it.
    pub(crate) read_timeout: Span,
    /// The longest wait for the application to take what is sent.
    pub(crate) write_timeout: Span,
    /// How long an idle connection is kept; stay below the application's own keep-alive time-out.
    pub(crate) idle_timeout: Span,
    /// How many more servers are tried when one cannot be reached.
    #[schemars(range(max = 16))]
    pub(crate) retries: u32,
    /// How the servers are watched. Default: they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Health>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            name: None,
            servers: None,
            tls: None,
            http: Http::One,
            sign: vec![Sign::HttpMessageSignature, Sign::Jwt],
            signature_algorithm: SignatureAlgorithm::HmacSha256,
            host: None,
            connect_timeout: Span::from_secs(2),
            read_timeout: Span::from_secs(60),
            write_timeout: Span::from_secs(60),
            idle_timeout: Span::from_secs(30),
            retries: 1,
            health: None,
        }
    }
}

/// TLS towards an upstream.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UpstreamTls {
    /// PEM file of the certificate authority. Default: the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
    /// The name that the certificate must show. Default: the server's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<String>,
    /// PEM file of the certificate that the proxy shows to the servers. Needs `key`. Default: it shows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<String>,
    /// PEM file of the private key of `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
}

/// A version of HTTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Http {
    /// HTTP/1.1.
    #[serde(rename = "1")]
    One,
    /// HTTP/2; with prior knowledge where there is no TLS.
    #[serde(rename = "2")]
    Two,
    /// HTTP/2 where the server offers it in TLS, else HTTP/1.1.
    #[serde(rename = "auto")]
    Auto,
}

/// A proof of the context.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Sign {
    /// An RFC 9421 signature over the request and its context headers.
    HttpMessageSignature,
    /// A JSON Web Token about the session.
    Jwt,
}

/// An algorithm of message signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) enum SignatureAlgorithm {
    /// With a key per application that the proxy and the application share.
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// With a private key that only the proxy has.
    #[serde(rename = "ed25519")]
    Ed25519,
}

/// How servers are watched.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Health {
    /// Path asked with GET, which must answer 2xx. Default: only a connection is opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Time between two checks.
    pub(crate) interval: Span,
    /// The longest wait for the answer.
    pub(crate) timeout: Span,
}

impl Default for Health {
    fn default() -> Self {
        Self { path: None, interval: Span::from_secs(5), timeout: Span::from_secs(2) }
    }
}

/// `[[route]]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path", "upstream"]))]
pub(crate) struct Route {
    /// Label in logs and metrics. Default: made of methods, host and path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// Host or list of hosts, without port; `*.` in front covers every host below. Default: every host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<OneOrMany>,
    /// Path; whole segments match: `/admin/` covers `/admin` and everything below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Methods that are served. Default: all but TRACE and CONNECT.
    pub(crate) methods: Vec<MethodName>,
    /// Name of the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) upstream: Option<String>,
    /// What a request must bring: one word, or a table with several demands.
    pub(crate) require: Require,
    /// Whether the requirement is held to: `enforce`, or `report`, which resolves, signs, counts and logs what would have
    /// been refused, and forwards it all the same. For comparing before switching on.
    pub(crate) mode: Mode,
    /// Whether the upstream may start, change and end sessions from here with the `countersign-session` header. For
    /// login and logout only.
    pub(crate) session_authority: bool,
    /// Whether requests that change something must come from a page of this site, and with a session also carry its
    /// anti-forgery token in `x-csrf-token`.
    pub(crate) csrf: bool,
    /// Path to which a browser is sent to log in. Default: it is answered with 401.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) login: Option<String>,
    /// Path to which a browser is sent to choose a platform. Default: it is answered with 403.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) choose_platform: Option<String>,
    /// Takes the platform from the request instead of from the session, whose choice is ignored then: two tabs can work
    /// with two platforms. What is not an active platform of the user is answered with 403. Needs a `require` that asks
    /// for a platform.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform_from: Option<PlatformFrom>,
    /// What is sent along besides the usual context headers: `settings`, `stats`. Both are JSON and count towards
    /// `context.budget`.
    pub(crate) context: Vec<ContextExtra>,
    /// Whether the opened credential of the platform is sent along. Give it to no application that does not need it.
    pub(crate) platform_authorization: bool,
    /// Whether WebSockets may pass: `true` for the request's own origin, `false`, or a table with further origins.
    pub(crate) websocket: Switch<Websocket>,
    /// Which origins may read the proxy's own answers. Default: only the request's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cors: Option<Cors>,
    /// The largest request body. Default: without limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) body_limit: Option<Size>,
    /// The longest silence of the application, for this route. Default: what the upstream says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) read_timeout: Option<Span>,
}

/// What becomes of a request that does not meet a route's requirement.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// It is refused.
    #[default]
    Enforce,
    /// It is forwarded with the context as found, and reported.
    Report,
}

impl Default for Route {
    fn default() -> Self {
        Self {
            name: None,
            host: None,
            path: None,
            methods: Vec::new(),
            upstream: None,
            require: Require::Word(RequireWord::Session),
            mode: Mode::Enforce,
            session_authority: false,
            csrf: false,
            login: None,
            choose_platform: None,
            platform_from: None,
            context: Vec::new(),
            platform_authorization: false,
            websocket: Switch::Plain(true),
            cors: None,
            body_limit: None,
            read_timeout: None,
        }
    }
}

/// Where the platform of a request is named; one of the three.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
pub(crate) struct PlatformFrom {
    /// A header, such as `x-platform`. It is removed before the request is forwarded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) header: Option<String>,
    /// A segment of the path below the route's own, counted from 0: 1 is `42` in `/p/42/posts`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path_segment: Option<usize>,
    /// A label of the host that the `*` of the route's host stands for, counted from 0: 0 is `42` in
    /// `42.app.example.org`. Hosts are lower case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host_label: Option<usize>,
}

/// A part of the context that is sent only where it is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ContextExtra {
    /// The user's settings for the platform.
    Settings,
    /// Figures about the user's platform.
    Stats,
}

/// What a request must bring.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Require {
    /// In one word.
    Word(RequireWord),
    /// A session, and perhaps more.
    Table(RequireTable),
}

/// A requirement in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RequireWord {
    /// Nothing; no store is asked.
    Nothing,
    /// A session if there is one; also lets everybody else through.
    Optional,
    /// A session.
    Session,
    /// A session with a platform.
    Platform,
}

/// A session, and perhaps more.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct RequireTable {
    /// A session; always so, here only for being said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<bool>,
    /// A platform.
    pub(crate) platform: bool,
    /// At least one of these roles.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) roles: Option<Vec<String>>,
    /// A login no longer ago than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) recent_login: Option<Span>,
}

/// WebSockets of foreign origins.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Websocket {
    /// Origins that may open a WebSocket besides the request's own, such as `https://app.example.org`.
    pub(crate) origins: Vec<String>,
}

/// Cross-origin answers.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["origins"]))]
pub(crate) struct Cors {
    /// Origins, such as `https://app.example.org`; at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) origins: Option<Vec<String>>,
    /// Whether a preflight request passes to the application although it brings no session.
    pub(crate) preflight: bool,
}
