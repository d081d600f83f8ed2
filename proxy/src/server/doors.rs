//! Where connections come in: accepts them, counts them, lets the balancer in front say whose they are, opens TLS, and
//! hands each to the application behind. Says nothing about requests.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use ipnet::IpNet;
use pingora::apps::ServerApp;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::l4::stream::Stream as Connection;
use pingora::protocols::{GetSocketDigest, SocketDigest, Stream};
use pingora::server::ShutdownWatch;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::time::timeout;

use super::crowd::{Crowd, Presence};
use super::shutdown::Closed;
use super::sockets::Socket;
use super::tls;
use crate::config::Snapshot;
use crate::config::snapshot::{Connections, Listening};
use crate::policy::proxy_header::{self, ProxyHeader};
use crate::telemetry::Metrics;

/// Longest wait for a PROXY protocol header, which a balancer sends at once.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);
/// Longest wait for a TLS handshake.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(15);
/// Pause after the system had no means to accept a connection.
const OUT_OF_MEANS: Duration = Duration::from_millis(100);

/// What holds for new connections, by place; replaced as a whole by a reload.
pub(super) struct Entrances {
    by_place: HashMap<Listening, Entrance>,
    limits: Connections,
}

struct Entrance {
    tls: Option<Acceptor>,
    trusted_proxies: Vec<IpNet>,
    proxy_protocol: Vec<IpNet>,
}

impl Entrances {
    /// Builds what the listeners need.
    ///
    /// # Errors
    /// Certificates and keys that cannot be used.
    pub(super) fn build(snapshot: &Snapshot) -> anyhow::Result<Self> {
        let mut by_place = HashMap::new();
        for listener in &snapshot.listeners {
            let tls = listener.tls.as_ref().map(tls::acceptor).transpose();
            let entrance = Entrance {
                tls: tls.with_context(|| format!("listener {}", listener.place))?,
                trusted_proxies: listener.trusted_proxies.clone(),
                proxy_protocol: listener.proxy_protocol.clone(),
            };
            by_place.insert(listener.place.clone(), entrance);
        }
        Ok(Self { by_place, limits: snapshot.connections })
    }
}

impl Entrances {
    /// Neither TLS nor limits, anywhere.
    pub(super) fn plain() -> Self {
        Self {
            by_place: HashMap::new(),
            limits: Connections {
                total: None,
                per_address: None,
                streams: 1,
                patience: Duration::from_mins(1),
            },
        }
    }
}

/// What all doors of one kind share.
#[derive(Clone)]
pub(super) struct Hall {
    pub(super) entrances: Arc<ArcSwap<Entrances>>,
    pub(super) crowd: Arc<Crowd>,
    pub(super) metrics: Arc<Metrics>,
}

/// One place where connections come in, and what is behind.
pub(super) struct Door<A> {
    pub(super) place: Listening,
    pub(super) hall: Hall,
    pub(super) app: Arc<A>,
}

enum Accepting {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Accepting {
    fn new(socket: Socket) -> std::io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                Self::Tcp(TcpListener::from_std(socket)?)
            }
            Socket::Unix(socket) => {
                socket.set_nonblocking(true)?;
                Self::Unix(UnixListener::from_std(socket)?)
            }
        })
    }

    async fn accept(&self) -> std::io::Result<(Connection, Option<SocketAddr>)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, peer) = socket.accept().await?;
                let _ = stream.set_nodelay(true);
                Ok((Connection::from(stream), Some(peer)))
            }
            Self::Unix(socket) => Ok((Connection::from(socket.accept().await?.0), None)),
        }
    }
}

