//! A TCP relay that a test puts between the proxy and a server, to delay, stall or cut the connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What the relay does with what passes through it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Hands it on.
    Pass,
    /// Hands each piece on after this time.
    Delay(Duration),
    /// Accepts and holds everything.
    Stall,
    /// Closes every connection, old and new.
    Cut,
}

/// A relay to one server; ends with this value.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    asked: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to `target` that hands everything on.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (mode, watch) = watch::channel(Mode::Pass);
        let asked: Arc<AtomicU64> = Arc::default();
        let count = asked.clone();
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connection(near, target, watch.clone(), count.clone()));
            }
        });
        Self { address, mode, asked, task }
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
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
        self.mode.send_replace(Mode::Cut);
    }
}

async fn connection(near: TcpStream, target: SocketAddr, mode: watch::Receiver<Mode>, asked: Arc<AtomicU64>) {
    let mut gate = mode.clone();
    if gate.wait_for(|mode| *mode != Mode::Stall).await.is_err() || *gate.borrow() == Mode::Cut {
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else { return };
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let answered = AtomicU64::new(0);
    tokio::select! {
        () = hand_on(near_in, far_out, mode.clone(), &asked) => {}
        () = hand_on(far_in, near_out, mode.clone(), &answered) => {}
        _ = gate.wait_for(|mode| *mode == Mode::Cut) => {}
    }
}

async fn hand_on(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    mut mode: watch::Receiver<Mode>,
    pieces: &AtomicU64,
) {
    let mut piece = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut piece).await {
        pieces.fetch_add(1, Ordering::Relaxed);
        let Ok(now) = mode.wait_for(|mode| *mode != Mode::Stall).await.map(|mode| *mode) else { return };
        if let Mode::Delay(time) = now {
            tokio::time::sleep(time).await;
        }
        if to.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}
