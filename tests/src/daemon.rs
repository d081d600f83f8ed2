//! A real server as a child of the tests. A small shell stands between: it holds the other end of a pipe, and when
//! the tests end, however they end, it kills the server and sweeps its directory away. Nothing outlives a test run.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Starts the server, names its process, waits for the pipe to close. The word `keep` leaves the directory.
const GUARD: &str = r#"directory=$1; log=$2; last=$3; shift 3
ulimit -c 0
"$@" >"$log" 2>&1 </dev/null &
server=$!
echo "$server"
read -r word
kill -CONT "$server" 2>/dev/null
kill "-$last" "$server" 2>/dev/null
wait "$server" 2>/dev/null
[ "$word" = keep ] || rm -rf "$directory""#;

/// The longest that a server may take to start: initialising included, on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server process.
#[derive(Debug)]
pub(crate) struct Daemon {
    guard: Child,
    pid: Pid,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` (the program and its arguments) in `directory`, and waits until its log says `ready`.
    /// `last` is the name of the signal that ends it at once, however it is. `Err` holds the log of a server that
    /// ended instead.
    pub(crate) fn start(
        directory: &Path,
        command: &[String],
        ready: &str,
        last: &str,
    ) -> Result<Self, String> {
        let log = directory.join("log");
        // Else the log of an earlier start could say that this one is ready.
        let _ = fs::remove_file(&log);
        let mut guard = Command::new("sh")
            .arg("-c")
            .arg(GUARD)
            .arg("guard")
            .args([directory, &log])
            .arg(last)
            .args(command)
            .env("LC_ALL", "C")
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell can be started");
        let mut line = String::new();
        let out = guard.stdout.take().expect("the output is piped");
        BufReader::new(out).read_line(&mut line).expect("the shell names the process");
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).expect("a process id");
        let daemon = Self { guard, pid, log };
        daemon.wait_until(ready).map(|()| daemon)
    }

    fn wait_until(&self, ready: &str) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let log = self.log();
            if log.contains(ready) {
                return Ok(());
            }
            if !self.is_alive() || begin.elapsed() > PATIENCE {
                return Err(log);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the server wrote since it was last started.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Sends a signal to the server and, for stopping and resuming, to its children too.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid, signal);
        if signal == Signal::STOP || signal == Signal::CONT {
            for child in children(self.pid) {
                let _ = kill_process(child, signal);
            }
        }
    }

    /// Waits until the server has ended, after a signal that ends it.
    pub(crate) fn wait(&self) {
        let begin = Instant::now();
        while self.is_alive() {
            assert!(begin.elapsed() < PATIENCE, "the server does not end");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn is_alive(&self) -> bool {
        // A zombie has ended; its status is the letter after the parenthesised name.
        stat(self.pid).is_some_and(|(state, _)| state != 'Z')
    }

    /// Ends the server if it still runs, and leaves its directory for the next start.
    pub(crate) fn put_away(mut self) {
        if let Some(mut pipe) = self.guard.stdin.take() {
            let _ = pipe.write_all(b"keep\n");
        }
        let _ = self.guard.wait();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn children(parent: Pid) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().and_then(Pid::from_raw))
        .filter(|pid| stat(*pid).is_some_and(|(_, its_parent)| its_parent == parent.as_raw_nonzero().get()))
        .collect()
}

/// State and parent of a process (proc(5)).
fn stat(pid: Pid) -> Option<(char, i32)> {
    let text = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let mut fields = text.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Where a program lies: in one of `folders`, else in PATH.
///
/// # Panics
/// When it is not installed; the message names the package.
pub(crate) fn program(name: &str, folders: &[PathBuf], package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = folders.iter().cloned().chain(std::env::split_paths(&path)).map(|folder| folder.join(name));
    found.into_iter().find(|file| file.is_file()).unwrap_or_else(|| {
        panic!("{name} is not installed; these tests need the package {package} (apt-get install {package})")
    })
}
