//! Events for tabs: server-sent events and WebSockets, on every proxy; resumed without loss; ended with the session,
//! as are the streams of applications.

use std::time::Duration;

use e2e::client::{Client, Wire};
use e2e::eventually::{eventually, until};
use e2e::fixture::{ANA, BEN};
use e2e::proxy::{COOKIE, Proxy};
use e2e::stores::Stores;
use futures_util::{SinkExt, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use crate::own;
use crate::setup::{Site, on_every_backend, routes};

const PATIENCE: Duration = Duration::from_secs(20);
/// What a tab is told when events may be missing.
const RESYNC: &str = "resync";

/// A tab that listens.
struct Tab {
    body: Incoming,
    text: String,
}

/// One server-sent event.
#[derive(Clone, Debug)]
struct Event {
    id: Option<String>,
    kind: String,
    data: Value,
}

impl Tab {
    async fn open(browser: &Client, last: Option<&str>) -> Self {
        let mut call = browser.get("/.countersign/events").header("accept", "text/event-stream");
        if let Some(last) = last {
            call = call.header("last-event-id", last);
        }
        let answer = call.open().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.headers());
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        Self { body: answer.into_body(), text: String::new() }
    }

    /// One that has been greeted.
    async fn greeted(browser: &Client) -> (Self, String) {
        let mut tab = Self::open(browser, None).await;
        let hello = tab.next().await.unwrap();
        assert_eq!(hello.kind, "hello");
        (tab, hello.id.unwrap())
    }

    /// The next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.text.find("\n\n") {
                let event: String = self.text.drain(..end + 2).collect();
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                        .map(str::to_owned)
                };
                // A comment has no kind.
                let Some(kind) = field("event") else { continue };
                let data = serde_json::from_str(&field("data").unwrap()).unwrap();
                return Some(Event { id: field("id"), kind, data });
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("something happens");
            let bytes = frame?.ok()?.into_data().unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
    }

    /// The next event, which is of this kind. A proxy that could not hear of changes for a moment, on a busy machine or
    /// just after its start, may say so before it: nothing is lost by that.
    async fn expect(&mut self, kind: &str) -> Event {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("the stream ended before {kind}"));
            if event.kind != RESYNC || kind == RESYNC {
                assert_eq!(event.kind, kind, "{event:?}");
                return event;
            }
        }
    }
}

/// Another proxy over the same stores, with the same keys.
async fn second(site: &Site) -> Proxy {
    let key = site.proxy.secret("token");
    routes(Proxy::builder().upstream("app", site.app.address(), "").token_key(&key))
        .unseeded()
        .start(&site.stores)
        .await
}

fn at(proxy: &Proxy, browser: &Client) -> Client {
    let there = proxy.client();
    there.set_cookie(COOKIE, &browser.cookie(COOKIE).unwrap());
    there
}

