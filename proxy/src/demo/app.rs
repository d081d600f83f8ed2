//! The demo application: an HTTP server that knows nothing about sessions. It verifies the signature of every request
//! before it reads anything else of it, shows the context it was handed, and asks for changes to the session by a
//! response header. It never sees the session cookie.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::forms::{Form, comes_from_our_pages, safe_return_to};
use super::pages::{self, LoginForm, PageError, Pages};
use super::seed::{self, Account};
use super::verify::{Facts, Trust};
use crate::clock::Clock;
use crate::context::Platform;

/// The header by which this application starts, changes and ends sessions.
const DIRECTIVE: HeaderName = HeaderName::from_static("countersign-session");
/// Largest form; the fields of ours need a tenth of it.
const FORM_LIMIT: usize = 4096;
/// Longest time that a request's head, and then its form, may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests may go on after the shutdown was asked for.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// Connections served at the same time.
const CONNECTION_LIMIT: usize = 512;

type Answer = Response<Full<Bytes>>;

/// The demo application.
pub struct App {
    trust: Trust,
    pages: Pages,
    accounts: Vec<Account>,
    clock: Arc<dyn Clock>,
    public_url: String,
}

/// The application could not be put together: a fault in a template of its own.
#[derive(Debug, thiserror::Error)]
#[error("a page of the demo application is broken")]
pub struct AppError(#[from] minijinja::Error);

impl App {
    /// An application that believes what `trust` can verify, for the people in `accounts`; `public_url` is where the
    /// proxy in front of it is found.
    pub fn new(
        trust: Trust,
        accounts: Vec<Account>,
        public_url: String,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, AppError> {
        Ok(Self { trust, pages: Pages::parse()?, accounts, clock, public_url })
    }

    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let verified = self.trust.verify(&request, self.clock.now());
        let (head, body) = request.into_parts();
        let shown = match verified {
            Ok(shown) => shown,
            Err(reason) => return self.refusal(&head, &reason.to_string()),
        };
        let asked = Asked { head: &head, shown: &shown };
        let answer = match (head.method.as_str(), head.uri.path()) {
            ("GET" | "HEAD", path) => self.read(&asked, path),
            ("POST", path @ ("/login" | "/logout" | "/switch")) => self.write(&asked, path, body).await,
            _ => self.wrong_method(&asked),
        };
        answer.unwrap_or_else(|_fault| plain(StatusCode::INTERNAL_SERVER_ERROR, "This page is broken.\n"))
    }

    fn read(&self, asked: &Asked<'_>, path: &str) -> Result<Answer, PageError> {
        let shown = asked.shown;
        let page = |html: Result<String, PageError>| html.map(|html| page(StatusCode::OK, html));
        match path {
            "/" if shown.platform_id.is_none() => self.unexpected(asked),
            "/account" | "/platforms" | "/admin" | "/admin/" if shown.user_id.is_none() => {
                self.unexpected(asked)
            }
            "/" => page(self.pages.home(shown, self.platforms_of(shown))),
            "/account" => page(self.pages.account(shown)),
            "/admin" | "/admin/" => page(self.pages.admin(shown, &self.accounts)),
            "/public" => page(self.pages.public(shown)),
            "/login" => self
                .login_page(asked, &LoginForm { username: "", return_to: &asked.return_to(), failed: false }),
            "/platforms" => page(self.pages.platforms(
                shown,
                self.platforms_of(shown),
                safe_return_to(&asked.return_to()),
            )),
            "/api/whoami" => Ok(whoami(shown)),
            "/assets/demo.css" => Ok(asset("text/css; charset=utf-8", pages::STYLE)),
            "/assets/demo.js" => Ok(asset("text/javascript; charset=utf-8", pages::SCRIPT)),
            "/assets/mark.svg" => Ok(asset("image/svg+xml", pages::MARK)),
            "/logout" | "/switch" => self.wrong_method(asked),
            _ => self.message(
                asked,
                StatusCode::NOT_FOUND,
                "No such page",
                "There is nothing at this address.",
            ),
        }
    }

    async fn write(&self, asked: &Asked<'_>, path: &str, body: Incoming) -> Result<Answer, PageError> {
        if !comes_from_our_pages(&asked.head.headers) {
            let text = "This form was sent from a page of another site, so nothing was done.";
            return self.message(asked, StatusCode::FORBIDDEN, "Not from here", text);
        }
        let read = tokio::time::timeout(READ_TIMEOUT, Limited::new(body, FORM_LIMIT).collect()).await;
        let Some(form) = read.ok().and_then(Result::ok).and_then(|body| Form::parse(&body.to_bytes())) else {
            let text = "It was too large, incomplete, or named something twice.";
            return self.message(asked, StatusCode::BAD_REQUEST, "This form cannot be read", text);
        };
        match path {
            "/login" => self.log_in(asked, &form),
            "/switch" => self.switch(asked, &form),
            _ => self.log_out(asked),
        }
    }

    /// All that a login handler does for Countersign: one response header that says whose session begins.
    fn log_in(&self, asked: &Asked<'_>, form: &Form) -> Result<Answer, PageError> {
        let (username, return_to) = (form.field("username"), safe_return_to(form.field("return_to")));
        let Some(account) = seed::find(&self.accounts, username, form.field("password")) else {
            let mut answer = self.login_page(asked, &LoginForm { username, return_to, failed: true })?;
            *answer.status_mut() = StatusCode::UNAUTHORIZED;
            return Ok(answer);
        };
        Ok(directed(see_other(return_to), "create", "user", account.user.id.as_str()))
    }

    fn log_out(&self, asked: &Asked<'_>) -> Result<Answer, PageError> {
        match asked.shown.authn.as_str() {
            "session" => Ok(with_directive(see_other("/public"), HeaderValue::from_static("end"))),
            // "Could not find out" is not "nobody": saying that somebody is logged out now might be wrong.
            "undetermined" => {
                let text =
                    "Your session cannot be checked at the moment, so it was not ended. Please try again.";
                self.message(asked, StatusCode::SERVICE_UNAVAILABLE, "Not logged out yet", text)
            }
            _nobody => Ok(see_other("/public")),
        }
    }

    fn switch(&self, asked: &Asked<'_>, form: &Form) -> Result<Answer, PageError> {
        let wanted = form.field("platform");
        // The proxy checks this as well and answers 502; asking first gives people a page instead.
        let Some(platform) =
            self.platforms_of(asked.shown).iter().find(|platform| platform.id.as_str() == wanted)
        else {
            let text = "That platform is not one of yours, so nothing was changed.";
            return self.message(asked, StatusCode::FORBIDDEN, "Not your platform", text);
        };
        Ok(directed(
            see_other(safe_return_to(form.field("return_to"))),
            "platform",
            "id",
            platform.id.as_str(),
        ))
    }

    fn platforms_of(&self, shown: &Facts) -> &[Platform] {
        let account =
            self.accounts.iter().find(|account| Some(account.user.id.as_str()) == shown.user_id.as_deref());
        account.map_or(&[], |account| &account.platforms)
    }

    fn login_page(&self, asked: &Asked<'_>, form: &LoginForm<'_>) -> Result<Answer, PageError> {
        let form = LoginForm { return_to: safe_return_to(form.return_to), ..*form };
        Ok(page(StatusCode::OK, self.pages.login(asked.shown, &form, &self.accounts)?))
    }

    /// The proxy's route asks for less than the page needs: the configuration is not the demo's.
    fn unexpected(&self, asked: &Asked<'_>) -> Result<Answer, PageError> {
        let text = "The request was signed, but it carries no context that this page could show. \
                    Its route in the proxy's configuration asks for too little.";
        self.message(asked, StatusCode::FORBIDDEN, "Nobody is known here", text)
    }

    fn wrong_method(&self, asked: &Asked<'_>) -> Result<Answer, PageError> {
        let text = "This address does not answer that kind of request.";
        let mut answer = self.message(asked, StatusCode::METHOD_NOT_ALLOWED, "Not like this", text)?;
        let allowed = match asked.head.uri.path() {
            "/logout" | "/switch" => "POST",
            "/login" => "GET, HEAD, POST",
            _ => "GET, HEAD",
        };
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
        Ok(answer)
    }

    fn message(
        &self,
        asked: &Asked<'_>,
        status: StatusCode,
        headline: &str,
        text: &str,
    ) -> Result<Answer, PageError> {
        if asked.head.uri.path().starts_with("/api/") {
            return Ok(problem(status, headline, text));
        }
        Ok(page(status, self.pages.message(asked.shown, headline, text)?))
    }

    /// What somebody gets who goes around the proxy.
    fn refusal(&self, head: &Parts, reason: &str) -> Answer {
        let headline = "This request did not come through Countersign";
        if head.uri.path().starts_with("/api/") {
            return problem(StatusCode::FORBIDDEN, headline, reason);
        }
        let Ok(html) = self.pages.refused(reason, &self.public_url) else {
            return plain(StatusCode::FORBIDDEN, "This request did not come through Countersign.\n");
        };
        let mut answer = page(StatusCode::FORBIDDEN, html);
        // A hash in base64 between fixed words is always a header value.
        if let Ok(policy) = HeaderValue::from_str(&pages::REFUSAL_POLICY) {
            answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
        }
        answer
    }
}

/// Serves `app` on `listener` until `shutdown` ends; then lets running requests finish, for a few seconds.
pub async fn serve(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>) {
    let app = Arc::new(app);
    let graceful = GracefulShutdown::new();
    let free = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let mut shutdown = pin!(shutdown);
    loop {
        let Ok(permit) = Arc::clone(&free).acquire_owned().await else { break };
        let stream = tokio::select! {
            () = &mut shutdown => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _peer)) => stream,
                Err(_out_of_descriptors) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                },
            },
        };
        let app = Arc::clone(&app);
        let service = service_fn(move |request| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(app.answer(request).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(READ_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that goes away is not a fault of ours.
            let _gone = connection.await;
            drop(permit);
        });
    }
    let _late = tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
}