impl<A: ServerApp + Send + Sync + 'static> Door<A> {
    /// Accepts connections until they are `closed`; those that came in are served on.
    ///
    /// # Errors
    /// When the socket cannot be used.
    pub(super) async fn stand_open(
        self: Arc<Self>,
        socket: Socket,
        mut closed: watch::Receiver<Closed>,
        is_closed: fn(&Closed) -> bool,
        shutdown: ShutdownWatch,
    ) -> std::io::Result<()> {
        let accepting = Accepting::new(socket)?;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = closed.wait_for(is_closed) => return Ok(()),
                accepted = accepting.accept() => accepted,
            };
            match accepted {
                Ok((connection, peer)) => {
                    let limit = self.hall.entrances.load().limits.total;
                    match self.hall.crowd.enter(limit) {
                        Some(presence) => {
                            let (door, shutdown) = (Arc::clone(&self), shutdown.clone());
                            tokio::spawn(
                                async move { door.pass(connection, peer, presence, shutdown).await },
                            );
                        }
                        None => self.refuse("too_many"),
                    }
                }
                Err(error) => {
                    // A connection that was gone before it was accepted is no matter; no free descriptor is.
                    if error.raw_os_error().is_some_and(is_lack_of_means) {
                        tracing::error!(%error, place = %self.place, "cannot accept connections");
                        tokio::time::sleep(OUT_OF_MEANS).await;
                    }
                }
            }
        }
    }

    async fn pass(
        &self,
        connection: Connection,
        peer: Option<SocketAddr>,
        mut presence: Presence,
        shutdown: ShutdownWatch,
    ) {
        let Some(stream) = self.enter(connection, peer, &mut presence).await else { return };
        let mut next = self.app.process_new(stream, &shutdown).await;
        while let Some(stream) = next {
            next = self.app.process_new(stream, &shutdown).await;
        }
    }

    /// Everything before the first byte of HTTP.
    async fn enter(
        &self,
        mut connection: Connection,
        peer: Option<SocketAddr>,
        presence: &mut Presence,
    ) -> Option<Stream> {
        let entrances = self.hall.entrances.load_full();
        let entrance = entrances.by_place.get(&self.place);
        let mut client = peer;
        if entrance.is_some_and(|entrance| entrance.expects_header(peer)) {
            match timeout(HEADER_PATIENCE, read_header(&mut connection)).await {
                Ok(Ok(told)) => client = told.or(peer),
                _ => return self.refuse_as("proxy_header"),
            }
        }
        if let (Some(limit), Some(client)) = (entrances.limits.per_address, client) {
            let exempt = entrance.is_none_or(|entrance| entrance.trusts(client.ip()));
            if !exempt && !presence.is_from(client.ip(), limit) {
                return self.refuse_as("too_many_from_address");
            }
        }
        let digest = SocketDigest::from_raw_fd(connection.as_raw_fd());
        if let Some(client) = client {
            let _ = digest.peer_addr.set(Some(client.into()));
        }
        connection.set_socket_digest(digest);
        let Some(acceptor) = entrance.and_then(|entrance| entrance.tls.as_ref()) else {
            return Some(Box::new(connection));
        };
        if let Ok(Ok(stream)) = timeout(HANDSHAKE_PATIENCE, acceptor.tls_handshake(connection)).await {
            return Some(Box::new(stream));
        }
        self.hall.metrics.framework_refusals.with_label_values(&["tls_handshake"]).inc();
        None
    }

    fn refuse_as<T>(&self, reason: &str) -> Option<T> {
        self.refuse(reason);
        None
    }

    fn refuse(&self, reason: &str) {
        self.hall.metrics.connections_refused.with_label_values(&[reason]).inc();
    }
}

impl Entrance {
    /// Whether a connection from `peer` begins with a header. Who may connect to a Unix socket is for the file system to
    /// say.
    fn expects_header(&self, peer: Option<SocketAddr>) -> bool {
        match peer {
            Some(peer) => contains(&self.proxy_protocol, peer.ip()),
            None => !self.proxy_protocol.is_empty(),
        }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        contains(&self.trusted_proxies, address)
    }
}

fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// There is no PROXY protocol header where one must be.
struct NoHeader;

/// Reads a PROXY protocol header and leaves what follows to be read: the client it names, if it names one.
async fn read_header(connection: &mut Connection) -> Result<Option<SocketAddr>, NoHeader> {
    let mut bytes = [0; proxy_header::LONGEST];
    let mut filled = 0;
    loop {
        match connection.read(&mut bytes[filled..]).await {
            Ok(length @ 1..) => filled += length,
            _ => return Err(NoHeader),
        }
        match proxy_header::parse(&bytes[..filled]) {
            ProxyHeader::Incomplete => {}
            ProxyHeader::Complete { client, length } => {
                connection.rewind(&bytes[length..filled]);
                return Ok(client);
            }
            ProxyHeader::Malformed => return Err(NoHeader),
        }
    }
}

/// Too many open files, in the process or the system, or no memory for another socket.
fn is_lack_of_means(code: i32) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM].iter().any(|known| known.raw_os_error() == code)
}
