//! What the endpoints of `policy::own` do, one file for each kind. They are handed a request whose origin, session and
//! body were judged, and answer JSON or a problem. Nothing here knows Pingora or how a request came.

pub mod body;
mod context;
mod dialect;
pub mod documents;
pub mod events;
mod json;
pub mod openapi;
mod platforms;
mod sessions;
mod settings;
mod state;

use std::sync::Arc;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::own_answer;
use super::problem::Fault;
use crate::cache::Activity;
use crate::clock::Timestamp;
use crate::context::Context;
use crate::lifecycle::settings::Schema;
use crate::lifecycle::{
    Lifecycle, LifecycleError, NO_SUCH_PLATFORM, NO_SUCH_SESSION, Origin, PLATFORM_INACTIVE, READ_ONLY, STALE,
};
use crate::policy::own::{Call, Endpoint};
use crate::reason::Reason;
use crate::resolve::Resolver;
use crate::session;
use crate::session::csrf;
use crate::session::profile::Remains;

/// Answers with our own documents are for pages of the same origin only (Fetch, section 3.7).
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// What answers questions and carries changes out.
#[derive(Clone, Copy, Debug)]
pub struct Services<'a> {
    /// Session id in, context out; platforms, settings and figures.
    pub resolver: &'a Resolver,
    /// How sessions, platforms and settings change.
    pub lifecycle: &'a Lifecycle,
    /// When sessions were last used.
    pub activity: &'a Activity,
}

/// What the endpoints may know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How anti-forgery tokens are made.
    pub csrf: csrf::Settings,
    /// How sessions look and how long they last.
    pub session: session::Settings,
    /// What users' settings may be.
    pub schema: Schema,
}

/// A request to an endpoint, judged.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which endpoint, and how it was found.
    pub call: Call,
    /// Who asks; `Err` holds why nobody is known, for endpoints that answer anybody.
    pub who: Result<Arc<Context>, Reason>,
    /// What its end would leave, when it is a session of another framework.
    pub remains: Option<Remains>,
    /// The JSON object of the body; empty where there was none.
    pub body: Map<String, Value>,
    /// For the audit log.
    pub by: Origin,
    /// When the request arrived.
    pub now: Timestamp,
    /// Until when lookups may take.
    pub deadline: Instant,
    /// The rules in force.
    pub settings: Arc<Settings>,
}

impl Request {
    /// The session that asks.
    ///
    /// # Errors
    /// Why there is none.
    fn context(&self) -> Result<&Context, Fault> {
        self.who.as_deref().map_err(|reason| Fault::from(*reason))
    }

    fn parameter(&self) -> &str {
        self.call.parameter.as_deref().unwrap_or_default()
    }
}

/// What an endpoint answers when it did what it was asked for.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200, or 202 when a change is accepted but not yet durable.
    pub status: StatusCode,
    /// The document.
    pub body: Value,
    /// Changes of session cookies.
    pub set_cookies: Vec<HeaderValue>,
}

impl Answer {
    fn of(document: &impl Serialize) -> Result<Self, Fault> {
        let body = serde_json::to_value(document).map_err(|_| Reason::Internal)?;
        Ok(Self { status: StatusCode::OK, body, set_cookies: Vec::new() })
    }

    /// The answer as it is sent. `name` is the endpoint's; one that came by an alias also speaks as the pages from before
    /// the proxy expect it.
    #[must_use]
    pub fn into_response(mut self, name: &'static str, alias: bool) -> Response<Bytes> {
        if alias {
            dialect::add(&mut self.body);
        }
        let body = Bytes::from(self.body.to_string());
        let mut response = own_answer(self.status, name, "application/json", body);
        let headers = response.headers_mut();
        headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
        for cookie in self.set_cookies {
            headers.append(SET_COOKIE, cookie);
        }
        response
    }
}

/// Answers one request. A change is made whole or not at all; whoever calls this lets it run to its end.
///
/// # Errors
/// The fault that the problem document tells.
pub async fn answer(services: Services<'_>, request: Request) -> Result<Answer, Fault> {
    let request = &request;
    match request.call.line.endpoint {
        Endpoint::SessionState => state::state(services, request),
        Endpoint::SessionValidate => state::validate(request),
        Endpoint::SessionHeartbeat => state::heartbeat(services, request),
        Endpoint::CsrfToken => state::csrf_token(request),
        Endpoint::PlatformSwitch => platforms::switch(services, request).await,
        Endpoint::PlatformClear => platforms::clear(services, request).await,
        Endpoint::Logout => sessions::logout(services, request).await,
        Endpoint::LogoutEverywhere => sessions::logout_everywhere(services, request).await,
        Endpoint::Context => context::context(services, request).await,
        Endpoint::Platforms => platforms::list(services, request).await,
        Endpoint::Settings => settings::read(services, request).await,
        Endpoint::SettingsChange | Endpoint::SettingsReplace => settings::write(services, request).await,
        Endpoint::Stats => settings::stats(services, request).await,
        Endpoint::Sessions => sessions::list(services, request).await,
        Endpoint::SessionEnd => sessions::end_one(services, request).await,
        // The gateway answers these from what it holds.
        Endpoint::PublicKeys | Endpoint::Description | Endpoint::Events => Err(Reason::NoRoute.into()),
    }
}

/// Why a change was not made, as an answer.
fn change_failed(error: LifecycleError) -> Fault {
    match error {
        NO_SUCH_PLATFORM => Reason::PlatformNotFound.into(),
        NO_SUCH_SESSION => Reason::NoSuchSession.into(),
        PLATFORM_INACTIVE => Reason::PlatformInactive.into(),
        STALE | LifecycleError::Conflict => Reason::ChangedMeanwhile.into(),
        READ_ONLY => Reason::ReadOnlyDirectory.into(),
        LifecycleError::Impossible(_) => Reason::SessionEnded.into(),
        LifecycleError::Undetermined => Reason::ChangeUndetermined.into(),
        LifecycleError::TooManySessions => Reason::TooManySessions.into(),
        LifecycleError::TooManySwitches { retry_after } => {
            Fault::from(Reason::TooManySwitches).with("retry_after", retry_after)
        }
    }
}
