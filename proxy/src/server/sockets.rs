//! The listening sockets: taken over from systemd or from the process before this one, else opened anew; kept so that
//! they can be handed on. Opened before anything else, so that a taken address is told at once.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context as _, bail};
use listenfd::ListenFd;
use parking_lot::Mutex;

use crate::config::Snapshot;
use crate::config::snapshot::Listening;

/// Connections that wait in the kernel until they are accepted; the kernel's own limit (`somaxconn`) may be lower. The
/// standard library's 128 are few for the moment in which one process takes over from another.
const BACKLOG: i32 = 4096;

/// A listening socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// For addresses.
    Tcp(TcpListener),
    /// For a path.
    Unix(UnixListener),
}

/// All listening sockets of the process.
#[derive(Debug)]
pub(super) struct Sockets {
    /// Copies to hand on; empty once the listeners are closed, because a socket listens for as long as anybody has it.
    kept: Mutex<Vec<OwnedFd>>,
}

/// Places with their sockets.
pub(super) type Opened = Vec<(Listening, Socket)>;

impl Sockets {
    /// Opens the sockets of every listener, and as the last one that of the admin listener.
    ///
    /// # Errors
    /// The first place where nobody can listen.
    pub(super) fn open(snapshot: &Snapshot) -> anyhow::Result<(Self, Opened)> {
        let mut inherited = inherited();
        let admin = Listening::Tcp(snapshot.admin.address);
        let places = snapshot.listeners.iter().map(|listener| &listener.place).chain([&admin]);
        let (mut opened, mut kept) = (Vec::new(), Vec::new());
        for place in places {
            let found = inherited.iter().position(|socket| socket.listens_at(place));
            let socket = match found {
                Some(position) => inherited.swap_remove(position),
                None => Socket::open(place)?,
            };
            kept.push(socket.copy().with_context(|| format!("copying the socket of {place}"))?);
            opened.push((place.clone(), socket));
        }
        for socket in inherited {
            tracing::warn!(?socket, "a socket was handed over that no listener is configured for; closed");
        }
        Ok((Self { kept: Mutex::new(kept) }, opened))
    }

    /// Copies for a process that takes over.
    pub(super) fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        self.kept.lock().iter().map(OwnedFd::try_clone).collect()
    }

    /// Lets go of the copies, so that closing the listeners closes the sockets.
    pub(super) fn let_go(&self) {
        self.kept.lock().clear();
    }
}

/// The sockets that this process was started with (`LISTEN_FDS`, `sd_listen_fds(3)`).
fn inherited() -> Vec<Socket> {
    let mut from_environment = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..from_environment.len() {
        if let Ok(Some(tcp)) = from_environment.take_tcp_listener(index) {
            sockets.push(Socket::Tcp(tcp));
        } else if let Ok(Some(unix)) = from_environment.take_unix_listener(index) {
            sockets.push(Socket::Unix(unix));
        } else {
            tracing::warn!(index, "something was handed over that is no listening socket");
        }
    }
    sockets
}

impl Socket {
    fn open(place: &Listening) -> anyhow::Result<Self> {
        let socket = match place {
            Listening::Tcp(address) => Self::Tcp(bind(*address)?),
            Listening::Unix { path, mode } => Self::Unix(bind_unix(path, *mode)?),
        };
        rustix::net::listen(socket.as_fd(), BACKLOG).with_context(|| format!("listening on {place}"))?;
        Ok(socket)
    }

    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }

    fn copy(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }

    fn listens_at(&self, place: &Listening) -> bool {
        match (self, place) {
            (Self::Tcp(socket), Listening::Tcp(address)) => {
                socket.local_addr().is_ok_and(|local| local == *address)
            }
            (Self::Unix(socket), Listening::Unix { path, .. }) => {
                socket.local_addr().is_ok_and(|local| local.as_pathname() == Some(path))
            }
            _ => false,
        }
    }
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address) {
        Ok(socket) => Ok(socket),
        Err(error) => {
            bail!("cannot listen on {address}: {error}; stop what uses it, or choose another address")
        }
    }
}

/// A socket file that nobody listens on is left from a process that ended; it is replaced. Any other file stays.
fn bind_unix(path: &Path, mode: u32) -> anyhow::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;
    let shown = path.display();
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        if UnixStream::connect(path).is_ok() {
            bail!("cannot listen on {shown}: another process does; stop it, or choose another path");
        }
        std::fs::remove_file(path).with_context(|| format!("replacing the old socket {shown}"))?;
    }
    let socket = UnixListener::bind(path)
        .with_context(|| format!("cannot listen on {shown}; is its directory there and writable?"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("setting the permissions of {shown}"))?;
    Ok(socket)
}

/// Says at once that an address is taken.
///
/// # Errors
/// The first address that cannot be listened on.
pub fn ensure_addresses_are_free(snapshot: &Snapshot) -> anyhow::Result<()> {
    Sockets::open(snapshot).map(|_| ())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Listening, Socket, bind_unix};

    #[test]
    fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("http.sock");
        let first = bind_unix(&path, 0o600).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(bind_unix(&path, 0o600).unwrap_err().to_string().contains("another process does"));
        drop(first);
        let again = Socket::Unix(bind_unix(&path, 0o660).unwrap());
        assert!(again.listens_at(&Listening::Unix { path: path.clone(), mode: 0 }));
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a file of somebody").unwrap();
        assert!(bind_unix(&path, 0o660).is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file of somebody");
    }

    #[test]
    fn a_taken_address_is_told_with_what_to_do() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let place = Listening::Tcp(taken.local_addr().unwrap());
        let error = Socket::open(&place).unwrap_err().to_string();
        assert!(error.contains("choose another address"), "{error}");
    }
}
