//! One fault after the other: made, held until every alert that is for it was seen to fire, taken away, and waited for
//! until those alerts are over. Faults that do not disturb each other are made together.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::aside::Aside;
use super::expressions::Kind;
use super::scene::Scene;
use super::visitors::{Visitors, request};
use super::watch::Watch;
use crate::certificate::Certificate;
use crate::eventually::until;
use crate::fixture::{ANA, BEN};
use crate::proxy::{COOKIE, Proxy};
use crate::relay::Mode;
use crate::upstream::Upstream;

/// The pause between two looks.
const STEP: Duration = Duration::from_millis(500);
/// The pause of clients whose requests are the fault.
const HURRY: Duration = Duration::from_millis(40);
/// How slow each way through a Postgres is of which every query needs several; an end takes longer than a second then.
const SLOW: Duration = Duration::from_millis(400);

/// The stages, for a watched scene.
pub struct Stage<'a> {
    /// What is watched.
    pub scene: &'a mut Scene,
    /// Who watches.
    pub watch: &'a mut Watch,
}

impl Stage<'_> {
    /// Nothing is wrong, and all that is neither an alert nor about a fault has data.
    ///
    /// # Panics
    /// When something has none in `patience`.
    pub async fn data(&mut self, patience: Duration) {
        let begin = Instant::now();
        loop {
            self.scene.stir().await;
            self.watch.look().await;
            let silent = self.watch.expressions.without_data(&[Kind::Panel, Kind::Record]);
            if silent.is_empty() {
                return;
            }
            assert!(begin.elapsed() < patience, "no data: {silent:#?}");
            tokio::time::sleep(STEP).await;
        }
    }

    /// Strangers who try what is not theirs, and settings that are out of date or lead nowhere.
    ///
    /// # Panics
    /// When an alert is not seen as it should be; so do all stages.
    pub async fn strangers(&mut self) {
        let alerts = [
            "CountersignForgedTokens",
            "CountersignForgedRequests",
            "CountersignHeadersScrubbed",
            "CountersignDirectivesIgnored",
            "CountersignSpansDropped",
            "CountersignKeyOld",
            "CountersignCertificateExpires",
        ];
        self.watch.at_rest(&alerts).await;
        let cookie = format!("cookie: {}", self.scene.logged_in(ANA).await);
        let strangers = strangers(self.scene, &cookie);
        let traces = "[traces]\nendpoint = \"http://127.0.0.1:9/v1/traces\"\nsample = 1.0\n";
        let (dated, undated) =
            ("{ active_from = \"2020-01-01T00:00:00Z\", id = \"jwt-1\"", "{ id = \"jwt-1\"");
        self.scene.show_certificate(&Certificate::ended());
        self.scene.change(&[("[shutdown]", &format!("{traces}[shutdown]")), (undated, dated)]).await;
        self.watch
            .fire("strangers; an old key, an old certificate, no collector", &alerts, async || {})
            .await;
        drop(strangers);
        self.scene.show_certificate(&Certificate::new());
        self.scene.change(&[(traces, ""), (dated, undated)]).await;
        self.watch.end(&alerts).await;
    }

    /// More connections than there may be, hardly any file left to open, and a configuration that is refused.
    pub async fn limits(&mut self) {
        let alerts =
            ["CountersignConnectionsRefused", "CountersignFilesNearLimit", "CountersignConfigRefused"];
        self.watch.at_rest(&alerts).await;
        let limited = "[limits]\nconnections = 60\n";
        self.scene.change(&[("[shutdown]", &format!("{limited}[shutdown]"))]).await;
        let (good, bad) = ("path = \"/public/\"", "paht = \"/public/\"");
        self.scene.proxy.edit(good, bad);
        let (mut idle, mut files) = (Vec::new(), None);
        let scene = &*self.scene;
        let again = async || {
            // Some are closed at once: they are too many.
            for _ in 0..80 {
                idle.extend(TcpStream::connect(scene.address()).await);
            }
            idle.drain(..idle.len().saturating_sub(160));
            let open = open_files(&scene.proxy);
            let before = limit_files(&scene.proxy, open * 8 / 7);
            files.get_or_insert(before);
        };
        self.watch.fire("too many connections and files, a refused configuration", &alerts, again).await;
        drop(idle);
        if let Some(files) = files {
            limit_files(&self.scene.proxy, files);
        }
        self.scene.change(&[(bad, good), (limited, "")]).await;
        self.watch.end(&alerts).await;
    }

    /// Redis is away.
    pub async fn redis(&mut self) {
        let alerts = ["CountersignStoreAway", "CountersignLeaseLapsed", "CountersignStoreNotTold"];
        self.watch.at_rest(&alerts).await;
        self.scene.stop_redis();
        let scene = &*self.scene;
        self.watch.fire("Redis stopped, a session ended", &alerts, async || scene.end_one().await).await;
        self.scene.restart_redis();
        self.watch.end(&alerts).await;
    }

    /// Postgres is slow, so that the end of a session takes its time.
    pub async fn slow_postgres(&mut self) {
        let alerts = ["CountersignRevocationSlow"];
        self.watch.at_rest(&alerts).await;
        self.scene.postgres.set(Mode::Delay(SLOW));
        let scene = &*self.scene;
        self.watch
            .fire("every word to and from Postgres late", &alerts, async || scene.end_one().await)
            .await;
        self.scene.postgres.set(Mode::Pass);
        self.watch.end(&alerts).await;
    }

    /// Postgres is away, then Redis as well, then Postgres alone again.
    pub async fn outages(&mut self) {
        let durable = ["CountersignDirectoryAway", "CountersignChangesNotTold", "CountersignEndsUnconfirmed"];
        let both = [
            "CountersignSessionsUndetermined",
            "CountersignAvailabilityFastBurn",
            "CountersignAvailabilitySlowBurn",
        ];
        let doubt = ["CountersignStoreDoubtful"];
        let all = [&durable[..], &both, &doubt].concat();
        self.watch.at_rest(&all).await;
        self.stop_postgres_and_end_a_session().await;
        self.watch.fire("Postgres stopped, a session ended", &durable, async || {}).await;
        self.scene.redis.set(Mode::Cut);
        self.watch.fire("Redis cut off as well", &both, async || {}).await;
        self.scene.redis.set(Mode::Pass);
        self.watch.fire("Redis back, Postgres still away", &doubt, async || {}).await;
        self.scene.restart_postgres();
        self.watch.end(&all).await;
    }

    /// Stops Postgres and ends a session that Redis has, so that only Redis knows of the end. A machine that is too busy
    /// misses a deadline of Redis now and then, and without Postgres that is not believed any more: then all over again.
    async fn stop_postgres_and_end_a_session(&mut self) {
        for _ in 0..10 {
            let mut sessions = Vec::new();
            for _ in 0..4 {
                let session = self.scene.logged_in(BEN).await;
                let _ = self.scene.visit(&session).await;
                sessions.push(session);
            }
            self.scene.stop_postgres();
            for session in sessions {
                let _ = self.scene.direct(Some(&session), "end").await;
                for _ in 0..10 {
                    tokio::time::sleep(STEP / 2).await;
                    if self.scene.proxy.metric("countersign_unconfirmed_ends", &[]).await > 0.5 {
                        return;
                    }
                }
            }
            self.scene.restart_postgres();
            let doubtful = async || self.scene.proxy.metric("countersign_store_doubtful", &[]).await > 0.5;
            until("Redis is believed again", async || !doubtful().await).await;
        }
        panic!("no end was accepted by Redis alone");
    }

    /// The application takes more than half a second.
    pub async fn slow_application(&mut self) {
        let alerts = ["CountersignLatencyFastBurn", "CountersignLatencySlowBurn"];
        self.watch.at_rest(&alerts).await;
        let slow = (0..24).fold(Visitors::default(), |visitors, _| {
            visitors.asking(self.scene.address(), request("GET", "/public/sleep/800", &[]), HURRY)
        });
        self.watch.fire("an application that takes 0.8 s", &alerts, async || {}).await;
        drop(slow);
        self.watch.end(&alerts).await;
    }

    /// The application is away.
    pub async fn no_application(&mut self) {
        let alerts = ["CountersignUpstreamWithoutServers", "CountersignUpstreamErrors"];
        self.watch.at_rest(&alerts).await;
        let port = self.scene.app.as_ref().expect("it is there").address().port();
        self.scene.app = None;
        let hurried = (0..4).fold(Visitors::default(), |visitors, _| {
            visitors.asking(self.scene.address(), request("GET", "/public/", &[]), HURRY)
        });
        self.watch.fire("the application ended", &alerts, async || {}).await;
        drop(hurried);
        self.scene.app = Some(Upstream::start_on(port).await);
        self.watch.end(&alerts).await;
    }

    /// The process stands still.
    pub async fn frozen(&mut self) {
        let alerts = ["CountersignDown"];
        self.watch.at_rest(&alerts).await;
        self.scene.freeze(true);
        self.watch.fire("the proxy stands still", &alerts, async || {}).await;
        self.scene.freeze(false);
        self.watch.end(&alerts).await;
    }

    /// Faults of three further proxies.
    pub async fn aside(&mut self, log: &Aside, patient: &Aside, panicking: &Aside) {
        let alerts = ["CountersignLogLinesDropped", "CountersignLookupsShed", "CountersignPanics"];
        self.watch.at_rest(&alerts).await;
        let talkative = log.talkative();
        panicking.panic(true);
        patient.stall_postgres(true);
        let mut strangers = None;
        let again = async || {
            if strangers.is_none() {
                strangers = Some(patient.strangers().await);
            }
        };
        let fault =
            "a log that nobody reads, 20,000 unknown sessions while Postgres is silent, a thread that panics";
        self.watch.fire(fault, &alerts, again).await;
        drop((talkative, strangers));
        log.read_the_log();
        panicking.panic(false);
        patient.stall_postgres(false);
        self.watch.end(&alerts).await;
    }
}

