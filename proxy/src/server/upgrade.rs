//! A new binary takes over without a lost connection: on SIGUSR2 this process starts its successor with copies of the
//! listening sockets. Both accept connections until the successor, once it serves, asks this process to end (SIGQUIT). A
//! successor that fails changes nothing.

use std::ffi::OsString;
use std::io;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;

use command_fds::{CommandFdExt, FdMapping};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

use super::sockets::Sockets;
use super::systemd;

/// Where handed-over descriptors begin (`sd_listen_fds(3)`).
const FIRST_DESCRIPTOR: RawFd = 3;
/// The variable that tells a successor whom it succeeds.
const PREDECESSOR: &str = "COUNTERSIGN_PREDECESSOR";

/// Starts successors; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Upgrader {
    program: PathBuf,
    arguments: Vec<OsString>,
    sockets: Arc<Sockets>,
    /// The successor that was started and has not ended.
    successor: Arc<Mutex<Option<u32>>>,
}

impl Upgrader {
    /// Remembers how this process was started. Called early: the path must be that of the binary before it is replaced.
    ///
    /// # Errors
    /// When the system does not say which binary this is.
    pub(super) fn new(sockets: Arc<Sockets>) -> io::Result<Self> {
        let arguments = std::env::args_os().skip(1).collect();
        Ok(Self { program: std::env::current_exe()?, arguments, sockets, successor: Arc::default() })
    }

    /// Starts a successor, unless one is starting.
    pub(super) fn start_successor(&self) {
        if getpid() == Pid::INIT {
            tracing::error!(
                "cannot hand over as process 1: its end is the end of the container; replace that instead"
            );
            return;
        }
        let mut successor = self.successor.lock();
        if successor.is_some() {
            tracing::warn!("a successor is starting already");
            return;
        }
        match self.spawn() {
            Ok(child) => {
                tracing::info!(successor = child.id(), "a successor is starting with the listening sockets");
                *successor = Some(child.id());
                self.watch(child);
            }
            Err(error) => tracing::error!(%error, "no successor can be started; this process serves on"),
        }
    }

    fn spawn(&self) -> io::Result<Child> {
        let copies = self.sockets.copies()?;
        let count = copies.len();
        let mappings = copies.into_iter().zip(FIRST_DESCRIPTOR..);
        let mappings = mappings.map(|(parent_fd, child_fd)| FdMapping { parent_fd, child_fd }).collect();
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("LISTEN_FDS", count.to_string())
            .env(PREDECESSOR, std::process::id().to_string());
        for foreign in ["LISTEN_PID", "LISTEN_FDNAMES", "WATCHDOG_PID"] {
            command.env_remove(foreign);
        }
        command.fd_mappings(mappings).map_err(io::Error::other)?.spawn()
    }

    /// Notices when a successor ends before it has taken over.
    fn watch(&self, mut child: Child) {
        let successor = Arc::clone(&self.successor);
        std::thread::spawn(move || {
            let ended = child.wait();
            *successor.lock() = None;
            match ended {
                Ok(status) => tracing::error!(%status, "the successor has ended; this process serves on"),
                Err(error) => tracing::error!(%error, "the successor cannot be watched"),
            }
        });
    }

    /// Whether a successor is there to serve when this process does not; tells systemd that it is the service now.
    pub(super) fn has_successor(&self) -> bool {
        let successor = *self.successor.lock();
        if let Some(id) = successor {
            systemd::main_process_is(id);
        }
        successor.is_some()
    }
}

/// Asks the process that this one succeeds to end, if there is one: its parent, that and no other.
pub(super) fn relieve_predecessor() {
    let predecessor = std::env::var(PREDECESSOR).ok().and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
    let Some(predecessor) = predecessor.filter(|id| getppid() == Some(*id)) else { return };
    tracing::info!(predecessor = predecessor.as_raw_nonzero().get(), "took over");
    if let Err(error) = kill_process(predecessor, Signal::QUIT) {
        tracing::error!(%error, "the process that was succeeded cannot be told");
    }
}
