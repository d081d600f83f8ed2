//! The admin API: one function per resource, from parsed input to JSON. What is done is done by `lifecycle`; here it is
//! asked for and shown.

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use serde::Serialize;

use super::console::overview;
use super::documents as doc;
use super::explain;
use super::input::{self, Parameters, Resource};
use super::openapi;
use super::problem::{Fault, Problem};
use super::status;
use super::trial;
use super::view::{AuditView, ContextView, SessionView};
use super::{OperatorRequest, OperatorState};
use crate::clock::Timestamp;
use crate::context::{PlatformId, Resolution, SessionId, UserId};
use crate::directory::{AuditPage, SessionPage};
use crate::endpoints::own_answer;
use crate::lifecycle::operators::{Ending, Sought, Stale};
use crate::lifecycle::{Ended, Lifecycle, LifecycleError, Origin, Start};

/// A request that passed the gate, with what it needs.
pub(super) struct Call<'a> {
    pub(super) request: &'a OperatorRequest<'a>,
    pub(super) state: &'a OperatorState<'a>,
    pub(super) lifecycle: &'a Lifecycle,
}

type Answer = Result<Response<Bytes>, Problem>;

impl Call<'_> {
    /// Carries it out.
    pub(super) async fn answer(&self, resource: &Resource) -> Answer {
        let reads = *self.request.method != Method::POST && *self.request.method != Method::DELETE;
        match resource {
            Resource::Status => self.status().await,
            Resource::Overview => self.overview().await,
            Resource::Config => {
                self.parameters(&[])?;
                Ok(shown(StatusCode::OK, "config", &*self.state.snapshot.shown))
            }
            Resource::Sessions if reads => self.sessions(None).await,
            Resource::Sessions => self.create().await,
            Resource::Session(id) if reads => self.session(id).await,
            Resource::Session(id) => self.end(id).await,
            Resource::UserSessions(user) if reads => self.sessions(Some(user)).await,
            Resource::UserSessions(user) => self.end_all(user).await,
            Resource::ClearPlatform(platform) => self.clear(platform).await,
            Resource::Invalidate(stale) => self.invalidate(stale).await,
            Resource::Audit => self.audit().await,
            Resource::Explain => self.explain().await,
            Resource::TestSession => self.test_session().await,
            Resource::Description => {
                self.parameters(&[])?;
                Ok(shown(StatusCode::OK, "description", &openapi::describe()))
            }
        }
    }

    fn parameters(&self, known: &[&str]) -> Result<Parameters, Problem> {
        Parameters::parse(self.request.query, known)
    }

    fn now(&self) -> Timestamp {
        self.state.now
    }

    fn origin(&self) -> Origin {
        Origin {
            by: "admin".to_owned(),
            from: self.request.from.map(|address| address.to_string()),
            request_id: Some(self.request.id.to_owned()),
        }
    }

    async fn status(&self) -> Answer {
        self.parameters(&[])?;
        let neighbours = self.lifecycle.neighbours().await;
        let status = status::status(self.state, &neighbours);
        Ok(shown(StatusCode::OK, "status", &status))
    }

    async fn overview(&self) -> Answer {
        self.parameters(&[])?;
        let neighbours = self.lifecycle.neighbours().await;
        Ok(shown(StatusCode::OK, "overview", &overview::overview(self.state, &neighbours)))
    }

    async fn sessions(&self, user: Option<&UserId>) -> Answer {
        let known: &[&str] = if user.is_some() { &["cursor", "limit"] } else { &["user", "cursor", "limit"] };
        let parameters = self.parameters(known)?;
        let limit = parameters.page();
        let page = SessionPage {
            user: user.cloned().or_else(|| parameters.user.clone()),
            after: parameters.after()?,
            // One more than is shown says whether there is a page behind this one.
            limit: limit + 1,
        };
        let mut rows = self.lifecycle.list(&page).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        let last = rows.last().filter(|_| more);
        let next = last.map(|row| input::cursor(row.session.created, row.session.id));
        let sessions = rows.iter().map(|row| SessionView::of_row(row, self.now())).collect();
        Ok(shown(StatusCode::OK, "sessions", &doc::SessionsPage { sessions, next }))
    }

    async fn create(&self) -> Answer {
        self.parameters(&[])?;
        let doc::NewSession { user, platform, actor } = self.body()?;
        let start = Start { user, platform, actor, acted: false, replaces: None };
        let started = self.lifecycle.start(&start, &self.origin()).await?;
        let name = self.state.snapshot.session.cookie.clone();
        let cookie = doc::CookieView { name, value: started.token.expose().to_owned() };
        let created = doc::Created { session: SessionView::of(&started.session), cookie };
        Ok(shown(StatusCode::CREATED, "session_created", &created))
    }

    async fn session(&self, id: &str) -> Answer {
        self.parameters(&[])?;
        match self.find(id).await? {
            Sought::Session(row, layer) => {
                let session = Box::new(SessionView::of_row(&row, self.now()));
                let view = doc::FoundSession::Whole { session, known_to: layer.as_str() };
                Ok(shown(StatusCode::OK, "session", &view))
            }
            Sought::Tombstone(id) => {
                let id = id.to_string();
                let view = doc::FoundSession::Mark { id, state: "ended", known_to: "store" };
                Ok(shown(StatusCode::OK, "session", &view))
            }
            Sought::Ambiguous => Err(Fault::AmbiguousId.into()),
            Sought::Nothing => Err(Fault::SessionNotFound.into()),
        }
    }

    async fn find(&self, id: &str) -> Result<Sought, Problem> {
        if input::is_plausible(id) { Ok(self.lifecycle.find(id).await?) } else { Ok(Sought::Nothing) }
    }

    async fn end(&self, id: &str) -> Answer {
        self.parameters(&[])?;
        if !input::is_plausible(id) {
            return Err(Fault::SessionNotFound.into());
        }
        match self.lifecycle.end_by_id(id, &self.origin()).await? {
            Ending::Ended(id, how) => Ok(ended(&id, true, how)),
            Ending::WasOver(id) => Ok(ended(&id, false, Ended::Durable)),
            Ending::Ambiguous => Err(Fault::AmbiguousId.into()),
            Ending::Nothing => Err(Fault::SessionNotFound.into()),
        }
    }

    async fn end_all(&self, user: &UserId) -> Answer {
        self.parameters(&[])?;
        match self.lifecycle.end_all(user, &self.origin()).await {
            Ok(how) => {
                let durable = how == Ended::Durable;
                let body = doc::EndedUser { user: user.to_string(), ended: "all", durable };
                Ok(shown(status_of(how), "sessions_ended", &body))
            }
            Err(LifecycleError::Impossible(_)) => Err(Fault::UserNotFound.into()),
            Err(error) => Err(error.into()),
        }
    }

    async fn clear(&self, platform: &PlatformId) -> Answer {
        self.parameters(&[])?;
        let cleared = self.lifecycle.clear_platform_everywhere(platform, &self.origin()).await?;
        let body = doc::ClearedPlatform { platform: platform.to_string(), cleared };
        Ok(shown(StatusCode::OK, "platform_cleared", &body))
    }

    async fn invalidate(&self, stale: &Stale) -> Answer {
        self.parameters(&[])?;
        self.lifecycle.invalidate(stale, &self.origin()).await?;
        Ok(shown(StatusCode::OK, "invalidated", &doc::Invalidated { invalidated: true }))
    }

    async fn audit(&self) -> Answer {
        let parameters = self.parameters(&["user", "since", "cursor", "limit"])?;
        let limit = parameters.page();
        let page = AuditPage {
            user: parameters.user.clone(),
            since: parameters.since,
            after: parameters.after()?,
            limit: limit + 1,
        };
        let mut lines = self.lifecycle.audit_log(&page).await?;
        let more = lines.len() > limit as usize;
        lines.truncate(limit as usize);
        let last = lines.last().filter(|_| more);
        let next = last.map(|line| input::cursor(line.at, line.number));
        let audit = lines.into_iter().map(AuditView::of).collect();
        Ok(shown(StatusCode::OK, "audit", &doc::AuditLogPage { audit, next }))
    }

    async fn explain(&self) -> Answer {
        self.parameters(&[])?;
        let body: doc::Question = self.body()?;
        let method = method(&body.method)?;
        let (resolution, context) = match (&body.cookie, &body.user) {
            (Some(_), Some(_)) => {
                return Err(Fault::InvalidBody.because("`cookie` and `user` are two ways to say who asks"));
            }
            (Some(cookie), None) => {
                let trial = self.tried(cookie, Some((&method, &body.url))).await;
                return Ok(shown(StatusCode::OK, "explanation", &doc::Told::Tried(Box::new(trial))));
            }
            (None, Some(user)) => {
                let resolution = self.lifecycle.as_if_logged_in(user).await?;
                let context = match &resolution {
                    Resolution::Known(context) => Some(ContextView::of(context, false)),
                    _ => None,
                };
                (Some(resolution), context)
            }
            (None, None) => (None, None),
        };
        let snapshot = self.state.snapshot;
        let request =
            Box::new(explain::explain(snapshot, &method, &body.url, resolution.as_ref(), self.now()));
        Ok(shown(StatusCode::OK, "explanation", &doc::Told::Explained { request, context }))
    }

    async fn test_session(&self) -> Answer {
        self.parameters(&[])?;
        let doc::CookieToTry { cookie } = self.body()?;
        Ok(shown(StatusCode::OK, "trial", &self.tried(&cookie, None).await))
    }

    async fn tried(&self, cookie: &str, request: Option<(&Method, &str)>) -> trial::Trial {
        let (store, directory) = self.lifecycle.layers();
        let layers = (store.as_ref(), directory.as_ref());
        trial::try_cookie(self.state.snapshot, layers, cookie, request, self.now()).await
    }

    fn body<T: serde::de::DeserializeOwned>(&self) -> Result<T, Problem> {
        input::body(self.request.headers, &self.request.body)
    }
}

fn method(text: &str) -> Result<Method, Problem> {
    let problem = Fault::InvalidBody.because("`method` is not the name of a method");
    Method::from_bytes(text.as_bytes()).map_err(|_| problem)
}

fn ended(id: &SessionId, now: bool, how: Ended) -> Response<Bytes> {
    let durable = how == Ended::Durable;
    let body = doc::EndedSession { id: id.to_string(), state: "ended", was_over: !now, durable };
    shown(status_of(how), "session_ended", &body)
}

/// 202 while the end lies in the shared outbox, until the directory is back.
const fn status_of(how: Ended) -> StatusCode {
    match how {
        Ended::Durable => StatusCode::OK,
        Ended::Accepted => StatusCode::ACCEPTED,
    }
}

/// JSON, kept by nobody.
fn shown(status: StatusCode, name: &'static str, value: &impl Serialize) -> Response<Bytes> {
    // Maps with text keys and plain values: there is nothing that could not be written.
    let body = serde_json::to_vec(value).unwrap_or_default();
    own_answer(status, name, "application/json", Bytes::from(body))
}
