//! A TCP relay that a test puts between the proxy and a server, to delay, reorder, stall or cut the connections, or to
//! keep Redis from telling of changes.

mod resp;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::dice::Dice;
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
    asked: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to `target` that hands everything on.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(target: SocketAddr) -> Self {
        Self::start(target, false).await
    }

    /// A relay to a Redis without TLS, which can be muted.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to_redis(target: SocketAddr) -> Self {
        Self::start(target, true).await
    }

    async fn start(target: SocketAddr, redis: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (mode, watch) = watch::channel(Mode::Pass);
        let (target, aim) = watch::channel(target);
        let asked: Arc<AtomicU64> = Arc::default();
        let count = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let target = *aim.borrow();
                tokio::spawn(connection(near, target, redis, watch.clone(), count.clone()));
            }
        });
        Self { address, mode, target, asked, task }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often anything was sent to the server so far, in pieces as they came.
    #[must_use]
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
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
    redis: bool,
    mode: watch::Receiver<Mode>,
    asked: Arc<AtomicU64>,
) {
    let mut gate = mode.clone();
    if gate.wait_for(|mode| *mode != Mode::Stall).await.is_err() || *gate.borrow() == Mode::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let answered = AtomicU64::new(0);
    let questions = Direction { mode: mode.clone(), answers: false, frames: None };
    let answers = Direction { mode, answers: true, frames: redis.then(Frames::default) };
    tokio::select! {
        () = questions.hand_on(near_in, far_out, &asked) => {}
        () = answers.hand_on(far_in, near_out, &answered) => {}
        _ = gate.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

/// One direction of one connection.
struct Direction {
    mode: watch::Receiver<Mode>,
    answers: bool,
    frames: Option<Frames>,
}

impl Direction {
    async fn hand_on(
        mut self,
        mut from: impl AsyncReadExt + Unpin,
        mut to: impl AsyncWriteExt + Unpin,
        pieces: &AtomicU64,
    ) {
        let mut dice = Dice::seeded(u64::from(self.answers));
        let mut piece = vec![0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut piece).await {
            let count = pieces.fetch_add(1, Ordering::Relaxed);
            let answers = self.answers;
            let goes_on = |mode: &Mode| *mode != Mode::Stall && !(answers && *mode == Mode::StallAnswers);
            let Ok(now) = self.mode.wait_for(goes_on).await.map(|mode| *mode) else { return };
            match now {
                Mode::Delay(time) => tokio::time::sleep(time).await,
                Mode::Jitter(most) => {
                    let rest = dice.below(usize::try_from(count % 7 + 1).unwrap_or(1));
                    let time = dice.between(Duration::ZERO, most) / u32::try_from(rest + 1).unwrap_or(1);
                    tokio::time::sleep(time).await;
                }
                _ => {}
            }
            let read = &piece[..length];
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