/// Tokens of the right shape with wrong checksums, headers that only the proxy may set, unsafe requests without a token
/// against forgery, and an application that directs where it has no say.
fn strangers(scene: &Scene, cookie: &str) -> Visitors {
    let at = scene.address();
    let forged = format!("cookie: {COOKIE}={}", "A".repeat(43));
    Visitors::default()
        .asking(at, request("GET", "/session/", &[&forged]), HURRY)
        .asking(at, request("GET", "/session/", &[&forged]), HURRY)
        .asking(at, request("GET", "/public/", &["x-context-user-id: 1"]), HURRY)
        .asking(at, request("GET", "/public/", &["x-context-roles: admin"]), HURRY)
        .asking(at, request("POST", "/guarded/", &[cookie, "origin: http://app.test"]), HURRY)
        .asking(at, request("POST", "/guarded/", &[cookie, "origin: http://elsewhere.test"]), HURRY)
        .asking(at, request("GET", "/public/%2e%2e/admin/", &[]), HURRY)
        .asking(at, request("GET", "/public/order", &[]), HURRY)
}

fn open_files(proxy: &Proxy) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", proxy.process())).map_or(0, Iterator::count)
}

/// Sets how many files the proxy may have open; answers what it was.
fn limit_files(proxy: &Proxy, soft: usize) -> usize {
    let process = proxy.process().to_string();
    let text = std::fs::read_to_string(format!("/proc/{process}/limits")).expect("the process is there");
    let line = text.lines().find(|line| line.starts_with("Max open files")).expect("Linux says so");
    let before = line.split_whitespace().nth(3).and_then(|limit| limit.parse().ok()).expect("a number");
    let limit = Command::new("prlimit").args(["--pid", &process, &format!("--nofile={soft}:")]).status();
    assert!(limit.is_ok_and(|status| status.success()), "prlimit (util-linux) does not work");
    before
}
