//! Mirror of what concerns the proxy's own endpoints in the configuration file.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::values::{SecretSource, Span};

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
