//! Sends records to the collector, over HTTP/1.1 and one kept connection: OTLP/HTTP with protobuf. What it does not take
//! after some tries is dropped and counted; nothing waits for it but the queue.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_rustls::TlsConnector;

use super::{Recorded, Settings, otlp};
use crate::telemetry::Metrics;

/// Most records in one request.
const BATCH: usize = 256;
/// How long records gather.
const GATHER: Duration = Duration::from_secs(1);
/// Waits before further tries.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];
/// How often a failure is told in the log, at most.
const TOLD_EVERY: Duration = Duration::from_mins(1);
/// Most of an answer that is read.
const LARGEST_ANSWER: usize = 64 * 1024;

/// Exports until `ending`, and then what was recorded before.
pub(super) async fn run(
    mut queue: mpsc::Receiver<Recorded>,
    settings: impl Fn() -> Option<Arc<Settings>> + Send,
    metrics: Arc<Metrics>,
    ending: impl Future<Output = ()> + Send,
) {
    let mut ending = pin!(ending);
    let mut exporter = Exporter { metrics, collector: None, told: None };
    let mut batch = Vec::new();
    let mut is_over = false;
    while !is_over {
        is_over = gather(&mut queue, &mut batch, ending.as_mut()).await;
        exporter.export(&mut batch, settings()).await;
    }
    loop {
        while batch.len() < BATCH
            && let Ok(record) = queue.try_recv()
        {
            batch.push(record);
        }
        if batch.is_empty() {
            return;
        }
        exporter.export(&mut batch, settings()).await;
    }
}

/// Waits for a record and a while for more, or for the end; answers whether that has come.
async fn gather(
    queue: &mut mpsc::Receiver<Recorded>,
    batch: &mut Vec<Recorded>,
    mut ending: Pin<&mut (impl Future<Output = ()> + Send)>,
) -> bool {
    let mut first = None::<Instant>;
    while batch.len() < BATCH {
        let room = BATCH - batch.len();
        let gathered = async {
            match first {
                Some(first) => sleep_until(first + GATHER).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // Nothing is lost when another branch is taken.
            received = queue.recv_many(batch, room) => {
                if received == 0 {
                    // Whoever records is gone.
                    return true;
                }
                first.get_or_insert_with(Instant::now);
            }
            () = gathered => return false,
            () = ending.as_mut() => return true,
        }
    }
    false
}

struct Exporter {
    metrics: Arc<Metrics>,
    collector: Option<Collector>,
    /// When a failure was last told.
    told: Option<Instant>,
}

impl Exporter {
    /// Sends a batch to the collector of now, and empties it.
    async fn export(&mut self, batch: &mut Vec<Recorded>, settings: Option<Arc<Settings>>) {
        let spans = batch.iter().map(otlp::spans).sum();
        if spans == 0 {
            return;
        }
        let Some(settings) = settings else {
            // The configuration of now has no collector any more.
            self.collector = None;
            self.metrics.spans.with_label_values(&["dropped"]).inc_by(spans);
            batch.clear();
            return;
        };
        let same = self.collector.take().filter(|old| Arc::ptr_eq(&old.settings, &settings));
        let collector = self.collector.insert(same.unwrap_or(Collector { settings, connection: None }));
        let result = collector.take_in(batch).await;
        batch.clear();
        let word = if result.is_ok() { "exported" } else { "failed" };
        self.metrics.spans.with_label_values(&[word]).inc_by(spans);
        if let Err(error) = result
            && self.told.is_none_or(|told| told.elapsed() > TOLD_EVERY)
        {
            self.told = Some(Instant::now());
            let error = format!("{error:#}");
            tracing::warn!(error, spans, "the collector of traces did not take spans");
        }
    }
}

struct Collector {
    settings: Arc<Settings>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Collector {
    async fn take_in(&mut self, batch: &[Recorded]) -> anyhow::Result<()> {
        let body = Bytes::from(otlp::encode(batch, &self.settings).context("encoding")?);
        let mut result = Ok(());
        for wait in TRIES {
            sleep(wait).await;
            let answer = timeout(self.settings.timeout, self.ask(body.clone())).await;
            result = match answer {
                Ok(Ok(status)) if status.is_success() => return Ok(()),
                // Those that OTLP/HTTP says to try again.
                Ok(Ok(status)) if matches!(status.as_u16(), 429 | 502..=504) => {
                    Err(anyhow::anyhow!("it answered {status}"))
                }
                Ok(Ok(status)) => bail!("it answered {status}"),
                Ok(Err(error)) => Err(error),
                Err(_) => Err(anyhow::anyhow!("no answer within {:?}", self.settings.timeout)),
            };
            self.connection = None;
        }
        result
    }

    async fn ask(&mut self, body: Bytes) -> anyhow::Result<http::StatusCode> {
        let endpoint = &self.settings.endpoint;
        let mut request = Request::post(endpoint.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::HOST, endpoint.authority().context("the endpoint has no host")?.as_str())
            .header(header::CONTENT_TYPE, "application/x-protobuf");
        for (name, value) in &self.settings.headers {
            request = request.header(name, value);
        }
        let request = request.body(Full::new(body))?;
        let mut connection = match self.connection.take().filter(|kept| !kept.is_closed()) {
            Some(kept) => kept,
            None => connect(&self.settings).await?,
        };
        connection.ready().await?;
        let answer = connection.send_request(request).await?;
        let status = answer.status();
        Limited::new(answer.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|_| anyhow::anyhow!("its answer cannot be read"))?;
        self.connection = Some(connection);
        Ok(status)
    }
}

async fn connect(settings: &Settings) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let endpoint = &settings.endpoint;
    let host = endpoint.host().context("the endpoint has no host")?.trim_matches(['[', ']']);
    let secure = endpoint.scheme_str() == Some("https");
    let port = endpoint.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await.context("connecting")?;
    if !secure {
        return begin(TokioIo::new(stream)).await;
    }
    let name = ServerName::try_from(host.to_owned()).context("the host of the endpoint")?;
    let stream = TlsConnector::from(Arc::new(tls(settings)?)).connect(name, stream).await.context("TLS")?;
    begin(TokioIo::new(stream)).await
}

async fn begin<S>(stream: S) -> anyhow::Result<SendRequest<Full<Bytes>>>
where
    S: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(stream).await?;
    // Ends with the sender, or when the collector closes it; whoever sends next sees that.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

fn tls(settings: &Settings) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &settings.ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                roots.add(certificate?)?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}
