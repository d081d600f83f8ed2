//! W3C Trace Context in and out, and records at a collector that decodes them with the official messages.

use std::process::Stdio;
use std::sync::{Arc, Mutex};

use e2e::certificate::Certificate;
use e2e::environment::{self, python};
use e2e::eventually::{eventually, until};
use e2e::fixture::ANA;
use e2e::ports;
use e2e::proxy::COOKIE;
use e2e::stores::Stores;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::setup::Site;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";
const KEY: &str = "planted-collector-key";

/// A collector, and what it understood.
struct Collector {
    port: u16,
    spans: Arc<Mutex<Vec<Value>>>,
    _child: Child,
}

impl Collector {
    async fn start(refuse: u32, tls: Option<(&std::path::Path, &std::path::Path)>) -> Self {
        let port = ports::free();
        let mut command = Command::new(python());
        command.arg(environment::root().join("tests/apps/collector.py"));
        command.env("PORT", port.to_string()).env("REFUSE", refuse.to_string()).env("KEY", KEY);
        command.env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some((certificate, key)) = tls {
            command.env("CERTIFICATE", certificate).env("CERTIFICATE_KEY", key);
        }
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next_line().await.unwrap();
        assert!(first.is_some_and(|line| line.contains("ready")), "the collector did not start");
        let spans: Arc<Mutex<Vec<Value>>> = Arc::default();
        let all = spans.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                all.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Self { port, spans, _child: child }
    }

    /// The spans of the request to `path`, the whole one first.
    async fn spans_of(&self, path: &str) -> Vec<Value> {
        eventually("the request is recorded", async || {
            let all = self.spans.lock().unwrap();
            let whole = all.iter().find(|span| span["facts"]["url.path"] == path)?.clone();
            let below =
                all.iter().filter(|span| span["parent"] == whole["span"] && span["trace"] == whole["trace"]);
            let below: Vec<_> = below.cloned().collect();
            Some([vec![whole], below].concat())
        })
        .await
    }
}