async fn websocket(
    address: std::net::SocketAddr,
    path: &str,
    cookie: &str,
    origin: &str,
) -> Result<WebSocketStream<TcpStream>, u16> {
    let mut request = format!("ws://app.test{path}").into_client_request().unwrap();
    request.headers_mut().insert("cookie", format!("{COOKIE}={cookie}").parse().unwrap());
    request.headers_mut().insert("origin", origin.parse().unwrap());
    let stream = TcpStream::connect(address).await.unwrap();
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((socket, _)) => Ok(socket),
        Err(tokio_tungstenite::tungstenite::Error::Http(answer)) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

async fn text(socket: &mut WebSocketStream<TcpStream>) -> Option<Value> {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("something happens")? {
            Ok(Message::Text(text)) => {
                let event: Value = serde_json::from_str(&text).unwrap();
                // As for a tab with server-sent events.
                if event["kind"] != RESYNC {
                    return Some(event);
                }
            }
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

on_every_backend! {
    async fn a_switch_is_told_to_every_tab_of_the_session_and_to_no_other(stores) {
        let site = Site::start(stores).await;
        let (ana, ben, elsewhere) = (site.logged_in(ANA).await, site.logged_in(BEN).await, site.logged_in(ANA).await);
        let (mut one, _) = Tab::greeted(&ana).await;
        let (mut two, _) = Tab::greeted(&ana.over(Wire::Http2, site.proxy.addresses().http2)).await;
        let (mut others, _) = Tab::greeted(&ben).await;
        let (mut browser, _) = Tab::greeted(&elsewhere).await;
        site.direct(&ana, "platform;id=\"12\"").await.expect(200);
        site.direct(&ana, "platform").await.expect(200);
        for tab in [&mut one, &mut two] {
            assert_eq!(tab.expect("platform_switched").await.data["platform"], "12");
            assert_eq!(tab.expect("platform_switched").await.data["platform"], Value::Null);
        }
        site.direct(&ben, "platform;id=\"22\"").await.expect(200);
        assert_eq!(others.expect("platform_switched").await.data["platform"], "22");
        site.direct(&elsewhere, "platform;id=\"12\"").await.expect(200);
        assert_eq!(browser.expect("platform_switched").await.data["platform"], "12");
    }

    async fn a_tab_that_was_cut_off_goes_on_without_loss_or_repetition(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        let (mut tab, greeting) = Tab::greeted(&ana).await;
        let mut seen = Vec::new();
        for round in 0..6 {
            for platform in ["12", "11"] {
                site.direct(&ana, &format!("platform;id=\"{platform}\"")).await.expect(200);
            }
            let event = tab.expect("platform_switched").await;
            let last = event.id.unwrap();
            seen.push(event.data["platform"].as_str().unwrap().to_owned());
            if round % 2 == 0 {
                drop(tab);
                tab = Tab::open(&ana, Some(&last)).await;
            }
        }
        while seen.len() < 12 {
            seen.push(tab.expect("platform_switched").await.data["platform"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, ["12", "11"].repeat(6));
        let mut all = Tab::open(&ana, Some(&greeting)).await;
        for expected in &seen {
            assert_eq!(all.expect("platform_switched").await.data["platform"], expected.as_str());
        }
        // Whoever brings a place that is none of ours looks anew.
        for foreign in ["0-1", "99999999999999-0", "nonsense"] {
            Tab::open(&ana, Some(foreign)).await.expect(RESYNC).await;
        }
    }

    async fn the_streams_of_a_session_end_with_it_and_no_others_do(stores) {
        let site = Site::start(stores).await;
        let (ana, again) = (site.logged_in(ANA).await, site.logged_in(ANA).await);
        let (mut tab, _) = Tab::greeted(&ana).await;
        let (mut other, _) = Tab::greeted(&again).await;
        let address = site.proxy.addresses().http1;
        let cookie = ana.cookie(COOKIE).unwrap();
        let mut echo = websocket(address, "/session/websocket", &cookie, "http://app.test").await.unwrap();
        echo.send(Message::text("before")).await.unwrap();
        assert_eq!(echo.next().await.unwrap().unwrap(), Message::text("before"));
        let mut forwarded = Vec::new();
        for (wire, at) in [(Wire::Http1, address), (Wire::Http2, site.proxy.addresses().http2)] {
            let answer = ana.over(wire, at).get("/session/events").header("accept", "text/event-stream").open().await.unwrap();
            let sender = eventually("the application listens", async || site.app.events()).await;
            sender.send(hyper::body::Frame::data("data: 1\n\n".into())).await.unwrap();
            let mut body = answer.into_body();
            assert!(body.frame().await.unwrap().is_ok());
            forwarded.push((body, sender));
        }
        site.direct(&ana, "end").await.expect(200);
        let ended = tab.expect("session_ended").await;
        assert_eq!((&ended.data["this_session"], &ended.data["reason"]), (&true.into(), &"session_ended".into()));
        assert!(tab.next().await.is_none(), "the stream goes on");
        let closed = tokio::time::timeout(PATIENCE, echo.next()).await.expect("the WebSocket ends");
        assert!(matches!(closed, None | Some(Err(_) | Ok(Message::Close(_)))), "{closed:?}");
        for (mut body, _sender) in forwarded {
            let end = tokio::time::timeout(PATIENCE, body.frame()).await.expect("the stream ends");
            assert!(!matches!(end, Some(Ok(_))), "{end:?}");
        }
        assert_eq!(other.expect("session_ended").await.data["this_session"], false);
        site.direct(&again, "platform;id=\"12\"").await.expect(200);
        other.expect("platform_switched").await;
        assert!(site.proxy.metric("countersign_streams_ended_total", &["forwarded"]).await >= 3.0);
        site.direct(&again, "end-all").await.expect(200);
        loop {
            let Some(event) = other.next().await else { break };
            assert!(matches!(event.kind.as_str(), "sessions_ended" | "session_ended" | RESYNC), "{event:?}");
        }
        ana.get("/.countersign/events").cookies(format!("{COOKIE}={cookie}")).send().await.expect_problem(401, "session_ended");
    }

    async fn a_websocket_is_told_the_same(stores) {
        let site = Site::start(stores).await;
        let ana = site.logged_in(ANA).await;
        let (address, cookie) = (site.proxy.addresses().http1, ana.cookie(COOKIE).unwrap());
        let path = "/.countersign/events";
        let mut socket = websocket(address, path, &cookie, "http://app.test").await.unwrap();
        let hello = text(&mut socket).await.unwrap();
        assert_eq!(hello["kind"], "hello");
        site.direct(&ana, "platform;id=\"12\"").await.expect(200);
        let switched = text(&mut socket).await.unwrap();
        assert_eq!((&switched["kind"], &switched["platform"]), (&"platform_switched".into(), &"12".into()));
        socket.send(Message::text("nobody listens")).await.unwrap();
        socket.send(Message::Ping("x".into())).await.unwrap();
        drop(socket);
        let resume = format!("{path}?last_event_id={}", hello["id"].as_str().unwrap());
        let mut socket = websocket(address, &resume, &cookie, "http://app.test").await.unwrap();
        assert_eq!(text(&mut socket).await.unwrap()["id"], switched["id"]);
        site.direct(&ana, "end").await.expect(200);
        assert_eq!(text(&mut socket).await.unwrap()["kind"], "session_ended");
        assert!(text(&mut socket).await.is_none());
        assert_eq!(websocket(address, path, &cookie, "https://elsewhere.test").await.err(), Some(403));
        assert_eq!(websocket(address, path, "none", "http://app.test").await.err(), Some(401));
        let foreign = ana.get(path).header("sec-fetch-site", "cross-site");
        foreign.send().await.expect_problem(403, "foreign_origin");
    }

    async fn only_so_many_tabs_of_a_session_may_listen(stores) {
        let site = Site::with(stores, |b| b.more("[events]\nstreams_per_session = 2")).await;
        let ana = site.logged_in(ANA).await;
        let (one, _two) = (Tab::greeted(&ana).await, Tab::greeted(&ana).await);
        ana.get("/.countersign/events").send().await.expect_problem(429, "too_many_streams");
        drop(one);
        eventually("there is room again", async || {
            let answer = ana.get("/.countersign/events").open().await.unwrap();
            (answer.status() == 200).then_some(())
        })
        .await;
    }

    async fn a_session_that_is_about_to_expire_is_told_so(stores) {
        let site = Site::with(stores, |b| b.more("[events]\nheartbeat = \"1s\"\nexpiry_warning = \"1h\"")).await;
        let ana = site.logged_in(ANA).await;
        let (mut tab, _) = Tab::greeted(&ana).await;
        let event = tab.expect("session_expiring").await;
        let left = event.data["seconds_left"].as_u64().unwrap();
        assert!((1..=1800).contains(&left), "{event:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_on_one_proxy_is_told_to_tabs_on_the_other() {
    let site = Site::start(Stores::real()).await;
    let there = second(&site).await;
    let ana = site.logged_in(ANA).await;
    let (mut here, _) = Tab::greeted(&ana).await;
    let (mut tab, _) = Tab::greeted(&at(&there, &ana)).await;
    for platform in ["12", "11", "12"] {
        site.direct(&ana, &format!("platform;id=\"{platform}\"")).await.expect(200);
        for tab in [&mut here, &mut tab] {
            assert_eq!(tab.expect("platform_switched").await.data["platform"], platform);
        }
    }
    let cookie = ana.cookie(COOKIE).unwrap();
    let mut echo =
        websocket(there.addresses().http1, "/session/websocket", &cookie, "http://app.test").await.unwrap();
    site.direct(&ana, "end").await.expect(200);
    for tab in [&mut here, &mut tab] {
        tab.expect("session_ended").await;
        assert!(tab.next().await.is_none());
    }
    let closed = tokio::time::timeout(PATIENCE, echo.next()).await.expect("the WebSocket ends");
    assert!(matches!(closed, None | Some(Err(_) | Ok(Message::Close(_)))), "{closed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_tabs_that_switch_at_once_come_to_one_order_and_both_are_told() {
    let site = Site::start(Stores::real()).await;
    let there = second(&site).await;
    let ana = site.logged_in(ANA).await;
    let elsewhere = at(&there, &ana);
    // The other proxy has an anti-forgery key of its own.
    let (one, two) = (own::Tab::open(&ana).await, own::Tab::open(&elsewhere).await);
    let (mut here, _) = Tab::greeted(&ana).await;
    let (mut tab, _) = Tab::greeted(&elsewhere).await;
    for _ in 0..5 {
        let answers = tokio::join!(one.post("platforms/12/switch"), two.post("platforms/11/switch"));
        let answers = [answers.0, answers.1].map(|answer| answer.expect(200).json());
        let last = answers.iter().max_by_key(|answer| answer["version"].as_u64()).unwrap();
        assert_ne!(answers[0]["version"], answers[1]["version"]);
        let mut order = Vec::new();
        for tab in [&mut here, &mut tab] {
            let told = [tab.expect("platform_switched").await, tab.expect("platform_switched").await];
            order.push(told.map(|event| (event.id, event.data["platform"].clone())));
        }
        assert_eq!(order[0], order[1], "both are told the same, in the same order");
        let mut told: Vec<_> = order[0].iter().map(|(_, platform)| platform.as_str().unwrap()).collect();
        told.sort_unstable();
        assert_eq!(told, ["11", "12"]);
        for browser in [&ana, &elsewhere] {
            until("both proxies serve the later one", async || {
                let state = own::get(browser, "session").await.json();
                state["version"] == last["version"] && state["platform"]["id"] == last["platform"]["id"]
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_live_through_a_restart_of_redis_and_are_told_to_look_anew() {
    let mut site = Site::start(Stores::to_be_stopped()).await;
    let ana = site.logged_in(ANA).await;
    let (mut tab, _) = Tab::greeted(&ana).await;
    site.stores.redis().stop();
    site.stores.redis().restart();
    tab.expect(RESYNC).await;
}
