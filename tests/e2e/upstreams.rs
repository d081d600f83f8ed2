//! Servers that cannot be reached, come back, break off or are slow; and how they are spoken to.

use std::net::SocketAddr;

use e2e::certificate::Certificate;
use e2e::client::Wire;
use e2e::eventually::until;
use e2e::ports;
use e2e::proxy::Proxy;
use e2e::raw::RawUpstream;
use e2e::relay::{Mode, Relay};
use e2e::stores::Stores;
use e2e::upstream::Upstream;
use http::Version;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_be_reached_is_passed_over_for_the_next() {
    let app = Upstream::start().await;
    let proxy = proxy_of(&[nobody(), app.address()], "").await;
    for round in 0..6 {
        proxy.client().post("/public/", format!("{round}")).send().await.expect(200);
        assert_eq!(app.take().len(), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_no_server_left_the_answer_is_a_502_of_our_own() {
    let proxy = proxy_of(&[nobody(), nobody()], "").await;
    proxy.client().get("/public/").send().await.expect_problem(502, "upstream_unreachable");
    assert!(proxy.metric("countersign_upstream_errors_total", &["app"]).await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_may_have_had_an_effect_is_never_repeated() {
    // The server takes the request and closes the connection without an answer.
    let taker = RawUpstream::answering(b"").await;
    let relay = Relay::to(taker.address()).await;
    let proxy = proxy_of(&[relay.address()], "retries = 3\nread_timeout = \"1s\"").await;
    let client = proxy.client();
    let asked = tokio::spawn(client.post("/public/", "pay").send());
    until("the request has arrived", async || !taker.received().concat().is_empty()).await;
    relay.set(Mode::Cut);
    let answer = asked.await.unwrap();
    assert!([502, 504].contains(&answer.status.as_u16()), "{}", answer.status);
    let all = String::from_utf8(taker.take()).unwrap();
    assert_eq!(all.matches("POST /public/").count(), 1, "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_is_a_504_within_its_time_out() {
    let app = Upstream::start().await;
    let proxy = proxy_of(&[app.address()], "read_timeout = \"500ms\"").await;
    proxy.client().get("/public/sleep/100").send().await.expect(200);
    proxy.client().get("/public/sleep/8000").send().await.expect_problem(504, "upstream_timeout");
    // Asked once only: a GET that timed out may have had an effect too.
    assert_eq!(app.take().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_breaks_off_in_its_answer_breaks_off_ours() {
    let part = format!("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{}", "a part ".repeat(1000));
    let app = RawUpstream::answering(part.as_bytes()).await;
    let relay = Relay::to(app.address()).await;
    let proxy = proxy_of(&[relay.address()], "").await;
    let answer = proxy.client().get("/public/").open().await.unwrap();
    relay.set(Mode::Cut);
    let body = http_body_util::BodyExt::collect(answer.into_body()).await;
    assert!(body.is_err(), "a cut answer was made to look whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_checks_take_a_server_out_and_bring_it_back() {
    let port = ports::free();
    let (steady, fickle) = (Upstream::start().await, Upstream::start_on(port).await);
    let health = "health = { path = \"/healthy\", interval = \"200ms\", timeout = \"1s\" }";
    let proxy = proxy_of(&[steady.address(), fickle.address()], health).await;
    let healthy = async || proxy.metric("countersign_upstream_healthy_servers", &["app"]).await;
    until("both are healthy", async || (healthy().await - 2.0).abs() < 0.1).await;
    drop(fickle);
    until("one is taken out", async || (healthy().await - 1.0).abs() < 0.1).await;
    for _ in 0..4 {
        proxy.client().get("/public/").send().await.expect(200);
    }
    let fickle = Upstream::start_on(port).await;
    until("it is back", async || (healthy().await - 2.0).abs() < 0.1).await;
    until("it is asked again", async || {
        proxy.client().get("/public/").send().await.expect(200);
        fickle.recorded().iter().any(|request| request.target == "/public/")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http2_and_tls_are_spoken_with_servers_that_want_them() {
    let certificate = Certificate::new();
    let directory = tempfile::tempdir().unwrap();
    let (ca, _) = certificate.write_to(directory.path());
    let tls = format!("tls = {{ ca = \"{}\", server_name = \"localhost\" }}", ca.display());
    let clear = Upstream::start().await;
    let both = Upstream::start_with_tls(&certificate, &["h2", "http/1.1"]).await;
    let old = Upstream::start_with_tls(&certificate, &["http/1.1"]).await;
    for (app, keys, version) in [
        (&clear, "http = \"1\"".to_owned(), Version::HTTP_11),
        (&clear, "http = \"2\"".to_owned(), Version::HTTP_2),
        (&both, format!("http = \"2\"\n{tls}"), Version::HTTP_2),
        (&both, format!("http = \"1\"\n{tls}"), Version::HTTP_11),
        (&both, format!("http = \"auto\"\n{tls}"), Version::HTTP_2),
        (&old, format!("http = \"auto\"\n{tls}"), Version::HTTP_11),
    ] {
        let proxy = proxy_of(&[app.address()], &keys).await;
        let answer = proxy.client().post("/public/a?b", "body").send().await;
        assert_eq!(answer.status, 200, "{keys}: {}", answer.text());
        let request = app.last();
        assert_eq!((request.version, request.body.as_ref()), (version, &b"body"[..]), "{keys}");
        assert_eq!(request.authority, "app.test", "{keys}");
        assert_eq!(request.context("authn"), Some("unchecked"), "{keys}");
        // What concerns one connection ends here, whatever is spoken on both sides.
        let hop = ["http2-settings", "proxy-authorization", "proxy-authenticate", "trailer"];
        let counted = async || proxy.metric("countersign_requests_total", &["outcome=\"forwarded\""]).await;
        let mut asked = 1.0;
        for wire in [Wire::Http1, Wire::Http2] {
            let call = proxy.client_over(wire).post("/public/", "body").header("x-kept", "1");
            hop.iter().fold(call, |call, name| call.header(name, "x")).send().await.expect(200);
            let request = app.last();
            let passed: Vec<_> = hop.iter().filter(|name| request.header(name).is_some()).collect();
            assert!(passed.is_empty() && request.header("x-kept").is_some(), "{keys}, {wire:?}: {passed:?}");
            // Without a body, which goes another way here as far as it can. It is judged and counted once.
            let call = proxy.client_over(wire).get("/public/c?d").header("te", "deflate");
            call.send().await.expect(200);
            let request = app.last();
            assert_eq!((request.version, request.header("te")), (version, None), "{keys}, {wire:?}");
            assert_eq!((&*request.target, &*request.authority), ("/public/c?d", "app.test"));
            assert_eq!(request.context("authn"), Some("unchecked"));
            asked += 2.0;
            // Counted after they are answered.
            until("all are counted", async || counted().await > asked - 0.1).await;
            assert!(counted().await < asked + 0.1, "{keys}, {wire:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_a_certificate_of_somebody_else_is_not_spoken_to() {
    let certificate = Certificate::new();
    let directory = tempfile::tempdir().unwrap();
    let (ca, _) = Certificate::new().write_to(directory.path());
    let app = Upstream::start_with_tls(&certificate, &["http/1.1"]).await;
    let tls = format!("tls = {{ ca = \"{}\", server_name = \"localhost\" }}", ca.display());
    let proxy = proxy_of(&[app.address()], &tls).await;
    proxy.client().get("/public/").send().await.expect(502);
    assert!(app.take().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwarded_headers_are_ours_unless_a_trusted_proxy_sent_them() {
    let app = Upstream::start().await;
    let proxy = proxy_of(&[app.address()], "").await;
    let sent = |client: e2e::client::Client| {
        client
            .get("/public/")
            .header("x-forwarded-for", "203.0.113.9")
            .header("x-forwarded-proto", "gopher")
            .header("x-forwarded-host", "evil.test")
            .header("forwarded", "for=203.0.113.9;host=evil.test")
            .header("x-real-ip", "203.0.113.9")
            .send()
    };
    sent(proxy.client()).await.expect(200);
    let request = app.last();
    assert_eq!(request.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(request.header("x-forwarded-proto"), Some("http"));
    let all = format!(
        "{:?}",
        request
            .headers
            .iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(value)))
            .collect::<Vec<_>>()
    );
    assert!(!all.contains("203.0.113.9") && !all.contains("evil.test") && !all.contains("gopher"), "{all}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trusted_proxy_is_believed_about_its_client_and_only_on_its_listener() {
    let app = Upstream::start().await;
    let behind = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let listener =
        format!("[[listen]]\naddress = \"{behind}\"\ntrusted_proxies = [\"127.0.0.0/8\", \"10.0.0.0/8\"]");
    let proxy = Proxy::builder().more(&listener).upstream("app", app.address(), "");
    let proxy = proxy.route("/public/", "app", "\"nothing\"", "").start(&Stores::embedded()).await;
    let trusting = e2e::client::Client::new(behind);
    let (ours, theirs) = ("127.0.0.1", "203.0.113.9");
    for (client, fields, address, scheme) in [
        // What the client itself said stands to the left of what the proxies saw.
        (
            &trusting,
            &[("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.7"), ("x-forwarded-proto", "https")][..],
            theirs,
            "https",
        ),
        (
            &trusting,
            &[("forwarded", "for=6.6.6.6, for=203.0.113.9;proto=https, for=10.0.0.7")],
            theirs,
            "https",
        ),
        // Two that disagree are believed about nothing.
        (&trusting, &[("x-forwarded-for", "6.6.6.6"), ("forwarded", "for=203.0.113.9")], ours, "http"),
        (&trusting, &[("x-forwarded-for", "not an address"), ("x-real-ip", "6.6.6.6")], ours, "http"),
        (
            &proxy.client(),
            &[("x-forwarded-for", "203.0.113.9"), ("x-forwarded-proto", "https")],
            ours,
            "http",
        ),
    ] {
        let call = fields.iter().fold(client.get("/public/"), |call, (name, value)| call.header(name, value));
        call.send().await.expect(200);
        let request = app.last();
        for (name, value) in
            [("x-forwarded-for", address), ("x-real-ip", address), ("x-forwarded-proto", scheme)]
        {
            assert_eq!(request.all(name), [value.as_bytes()], "{name} of {fields:?}");
        }
        assert!(request.header("forwarded").unwrap().starts_with(&format!("for={address};")), "{fields:?}");
    }
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], ports::free()))
}

async fn proxy_of(servers: &[SocketAddr], keys: &str) -> Proxy {
    let builder = Proxy::builder().upstream_with("app", servers, keys);
    builder.route("/public/", "app", "\"nothing\"", "").start(&Stores::embedded()).await
}