fn section(scheme: &str, port: u16, sample: &str, more: &str) -> String {
    format!(
        "[traces]\nendpoint = \"{scheme}://localhost:{port}/v1/traces\"\nsample = {sample}\n{more}\n\
         headers = [{{ name = \"x-key\", value = {{ env = \"COLLECTOR_KEY\" }} }}]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_recorded_with_a_span_for_each_step_and_the_application_is_below_it() {
    // The first answers are refusals to be tried again.
    let collector = Collector::start(2, None).await;
    let section = section("http", collector.port, "1.0", "");
    let site = Site::with(Stores::real(), |b| b.more(&section).variable("COLLECTOR_KEY", KEY)).await;
    let ana = site.logged_in(ANA).await;
    let call = ana.get("/session/traced;planted=in-the-path?planted=in-the-query");
    let call =
        call.header("traceparent", format!("00-{TRACE}-{CALLER}-00")).header("tracestate", "vendor=value");
    let call = call.header("authorization", "Bearer planted-password").header("x-context-jwt", "planted-jwt");
    let _ = site.app.take();
    call.send().await.expect(200);
    let arrived = site.app.last();
    let spans = collector.spans_of("/session/traced;").await;
    let names: Vec<_> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(
        names,
        ["request", "accept", "resolve", "decide", "connect", "sign", "upstream", "directive", "answer"]
    );
    let (whole, upstream) = (&spans[0], &spans[6]);
    assert_eq!(
        (&whole["trace"], &whole["parent"], &whole["kind"]),
        (&TRACE.into(), &CALLER.into(), &2.into())
    );
    assert_eq!((&whole["service"], &whole["scope"]), (&"countersign".into(), &"countersign".into()));
    assert_eq!(
        arrived.header("traceparent"),
        Some(format!("00-{TRACE}-{}-01", upstream["span"].as_str().unwrap()).as_str())
    );
    assert_eq!((arrived.header("tracestate"), &upstream["kind"]), (Some("vendor=value"), &3.into()));
    let mut begin = whole["begin"].as_u64().unwrap();
    for span in &spans[1..] {
        let (from, to) = (span["begin"].as_u64().unwrap(), span["end"].as_u64().unwrap());
        assert!(begin <= from && from <= to && to <= whole["end"].as_u64().unwrap() + 1_000, "{spans:?}");
        begin = from;
    }
    let line = site.proxy.request_line("/session/traced;").await;
    assert_eq!(line["trace_id"], TRACE);
    for (fact, field) in [
        ("http.response.status_code", "status"),
        ("http.request.method", "method"),
        ("countersign.request_id", "request_id"),
        ("countersign.route", "route"),
        ("countersign.upstream", "upstream"),
        ("countersign.outcome", "outcome"),
        ("countersign.layer", "layer"),
    ] {
        assert_eq!(whole["facts"][fact], line[field], "{fact}: {whole}");
    }
    ana.get("/nowhere").send().await.expect(404);
    let refused = collector.spans_of("/nowhere").await;
    assert_eq!(refused[0]["facts"]["countersign.reason"], "no_route");
    assert_ne!(refused[0]["trace"], TRACE, "a trace of its own was not begun");
    let open =
        site.proxy.admin().get("/metrics").header("accept", "application/openmetrics-text").send().await;
    assert!(open.text().contains(&format!("# {{trace_id=\"{TRACE}\"}}")), "no exemplar");
    let exported = site.proxy.metric("countersign_trace_spans_total", &["exported"]).await;
    assert!(exported >= 10.0, "{exported}");

    // Nothing secret left the proxy this way.
    let records = format!("{:?}", collector.spans.lock().unwrap());
    let signed = ["x-context-jwt", "signature"].map(|name| arrived.header(name).unwrap().to_owned());
    let keys = ["token", "csrf", "sealing", "hmac", "admin-token"].map(|name| site.proxy.secret(name));
    let planted = ["in-the-path", "in-the-query", "planted-password", "planted-jwt", KEY].map(str::to_owned);
    let token = ana.cookie(COOKIE).unwrap();
    for secret in [token].iter().chain(&signed).chain(&keys).chain(&planted) {
        assert!(secret.len() > 10, "a secret is missing");
        assert!(!records.contains(secret), "{secret} is in a trace");
        assert!(!site.proxy.output().contains(secret), "{secret} is in the log");
        assert!(!open.text().contains(secret), "{secret} is in the metrics");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_just_before_the_end_reaches_the_collector() {
    let collector = Collector::start(0, None).await;
    let section = section("http", collector.port, "1.0", "");
    let mut site = Site::with(Stores::embedded(), |b| b.more(&section).variable("COLLECTOR_KEY", KEY)).await;
    for number in 0..300 {
        site.browser().get(&format!("/public/last/{number}")).send().await.expect(200);
    }
    assert_eq!(site.proxy.stop().await.code(), Some(0));
    for number in [0, 150, 299] {
        assert_eq!(collector.spans_of(&format!("/public/last/{number}")).await[0]["name"], "request");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_strangers_context_is_passed_on_only_in_form_and_never_makes_us_record() {
    let collector = Collector::start(0, None).await;
    let section = section("http", collector.port, "0.0", "");
    let site = Site::with(Stores::embedded(), |b| b.more(&section).variable("COLLECTOR_KEY", KEY)).await;
    let nobody = site.browser();
    let good = format!("00-{TRACE}-{CALLER}-01");
    let not_ours = format!("00-{TRACE}-{CALLER}-00");
    let (good, not_ours) = (good.as_str(), not_ours.as_str());
    for (fields, parent, state) in [
        (vec![("traceparent", good), ("tracestate", "a=1")], Some(not_ours), Some("a=1")),
        (vec![("traceparent", good), ("tracestate", "no member")], Some(not_ours), None),
        (vec![("traceparent", good), ("traceparent", good)], None, None),
        (vec![("traceparent", "00-zz"), ("tracestate", "a=1")], None, None),
        (vec![("tracestate", "a=1")], None, None),
        (vec![], None, None),
    ] {
        let mut call = nobody.get("/public/");
        for (name, value) in &fields {
            call = call.header(name, value);
        }
        let _ = site.app.take();
        call.send().await.expect(200);
        let arrived = site.app.last();
        assert_eq!(
            (arrived.header("traceparent"), arrived.header("tracestate")),
            (parent, state),
            "{fields:?}"
        );
    }
    let spans = site.proxy.metrics().await;
    assert!(spans.contains("countersign_trace_spans_total{result=\"exported\"} 0"), "something was recorded");

    // Whoever comes from a trusted proxy is believed.
    let address = site.proxy.addresses().http1;
    site.proxy.edit(
        &format!("address = \"{address}\""),
        &format!("address = \"{address}\"\ntrusted_proxies = [\"127.0.0.1\"]"),
    );
    assert_eq!(site.proxy.reload().await["result"], "applied");
    nobody.get("/public/trusted").header("traceparent", good).send().await.expect(200);
    assert_eq!(collector.spans_of("/public/trusted").await[0]["parent"], CALLER);

    // Switched off, context is a header like any other.
    site.proxy.edit("endpoint = ", "# endpoint = ");
    assert_eq!(site.proxy.reload().await["result"], "applied");
    let _ = site.app.take();
    nobody.get("/public/").header("traceparent", "anything").send().await.expect(200);
    assert_eq!(site.app.last().header("traceparent"), Some("anything"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_is_reached_over_tls_and_one_that_is_away_costs_no_request() {
    let certificate = Certificate::new();
    let directory = tempfile::tempdir().unwrap();
    let (crt, key) = certificate.write_to(directory.path());
    let ca = format!("ca = \"{}\"", crt.display());
    let away = section("https", ports::free(), "1.0", &ca);
    let site = Site::with(Stores::embedded(), |b| b.more(&away).variable("COLLECTOR_KEY", KEY)).await;
    site.browser().get("/public/away").send().await.expect(200);
    until("the failure is counted", async || {
        site.proxy.metric("countersign_trace_spans_total", &["failed"]).await > 0.0
    })
    .await;
    until("the log says it too", async || {
        site.proxy.output().contains("the collector of traces did not take spans")
    })
    .await;

    let collector = Collector::start(0, Some((&crt, &key))).await;
    let there = section("https", collector.port, "1.0", &ca);
    let endpoint = |section: &str| section.lines().nth(1).unwrap().to_owned();
    site.proxy.edit(&endpoint(&away), &endpoint(&there));
    assert_eq!(site.proxy.reload().await["result"], "applied");
    site.browser().get("/public/there").send().await.expect(200);
    assert_eq!(collector.spans_of("/public/there").await[0]["name"], "request");
}
