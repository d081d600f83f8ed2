//! An HTTP client as a browser or a script is one: HTTP/1.1 or HTTP/2, in the clear or in TLS, with a cookie jar.
//! It follows no redirects and repeats nothing, so that a test sees every answer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::body::{self, AnyBody};
use crate::certificate::Certificate;

/// How a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// HTTP/1.1 in the clear.
    Http1,
    /// HTTP/2 in the clear, with prior knowledge.
    Http2,
    /// HTTP/1.1 in TLS.
    Tls1,
    /// HTTP/2 in TLS.
    Tls2,
}

/// A client with a cookie jar. A clone shares the jar: another tab of the same browser.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    authority: String,
    wire: Wire,
    certificate: Option<Arc<Certificate>>,
    jar: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Client {
    /// A client of the server at `address` that names it `app.test`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let jar = Arc::default();
        Self { address, authority: "app.test".to_owned(), wire: Wire::Http1, certificate: None, jar }
    }

    /// The same client on another listener or with another protocol.
    #[must_use]
    pub fn over(&self, wire: Wire, address: SocketAddr) -> Self {
        Self { address, wire, ..self.clone() }
    }

    /// The same client, trusting this certificate.
    #[must_use]
    pub fn trusting(&self, certificate: &Arc<Certificate>) -> Self {
        Self { certificate: Some(certificate.clone()), ..self.clone() }
    }

    /// The same client, naming the server otherwise.
    #[must_use]
    pub fn naming(&self, authority: &str) -> Self {
        Self { authority: authority.to_owned(), ..self.clone() }
    }

    /// The same client with an empty jar: another person's browser.
    #[must_use]
    pub fn stranger(&self) -> Self {
        Self { jar: Arc::default(), ..self.clone() }
    }

    /// Where it connects to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A cookie of the jar.
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.jar.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Puts a cookie into the jar.
    pub fn set_cookie(&self, name: &str, value: &str) {
        let mut jar = self.jar.lock().unwrap_or_else(PoisonError::into_inner);
        jar.insert(name.to_owned(), value.to_owned());
    }

    /// A GET request, as a script would send it.
    pub fn get(&self, path: &str) -> Call {
        self.call(Method::GET, path)
    }

    /// A POST request, as a script would send it.
    pub fn post(&self, path: &str, body: impl Into<Bytes>) -> Call {
        self.call(Method::POST, path).body(body::whole(body))
    }

    /// A request with any method.
    pub fn call(&self, method: Method, path: &str) -> Call {
        let headers = HeaderMap::new();
        let body = body::whole("");
        Call { client: self.clone(), method, path: path.to_owned(), headers, with_jar: true, body }
    }

    /// A connection that stays open for several requests.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn connect(&self) -> Connection {
        match self.wire {
            Wire::Http1 => Connection::http1(self.connect_bare().await).await,
            Wire::Http2 => Connection::http2(self.connect_bare().await).await,
            Wire::Tls1 => Connection::http1(self.connect_in_tls("http/1.1").await).await,
            Wire::Tls2 => Connection::http2(self.connect_in_tls("h2").await).await,
        }
    }

    async fn connect_bare(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).await.expect("the server listens");
        stream.set_nodelay(true).expect("a connected socket");
        stream
    }

    /// A connection in TLS on which this protocol was agreed, and nothing said in it yet.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn connect_in_tls(&self, protocol: &str) -> TlsStream<TcpStream> {
        let stream = self.connect_bare().await;
        let certificate = self.certificate.as_ref().expect("a client in TLS trusts a certificate");
        let connector = TlsConnector::from(certificate.client(&[protocol]));
        let name = ServerName::try_from("localhost").expect("a valid name");
        let stream = connector.connect(name, stream).await.expect("a handshake");
        assert_eq!(
            stream.get_ref().1.alpn_protocol(),
            Some(protocol.as_bytes()),
            "the protocol chosen in TLS"
        );
        stream
    }

    fn take_cookies(&self, headers: &HeaderMap) {
        let mut jar = self.jar.lock().unwrap_or_else(PoisonError::into_inner);
        for field in headers.get_all("set-cookie") {
            let text = String::from_utf8_lossy(field.as_bytes()).into_owned();
            let Some((name, value)) = text.split(';').next().and_then(|pair| pair.split_once('=')) else {
                continue;
            };
            let over = text.to_ascii_lowercase().split(';').any(|part| part.trim() == "max-age=0");
            if over {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn jar_line(&self) -> Option<String> {
        let jar = self.jar.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs: Vec<_> = jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// A request that is not sent yet.
#[must_use = "a call does nothing until it is sent"]
pub struct Call {
    client: Client,
    method: Method,
    path: String,
    headers: HeaderMap,
    with_jar: bool,
    body: AnyBody,
}

impl Call {
    /// Adds a header; a second one of the same name stands beside the first.
    ///
    /// # Panics
    /// When HTTP does not allow it; such requests are sent with `raw`.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.append(name, HeaderValue::from_bytes(value.as_ref()).expect("a header value"));
        self
    }

    /// Sends this `Cookie` field instead of the jar's cookies.
    pub fn cookies(mut self, line: impl AsRef<[u8]>) -> Self {
        self.with_jar = false;
        self.header("cookie", line)
    }

    /// Says what a browser says when a person opens a page.
    pub fn navigating(self) -> Self {
        self.header("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-site", "none")
    }

    /// Sends this body.
    pub fn body(mut self, body: AnyBody) -> Self {
        self.body = body;
        self
    }

    /// Sends it on a connection of its own and reads the whole answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(self) -> Answer {
        let mut connection = self.client.connect().await;
        self.send_on(&mut connection).await
    }

    /// Sends it on this connection and reads the whole answer.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send_on(self, connection: &mut Connection) -> Answer {
        let what = format!("{} {}", self.method, self.path);
        let client = self.client.clone();
        let answer = connection.exchange(self.into_request()).await;
        let answer = answer.unwrap_or_else(|error| panic!("{what}: no answer: {error}"));
        client.take_cookies(answer.headers());
        let (head, body) = answer.into_parts();
        let body =
            body.collect().await.unwrap_or_else(|error| panic!("{what}: the answer broke off: {error}"));
        let trailers = body.trailers().cloned();
        Answer {
            status: head.status,
            version: head.version,
            headers: head.headers,
            body: body.to_bytes(),
            trailers,
        }
    }

    /// Sends it on a connection of its own and answers when the head is there; the body is left to the test.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn open(self) -> hyper::Result<Response<Incoming>> {
        let mut connection = self.client.connect().await;
        connection.exchange(self.into_request()).await
    }

    fn into_request(self) -> Request<AnyBody> {
        let target = match self.client.wire {
            Wire::Http1 | Wire::Tls1 => self.path.clone(),
            Wire::Http2 => format!("http://{}{}", self.client.authority, self.path),
            Wire::Tls2 => format!("https://{}{}", self.client.authority, self.path),
        };
        let mut request = Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = target.parse().unwrap_or_else(|error| panic!("{target}: {error}"));
        let headers = request.headers_mut();
        if matches!(self.client.wire, Wire::Http1 | Wire::Tls1) {
            headers.insert("host", self.client.authority.parse().expect("an authority"));
        }
        if let Some(line) = self.client.jar_line().filter(|_| self.with_jar) {
            headers.insert("cookie", line.parse().expect("cookies"));
        }
        headers.extend(self.headers);
        request
    }
}

