//! The one place where the demo application decides what to believe: signature first, then headers, then JWT.
//! Everything else in the demo is handed [`Facts`] and never looks at a header of the context itself.

use http::request::Parts;
use serde::Serialize;

use crate::clock::Timestamp;

/// Everything a request said about who sent it, verified. Its JSON is the answer of `/api/whoami`.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// `session`, `none`, `unchecked` or `undetermined`.
    pub authn: String,
    /// The session's id.
    pub session_id: Option<String>,
    /// Who it is; opaque.
    pub user_id: Option<String>,
    /// What people call them.
    pub user_name: Option<String>,
    /// Role names.
    pub roles: Vec<String>,
    /// The platform in force; opaque.
    pub platform_id: Option<String>,
    /// What kind of service it is.
    pub platform_type: Option<String>,
    /// What people call it.
    pub platform_name: Option<String>,
    /// Where it is.
    pub platform_url: Option<String>,
    /// When the user last logged in, in seconds since the Unix epoch.
    pub auth_time: Option<u64>,
    /// The proxy's id of this request.
    pub request_id: Option<String>,
    /// Who acts for the user.
    pub actor_id: Option<String>,
    /// What was verified, and with what.
    pub signature: SignatureFacts,
    /// The verified claims of the JWT, if one was sent.
    pub jwt: Option<serde_json::Value>,
}

/// The signature that made a request believable.
#[derive(Clone, Debug, Serialize)]
pub struct SignatureFacts {
    /// Always true: what cannot be verified gets no further.
    pub verified: bool,
    /// `hmac-sha256` or `ed25519`.
    pub algorithm: String,
    /// The name of the key.
    pub keyid: String,
    /// When it was made, in seconds since the Unix epoch.
    pub created: u64,
    /// Until when it counts, in seconds since the Unix epoch.
    pub expires: u64,
    /// What it covers, in its order.
    pub components: Vec<String>,
}

/// Why a request is not believed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Untrusted {
    /// Nothing was signed at all.
    #[error("the request carries no signature")]
    Unsigned,
}

/// What the application was given to verify with.
#[derive(Debug)]
pub struct Trust {}

impl Trust {
    /// Verifies the signature of a request and reads the context that it covers.
    pub fn verify(&self, request: &Parts, now: Timestamp) -> Result<Facts, Untrusted> {
        let _ = (request, now);
        Err(Untrusted::Unsigned)
    }
}
