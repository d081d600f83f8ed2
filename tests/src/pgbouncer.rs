//! A real `PgBouncer` in transaction mode, in front of a Postgres of the tests: few connections for many, and each transaction
//! on whichever is free.

use std::fs;
use std::path::PathBuf;

use crate::daemon::{Daemon, program};
use crate::ports;
use crate::postgres::{as_postgres, hand_over};

const PACKAGE: &str = "pgbouncer";
const READY: &str = "process up: PgBouncer";
/// Connections to Postgres: fewer than a proxy has.
const CONNECTIONS: u16 = 3;

/// A pooler in a directory of its own; it ends with this value.
#[derive(Debug)]
pub struct PgBouncer {
    daemon: Option<Daemon>,
    directory: PathBuf,
    port: u16,
}

impl PgBouncer {
    /// In front of the server on this port.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn in_front_of(postgres: u16) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory").keep();
        let mut last = String::new();
        for _ in 0..5 {
            let port = ports::free();
            let users = directory.join("users.txt");
            fs::write(&users, "\"postgres\" \"\"\n").expect("a writable directory");
            let configuration = format!(
                "[databases]\n* = host=127.0.0.1 port={postgres}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
                 listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
                 pool_mode = transaction\ndefault_pool_size = {CONNECTIONS}\n",
                users.display()
            );
            let file = directory.join("pgbouncer.ini");
            fs::write(&file, configuration).expect("a writable directory");
            // It refuses to run as root too.
            hand_over(&directory);
            let mut words = as_postgres();
            let folders = [PathBuf::from("/usr/sbin")];
            words.push(program("pgbouncer", &folders, PACKAGE).display().to_string());
            words.push(file.display().to_string());
            match Daemon::start(&directory, &words, READY, "KILL") {
                Ok(daemon) => return Self { daemon: Some(daemon), directory, port },
                Err(log) => last = log,
            }
        }
        panic!("pgbouncer does not start:\n{last}");
    }

    /// The URL of a database behind it.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.daemon.take());
        let _ = fs::remove_dir_all(&self.directory);
    }
}
