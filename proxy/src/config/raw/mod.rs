//! Mirror of the configuration file. The comments on its fields are the documentation that operators read: they end
//! up in config/schema.json and config/reference.md. Nothing here judges; that is `shape` and `validate`.

pub(crate) mod events;
pub(crate) mod formats;
pub(crate) mod own;
pub(crate) mod process;
pub(crate) mod queries;
pub(crate) mod traces;
pub(crate) mod traffic;
pub(crate) mod values;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use events::{Events, WhenExceeded};
use own::{Alias, Csrf, UserSettings};
pub(crate) use process::{Level, Limits};
use process::{Log, Reload, Shutdown};
pub(crate) use queries::DirectoryKind;
use traffic::{Listen, Route, Upstream};
use values::{Address, Moment, SecretSource, SecretText, Size, Span, SpanOrZero, Switch};

/// Configuration of Countersign.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "Countersign configuration", extend("required" = ["listen"]))]
pub(crate) struct File {
    /// Further files, relative to this one. Tables are put together key by key, lists of tables end to end; a key that
    /// is set twice is an error.
    pub(crate) include: Vec<String>,
    /// Whether browsers reach this proxy over `http` or `https`. Default: `https` when any listener has TLS, else
    /// `http`. Set it to `https` where TLS ends before this proxy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) public_scheme: Option<Scheme>,
    /// Path under which the proxy's own endpoints live on every host. Routes cannot lie below it.
    #[schemars(extend("default" = DEFAULT_RESERVED_PATH))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reserved_path: Option<String>,
    /// Addresses on which requests are accepted; at least one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) listen: Vec<Listen>,
    /// The listener for operators: health, metrics, public keys and the admin API.
    pub(crate) admin: Admin,
    /// Where sessions are shared by all proxies and entities are cached.
    pub(crate) store: Store,
    /// Where users, platforms and sessions are kept for good.
    pub(crate) directory: Directory,
    /// How sessions look and how long they last.
    pub(crate) session: Session,
    /// Anti-forgery tokens.
    pub(crate) csrf: Csrf,
    /// Key material. Each list has the newest key first; the first one is used, all of them are accepted.
    pub(crate) keys: Keys,
    /// The applications behind the proxy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) upstream: Vec<Upstream>,
    /// What a request matches and what it must bring. The longest path wins; two routes that match the same request
    /// equally well are an error.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) route: Vec<Route>,
    /// Further paths of the proxy's own endpoints, so that an existing front end keeps working. None may be the path of
    /// a route.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) alias: Vec<Alias>,
    /// What users' settings for a platform may be.
    pub(crate) settings: UserSettings,
    /// Event streams of the proxy's own.
    pub(crate) events: Events,
    /// Limits on what is accepted at all.
    pub(crate) limits: Limits,
    /// The context headers that applications receive.
    pub(crate) context: ContextHeaders,
    /// How a session is looked up.
    pub(crate) resolve: Resolve,
    /// The copies of sessions, users and platforms in the memory of this process.
    pub(crate) cache: Cache,
    /// RFC 9421 message signatures.
    pub(crate) signature: Signature,
    /// JSON Web Tokens for applications.
    pub(crate) jwt: Jwt,
    /// What is logged.
    pub(crate) log: Log,
    /// What is recorded of requests for a collector of traces, and W3C Trace Context.
    pub(crate) traces: traces::Traces,
    /// When this file is read again.
    pub(crate) reload: Reload,
    /// How the process ends.
    pub(crate) shutdown: Shutdown,
}

/// Where the proxy's own endpoints live by default.
pub(crate) const DEFAULT_RESERVED_PATH: &str = "/.countersign/";

/// A scheme of the web.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// With TLS.
    Https,
}

/// `[admin]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Admin {
    /// Address of the admin listener. Anything but loopback needs a `token`.
    pub(crate) address: Address,
    /// Bearer token of the admin API, at least 16 bytes. Live, ready, metrics and public keys need none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<SecretSource>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: Address(([127, 0, 0, 1], 9901).into()), token: None }
    }
}

/// `[store]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Store {
    /// Which kind of store. `embedded` is the memory of this process, in front of the directory: for one proxy alone.
    pub(crate) kind: StoreKind,
    /// Redis: `redis://` or `rediss://` URL with user, password and database. Instead of `host` and the keys below it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<SecretText>,
    /// Redis: host. Where it is absent, the environment variable `REDIS_HOST` supplies it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) host: Option<String>,
    /// Redis: port. Default: `REDIS_PORT`, else 6379.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// Redis: number of the database. Default: `REDIS_DB`, else 0.
    #[schemars(range(min = 0, max = 65535))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) database: Option<i64>,
    /// Redis: ACL user. Default: the server's default user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) username: Option<String>,
    /// Redis: password. Default: `REDIS_PASSWORD`, else none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) password: Option<SecretSource>,
    /// Redis: TLS, `true` or a table with a certificate authority. Default: what the URL says, or `REDIS_SSL`, else
    /// `false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<Switch<StoreTls>>,
    /// Redis: what every key begins with.
    pub(crate) prefix: String,
    /// The longest that one call may take.
    pub(crate) timeout: Span,
    /// How long users, platforms and settings stay cached.
    pub(crate) entity_lifetime: Span,
    /// How long platform statistics stay cached.
    pub(crate) stats_lifetime: Span,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            kind: StoreKind::Embedded,
            url: None,
            host: None,
            port: None,
            database: None,
            username: None,
            password: None,
            tls: None,
            prefix: "cs:".to_owned(),
            timeout: Span::from_millis(100),
            entity_lifetime: Span::from_secs(3600),
            stats_lifetime: Span::from_secs(300),
        }
    }
}