/// An open connection.
#[derive(Debug)]
pub enum Connection {
    /// With HTTP/1.1.
    Http1(http1::SendRequest<AnyBody>),
    /// With HTTP/2.
    Http2(http2::SendRequest<AnyBody>),
}

impl Connection {
    async fn http1(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("a new connection");
        tokio::spawn(connection.with_upgrades());
        Self::Http1(sender)
    }

    async fn http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let io = TokioIo::new(stream);
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), io).await.expect("a new connection");
        tokio::spawn(connection);
        Self::Http2(sender)
    }

    async fn exchange(&mut self, request: Request<AnyBody>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Self::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// The HTTP version it was given in.
    pub version: Version,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// Its trailers.
    pub trailers: Option<HeaderMap>,
}

impl Answer {
    /// A header, or the empty string.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// All `Set-Cookie` fields.
    #[must_use]
    pub fn set_cookies(&self) -> Vec<String> {
        let fields = self.headers.get_all("set-cookie").iter();
        fields.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    }

    /// Asserts the status, with the body in the message.
    ///
    /// # Panics
    /// When it is another one.
    #[expect(clippy::return_self_not_must_use, reason = "often only the assertion is wanted")]
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{:?} {}", self.headers, self.text());
        self
    }

    /// Asserts that the proxy itself answered with this status and reason code.
    ///
    /// # Panics
    /// When it did not.
    #[expect(clippy::return_self_not_must_use, reason = "often only the assertion is wanted")]
    #[track_caller]
    pub fn expect_problem(self, status: u16, code: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["code"], code, "{}", answer.text());
        answer
    }
}
