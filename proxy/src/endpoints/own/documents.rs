//! The documents that our endpoints answer and read. The `OpenAPI` description is made from these types, so that their
//! comments are what front-end developers read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::context;

/// A user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct User {
    /// Id in the directory.
    pub id: String,
    /// The name people see.
    pub name: String,
    /// Names of roles.
    pub roles: Vec<String>,
}

impl From<&context::User> for User {
    fn from(user: &context::User) -> Self {
        Self { id: user.id.as_str().to_owned(), name: user.name.to_string(), roles: user.roles.clone() }
    }
}

/// A platform connection, without its credential.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Platform {
    /// Id in the directory.
    pub id: String,
    /// The name people see.
    pub name: String,
    /// The kind of service.
    #[serde(rename = "type")]
    #[schemars(rename = "type")]
    pub kind: String,
    /// Where the service is.
    pub url: String,
    /// Whether new sessions of the user begin with it.
    pub default: bool,
}

impl From<&context::Platform> for Platform {
    fn from(platform: &context::Platform) -> Self {
        Self {
            id: platform.id.as_str().to_owned(),
            name: platform.name.to_string(),
            kind: platform.kind.to_string(),
            url: platform.url.to_string(),
            default: platform.default,
        }
    }
}

/// Who is logged in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum SessionState {
    /// Somebody.
    Known(Box<KnownSession>),
    /// Nobody.
    Nobody(Nobody),
}

/// A session.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct KnownSession {
    /// Always `true`.
    pub authenticated: bool,
    /// Whose session it is.
    pub user: User,
    /// The platform in force.
    pub platform: Option<Platform>,
    /// Whether a platform was chosen that cannot be used any more.
    pub platform_unavailable: bool,
    /// Counts the changes of this session; `platform` takes it as `version`.
    pub version: u64,
    /// When it began (RFC 3339, UTC).
    pub created_at: String,
    /// When the user last logged in.
    pub authenticated_at: String,
    /// When it was last used, as far as this proxy knows.
    pub last_activity: String,
    /// When it ends if it is not used.
    pub idle_expires_at: String,
    /// When it ends in any case.
    pub expires_at: String,
    /// Who acts for the user, if somebody does.
    pub actor: Option<String>,
    /// Goes into the header `x-csrf-token` of everything that changes something; `null` where none is configured.
    pub csrf_token: Option<String>,
    /// Seconds until that token expires.
    pub csrf_expires_in: Option<u64>,
}

/// Nobody is logged in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Nobody {
    /// Always `false`.
    pub authenticated: bool,
    /// Why, as a code of the reference.
    pub reason: String,
}

/// Whether a session is valid.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Validity {
    /// Whether it is.
    pub valid: bool,
    /// If not, why.
    pub reason: Option<String>,
}

/// An anti-forgery token.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Csrf {
    /// Goes into the header `x-csrf-token`.
    pub csrf_token: String,
    /// Seconds until it expires.
    pub expires_in: u64,
}

/// What became of the choice of a platform.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Switched {
    /// The platform in force from now on.
    pub platform: Option<Platform>,
    /// The version of the session from now on.
    pub version: u64,
}

/// Which platform is wanted.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
pub struct Choice {
    /// Id of one of the user's active platforms.
    #[schemars(length(min = 1, max = 128))]
    pub id: String,
    /// Refuse if the session is not at this version any more: another tab was faster.
    #[serde(default)]
    pub version: Option<u64>,
}

/// The user's platforms.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Platforms {
    /// The active ones, the default one first.
    pub platforms: Vec<Platform>,
    /// How many there are.
    pub count: usize,
    /// Id of the one in force.
    pub active: Option<String>,
}

/// What a front end shows about its user.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct FrontEndContext {
    /// The user; `null` when nobody is logged in.
    pub user: Option<User>,
    /// The user's active platforms; empty also when they could not be found out.
    pub platforms: Vec<Platform>,
    /// The platform in force.
    pub active_platform: Option<Platform>,
    /// How many platforms there are.
    pub platform_count: usize,
    /// Whether something could not be found out: the document is then shorter than the truth.
    pub error: bool,
}

/// Settings for a platform.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Settings {
    /// Id of the platform.
    pub platform: String,
    /// Every setting, with the configured defaults for what was never set.
    pub settings: Map<String, Value>,
}

/// Figures about a platform.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Stats {
    /// Id of the platform.
    pub platform: String,
    /// What the directory computed.
    pub stats: Value,
}

/// The user's sessions.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Sessions {
    /// Newest first.
    pub sessions: Vec<ListedSession>,
}

/// One of them.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct ListedSession {
    /// Names it in `sessions/{id}`. It opens nothing.
    pub id: String,
    /// Whether it is the one that asks.
    pub current: bool,
    /// Id of its platform, if one was chosen.
    pub platform: Option<String>,
    /// When it began.
    pub created_at: String,
    /// When it was last used, as far as the directory knows: up to two minutes old.
    pub last_activity: String,
    /// When it ends in any case.
    pub expires_at: String,
    /// Who acts for the user, if somebody does.
    pub actor: Option<String>,
}

/// What was ended.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Ended {
    /// Always `true`.
    pub ended: bool,
    /// Whether it is already durable; if not, it holds as long as the store does (status 202).
    pub durable: bool,
}