/// A kind of store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StoreKind {
    /// A Redis server, shared by all proxies.
    Redis,
    /// The memory of this process.
    Embedded,
}

/// TLS towards Redis.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StoreTls {
    /// PEM file of the certificate authority. Default: the public ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ca: Option<String>,
}

/// `[directory]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Directory {
    /// Which kind of directory.
    pub(crate) kind: DirectoryKind,
    /// Postgres: `postgres://` URL with user, password, host and database. SQLite: `sqlite:FILE`, as another way to
    /// write `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<SecretText>,
    /// SQLite: the file, made when it is not there. `:memory:` keeps everything in memory until the process ends.
    #[schemars(extend("default" = DEFAULT_SQLITE_PATH))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// The largest number of connections. One of them is kept for writing.
    #[schemars(range(min = 2, max = 1000))]
    pub(crate) connections: u32,
    /// The longest that one query may take.
    pub(crate) timeout: Span,
    /// How long lines of the audit log are kept. Older ones are deleted in small batches.
    pub(crate) audit_retention: Span,
    /// Postgres: whether a pooler in transaction mode stands in front (`PgBouncer`). Nothing is kept on a connection then,
    /// and the role has to have a `statement_timeout` of its own.
    pub(crate) pooler: bool,
    /// Postgres behind a pooler: URL of the server itself, for the one connection that listens for changes, and for
    /// `migrate`. Without it changes are not heard, and users and platforms live for 30 seconds. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) direct_url: Option<SecretText>,
    /// Postgres: your own SQL in place of the directory's queries, for users and platforms in tables that exist already.
    pub(crate) queries: queries::Queries,
}

/// The SQLite file by default, relative to the configuration file.
pub(crate) const DEFAULT_SQLITE_PATH: &str = "countersign.sqlite";

impl Default for Directory {
    fn default() -> Self {
        Self {
            kind: DirectoryKind::Sqlite,
            url: None,
            path: None,
            connections: 5,
            timeout: Span::from_millis(200),
            audit_retention: Span::from_secs(31_557_600),
            pooler: false,
            direct_url: None,
            queries: queries::Queries::default(),
        }
    }
}

/// `[session]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Session {
    /// Which sessions are read: ours, or those that an existing application keeps in Redis. Default: ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<formats::Formats>,
    /// Name of the session cookie. Default: `__Host-session` where `secure` holds, else `countersign-session`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cookie: Option<String>,
    /// Whether the cookie is marked `Secure`. Default: whether the public side is https.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) secure: Option<bool>,
    /// A session ends when it was not used for this long.
    pub(crate) idle_timeout: Span,
    /// A session ends this long after it began, used or not.
    pub(crate) absolute_timeout: Span,
    /// How often the use of one session is written down, at most.
    pub(crate) touch_interval: Span,
    /// How long a session stays valid after it was replaced on demand, so that requests under way get through.
    pub(crate) rotation_grace: SpanOrZero,
    /// Sessions that one user may have at once. Default: without limit.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sessions_per_user: Option<usize>,
    /// What happens when a user begins one more session than that.
    pub(crate) when_exceeded: WhenExceeded,
    /// How often a user may choose another platform within an hour. Default: without limit.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform_switches_per_hour: Option<u64>,
    /// Roles whose bearers may act for other users (`create` with an `actor`). Such a session is over as soon as its actor
    /// has none of them any more, is not active, or has logged out everywhere. Default: nobody may.
    pub(crate) impersonation_roles: Vec<String>,
}

impl Default for Session {
    fn default() -> Self {
        Self {
            format: None,
            cookie: None,
            secure: None,
            idle_timeout: Span::from_secs(30 * 60),
            absolute_timeout: Span::from_secs(12 * 3600),
            touch_interval: Span::from_secs(60),
            rotation_grace: SpanOrZero(std::time::Duration::from_secs(10)),
            sessions_per_user: None,
            when_exceeded: WhenExceeded::EndOldest,
            platform_switches_per_hour: None,
            impersonation_roles: Vec::new(),
        }
    }
}

