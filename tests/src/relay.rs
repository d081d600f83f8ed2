//! A TCP relay that a test puts between the proxy and a server, to delay, reorder, stall or cut the connections, or to
//! keep Redis from telling of changes.

mod queries;
mod resp;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::dice::Dice;
use queries::Queries;
use resp::Frames;

/// What the relay does with what passes through it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Hands it on.
    Pass,
    /// Hands each piece on after this time.
    Delay(Duration),
    /// Hands each piece on after a time up to this one, each connection for itself: what is said on one overtakes what
    /// was said before on another.
    Jitter(Duration),
    /// Accepts and holds everything.
    Stall,
    /// Hands on what is asked and holds what is answered.
    StallAnswers,
    /// Holds what is answered on a connection that has asked for reports of changes, PING and reports alike, and hands on
    /// all else. Only with [`Relay::to_redis`].
    StallReports,
    /// Hands on everything but what Redis says unasked: the RESP3 pushes, which are dropped. Only with
    /// [`Relay::to_redis`].
    Mute,
    /// Closes every connection, old and new.
    Cut,
}

/// A relay to one server; ends with this value.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    target: watch::Sender<SocketAddr>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

/// What went to the server so far.
#[derive(Debug, Default)]
struct Counts {
    pieces: AtomicU64,
    pings: AtomicU64,
    queries: AtomicU64,
    connections: AtomicU64,
    /// By connection, for a word may be cut where two pieces meet. `None` while nobody listens.
    words: Mutex<Option<BTreeMap<u64, Vec<u8>>>>,
}

impl Counts {
    fn hear(&self, connection: u64, piece: &[u8]) {
        if let Some(words) = self.words.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            words.entry(connection).or_default().extend_from_slice(piece);
        }
    }
}

/// What is spoken, as far as a relay must know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speech {
    Anything,
    Redis,
    Postgres,
}

/// What Redis is sent to prove that it is there.
const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";
/// What it is sent to report changes.
const TRACKING: &[u8] = b"TRACKING\r\n$2\r\nON\r\n";

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

impl Relay {
    /// A relay to `target` that hands everything on.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(target: SocketAddr) -> Self {
        Self::start(target, Speech::Anything).await
    }

    /// A relay to a Redis without TLS, which can be muted.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to_redis(target: SocketAddr) -> Self {
        Self::start(target, Speech::Redis).await
    }

    /// A relay to a Postgres without TLS, which counts queries.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to_postgres(target: SocketAddr) -> Self {
        Self::start(target, Speech::Postgres).await
    }

    async fn start(target: SocketAddr, speech: Speech) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (mode, watch) = watch::channel(Mode::Pass);
        let (target, aim) = watch::channel(target);
        let counts: Arc<Counts> = Arc::default();
        let all = counts.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let target = *aim.borrow();
                tokio::spawn(connection(near, target, speech, watch.clone(), all.clone()));
            }
        });
        Self { address, mode, target, counts, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often anything was sent to the server so far, in pieces as they came.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.counts.pieces.load(Ordering::Relaxed)
    }

    /// The round trips so far, without those that only prove that the server is there. A pipeline is one. Only with
    /// [`Self::to_redis`].
    #[must_use]
    pub fn round_trips(&self) -> u64 {
        self.asked() - self.counts.pings.load(Ordering::Relaxed)
    }

    /// The queries so far. Only with [`Self::to_postgres`].
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.counts.queries.load(Ordering::Relaxed)
    }

    /// Remembers from now on all that is sent to the server, for [`Self::has_heard`].
    pub fn listen(&self) {
        *self.counts.words.lock().unwrap_or_else(PoisonError::into_inner) = Some(BTreeMap::new());
    }

    /// Whether this was sent to the server since [`Self::listen`].
    #[must_use]
    pub fn has_heard(&self, word: &str) -> bool {
        let words = self.counts.words.lock().unwrap_or_else(PoisonError::into_inner);
        words.iter().flat_map(BTreeMap::values).any(|said| contains(said, word.as_bytes()))
    }

    /// Changes what it does, on open connections too.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Leads new connections to another server; open ones stay where they are.
    pub fn lead_to(&self, target: SocketAddr) {
        self.target.send_replace(target);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.mode.send_replace(Mode::Cut);
    }
}

async fn connection(
    near: TcpStream,
    target: SocketAddr,
    speech: Speech,
    mode: watch::Receiver<Mode>,
    counts: Arc<Counts>,
) {
    let mut gate = mode.clone();
    if gate.wait_for(|mode| *mode != Mode::Stall).await.is_err() || *gate.borrow() == Mode::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let reports = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&reports);
    let questions =
        Direction { mode: mode.clone(), speech, counts: Some(counts), frames: None, reports: asked };
    let frames = (speech == Speech::Redis).then(Frames::default);
    let answers = Direction { mode, speech, counts: None, frames, reports };
    tokio::select! {
        () = questions.hand_on(near_in, far_out) => {}
        () = answers.hand_on(far_in, near_out) => {}
        _ = gate.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// One direction of one connection.
struct Direction {
    mode: watch::Receiver<Mode>,
    speech: Speech,
    /// Where questions are counted; answers are not.
    counts: Option<Arc<Counts>>,
    frames: Option<Frames>,
    /// Whether reports of changes were asked for on this connection.
    reports: Arc<AtomicBool>,
}

impl Direction {
    async fn hand_on(mut self, mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin) {
        let mut dice = Dice::seeded(u64::from(self.counts.is_some()));
        let mut queries = Queries::default();
        let connection =
            self.counts.as_ref().map(|counts| counts.connections.fetch_add(1, Ordering::Relaxed));
        let mut piece = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            let read = &piece[..length];
            if let Some(counts) = &self.counts {
                counts.pieces.fetch_add(1, Ordering::Relaxed);
                counts.hear(connection.unwrap_or_default(), read);
                if self.speech == Speech::Redis && read == PING {
                    counts.pings.fetch_add(1, Ordering::Relaxed);
                }
                if self.speech == Speech::Redis && contains(read, TRACKING) {
                    self.reports.store(true, Ordering::Relaxed);
                }
                if self.speech == Speech::Postgres {
                    counts.queries.fetch_add(queries.count(read), Ordering::Relaxed);
                }
            }
            let answers = self.counts.is_none();
            let reports = self.reports.load(Ordering::Relaxed);
            let goes_on = |mode: &Mode| match mode {
                Mode::Stall => false,
                Mode::StallAnswers => !answers,
                Mode::StallReports => !(answers && reports),
                _ => true,
            };
            let Ok(now) = self.mode.wait_for(goes_on).await.map(|mode| *mode) else { return };
            match now {
                Mode::Delay(time) => tokio::time::sleep(time).await,
                Mode::Jitter(most) => tokio::time::sleep(dice.between(Duration::ZERO, most)).await,
                _ => {}
            }
            let written = match &mut self.frames {
                Some(frames) => to.write_all(&frames.pass(read, now == Mode::Mute)).await,
                None => to.write_all(read).await,
            };
            if written.is_err() {
                return;
            }
        }
    }
}
