//! What the proxy said, decoded. Made only from what was verified.

use std::fmt;

use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::VerifyError;
use crate::message::once;
use crate::verifier::Verifier;

/// What is known about identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authn {
    /// A valid session.
    Session,
    /// The proxy checked: nobody is logged in.
    None,
    /// The route does not ask.
    Unchecked,
    /// The proxy could not find out; treat the request as nobody's, and do not end anything.
    Undetermined,
}

impl Authn {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "session" => Self::Session,
            "none" => Self::None,
            "unchecked" => Self::Unchecked,
            "undetermined" => Self::Undetermined,
            _ => return None,
        })
    }
}

/// The platform in force.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Platform {
    /// Its id; opaque text.
    pub id: String,
    /// What kind of service it is.
    pub kind: String,
    /// Its name; display data.
    pub name: String,
    /// Where it is.
    pub url: String,
}

/// The verified context of one request. Without a session all of it but `authn` and `request_id` is empty.
#[derive(Clone, PartialEq)]
pub struct Verified {
    /// What is known about identity.
    pub authn: Authn,
    /// The id of the request; `None` when only the token was demanded.
    pub request_id: Option<String>,
    /// The session's id; safe to log.
    pub session_id: Option<String>,
    /// The user's id; opaque text.
    pub user_id: Option<String>,
    /// The user's name; display data. A token does not hold it.
    pub user_name: Option<String>,
    /// The user's roles.
    pub roles: Vec<String>,
    /// The platform in force.
    pub platform: Option<Platform>,
    /// When the user last logged in, in seconds since the Unix epoch.
    pub auth_time: Option<u64>,
    /// Who acts for the user.
    pub actor_id: Option<String>,
    /// The user's settings for the platform, where the route sends them.
    pub settings: Option<Value>,
    /// Figures about the user's platform, where the route sends them.
    pub stats: Option<Value>,
    /// The platform's credential, where the route sends it.
    pub platform_authorization: Option<Vec<u8>>,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified")
            .field("authn", &self.authn)
            .field("request_id", &self.request_id)
            .field("session_id", &self.session_id)
            .field("user_id", &self.user_id)
            .field("roles", &self.roles)
            .field("platform", &self.platform)
            .field("platform_authorization", &self.platform_authorization.as_ref().map(|_| "redacted"))
            .finish_non_exhaustive()
    }
}

impl Verified {
    /// Decodes context headers, all of which were covered by a verified signature.
    pub(crate) fn from_headers(verifier: &Verifier, headers: &HeaderMap) -> Result<Self, VerifyError> {
        let values = Values { verifier, headers };
        let authn = values.text("authn")?.ok_or_else(|| VerifyError::Missing(verifier.name("authn")))?;
        let context = Self {
            authn: Authn::parse(&authn).ok_or_else(|| VerifyError::MalformedValue(verifier.name("authn")))?,
            request_id: values.text("request-id")?,
            session_id: values.text("session-id")?,
            user_id: values.text("user-id")?,
            user_name: values.text("user-name")?,
            roles: values.roles()?,
            platform: values.platform()?,
            auth_time: values.seconds("auth-time")?,
            actor_id: values.text("actor-id")?,
            settings: values.json("settings")?,
            stats: values.json("stats")?,
            platform_authorization: values.bytes("platform-authorization")?,
        };
        context.check_shape()
    }

