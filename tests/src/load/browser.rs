//! One connection that stays open, and is opened again when it broke. Unlike `client` it takes a failure for a fact.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::application::{DIRECTIVE, NUMBER};
use crate::history::{Answer, cookie_change};
use crate::proxy::COOKIE;

/// A request that is not answered for so long has hung.
pub(super) const HUNG: Duration = Duration::from_secs(15);

/// What to ask for.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// The path.
    pub path: &'a str,
    /// The number under which the application remembers it.
    pub number: u64,
    /// The token in the cookie.
    pub token: Option<&'a str>,
    /// The directive that the application answers with; makes it a POST.
    pub directive: Option<&'a str>,
}

/// A connection to one proxy.
#[derive(Debug)]
pub struct Browser {
    address: SocketAddr,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl Browser {
    /// One that connects when it is first needed.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Asks, and reads the whole answer with the token that a cookie brought, if one did. `None` when there was no
    /// answer, or not all of it.
    pub async fn ask(&mut self, wish: &Wish<'_>) -> Option<(Answer, Option<String>)> {
        let answer = timeout(HUNG, self.exchange(wish)).await;
        if !matches!(answer, Ok(Some(_))) {
            self.sender = None;
        }
        answer.ok().flatten()
    }

    async fn exchange(&mut self, wish: &Wish<'_>) -> Option<(Answer, Option<String>)> {
        // A connection that the proxy closed while it was idle took nothing: such a request is sent again.
        for _ in 0..3 {
            let sender = self.connected().await?;
            match sender.send_request(request(wish)).await {
                Ok(response) => return read(response).await,
                Err(error) if error.is_canceled() => self.sender = None,
                Err(_) => return None,
            }
        }
        None
    }

    async fn connected(&mut self) -> Option<&mut SendRequest<Empty<Bytes>>> {
        if let Some(sender) = &mut self.sender
            && sender.ready().await.is_err()
        {
            self.sender = None;
        }
        if self.sender.is_none() {
            let stream = TcpStream::connect(self.address).await.ok()?;
            let _ = stream.set_nodelay(true);
            let (sender, connection) = handshake(TokioIo::new(stream)).await.ok()?;
            tokio::spawn(connection);
            self.sender = Some(sender);
        }
        self.sender.as_mut()
    }
}

fn request(wish: &Wish<'_>) -> Request<Empty<Bytes>> {
    let method = if wish.directive.is_some() { Method::POST } else { Method::GET };
    let mut request = Request::builder()
        .method(method)
        .uri(wish.path)
        .header("host", "app.test")
        .header(NUMBER, wish.number)
        .header("accept", "text/html")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document")
        .header("sec-fetch-site", "none");
    if let Some(token) = wish.token {
        request = request.header("cookie", format!("{COOKIE}={token}; theme=dark"));
    }
    if let Some(directive) = wish.directive {
        request = request.header(DIRECTIVE, directive);
    }
    request.body(Empty::new()).expect("a valid request")
}

async fn read(response: Response<Incoming>) -> Option<(Answer, Option<String>)> {
    let (head, body) = response.into_parts();
    body.collect().await.ok()?;
    let text = |name: &str| head.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let fields = head.headers.get_all("set-cookie").iter();
    let cookies: Vec<_> =
        fields.map(|field| String::from_utf8_lossy(field.as_bytes()).into_owned()).collect();
    let token = cookies.iter().find_map(|cookie| {
        let (name, value) = cookie.split(';').next()?.split_once('=')?;
        (name == COOKIE && !value.is_empty()).then(|| value.to_owned())
    });
    let answer = Answer {
        status: head.status.as_u16(),
        retry_after: text("retry-after").is_some_and(|value| value.parse::<u32>().is_ok()),
        location: text("location").map(std::borrow::Cow::into_owned),
        cookie: cookie_change(&cookies, COOKIE),
    };
    Some((answer, token))
}
