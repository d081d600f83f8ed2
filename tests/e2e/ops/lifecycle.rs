//! How the process ends, hands over and holds its limits.

use std::time::Duration;

use e2e::eventually::{eventually, until};
use e2e::fixture::ANA;
use e2e::proxy::{COOKIE, replace_file};
use e2e::stores::Stores;
use futures_util::{SinkExt, StreamExt};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::load::Load;
use super::reload::websocket;
use crate::setup::Site;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_upgrades_under_load_lose_no_request() {
    let mut site = Site::start(Stores::embedded()).await;
    let cookie = format!("{COOKIE}={}", site.logged_in(ANA).await.cookie(COOKIE).unwrap());
    let load = Load::start(6, site.proxy.addresses().http1, "/session/", &cookie);
    load.answers(20).await;
    for _ in 0..10 {
        site.proxy.upgrade().await;
        load.answers(20).await;
    }
    let (answered, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new(), "{answered} were answered");
    site.proxy.admin().get("/ready").send().await.expect(200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_cannot_start_changes_nothing() {
    let site = Site::start(Stores::embedded()).await;
    let good = std::fs::read_to_string(site.proxy.config()).unwrap();
    replace_file(site.proxy.config(), "this is not TOML");
    site.proxy.signal(Signal::USR2);
    until("the successor has failed", async || {
        site.proxy.output().contains("the successor has ended; this process serves on")
    })
    .await;
    site.browser().get("/public/").send().await.expect(200);
    site.proxy.admin().get("/ready").send().await.expect(200);
    replace_file(site.proxy.config(), &good);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_under_way_is_answered_after_sigterm_and_then_the_process_ends() {
    let mut site = Site::with(Stores::embedded(), |builder| {
        builder.more("[shutdown]\nlame_duck = \"1s\"\ngrace = \"20s\"\n")
    })
    .await;
    let slow = site.browser();
    let slow = tokio::spawn(async move { slow.get("/public/sleep/3000").send().await });
    until("the request arrived", async || !site.app.recorded().is_empty()).await;
    site.proxy.signal(Signal::TERM);
    let admin = site.proxy.admin();
    until("it is not ready", async || admin.get("/ready").send().await.status == 503).await;
    // Not ready, still serving: who has not looked yet loses nothing, and is told to come back elsewhere.
    let answer = site.browser().get("/public/").send().await.expect(200);
    assert_eq!(answer.header("connection"), "close");
    let address = site.proxy.addresses().http1;
    until("no new connections", async || TcpStream::connect(address).await.is_err()).await;
    admin.get("/metrics").send().await.expect(200);
    assert_eq!(slow.await.unwrap().expect(200).text(), "slept");
    assert_eq!(site.proxy.ended().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_wait_for_a_request_are_closed_with_the_doors() {
    let mut site = Site::with(Stores::embedded(), |builder| {
        builder.more("[shutdown]\nlame_duck = \"0s\"\ngrace = \"120s\"\n")
    })
    .await;
    let address = site.proxy.addresses().http1;
    let mut idle = Vec::new();
    for served in 0..3 {
        let mut connection = TcpStream::connect(address).await.unwrap();
        for _ in 0..served {
            connection.write_all(b"GET /public/ HTTP/1.1\r\nHost: app.test\r\n\r\n").await.unwrap();
            let mut answer = [0; 12];
            connection.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"HTTP/1.1 200");
            until("the answer is over", async || {
                let mut rest = [0; 4096];
                connection.try_read(&mut rest).is_err()
            })
            .await;
        }
        idle.push(connection);
    }
    // Within a head.
    idle[0].write_all(b"GET /public/ HTTP/1.1\r\n").await.unwrap();
    let slow = site.browser();
    let slow = tokio::spawn(async move { slow.get("/public/sleep/90000").open().await.is_ok() });
    until("the request arrived", async || {
        site.app.recorded().iter().any(|request| request.target.contains("sleep"))
    })
    .await;
    site.proxy.signal(Signal::TERM);
    for mut connection in idle {
        let mut rest = Vec::new();
        connection.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
    // It goes on meanwhile, so that they did not end with the process.
    assert!(!slow.is_finished());
    site.proxy.signal(Signal::TERM);
    assert_eq!(site.proxy.ended().await.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_the_grace_is_cut_off() {
    let mut site = Site::with(Stores::embedded(), |builder| {
        builder.more("[shutdown]\nlame_duck = \"0s\"\ngrace = \"1s\"\n")
    })
    .await;
    let cookie = format!("{COOKIE}={}", site.logged_in(ANA).await.cookie(COOKIE).unwrap());
    let mut socket = websocket(&site, &cookie).await;
    site.proxy.signal(Signal::TERM);
    assert_eq!(site.proxy.ended().await.code(), Some(0));
    assert!(site.proxy.output().contains("the grace is over"));
    while let Some(Ok(_)) = socket.next().await {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_ends_the_process_at_once() {
    let mut site = Site::start(Stores::embedded()).await;
    let waiting = site.browser();
    let waiting = tokio::spawn(async move { waiting.get("/public/sleep/60000").open().await.is_ok() });
    until("the request arrived", async || !site.app.recorded().is_empty()).await;
    site.proxy.signal(Signal::TERM);
    until("the end has begun", async || site.proxy.output().contains("draining")).await;
    site.proxy.signal(Signal::TERM);
    assert_eq!(site.proxy.ended().await.code(), Some(130));
    assert!(!waiting.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_does_not_keep_the_process_from_ending() {
    let (reader, writer) = std::io::pipe().unwrap();
    let mut site = Site::with(Stores::embedded(), |builder| builder.log_to(writer)).await;
    // More than a pipe holds.
    let path = format!("/public/{}", "a".repeat(400));
    for _ in 0..200 {
        site.browser().get(&path).send().await.expect(200);
    }
    assert_eq!(site.proxy.stop().await.code(), Some(0));
    drop(reader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_stays_with_the_old_process_until_its_grace_is_over() {
    let mut site = Site::with(Stores::embedded(), |builder| {
        builder.more("[shutdown]\nlame_duck = \"0s\"\ngrace = \"3s\"\n")
    })
    .await;
    let cookie = format!("{COOKIE}={}", site.logged_in(ANA).await.cookie(COOKIE).unwrap());
    let mut socket = websocket(&site, &cookie).await;
    let old = site.proxy.process();
    site.proxy.signal(Signal::USR2);
    until("another process answers", async || site.proxy.output().contains("took over")).await;
    socket.send(Message::text("still here?")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("still here?"));
    site.proxy.ended().await;
    until("the successor is alone", async || site.browser().get("/public/").send().await.status == 200).await;
    let successor = eventually("the successor is named", async || {
        let output = site.proxy.output();
        output
            .lines()
            .find_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["successor"].as_u64())
    })
    .await;
    assert_ne!(u64::from(old), successor);
    site.proxy.succeeded_by(successor);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_limited_in_all_and_from_one_address() {
    for (key, reason) in
        [("connections = 4", "too_many"), ("connections_per_address = 4", "too_many_from_address")]
    {
        let site =
            Site::with(Stores::embedded(), |builder| builder.more(&format!("[limits]\n{key}\n"))).await;
        let address = site.proxy.addresses().http1;
        let mut open = Vec::new();
        until("what asked for readiness is closed", async || {
            site.proxy.metric("countersign_connections_open", &[]).await < 0.5
        })
        .await;
        for _ in 0..4 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert!(is_served(&mut stream).await);
            open.push(stream);
        }
        let mut further = TcpStream::connect(address).await.unwrap();
        assert!(!is_served(&mut further).await, "{key}");
        assert!(site.proxy.metric("countersign_connections_refused_total", &[reason]).await >= 1.0);
        // Operators get in all the same, and whoever leaves makes room; a reload can raise the limit.
        open.pop();
        until("there is room again", async || {
            is_served(&mut TcpStream::connect(address).await.unwrap()).await
        })
        .await;
        site.proxy.edit(key, &key.replace('4', "40"));
        assert_eq!(site.proxy.reload().await["result"], "applied");
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            assert!(is_served(&mut stream).await);
            open.push(stream);
        }
    }
}

/// Whether a request on this connection is answered.
async fn is_served(stream: &mut TcpStream) -> bool {
    let request = b"GET /public/ HTTP/1.1\r\nhost: app.test\r\n\r\n";
    let mut answer = [0; 12];
    let asked = async {
        stream.write_all(request).await?;
        stream.read_exact(&mut answer).await
    };
    matches!(tokio::time::timeout(Duration::from_secs(10), asked).await, Ok(Ok(_)))
        && answer == *b"HTTP/1.1 200"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_manager_is_told_what_happens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let manager = tokio::net::UnixDatagram::bind(&path).unwrap();
    let mut site = Site::with(Stores::embedded(), |builder| {
        builder.variable("NOTIFY_SOCKET", path.to_str().unwrap()).variable("WATCHDOG_USEC", "300000")
    })
    .await;
    let told = async |what: &str| {
        let heard = async {
            loop {
                let mut message = [0; 4096];
                let length = manager.recv(&mut message).await.unwrap();
                let text = String::from_utf8_lossy(&message[..length]).into_owned();
                if text.lines().any(|line| line.starts_with(what)) {
                    return text;
                }
            }
        };
        let heard = tokio::time::timeout(e2e::eventually::PATIENCE, heard).await;
        heard.unwrap_or_else(|_| panic!("{what} was never told"))
    };
    told("READY=1").await;
    told("WATCHDOG=1").await;
    told("WATCHDOG=1").await;
    site.proxy.signal(Signal::HUP);
    assert!(told("RELOADING=1").await.contains("MONOTONIC_USEC="));
    told("READY=1").await;
    told("STATUS=Serving configuration 2").await;
    site.proxy.edit("path = \"/public/\"", "paht = \"/public/\"");
    site.proxy.signal(Signal::HUP);
    told("STATUS=Serving configuration 2; the newest was refused").await;
    site.proxy.edit("paht = \"/public/\"", "path = \"/public/\"");
    let manager_hears = told("MAINPID=");
    let (main, ()) = tokio::join!(manager_hears, site.proxy.upgrade());
    assert!(main.lines().any(|line| line != format!("MAINPID={}", site.proxy.process())));
    told("WATCHDOG=1").await;
    site.proxy.signal(Signal::TERM);
    told("STOPPING=1").await;
}
