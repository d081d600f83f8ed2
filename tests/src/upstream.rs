//! An application that records every request as it arrives and answers as the test says.
//!
//! Without instructions it answers `200` and `{"path": ...}`. Below any first segment, `/websocket` echoes, `/events`
//! sends what [`Upstream::events`] is given, `/download/N` sends N bytes, `/trailers` ends with one, `/sleep/MS` takes
//! its time.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, Version};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use crate::body::{self, AnyBody};
use crate::certificate::Certificate;

/// Bodies longer than this are counted, not kept.
const KEPT: usize = 1024 * 1024;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its method.
    pub method: String,
    /// Path and query as they arrived.
    pub target: String,
    /// The host it was meant for: `:authority` or `Host`.
    pub authority: String,
    /// The HTTP version.
    pub version: Version,
    /// Its headers in the order of arrival, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// Its body, unless it was large.
    pub body: Bytes,
    /// The length of its body.
    pub length: u64,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

impl Recorded {
    /// All values of one header.
    #[must_use]
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        let fields = self.headers.iter().filter(|(known, _)| known == name);
        fields.map(|(_, value)| value.as_slice()).collect()
    }

    /// The value of a header that is there at most once; `None` when it is not.
    ///
    /// # Panics
    /// When it is there twice or is not ASCII.
    #[must_use]
    #[track_caller]
    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} arrived {} times", all.len());
        all.first().map(|value| std::str::from_utf8(value).unwrap_or_else(|_| panic!("{name} is not text")))
    }

    /// A context header by its short name (`user-id`).
    ///
    /// # Panics
    /// When it is there twice.
    #[must_use]
    #[track_caller]
    pub fn context(&self, name: &str) -> Option<&str> {
        self.header(&format!("x-context-{name}"))
    }

    /// The request as the verifier scripts read it.
    #[must_use]
    pub fn as_json(&self) -> Value {
        // Bytes as Latin-1, the way Python and Node hand headers to an application.
        let text = |value: &[u8]| value.iter().map(|byte| char::from(*byte)).collect::<String>();
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| json!([name, text(value)])).collect();
        json!({ "method": self.method, "target": self.target, "authority": self.authority, "headers": headers })
    }
}

/// An answer that a test prepared for a path.
#[derive(Clone, Debug)]
pub struct Prepared {
    status: u16,
    headers: Vec<(String, String)>,
    body: String,
}

impl Prepared {
    /// An empty answer with this status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: String::new() }
    }

    /// Adds a header; a second one of the same name stands beside the first.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }
}

#[derive(Default)]
struct Shared {
    recorded: Mutex<Vec<Recorded>>,
    prepared: Mutex<HashMap<String, Prepared>>,
    listener: Mutex<Option<mpsc::Sender<Frame<Bytes>>>>,
}