    /// Reads the claims of a verified token.
    pub(crate) fn from_claims(claims: &Value) -> Result<Self, VerifyError> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let authn = claims["authn"].as_str().and_then(Authn::parse).ok_or(VerifyError::MalformedToken)?;
        let roles = match &claims["roles"] {
            Value::Null => Some(Vec::new()),
            Value::Array(roles) => roles.iter().map(text).collect(),
            _ => None,
        };
        let platform = &claims["tctx"]["platform"];
        let member = |name: &str| text(&platform[name]).ok_or(VerifyError::MalformedToken);
        let platform = match platform {
            Value::Null => None,
            _ => Some(Platform {
                id: member("id")?,
                kind: member("type")?,
                name: member("name")?,
                url: member("url")?,
            }),
        };
        let context = Self {
            authn,
            request_id: None,
            session_id: text(&claims["sid"]),
            user_id: text(&claims["sub"]),
            user_name: None,
            roles: roles.ok_or(VerifyError::MalformedToken)?,
            platform,
            auth_time: claims["auth_time"].as_u64(),
            actor_id: text(&claims["act"]["sub"]),
            settings: None,
            stats: None,
            platform_authorization: None,
        };
        context.check_shape()
    }

    /// Whether the headers and the token of one request tell the same.
    pub(crate) fn check_against(&self, token: &Self) -> Result<(), VerifyError> {
        let same = [
            ("authn", self.authn == token.authn),
            ("session-id", self.session_id == token.session_id),
            ("user-id", self.user_id == token.user_id),
            ("roles", self.roles == token.roles),
            ("platform-id", self.platform == token.platform),
            ("auth-time", self.auth_time == token.auth_time),
            ("actor-id", self.actor_id == token.actor_id),
        ];
        match same.into_iter().find(|(_, same)| !same) {
            Some((name, _)) => Err(VerifyError::Contradiction(name)),
            None => Ok(()),
        }
    }

    /// A session has a user and a time of login; without a session there is no identity.
    fn check_shape(self) -> Result<Self, VerifyError> {
        let present = [self.session_id.is_some(), self.user_id.is_some(), self.auth_time.is_some()];
        let extra = self.user_name.is_some()
            || !self.roles.is_empty()
            || self.platform.is_some()
            || self.actor_id.is_some()
            || self.settings.is_some()
            || self.stats.is_some()
            || self.platform_authorization.is_some();
        let fits = match self.authn {
            Authn::Session => present == [true; 3],
            Authn::None | Authn::Unchecked | Authn::Undetermined => present == [false; 3] && !extra,
        };
        if fits { Ok(self) } else { Err(VerifyError::Contradiction("authn")) }
    }
}

struct Values<'a> {
    verifier: &'a Verifier,
    headers: &'a HeaderMap,
}

impl<'a> Values<'a> {
    fn raw(&self, suffix: &str) -> Result<Option<&'a str>, VerifyError> {
        let name = self.verifier.name(suffix);
        if self.headers.contains_key(&name) { once(self.headers, &name).map(Some) } else { Ok(None) }
    }

    fn malformed(&self, suffix: &str) -> VerifyError {
        VerifyError::MalformedValue(self.verifier.name(suffix))
    }

    fn text(&self, suffix: &str) -> Result<Option<String>, VerifyError> {
        let Some(raw) = self.raw(suffix)? else { return Ok(None) };
        let decoded = percent_decode_str(raw).decode_utf8().map_err(|_| self.malformed(suffix))?;
        Ok(Some(decoded.into_owned()))
    }

    fn bytes(&self, suffix: &str) -> Result<Option<Vec<u8>>, VerifyError> {
        Ok(self.raw(suffix)?.map(|raw| percent_decode_str(raw).collect()))
    }

    fn seconds(&self, suffix: &str) -> Result<Option<u64>, VerifyError> {
        let Some(raw) = self.raw(suffix)? else { return Ok(None) };
        raw.parse().map(Some).map_err(|_| self.malformed(suffix))
    }

    fn json(&self, suffix: &str) -> Result<Option<Value>, VerifyError> {
        let Some(text) = self.text(suffix)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|_| self.malformed(suffix))
    }

    fn roles(&self) -> Result<Vec<String>, VerifyError> {
        let Some(raw) = self.raw("roles")? else { return Ok(Vec::new()) };
        let decode = |role: &str| match percent_decode_str(role).decode_utf8() {
            Ok(role) if !role.is_empty() => Ok(role.into_owned()),
            _ => Err(self.malformed("roles")),
        };
        raw.split(',').map(decode).collect()
    }

    fn platform(&self) -> Result<Option<Platform>, VerifyError> {
        let Some(id) = self.text("platform-id")? else { return Ok(None) };
        Ok(Some(Platform {
            id,
            kind: self.text("platform-type")?.unwrap_or_default(),
            name: self.text("platform-name")?.unwrap_or_default(),
            url: self.text("platform-url")?.unwrap_or_default(),
        }))
    }
}
