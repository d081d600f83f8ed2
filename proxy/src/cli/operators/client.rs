//! A client of the admin API: one request, one answer, in the clear, as the listener speaks. The token comes from the
//! environment, a file or the configuration, never from the command line, where every user of the machine could read it.

use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{Access, plain};
use crate::cli::{NO, Stop, UNDETERMINED, load};
use crate::secret::Secret;

/// Where the admin listener is by default.
const USUAL_ADDRESS: &str = "127.0.0.1:9901";
/// The variable that holds the token.
pub(super) const TOKEN_VARIABLE: &str = "COUNTERSIGN_ADMIN_TOKEN";
/// The longest that an answer may take: clearing a platform from very many sessions takes a while.
const PATIENCE: Duration = Duration::from_mins(1);
/// The largest answer: a full page of entries is a tenth of it.
const LARGEST: usize = 4 * 1024 * 1024;
/// What stays as it is in a segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A client of one admin listener.
pub(in crate::cli) struct Client {
    address: String,
    token: Secret,
}

impl Access {
    /// The client that these flags describe.
    pub(in crate::cli) fn client(&self) -> anyhow::Result<Client> {
        let snapshot = self.config.as_deref().map(load).transpose()?;
        let configured = snapshot.as_ref().map(|snapshot| snapshot.admin.address.to_string());
        let address = self.admin.clone().or(configured).unwrap_or_else(|| USUAL_ADDRESS.to_owned());
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        let token = match &self.token_file {
            Some(file) => {
                let bytes = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
                Some(Secret::new(bytes.trim_ascii_end().to_vec()))
            }
            None => std::env::var(TOKEN_VARIABLE)
                .ok()
                .map(|text| Secret::from(text.as_str()))
                .or_else(|| snapshot.and_then(|snapshot| snapshot.admin.token)),
        };
        let token = token.with_context(|| {
            format!(
                "the admin API needs a token: set {TOKEN_VARIABLE}, or name a file with `--token-file`, or a \
                 configuration that has `admin.token` with `--config`"
            )
        })?;
        Ok(Client { address, token })
    }
}

impl Client {
    /// Reads something.
    pub(in crate::cli) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(&Method::GET, path, None)
    }

    /// Sends one request. What the API refuses is an error with its own exit code.
    pub(in crate::cli) fn call(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let exchange = async { tokio::time::timeout(PATIENCE, self.exchange(method, path, body)).await };
        let (status, answer) = match runtime.block_on(exchange) {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(self.unreachable(&format!("{error:#}"))),
            Err(_) => return Err(self.unreachable("no answer in time")),
        };
        if status.is_success() { Ok(answer) } else { Err(refused(status, &answer)) }
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let stream = tokio::net::TcpStream::connect(&self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut token = HeaderValue::try_from([b"Bearer ".as_slice(), self.token.expose()].concat())
            .context("the admin token holds characters that no header can carry")?;
        token.set_sensitive(true);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::AUTHORIZATION, token)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let Ok(body) = Limited::new(body, LARGEST).collect().await else { bail!("the answer broke off") };
        connection.abort();
        Ok((head.status, serde_json::from_slice(&body.to_bytes()).unwrap_or_default()))
    }

    fn unreachable(&self, why: &str) -> anyhow::Error {
        let text = format!(
            "the admin listener at {} does not answer: {why}\n\
             Next: start the proxy, or say with `--admin` or `--config` where it listens",
            plain(&self.address)
        );
        Stop { code: UNDETERMINED, text }.into()
    }
}

/// A segment of a path.
pub(super) fn segment(text: &str) -> String {
    match text {
        // Readers take these two for directories even when they are encoded, and the API finds nothing there.
        "." | ".." => text.replace('.', "%2E"),
        _ => utf8_percent_encode(text, SEGMENT).to_string(),
    }
}

/// What the API said against it.
fn refused(status: StatusCode, problem: &Value) -> anyhow::Error {
    let word = |name: &str| problem[name].as_str().map(plain);
    let title = word("title").unwrap_or_else(|| format!("the listener answered {status}"));
    let mut text = match word("code") {
        Some(code) => format!("{title} ({code})"),
        None => format!("{title}; is this the admin listener of a Countersign proxy?"),
    };
    if let Some(detail) = word("detail") {
        text = format!("{text}: {detail}");
    }
    if let Some(next) = word("next") {
        text = format!("{text}\nNext: {next}");
    }
    let code = match status.as_u16() {
        404 if problem["code"] != "not_there" => NO,
        503 => UNDETERMINED,
        _ => 1,
    };
    Stop { code, text }.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_says_what_to_do_and_how_sure_it_is() {
        let problem =
            json!({"code": "session_not_found", "title": "No such session", "next": "list\u{1b}[31m them"});
        let told = refused(StatusCode::NOT_FOUND, &problem);
        let stop = told.downcast_ref::<Stop>().unwrap();
        assert_eq!(stop.code, NO);
        assert_eq!(stop.text, "No such session (session_not_found)\nNext: list\\u{1b}[31m them");
        let outage = refused(StatusCode::SERVICE_UNAVAILABLE, &json!({"code": "undetermined"}));
        assert_eq!(outage.downcast_ref::<Stop>().unwrap().code, UNDETERMINED);
        let foreign = refused(StatusCode::NOT_FOUND, &Value::Null).to_string();
        assert!(foreign.contains("is this the admin listener"), "{foreign}");
    }

    #[test]
    fn ids_cannot_leave_their_segment() {
        assert_eq!(segment("a/b?c%#.."), "a%2Fb%3Fc%25%23..");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
