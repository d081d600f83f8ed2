//! Signals, from the first moment of the process on: SIGHUP reads the configuration again, SIGUSR2 hands over to a new
//! binary, SIGTERM, SIGINT and SIGQUIT end the process, and a second one of these ends it at once.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::reload::Reloads;
use super::upgrade::Upgrader;

/// Exit code after a second signal (128 + SIGINT).
const INTERRUPTED: i32 = 130;

/// How the process is asked to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ending {
    /// SIGTERM: somebody will look elsewhere soon.
    Terminate,
    /// SIGINT: a person waits.
    Interrupt,
    /// SIGQUIT: another process has taken the sockets over, or nobody waits for this one.
    Quit,
}

/// Listens in a thread of its own, so that nothing that goes wrong elsewhere makes the process deaf. The answer is told
/// the first request to end.
///
/// # Errors
/// When the system lets nobody listen.
pub(super) fn listen(reloads: Reloads, upgrader: Upgrader) -> io::Result<mpsc::Receiver<Ending>> {
    let (tell, endings) = mpsc::channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let all = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(all.serve(reloads, upgrader, tell));
    })?;
    Ok(endings)
}

struct Signals {
    hangup: Signal,
    user2: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            user2: signal(SignalKind::user_defined2())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
        })
    }

    async fn serve(mut self, reloads: Reloads, upgrader: Upgrader, tell: mpsc::Sender<Ending>) {
        let mut ending = false;
        loop {
            let asked = tokio::select! {
                _ = self.hangup.recv() => { reloads.signal(); continue }
                _ = self.user2.recv() => { upgrader.start_successor(); continue }
                _ = self.terminate.recv() => Ending::Terminate,
                _ = self.interrupt.recv() => Ending::Interrupt,
                _ = self.quit.recv() => Ending::Quit,
            };
            if ending {
                std::process::exit(INTERRUPTED);
            }
            ending = true;
            let _ = tell.try_send(asked);
        }
    }
}