/// `[keys]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Keys {
    /// Keys that make session tokens self-checking; shared by all proxies. Always needed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) token: Vec<SymmetricKey>,
    /// Keys of the anti-forgery tokens of the proxy's own endpoints.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) csrf: Vec<SymmetricKey>,
    /// Keys that seal platform credentials. Needed when a route has `platform_authorization`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) sealing: Vec<SymmetricKey>,
    /// Root keys of `hmac-sha256` message signatures; each upstream gets its own, derived. Needed when an upstream is
    /// signed for in this way, which is the default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) hmac: Vec<SymmetricKey>,
    /// Keys that sign JWTs. Needed when an upstream is sent JWTs, which is the default.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) jwt: Vec<JwtKey>,
    /// Keys of `ed25519` message signatures. Needed when an upstream asks for that algorithm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) message: Vec<MessageKey>,
    /// Fernet keys, for reading platform credentials that were sealed with them. Where the list is absent, the
    /// environment variable `PLATFORM_ENCRYPTION_KEY` supplies one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) fernet: Vec<SecretSource>,
}

/// A symmetric key.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["id", "secret"]))]
pub(crate) struct SymmetricKey {
    /// Name of the key: 1 to 64 letters, digits, `.`, `_` or `-`. Not secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Where the key is found: at least 32 bytes. The bytes are taken as they are; base64 and hexadecimal are not
    /// decoded. `countersign key new` makes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<SecretSource>,
}

/// A key that signs JWTs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["id", "algorithm", "secret"]))]
pub(crate) struct JwtKey {
    /// Name of the key: 1 to 64 letters, digits, `.`, `_` or `-`. Not secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The signature algorithm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) algorithm: Option<Algorithm>,
    /// Where the key is found: PEM of a PKCS#8 private key, or for `HS256` at least 32 bytes, taken as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<SecretSource>,
    /// The key is published at once, but signs only from this moment on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) active_from: Option<Moment>,
}

/// A key of `ed25519` message signatures.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("required" = ["id", "secret"]))]
pub(crate) struct MessageKey {
    /// Name of the key: 1 to 64 letters, digits, `.`, `_` or `-`. Not secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Where the key is found: PEM of a PKCS#8 private key for Ed25519.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) secret: Option<SecretSource>,
    /// The key is published at once, but signs only from this moment on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) active_from: Option<Moment>,
}

/// A signature algorithm of JWTs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) enum Algorithm {
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA with P-256.
    #[serde(rename = "ES256")]
    Es256,
    /// HMAC with SHA-256: whoever can verify can also sign.
    #[serde(rename = "HS256")]
    Hs256,
}

/// `[context]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ContextHeaders {
    /// What every context header begins with; lower case, ending in `-`. Whatever clients send under it is removed.
    pub(crate) prefix: String,
    /// Largest sum of names and values of all context headers and signatures of one request.
    pub(crate) budget: Size,
}

impl Default for ContextHeaders {
    fn default() -> Self {
        Self { prefix: "x-context-".to_owned(), budget: Size(8 * 1024) }
    }
}

/// `[resolve]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Resolve {
    /// The longest that finding out about one request's session may take; 503 after that.
    pub(crate) budget: Span,
}

impl Default for Resolve {
    fn default() -> Self {
        Self { budget: Span::from_millis(250) }
    }
}

/// `[cache]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Cache {
    /// The longest that a session is served from memory after it was revoked elsewhere, whatever is cut off or frozen.
    /// Redis is asked for a sign of life five times as often.
    pub(crate) max_staleness: Span,
    /// The longest that a session which the directory confirmed is believed while the store is away.
    pub(crate) degraded_lease: Span,
    /// The size of all copies together; 0 keeps none, and every request asks the store.
    pub(crate) bytes: Size,
    /// How long users, platforms and settings stay usable while the directory cannot be reached.
    pub(crate) entity_outage_limit: Span,
    /// How many sessions, those used last by any proxy, are read ahead when a proxy starts; 0 reads none.
    pub(crate) warm_sessions: u32,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max_staleness: Span::from_millis(100),
            degraded_lease: Span::from_secs(1),
            bytes: Size(256 * 1024 * 1024),
            entity_outage_limit: Span::from_secs(15 * 60),
            warm_sessions: 0,
        }
    }
}

/// `[signature]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Signature {
    /// How long after it was made a message signature expires.
    pub(crate) lifetime: Span,
}

impl Default for Signature {
    fn default() -> Self {
        Self { lifetime: Span::from_secs(30) }
    }
}

/// `[jwt]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Jwt {
    /// How long after it was made a JWT expires.
    pub(crate) lifetime: Span,
    /// The issuer (`iss`) that applications expect.
    pub(crate) issuer: String,
    /// Whether the public keys are also served to everybody, as `jwks.json` below `reserved_path`. The admin listener
    /// always serves them.
    pub(crate) public_jwks: bool,
    /// How long verifiers may keep the public keys. A key that a reload brings in signs only after this time, when all
    /// verifiers know it, unless there is no older key that can sign.
    pub(crate) keys_max_age: Span,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            lifetime: Span::from_secs(60),
            issuer: "countersign".to_owned(),
            public_jwks: false,
            keys_max_age: Span::from_secs(300),
        }
    }
}
