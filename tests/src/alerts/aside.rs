//! Proxies beside the scene, each with a fault that the others must not have: a log that nobody reads, a directory that
//! accepts everything and answers nothing, a thread that panics.

use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use sha2::Sha256;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::visitors::{Visitors, exchange, request};
use crate::proxy::{Builder, COOKIE, Proxy};
use crate::relay::{Mode, Relay};
use crate::stores::{Deadlines, Stores};
use crate::upstream::Upstream;

/// HTTP/2 connections of a crowd of strangers, and requests at once on each: together more than may wait (16,384).
const CROWD: (u64, u64) = (20, 1000);

/// A proxy beside the scene.
pub struct Aside {
    /// The proxy.
    pub proxy: Proxy,
    _app: Upstream,
    _stores: Stores,
    /// The ways to the stores, where they are real.
    ways: Option<(Relay, Relay)>,
    /// Reads the log as soon as it is wanted.
    reading: Arc<AtomicBool>,
    /// Panics happen while it is there.
    panics: PathBuf,
}

impl Aside {
    /// One whose log goes into a pipe that nobody reads until [`Self::read_the_log`].
    ///
    /// # Panics
    /// When something does not start.
    pub async fn with_unread_log() -> Self {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let reading = Arc::new(AtomicBool::new(false));
        let wanted = reading.clone();
        std::thread::spawn(move || {
            let mut piece = vec![0; 64 * 1024];
            while !wanted.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(50));
            }
            while matches!(reader.read(&mut piece), Ok(1..)) {}
        });
        let stores = Stores::embedded();
        Self { reading, ..Self::start(stores, None, |builder| builder.log_to(writer)).await }
    }

    /// One that waits long for a Postgres.
    ///
    /// # Panics
    /// When something does not start.
    pub async fn with_patience() -> Self {
        let (mut stores, redis, postgres) = Stores::behind_relays().await;
        let minute = Duration::from_mins(1);
        stores.servers().deadlines = Some(Deadlines { store: minute, directory: minute, budget: minute });
        let ways = Some((redis, postgres));
        let more = format!("[limits]\nstreams = {}\n[log]\nlevel = \"warn\"", CROWD.1);
        Self::start(stores, ways, |builder| builder.more(&more)).await
    }

    /// One that is the same server in a program which can be made to panic (`proxy/examples/panicking.rs`).
    ///
    /// # Panics
    /// When something does not start; the example must have been built.
    pub async fn with_panics() -> Self {
        let program = crate::environment::example("panicking");
        let panics = crate::environment::keepsakes("alerts").join("panic");
        let _ = std::fs::remove_file(&panics);
        let while_there = panics.display().to_string();
        let change = |builder: Builder| builder.program(program).variable("PANIC_WHILE", &while_there);
        Self { panics, ..Self::start(Stores::embedded(), None, change).await }
    }

    async fn start(
        stores: Stores,
        ways: Option<(Relay, Relay)>,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let app = Upstream::start().await;
        let builder = Proxy::builder()
            .upstream("app", app.address(), "")
            .route("/public/", "app", "\"nothing\"", "")
            .route("/session/", "app", "\"session\"", "");
        let proxy = change(builder).start(&stores).await;
        Self { proxy, _app: app, _stores: stores, ways, reading: Arc::default(), panics: PathBuf::new() }
    }

    /// Requests with long lines in the log, as many as can be asked at once.
    #[must_use]
    pub fn talkative(&self) -> Visitors {
        let path = format!("/public/{}", "a".repeat(500));
        let agent = format!("user-agent: {}", "b".repeat(500));
        (0..12).fold(Visitors::default(), |visitors, _| {
            visitors.asking(self.proxy.addresses().http1, request("GET", &path, &[&agent]), Duration::ZERO)
        })
    }

    /// From now on the log is read.
    pub fn read_the_log(&self) {
        self.reading.store(true, Ordering::Relaxed);
    }

    /// Lets panics happen, or no more.
    ///
    /// # Panics
    /// When the file that says so cannot be made.
    pub fn panic(&self, wanted: bool) {
        if wanted {
            std::fs::write(&self.panics, "").expect("a writable directory");
        } else {
            let _ = std::fs::remove_file(&self.panics);
        }
    }

    /// Lets Postgres answer nothing, or go on.
    ///
    /// # Panics
    /// When its stores are embedded.
    pub fn stall_postgres(&self, stalled: bool) {
        let (_, postgres) = self.ways.as_ref().expect("real stores");
        postgres.set(if stalled { Mode::Stall } else { Mode::Pass });
    }

    /// Sends more sessions that nobody knows than may wait for Postgres, all at once. They are answered when this value
    /// is dropped, Postgres answers, or their time is over.
    pub async fn strangers(&self) -> JoinSet<()> {
        let mut crowd = JoinSet::new();
        let key = self.proxy.secret("token");
        for connection in 0..CROWD.0 {
            let Ok(sender) = connect(self.proxy.addresses().http2).await else { continue };
            for number in 0..CROWD.1 {
                let mut sender = sender.clone();
                let cookie = format!("{COOKIE}={}", token(&key, connection << 32 | number));
                crowd.spawn(async move {
                    let request = Request::get("http://app.test/session/").header("cookie", cookie);
                    let request = request.body(Empty::new()).expect("a valid request");
                    let _ = sender.send_request(request).await;
                });
            }
        }
        crowd
    }

    /// Whether it serves.
    pub async fn serves(&self) -> bool {
        let answer = exchange(self.proxy.addresses().http1, &request("GET", "/public/", &[])).await;
        answer.is_some_and(|answer| answer.status() == 200)
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Empty<Bytes>>, Box<dyn std::error::Error>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

/// A token as the proxy makes them, of a session that never was.
fn token(key: &str, number: u64) -> String {
    let mut random = [0; 24];
    random[..8].copy_from_slice(&number.to_be_bytes());
    let mut tag = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes any key");
    tag.update(&random);
    URL_SAFE_NO_PAD.encode([&random[..], &tag.finalize().into_bytes()[..8]].concat())
}
