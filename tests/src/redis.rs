//! A real Redis server on a port of its own, which tests start, freeze, kill and start again.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::daemon::{Daemon, program};
use crate::ports;

const PACKAGE: &str = "redis-server";
const READY: &str = "Ready to accept connections";
/// The name of the ACL user when [`Options::password`] is set.
pub const USER: &str = "countersign";

/// How the server is set up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// TLS only, with a certificate for `localhost` and 127.0.0.1 signed by a new authority.
    pub tls: bool,
    /// The default user is off, and [`USER`] has this password and may touch only keys that begin with `prefix`.
    pub password: Option<String>,
    /// The key prefix of the ACL user; `cs:` when empty.
    pub prefix: String,
    /// Whether what was stored survives an orderly stop.
    pub keep_data: bool,
}

/// A Redis server in a directory of its own; it ends with this value.
#[derive(Debug)]
pub struct Redis {
    daemon: Option<Daemon>,
    directory: PathBuf,
    port: u16,
    options: Options,
    authority: Option<String>,
}

impl Redis {
    /// A plain server without password or persistence.
    ///
    /// # Panics
    /// When the server is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&Options::default())
    }

    /// A server set up as `options` say.
    ///
    /// # Panics
    /// When the server is not installed or does not start.
    #[must_use]
    pub fn start_with(options: &Options) -> Self {
        let binary = program("redis-server", &[], PACKAGE);
        let mut last = String::new();
        for _ in 0..5 {
            let directory = tempfile::tempdir().expect("a temporary directory").keep();
            let authority = options.tls.then(|| write_certificates(&directory));
            let port = ports::free();
            fs::write(directory.join("redis.conf"), configuration(port, options))
                .expect("a writable directory");
            match launch(&binary, &directory) {
                Ok(daemon) => {
                    let options = options.clone();
                    return Self { daemon: Some(daemon), directory, port, options, authority };
                }
                Err(log) => last = log,
            }
        }
        panic!("redis-server does not start:\n{last}");
    }

    /// The port it listens on, all its life.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address as `redis://` or `rediss://`, with user and password if it has any.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.options.tls { "rediss" } else { "redis" };
        let user = self.options.password.as_ref().map(|p| format!("{USER}:{p}@")).unwrap_or_default();
        format!("{scheme}://{user}localhost:{}/0", self.port)
    }

    /// The certificate authority that clients must trust (PEM), when it speaks TLS.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// The file that holds [`Self::authority`].
    #[must_use]
    pub fn authority_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// Stops the process without ending it: connections stay open and nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Ends the process at once (SIGKILL); memory is lost.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    /// Ends the process in order (SIGTERM).
    pub fn stop(&mut self) {
        self.end(Signal::TERM);
    }

    /// Starts it again on the same port; ends it first if it runs.
    ///
    /// # Panics
    /// When it does not start.
    pub fn restart(&mut self) {
        if self.daemon.is_some() {
            self.stop();
        }
        let binary = program("redis-server", &[], PACKAGE);
        let daemon = launch(&binary, &self.directory);
        self.daemon = Some(daemon.unwrap_or_else(|log| panic!("redis-server does not start again:\n{log}")));
    }

    /// Runs one command with `redis-cli` as the test's own eye on the server; answers what it prints.
    ///
    /// # Panics
    /// When the client cannot be run or the server refuses the command.
    #[must_use]
    pub fn command(&self, words: &[&str]) -> String {
        let mut client = Command::new(program("redis-cli", &[], "redis-tools"));
        client.args(["-h", "localhost", "-p", &self.port.to_string(), "-e", "--no-auth-warning"]);
        if self.options.tls {
            client.arg("--tls").arg("--cacert").arg(self.authority_file());
        }
        if let Some(password) = &self.options.password {
            client.args(["--user", USER, "--pass", password]);
        }
        let output = client.args(words).output().expect("redis-cli can be run");
        let text = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "redis-cli {words:?}: {text}{complaint}");
        text
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

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.daemon.take());
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn launch(binary: &Path, directory: &Path) -> Result<Daemon, String> {
    let words = [binary.to_path_buf(), directory.join("redis.conf")];
    Daemon::start(directory, &words.map(|word| word.display().to_string()), READY, "KILL")
}

fn configuration(port: u16, options: &Options) -> String {
    let mut text = String::from("bind 127.0.0.1\nappendonly no\ndatabases 16\n");
    text.push_str(if options.keep_data { "save 3600 1000000\n" } else { "save \"\"\n" });
    if options.tls {
        let _ = write!(
            text,
            "port 0\ntls-port {port}\ntls-cert-file server.pem\ntls-key-file server.key\n\
             tls-ca-cert-file ca.pem\ntls-auth-clients no\n"
        );
    } else {
        let _ = writeln!(text, "port {port}");
    }
    if let Some(password) = &options.password {
        let prefix = if options.prefix.is_empty() { "cs:" } else { &options.prefix };
        let _ = writeln!(text, "user default off\nuser {USER} on >{password} ~{prefix}* &* +@all");
    }
    text
}

/// Writes `ca.pem`, `server.pem` and `server.key`; answers the authority.
fn write_certificates(directory: &Path) -> String {
    let authority_key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("valid parameters");
    // A name of its own: with equal names OpenSSL takes the server's certificate for a self-signed one.
    parameters.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).expect("a certificate").pem();
    let issuer = rcgen::Issuer::new(parameters, authority_key);

    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let parameters = rcgen::CertificateParams::new(names).expect("valid names");
    let certificate = parameters.signed_by(&key, &issuer).expect("a certificate").pem();
    for (name, text) in
        [("ca.pem", &authority), ("server.pem", &certificate), ("server.key", &key.serialize_pem())]
    {
        fs::write(directory.join(name), text).expect("a writable directory");
    }
    authority
}

#[cfg(test)]
mod tests {
    use super::{Options, Redis};

    #[test]
    fn the_server_comes_back_empty_on_its_port() {
        let mut server = Redis::start();
        assert_eq!(server.command(&["SET", "cs:a", "1"]), "OK");
        server.freeze();
        server.kill();
        server.restart();
        assert_eq!(server.command(&["EXISTS", "cs:a"]), "0");
    }

    #[test]
    fn with_tls_and_a_user_only_that_user_and_only_its_keys_are_served() {
        let password = Some("secret".to_owned());
        let server =
            Redis::start_with(&Options { tls: true, password, keep_data: true, ..Options::default() });
        assert_eq!(server.command(&["SET", "cs:a", "1"]), "OK");
        let outcome = std::panic::catch_unwind(|| server.command(&["SET", "other", "1"]));
        assert!(outcome.is_err(), "a key outside the prefix was written");
    }
}
