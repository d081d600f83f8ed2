//! `[session] format`: sessions that an existing application keeps in Redis, as the file writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{SecretSource, Span};

/// Which sessions are read: the name of a format, a table with what the application has set otherwise, or a list of
/// tables, which are tried in order.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Formats {
    /// A format as its framework has it.
    Name(FormatName),
    /// A format with what the application has set.
    One(Box<Format>),
    /// Several, in the order in which they are tried.
    Several(Vec<Format>),
}

/// A format of sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FormatName {
    /// Our own.
    Native,
    /// express-session with connect-redis (Express, `NestJS`).
    Express,
    /// @fastify/session.
    Fastify,
    /// better-auth with a secondary storage.
    BetterAuth,
    /// koa-session with an external store.
    Koa,
    /// koa-generic-session.
    KoaGeneric,
    /// Django with sessions in a cache.
    Django,
    /// Flask-Session.
    Flask,
    /// Laravel's redis driver.
    Laravel,
    /// PHP's own sessions through phpredis.
    Php,
    /// Rails with redis-actionpack, redis-session-store or a cache store.
    Rails,
    /// Spring Session.
    Spring,
    /// starsessions (Starlette, `FastAPI`).
    Starsessions,
    /// aiohttp-session.
    Aiohttp,
    /// gorilla/sessions with redistore (Go).
    Gorilla,
    /// scs (Go).
    Scs,
    /// JSON in a string, with the bare id in the cookie.
    Json,
    /// A hash of text, with the bare id in the cookie.
    Hash,
}

/// A format, and what the application has set otherwise than usual.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own framework")]
pub(crate) struct Format {
    /// Which format.
    pub(crate) name: FormatName,
    /// Name of the cookie. Default: the framework's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cookie: Option<String>,
    /// Secrets with which the application signs or encrypts its cookie, newest first. Laravel: the `APP_KEY`s.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) secrets: Vec<SecretSource>,
    /// Gorilla: keys with which cookies are encrypted, one for each of `secrets`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) block_keys: Vec<SecretSource>,
    /// Whether the cookie is signed or encrypted. Default for Flask: whether there are `secrets`; for Laravel, Koa and
    /// gorilla: yes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signed: Option<bool>,
    /// What the session's key in Redis begins with, whole. Default: the framework's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prefix: Option<String>,
    /// How the session is written, where the framework leaves the choice. Default: found out, for PHP `php`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) serializer: Option<Serializer>,
    /// Laravel: the session is encrypted too (`SESSION_ENCRYPT`).
    #[serde(default)]
    pub(crate) encrypted: bool,
    /// Laravel: the cipher.
    #[serde(default)]
    pub(crate) cipher: Cipher,
    /// Fastify: the cookie begins with `s:`, as Express writes it.
    #[serde(default)]
    pub(crate) express_prefix: bool,
    /// Spring: the cookie is not base64.
    #[serde(default)]
    pub(crate) plain_cookie: bool,
    /// Spring: the name of the server that stands behind the id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<String>,
    /// scs: the key in Redis holds the hash of the token.
    #[serde(default)]
    pub(crate) hashed: bool,
    /// Rails: the key in Redis holds the id as it is in the cookie, as it was before version 6.
    #[serde(default)]
    pub(crate) plain_key: bool,
    /// Gorilla: how long after it was made a cookie is accepted. Default: 30 days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<Span>,
    /// What an id looks like, if the application makes its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<IdShape>,
    /// Accept sessions that never end: keys without a lifetime in Redis.
    #[serde(default)]
    pub(crate) endless: bool,
    /// Whether a session that is ended through the proxy is also deleted from Redis or its table, as the application itself
    /// would do it. Nothing else is ever written there.
    #[serde(default)]
    pub(crate) delete_on_logout: bool,
    /// Where the application keeps its sessions. A table is one of the database that `[directory]` names; it is only read.
    #[serde(default)]
    pub(crate) stored_in: StoredIn,
    /// Name of the table, perhaps with that of its schema (`app.sessions`), as Postgres writes it. Default: the
    /// framework's (Express: connect-pg-simple's), or what `directory.queries.sessions` asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) table: Option<String>,
    /// Express and better-auth, in a table: the time zone of moments that are written without one (`Europe/Vienna`).
    /// Default: that of the server's log, which is the one of its connections unless somebody set it; better-auth: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) time_zone: Option<String>,
    /// Laravel, in a table: how long an unused session is kept there (`session.lifetime`). Default: 2 hours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lifetime: Option<Span>,
    /// Django: a session ends when its user's password changes, as in Django itself: what it says of the password is compared
    /// with the column `password` of `directory.queries.user`, under `secrets` (`SECRET_KEY`, then `SECRET_KEY_FALLBACKS`).
    #[serde(default)]
    pub(crate) check_password: bool,
    /// Paths to the user's id, as JSON pointers; the first that leads to something counts. Default: the framework's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) user: Vec<String>,
    /// Paths to the platform's id. Where none leads to something, the user's default platform is taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) platform: Vec<String>,
    /// Paths to when the session began.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) created: Vec<String>,
    /// Paths to when the user logged in. Without one no session is a recent login.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) authenticated: Vec<String>,
    /// JSON and hash: path to when the session ends, if Redis does not end it before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ends: Option<String>,
    /// JSON and hash: path to a text that has to be `true`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) active: Option<String>,
}

/// Where an application keeps its sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StoredIn {
    /// In Redis.
    #[default]
    Redis,
    /// In a table of the directory's database.
    Table,
    /// In Redis, and in a table for those that Redis has lost (Django's `cached_db`).
    RedisThenTable,
}

/// What an id looks like.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdShape {
    /// Its characters.
    pub(crate) characters: Characters,
    /// Shortest length.
    #[schemars(range(min = 8, max = 256))]
    pub(crate) shortest: usize,
    /// Longest length.
    #[schemars(range(min = 8, max = 256))]
    pub(crate) longest: usize,
}

/// The characters of ids.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Characters {
    /// `0-9 a-f`
    Hex,
    /// `0-9 a-z`
    LowerAlphanumeric,
    /// `0-9 A-Z a-z`
    Alphanumeric,
    /// `0-9 A-Z a-z - _`
    UrlSafe,
    /// `0-9 A-Z a-z - ,`
    Php,
    /// A UUID in small letters.
    Uuid,
}

/// How a session is written.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Serializer {
    /// JSON.
    Json,
    /// `MessagePack`.
    Msgpack,
    /// Python's pickle.
    Pickle,
    /// PHP and Laravel: `php`.
    Php,
    /// PHP: `php_serialize`.
    PhpSerialize,
    /// PHP: `php_binary`.
    PhpBinary,
    /// PHP: igbinary.
    Igbinary,
    /// Ruby's Marshal.
    Marshal,
    /// Go's gob.
    Gob,
}

/// The cipher of Laravel.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Cipher {
    /// AES-128-CBC or AES-256-CBC.
    #[default]
    Cbc,
    /// AES-128-GCM or AES-256-GCM.
    Gcm,
}
