//! Mirror of what concerns the proxy's own endpoints in the configuration file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{SecretSource, Size, Span};

/// `[csrf]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Csrf {
    /// How long an anti-forgery token is valid; it ends with its session in any case.
    pub(crate) lifetime: Span,
    /// Secret key of an application whose own tokens (`session:time:random:signature`) are accepted for a transition.
    /// Default: none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) application_secret: Option<SecretSource>,
    /// How old such a token may be.
    pub(crate) application_lifetime: Span,
}

impl Default for Csrf {
    fn default() -> Self {
        Self {
            lifetime: Span::from_secs(12 * 3600),
            application_secret: None,
            application_lifetime: Span::from_secs(3600),
        }
    }
}

/// `[settings]`
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct UserSettings {
    /// The largest size of a user's settings for one platform, as JSON.
    pub(crate) size: Size,
    /// Fields that are checked. Others are kept as they come.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) field: Vec<SettingsField>,
}

impl Default for UserSettings {
    fn default() -> Self {
        Self { size: Size(16 * 1024), field: Vec::new() }
    }
}

/// `[[settings.field]]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["name", "type"]))]
pub(crate) struct SettingsField {
    /// Name of the field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    /// What it holds.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(crate) kind: Option<FieldKind>,
    /// The least number, or the least number of characters of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<f64>,
    /// The largest number, or the largest number of characters of a text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<f64>,
    /// The only values that are allowed. Default: all.
    #[serde(rename = "enum", skip_serializing_if = "Vec::is_empty")]
    pub(crate) choices: Vec<serde_json::Value>,
    /// What holds where nothing was set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default: Option<serde_json::Value>,
}

/// What a field holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FieldKind {
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A text.
    String,
    /// Anything.
    Any,
}

/// `[[alias]]`
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["path", "endpoint"]))]
pub(crate) struct Alias {
    /// Path outside `reserved_path`, such as `/api/switch_platform/{id}`. It matches whole, on every host; `{id}` stands
    /// for one segment, where the endpoint asks for an id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<String>,
    /// Name of the endpoint, such as `platform-switch`; docs/endpoints.md lists them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
}
