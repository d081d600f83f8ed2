//! A real Postgres server on a port of its own, which tests start, freeze, kill and start again.
//! As root it runs as the user `postgres`, because it refuses to run as root. Nothing is flushed to disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use rustix::process::Signal;

use crate::daemon::{Daemon, program};
use crate::ports;

const PACKAGE: &str = "postgresql";
const READY: &str = "database system is ready to accept connections";

/// A Postgres server in a directory of its own; it ends with this value.
#[derive(Debug)]
pub struct Postgres {
    daemon: Option<Daemon>,
    directory: PathBuf,
    port: u16,
}

/// One server for all tests of a process that only need a database; it ends with the process.
///
/// # Panics
/// When the server is not installed or does not start.
pub fn shared_database() -> String {
    static SERVER: OnceLock<Mutex<Postgres>> = OnceLock::new();
    let server = SERVER.get_or_init(|| Mutex::new(Postgres::start()));
    server.lock().unwrap_or_else(PoisonError::into_inner).new_database()
}

impl Postgres {
    /// A new, empty server.
    ///
    /// # Panics
    /// When the server is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory").keep();
        hand_over(&directory);
        let data = directory.join("data");
        let mut words = as_postgres();
        words.push(binary("initdb"));
        words.extend(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"].map(str::to_owned));
        words.extend(["--wal-segsize=1".to_owned(), "-D".to_owned(), data.display().to_string()]);
        let output = Command::new(&words[0]).args(&words[1..]).current_dir(&directory).output();
        let output = output.expect("initdb can be run");
        assert!(output.status.success(), "initdb: {}", String::from_utf8_lossy(&output.stderr));

        let mut last = String::new();
        for _ in 0..5 {
            let port = ports::free();
            match launch(&directory, port) {
                Ok(daemon) => return Self { daemon: Some(daemon), directory, port },
                Err(log) => last = log,
            }
        }
        panic!("postgres does not start:\n{last}");
    }

    /// The port it listens on, all its life.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a database on it, for its superuser.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes a new, empty database and answers its URL.
    ///
    /// # Panics
    /// When the server does not answer.
    #[must_use]
    pub fn new_database(&self) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let _ = self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// Runs SQL with `psql` as the test's own eye on the database; answers unaligned rows without headings.
    ///
    /// # Panics
    /// When the client cannot be run or a statement fails.
    #[must_use]
    pub fn sql(&self, database: &str, statements: &str) -> String {
        run_sql(&self.url(database), statements)
    }

    /// Stops all its processes without ending them: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets frozen processes go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends it at once, as in a crash.
    pub fn kill(&mut self) {
        self.end(Signal::QUIT);
    }

    /// Ends it in order; connections are closed.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Starts it again on the same port; ends it first if it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        self.stop();
        let daemon = launch(&self.directory, self.port);
        self.daemon = Some(daemon.unwrap_or_else(|log| panic!("postgres does not start again:\n{log}")));
    }

    fn signal(&self, signal: Signal) {
        self.daemon.as_ref().expect("the server runs").signal(signal);
    }

    fn end(&mut self, signal: Signal) {
        let Some(daemon) = self.daemon.take() else { return };
        daemon.signal(Signal::CONT);
        daemon.signal(signal);
        daemon.wait();
        daemon.put_away();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.signal(Signal::CONT);
            daemon.signal(Signal::QUIT);
            daemon.wait();
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs SQL on the database that `url` names; see [`Postgres::sql`].
///
/// # Panics
/// When the client cannot be run or a statement fails.
#[must_use]
pub fn run_sql(url: &str, statements: &str) -> String {
    let client = program("psql", &folders(), "postgresql-client");
    let arguments = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statements];
    let output = Command::new(client).args(arguments).output().expect("psql can be run");
    assert!(output.status.success(), "psql: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn launch(directory: &Path, port: u16) -> Result<Daemon, String> {
    let mut words = as_postgres();
    words.push(binary("postgres"));
    words.extend(["-D".to_owned(), directory.join("data").display().to_string()]);
    let settings = [
        format!("port={port}"),
        "listen_addresses=127.0.0.1".to_owned(),
        format!("unix_socket_directories={}", directory.display()),
        "fsync=off".to_owned(),
        "full_page_writes=off".to_owned(),
        "shared_buffers=32MB".to_owned(),
        "max_connections=100".to_owned(),
        "log_min_messages=warning".to_owned(),
        "log_min_error_statement=panic".to_owned(),
    ];
    words.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
    // QUIT, not KILL: it takes its processes and its shared memory along.
    Daemon::start(directory, &words, READY, "QUIT")
}

fn binary(name: &str) -> String {
    program(name, &folders(), PACKAGE).display().to_string()
}

/// Where distributions keep the server's programs, newest version first.
fn folders() -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir("/usr/lib/postgresql") else { return Vec::new() };
    let mut found: Vec<_> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
    found.sort();
    found.reverse();
    found
}

/// The words before a command that make it run as `postgres`, when we are root.
pub(crate) fn as_postgres() -> Vec<String> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"].map(str::to_owned).to_vec()
}

/// Gives the directory to `postgres`, when we are root.
pub(crate) fn hand_over(directory: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let number = |flag| {
        let output = Command::new("id").args([flag, "postgres"]).output().expect("id can be run");
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse().unwrap_or_else(|_| panic!("there is no user postgres; these tests need {PACKAGE}"))
    };
    std::os::unix::fs::chown(directory, Some(number("-u")), Some(number("-g"))).expect("root may do this");
}

#[cfg(test)]
mod tests {
    use super::{Postgres, run_sql, shared_database};

    #[test]
    fn the_server_keeps_its_data_over_a_crash_and_answers_after_a_freeze() {
        let mut server = Postgres::start();
        let url = server.new_database();
        let _ = run_sql(&url, "CREATE TABLE words (word text); INSERT INTO words VALUES ('here')");
        server.kill();
        server.restart();
        server.freeze();
        server.thaw();
        assert_eq!(run_sql(&url, "SELECT word FROM words"), "here");
    }

    #[test]
    fn every_call_gives_another_database() {
        assert_ne!(shared_database(), shared_database());
    }
}