/// A request whose signature was found good.
struct Asked<'a> {
    head: &'a Parts,
    shown: &'a Facts,
}

impl Asked<'_> {
    /// Where the proxy says the browser wanted to go; not judged yet.
    fn return_to(&self) -> String {
        Form::parse(self.head.uri.query().unwrap_or_default().as_bytes())
            .map(|query| query.field("return_to").to_owned())
            .unwrap_or_default()
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: browsers would then send `Origin: null` with our own forms.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    answer
}

fn page(status: StatusCode, html: String) -> Answer {
    let mut answer = answer(status, "text/html; charset=utf-8", html);
    answer.headers_mut().insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(pages::PAGE_POLICY));
    answer
}

fn plain(status: StatusCode, text: &'static str) -> Answer {
    answer(status, "text/plain; charset=utf-8", text)
}

fn asset(kind: &'static str, text: &'static str) -> Answer {
    let mut answer = answer(StatusCode::OK, kind, text);
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

fn whoami(shown: &Facts) -> Answer {
    match serde_json::to_vec_pretty(shown) {
        Ok(mut json) => {
            json.push(b'\n');
            answer(StatusCode::OK, "application/json", json)
        }
        Err(_fault) => plain(StatusCode::INTERNAL_SERVER_ERROR, "The context cannot be written as JSON.\n"),
    }
}

/// RFC 9457.
fn problem(status: StatusCode, title: &str, detail: &str) -> Answer {
    let body = serde_json::json!({ "status": status.as_u16(), "title": title, "detail": detail });
    answer(status, "application/problem+json", format!("{body}\n"))
}

fn see_other(location: &str) -> Answer {
    let mut answer = plain(StatusCode::SEE_OTHER, "");
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
    answer.headers_mut().insert(LOCATION, location);
    answer
}

/// Adds `word;parameter="id"` (RFC 9651: a token with one string parameter).
fn directed(answer: Answer, word: &str, parameter: &str, id: &str) -> Answer {
    // Ids of the demo are digits; anything else would need escaping, and is not a header value then.
    match HeaderValue::from_str(&format!("{word};{parameter}=\"{id}\"")) {
        Ok(directive) => with_directive(answer, directive),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "This id cannot be written in a header.\n"),
    }
}

fn with_directive(mut answer: Answer, directive: HeaderValue) -> Answer {
    answer.headers_mut().insert(DIRECTIVE, directive);
    answer
}
