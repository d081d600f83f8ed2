//! The application of the load: believes nobody whose signatures it cannot verify, remembers under the number of each
//! request what it was told, and asks the proxy for the directive that the request names.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use countersign_verify::{Authn, Keys, Verifier};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::history::{self, Seen};
use crate::proxy::Proxy;
use crate::verifier::{from_base64url, upstream_key};

/// The header in which a request says its number.
pub(super) const NUMBER: &str = "load-number";
/// The header in which a request says the directive that it wants.
pub(super) const DIRECTIVE: &str = "load-directive";
/// What the proxies call this application.
pub(super) const NAME: &str = "load";

#[derive(Default)]
struct Shared {
    verifier: OnceLock<Verifier>,
    seen: Mutex<HashMap<u64, Seen>>,
}

/// An application that verifies; it ends with this value.
pub struct Application {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Application {
    /// One that does not yet know whom to believe.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let shared: Arc<Shared> = Arc::default();
        let all = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let shared = all.clone();
                let service = service_fn(move |request| {
                    let answer = answer(&request, &shared);
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, shared, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it believes this proxy and nobody else.
    ///
    /// # Panics
    /// When the proxy does not publish its public keys, or on the second call.
    pub async fn believe(&self, proxy: &Proxy) {
        let key = STANDARD.encode(from_base64url(&upstream_key(&proxy.secret("hmac"), NAME)));
        let jwks = proxy.admin().get("/jwks.json").send().await.expect(200).text();
        let keys = Keys::default().with_hmac("hmac-1", &key).and_then(|keys| keys.with_jwks(&jwks));
        let verifier = Verifier::new(keys.expect("the proxy's own keys"), NAME);
        assert!(self.shared.verifier.set(verifier).is_ok(), "it believes a proxy already");
    }

    /// What arrived under this number, once; `None` when nothing did.
    #[must_use]
    pub fn take(&self, number: u64) -> Option<Seen> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).remove(&number)
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn answer(request: &Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let number = request.headers().get(NUMBER).and_then(|number| number.to_str().ok()?.parse().ok());
    if let Some(number) = number {
        let seen = judge(request, shared);
        shared.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(number, seen);
    }
    let mut response = Response::new(Full::from("seen"));
    if let Some(directive) = request.headers().get(DIRECTIVE) {
        let directive = HeaderValue::from_bytes(directive.as_bytes()).expect("it was a header");
        response.headers_mut().insert("countersign-session", directive);
    }
    response
}

fn judge(request: &Request<Incoming>, shared: &Shared) -> Seen {
    let Some(verifier) = shared.verifier.get() else {
        return Seen::Unbelievable("no keys are known yet".to_owned());
    };
    let parts = countersign_verify::Request::of(request);
    #[expect(clippy::disallowed_methods, reason = "an application has the time of its machine")]
    let now = SystemTime::now();
    match parts.and_then(|parts| verifier.verify(&parts, now)) {
        Err(problem) => Seen::Unbelievable(problem.to_string()),
        Ok(context) => Seen::Context {
            authn: match context.authn {
                Authn::Session => history::Authn::Session,
                Authn::None => history::Authn::None,
                Authn::Unchecked => history::Authn::Unchecked,
                Authn::Undetermined => history::Authn::Undetermined,
            },
            session: context.session_id,
            user: context.user_id,
            platform: context.platform.map(|platform| platform.id),
        },
    }
}