/// The recording application; ends with this value.
pub struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl Upstream {
    /// One that speaks HTTP/1.1 and HTTP/2 in the clear.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start() -> Self {
        Self::listen(0, None).await
    }

    /// One on a certain port, for a server that comes back.
    ///
    /// # Panics
    /// When the port is taken.
    pub async fn start_on(port: u16) -> Self {
        Self::listen(port, None).await
    }

    /// One that speaks these protocols in TLS.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start_with_tls(certificate: &Certificate, protocols: &[&str]) -> Self {
        Self::listen(0, Some(TlsAcceptor::from(certificate.server(protocols)))).await
    }

    async fn listen(port: u16, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let shared: Arc<Shared> = Arc::default();
        let all = shared.clone();
        let task = tokio::spawn(async move {
            // Dropping the set with this task ends the connections too: the application is then really gone.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, tls) = (all.clone(), tls.clone());
                let _ = stream.set_nodelay(true);
                connections.spawn(async move {
                    match tls {
                        None => serve(stream, shared).await,
                        Some(acceptor) => {
                            if let Ok(stream) = acceptor.accept(stream).await {
                                serve(stream, shared).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, shared, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on requests for this path are answered so.
    pub fn prepare(&self, path: &str, answer: Prepared) {
        let mut prepared = self.shared.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        prepared.insert(path.to_owned(), answer);
    }

    /// From now on requests for this path are answered `200` with this `countersign-session`.
    pub fn direct(&self, path: &str, directive: &str) {
        self.prepare(path, Prepared::status(200).header("countersign-session", directive).body("done"));
    }

    /// Everything that arrived so far.
    #[must_use]
    pub fn recorded(&self) -> Vec<Recorded> {
        self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything that arrived so far, and forgets it.
    #[must_use]
    pub fn take(&self) -> Vec<Recorded> {
        std::mem::take(&mut self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The request that arrived last, and forgets all.
    ///
    /// # Panics
    /// When none arrived.
    #[must_use]
    #[track_caller]
    pub fn last(&self) -> Recorded {
        self.take().pop().expect("a request arrived")
    }

    /// The way to the client that listens to `/events`; `None` until one does.
    #[must_use]
    pub fn events(&self) -> Option<mpsc::Sender<Frame<Bytes>>> {
        self.shared.listener.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lets go of the client that listens to `/events`.
    pub fn forget_listener(&self) {
        *self.shared.listener.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(answer(request, &shared).await) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    // A connection that breaks is part of what is tested.
    let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
}

async fn answer(mut request: Request<Incoming>, shared: &Shared) -> Response<AnyBody> {
    let upgrade = request.headers().contains_key("upgrade").then(|| hyper::upgrade::on(&mut request));
    let key = request.headers().get("sec-websocket-key").cloned();
    let path = request.uri().path().to_owned();
    let recorded = record(request).await;
    shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).push(recorded.clone());

    let prepared = shared.prepared.lock().unwrap_or_else(PoisonError::into_inner).get(&path).cloned();
    if let Some(prepared) = prepared {
        return prepared_answer(&prepared);
    }
    let number = |text: &str| text.parse().unwrap_or(0);
    let below = path.trim_start_matches('/').split_once('/').map_or("", |(_, rest)| rest);
    match below.split_once('/').unwrap_or((below, "")) {
        ("websocket", _) => {
            if let (Some(upgrade), Some(key)) = (upgrade, key) {
                tokio::spawn(echo(upgrade));
                return switch_to_websocket(&key);
            }
            with_status(426, body::whole("a WebSocket is served here"))
        }
        ("events", _) => {
            let (sender, body) = body::channel();
            *shared.listener.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
            let mut response = with_status(200, body);
            response.headers_mut().insert("content-type", HeaderValue::from_static("text/event-stream"));
            response
        }
        ("download", length) => with_status(200, body::pattern(number(length))),
        ("sleep", time) => {
            tokio::time::sleep(Duration::from_millis(number(time))).await;
            with_status(200, body::whole("slept"))
        }
        ("trailers", _) => with_status(200, ending_with_trailers()),
        _ => with_status(200, body::whole(json!({ "path": path, "length": recorded.length }).to_string())),
    }
}

async fn record(request: Request<Incoming>) -> Recorded {
    let (head, mut body) = request.into_parts();
    let headers: Vec<_> =
        head.headers.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec())).collect();
    let host = head.headers.get("host").map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let authority = head.uri.authority().map(ToString::to_string).or(host).unwrap_or_default();
    let (mut kept, mut length, mut trailers) = (Vec::new(), 0, None);
    while let Some(Ok(frame)) = body.frame().await {
        match frame.into_data() {
            Ok(data) => {
                length += data.len() as u64;
                if kept.len() + data.len() <= KEPT {
                    kept.extend_from_slice(&data);
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
    }
    Recorded {
        method: head.method.to_string(),
        target: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
        authority,
        version: head.version,
        headers,
        body: kept.into(),
        length,
        trailers,
    }
}

fn prepared_answer(prepared: &Prepared) -> Response<AnyBody> {
    let mut response = with_status(prepared.status, body::whole(prepared.body.clone()));
    for (name, value) in &prepared.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        response
            .headers_mut()
            .append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
    }
    response
}

fn with_status(status: u16, body: AnyBody) -> Response<AnyBody> {
    Response::builder().status(status).body(body).expect("a valid status")
}

fn ending_with_trailers() -> AnyBody {
    let (sender, body) = body::channel();
    tokio::spawn(async move {
        let _ = sender.send(Frame::data(Bytes::from_static(b"before the trailers"))).await;
        let trailers = [("x-checksum", "42"), ("x-context-user-id", "1"), ("set-cookie", "a=b")];
        let trailers =
            trailers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let trailers = HeaderMap::from_iter(trailers);
        let _ = sender.send(Frame::trailers(trailers)).await;
    });
    body
}

fn switch_to_websocket(key: &HeaderValue) -> Response<AnyBody> {
    Response::builder()
        .status(101)
        .header("connection", "upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-accept", derive_accept_key(key.as_bytes()))
        .body(body::whole(""))
        .expect("a valid head")
}

async fn echo(upgrade: hyper::upgrade::OnUpgrade) {
    let Ok(stream) = upgrade.await else { return };
    let mut socket = WebSocketStream::from_raw_socket(TokioIo::new(stream), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Prepared, Upstream};
    use crate::certificate::Certificate;
    use crate::client::{Client, Wire};
    use crate::raw::{self, RawUpstream};
    use crate::relay::{Mode, Relay};

    #[tokio::test]
    async fn the_client_and_the_recording_application_understand_each_other_over_every_wire() {
        let certificate = Arc::new(Certificate::new());
        let clear = Upstream::start().await;
        let tls = Upstream::start_with_tls(&certificate, &["h2", "http/1.1"]).await;
        for (wire, app) in
            [(Wire::Http1, &clear), (Wire::Http2, &clear), (Wire::Tls1, &tls), (Wire::Tls2, &tls)]
        {
            app.prepare("/x", Prepared::status(201).header("set-cookie", "a=b; Path=/").body("prepared"));
            let client = Client::new(app.address()).over(wire, app.address()).trusting(&certificate);
            client
                .post("/x?y", "body")
                .header("x-twice", "1")
                .header("x-twice", "2")
                .send()
                .await
                .expect(201);
            let request = app.last();
            assert_eq!(
                (request.target.as_str(), request.authority.as_str()),
                ("/x?y", "app.test"),
                "{wire:?}"
            );
            assert_eq!((request.body.as_ref(), request.all("x-twice").len()), (&b"body"[..], 2), "{wire:?}");
            assert_eq!(client.cookie("a").as_deref(), Some("b"), "{wire:?}");
            let answer = client.get("/x/download/100000").send().await.expect(200);
            assert_eq!(answer.body.len(), 100_000, "{wire:?}");
        }
    }

    #[tokio::test]
    async fn raw_bytes_are_kept_as_they_were_and_a_cut_relay_ends_the_connection() {
        let app = RawUpstream::start().await;
        let relay = Relay::to(app.address()).await;
        let sent = b"GET /a HTTP/1.1\r\nX-Odd:\tb \r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        let silence = Duration::from_millis(200);
        let exchange = raw::exchange(relay.address(), sent, silence).await;
        assert_eq!((exchange.status(), exchange.answers(), exchange.closed), (200, 2, false));
        assert_eq!(app.take(), sent);
        relay.set(Mode::Cut);
        assert!(raw::exchange(relay.address(), sent, silence).await.closed);
        assert!(app.take().is_empty());
    }
}
