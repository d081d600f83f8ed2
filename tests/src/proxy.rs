//! The built binary as a child of the tests: configured from a builder, on free ports, with its output kept.

use std::fmt::Write;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::certificate::Certificate;
use crate::client::{Client, Wire};
use crate::eventually::{eventually, until};
use crate::stores::Stores;
use crate::{environment, fixture, ports};

/// The session cookie's name in all tests.
pub const COOKIE: &str = "countersign-session";

/// What signs the JWTs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyKind {
    /// `EdDSA`.
    Ed25519,
    /// `ES256`.
    P256,
    /// `HS256`.
    Hmac,
}

/// A configuration in the making. What a test does not say has the value of the documented default.
#[derive(Debug)]
pub struct Builder {
    top: String,
    sections: String,
    upstreams: String,
    routes: String,
    session: String,
    variables: Vec<(String, String)>,
    jwt_key: KeyKind,
    token_key: Option<String>,
    csrf_key: Option<String>,
    keys: String,
    seeded: bool,
    people: String,
    https: bool,
    log: Option<std::io::PipeWriter>,
    program: Option<PathBuf>,
}

impl Builder {
    /// Says that browsers speak https, as they do with the listener that has a certificate: the cookie gets its usual
    /// name and `Secure`.
    #[must_use]
    pub fn https(mut self) -> Self {
        self.top = self.top.replace("\"http\"", "\"https\"");
        self.https = true;
        self
    }

    /// Adds an upstream with one server; `more` holds further keys, one per line.
    #[must_use]
    pub fn upstream(self, name: &str, address: SocketAddr, more: &str) -> Self {
        self.upstream_with(name, &[address], more)
    }

    /// Adds an upstream with several servers.
    #[must_use]
    pub fn upstream_with(mut self, name: &str, servers: &[SocketAddr], more: &str) -> Self {
        let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
        let _ = writeln!(self.upstreams, "[[upstream]]\nname = \"{name}\"\nservers = {servers:?}\n{more}");
        self
    }

    /// Adds a route; `require` is TOML (`"session"` with its quotes), `more` holds further keys, one per line.
    #[must_use]
    pub fn route(mut self, path: &str, upstream: &str, require: &str, more: &str) -> Self {
        let _ = writeln!(
            self.routes,
            "[[route]]\npath = \"{path}\"\nupstream = \"{upstream}\"\nrequire = {require}\n{more}"
        );
        self
    }

    /// Adds keys to the section `[session]`.
    #[must_use]
    pub fn session(mut self, keys: &str) -> Self {
        let _ = writeln!(self.session, "{keys}");
        self
    }

    /// Adds whole sections, or keys to the top of the file when there is no section in it.
    #[must_use]
    pub fn more(mut self, text: &str) -> Self {
        let part = if text.trim_start().starts_with('[') { &mut self.sections } else { &mut self.top };
        let _ = writeln!(part, "{text}");
        self
    }

    /// Sets an environment variable of the proxy.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Signs JWTs with a key of this kind.
    #[must_use]
    pub fn jwt_key(mut self, kind: KeyKind) -> Self {
        self.jwt_key = kind;
        self
    }

    /// Takes over the token key of another proxy, so that its sessions are known here.
    #[must_use]
    pub fn token_key(mut self, key: &str) -> Self {
        self.token_key = Some(key.to_owned());
        self
    }

    /// Takes over the anti-forgery key of another proxy, so that its tokens are believed here.
    #[must_use]
    pub fn csrf_key(mut self, key: &str) -> Self {
        self.csrf_key = Some(key.to_owned());
        self
    }

    /// Adds keys to the section `[keys]`.
    #[must_use]
    pub fn keys(mut self, keys: &str) -> Self {
        let _ = writeln!(self.keys, "{keys}");
        self
    }

    /// Starts with a directory that was neither migrated nor filled, perhaps because nobody answers there.
    #[must_use]
    pub fn unseeded(mut self) -> Self {
        self.seeded = false;
        self
    }

    /// Adds statements that fill the directory further, before the proxy first looks at it.
    #[must_use]
    pub fn people(mut self, statements: &str) -> Self {
        self.people.push_str(statements);
        self
    }

    /// Writes the log into a pipe instead of a file.
    #[must_use]
    pub fn log_to(mut self, pipe: std::io::PipeWriter) -> Self {
        self.log = Some(pipe);
        self
    }

    /// Starts another program than the built binary, which is told to run the same configuration.
    #[must_use]
    pub fn program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
    }

    /// Writes the file, migrates and fills the directory, starts the binary and waits until it is ready.
    ///
    /// # Panics
    /// When it does not become ready; the message holds its output.
    pub async fn start(self, stores: &Stores) -> Proxy {
        let proxy = self.launch(stores).await;
        proxy.until_ready().await;
        proxy
    }

    /// Like [`Self::start`] without waiting.
    ///
    /// # Panics
    /// When the directory cannot be migrated or the binary cannot be started.
    pub async fn launch(self, stores: &Stores) -> Proxy {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let certificate = Arc::new(Certificate::new());
        let addresses = Addresses::reserve();
        let config = directory.path().join("countersign.toml");
        let text = self.text(stores, directory.path(), &certificate, &addresses);
        fs::write(&config, text).expect("a writable directory");
        if self.seeded {
            migrate(&config, &self.variables);
            fixture::seed(stores).await;
            if !self.people.is_empty() {
                stores.sql(&self.people).await;
            }
        }
        let program = self.program.unwrap_or_else(environment::binary);
        let child = spawn(&program, &config, directory.path(), &self.variables, self.log);
        Proxy { child, successor: None, directory, config, certificate, addresses, variables: self.variables }
    }

    fn text(&self, stores: &Stores, directory: &Path, certificate: &Certificate, at: &Addresses) -> String {
        let (crt, key) = certificate.write_to(directory);
        let listeners = format!(
            "[[listen]]\naddress = \"{}\"\n[[listen]]\naddress = \"{}\"\nh2c = true\n\
             [[listen]]\naddress = \"{}\"\ntls = {{ certificate = \"{}\", key = \"{}\" }}\n",
            at.http1,
            at.http2,
            at.tls,
            crt.display(),
            key.display(),
        );
        let token = secret_file(directory, "admin-token", &random_text());
        let admin = format!("[admin]\naddress = \"{}\"\ntoken = {token}\n", at.admin);
        // Tests stop many proxies, and no balancer looks elsewhere meanwhile.
        let shutdown =
            if self.sections.contains("[shutdown]") { "" } else { "[shutdown]\nlame_duck = \"0s\"\n" };
        let cookie = if self.https { String::new() } else { format!("cookie = \"{COOKIE}\"\n") };
        let session = format!("[session]\n{cookie}{}", self.session);
        [
            self.top.as_str(),
            &listeners,
            &admin,
            &stores.configuration(),
            &session,
            &self.key_section(directory),
            shutdown,
            &self.sections,
            &self.upstreams,
            &self.routes,
        ]
        .join("\n")
    }
}

impl Builder {
    /// The section `[keys]`, with secrets in files, made anew.
    fn key_section(&self, directory: &Path) -> String {
        let mut text = String::from("[keys]\n");
        for name in ["token", "csrf", "sealing", "hmac"] {
            let taken_over = match name {
                "token" => self.token_key.clone(),
                "csrf" => self.csrf_key.clone(),
                _ => None,
            };
            let secret = secret_file(directory, name, &taken_over.unwrap_or_else(random_text));
            let _ = writeln!(text, "{name} = [{{ id = \"{name}-1\", secret = {secret} }}]");
        }
        let (algorithm, key) = match self.jwt_key {
            KeyKind::Ed25519 => ("EdDSA", private_key(&rcgen::PKCS_ED25519)),
            KeyKind::P256 => ("ES256", private_key(&rcgen::PKCS_ECDSA_P256_SHA256)),
            KeyKind::Hmac => ("HS256", random_text()),
        };
        let secret = secret_file(directory, "jwt", &key);
        let _ =
            writeln!(text, "jwt = [{{ id = \"jwt-1\", algorithm = \"{algorithm}\", secret = {secret} }}]");
        let secret = secret_file(directory, "message", &private_key(&rcgen::PKCS_ED25519));
        let _ = writeln!(text, "message = [{{ id = \"message-1\", secret = {secret} }}]");
        text + &self.keys
    }
}

/// Where one proxy listens.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// HTTP/1.1 in the clear.
    pub http1: SocketAddr,
    /// HTTP/2 in the clear.
    pub http2: SocketAddr,
    /// HTTP/1.1 and HTTP/2 in TLS.
    pub tls: SocketAddr,
    /// The admin listener.
    pub admin: SocketAddr,
}

impl Addresses {
    fn reserve() -> Self {
        let next = || SocketAddr::from(([127, 0, 0, 1], ports::free()));
        Self { http1: next(), http2: next(), tls: next(), admin: next() }
    }
}

/// A running proxy; it is killed with this value.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    /// The process that has taken over from the child, if one has.
    successor: Option<Pid>,
    directory: TempDir,
    config: PathBuf,
    certificate: Arc<Certificate>,
    addresses: Addresses,
    variables: Vec<(String, String)>,
}

impl Proxy {
    /// A configuration without upstreams and routes.
    #[must_use]
    pub fn builder() -> Builder {
        Builder {
            top: "public_scheme = \"http\"\n".to_owned(),
            sections: String::new(),
            upstreams: String::new(),
            routes: String::new(),
            session: String::new(),
            variables: Vec::new(),
            jwt_key: KeyKind::Ed25519,
            token_key: None,
            csrf_key: None,
            keys: String::new(),
            seeded: true,
            people: String::new(),
            https: false,
            log: None,
            program: None,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The file of a secret, by the name of its section in `[keys]` or `admin-token`.
    #[must_use]
    pub fn secret(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default().trim().to_owned()
    }

    /// The directory of its configuration, secrets and certificates.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Replaces a part of its configuration file, in one step as an editor does.
    ///
    /// # Panics
    /// When that part is not there.
    pub fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.config).expect("the configuration was written");
        assert!(text.contains(from), "{from} is not in the configuration");
        replace_file(&self.config, &text.replacen(from, to, 1));
    }

    /// Has the configuration read again through the admin API; answers the report.
    pub async fn reload(&self) -> Value {
        let token = format!("Bearer {}", self.secret("admin-token"));
        self.admin().post("/v1/reload", "").header("authorization", token).send().await.json()
    }

    /// The id of its process.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended, and answers how.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn ended(&mut self) -> ExitStatus {
        eventually("the proxy ends", async || self.child.try_wait().expect("it is our child")).await
    }

    /// A new browser that speaks HTTP/1.1 in the clear.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(self.addresses.http1).trusting(&self.certificate)
    }

    /// A new browser on the listener for this wire.
    #[must_use]
    pub fn client_over(&self, wire: Wire) -> Client {
        let address = match wire {
            Wire::Http1 => self.addresses.http1,
            Wire::Http2 => self.addresses.http2,
            Wire::Tls1 | Wire::Tls2 => self.addresses.tls,
        };
        self.client().over(wire, address)
    }

    /// A client of the admin listener.
    #[must_use]
    pub fn admin(&self) -> Client {
        Client::new(self.addresses.admin).naming(&self.addresses.admin.to_string())
    }

    /// All metrics as text.
    pub async fn metrics(&self) -> String {
        self.admin().get("/metrics").send().await.expect(200).text()
    }

    /// The value of the first metric line that begins with `name` and contains all of `labels`; 0 when there is none.
    pub async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.metrics().await;
        let line = text
            .lines()
            .find(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }

    /// Everything it wrote so far.
    #[must_use]
    pub fn output(&self) -> String {
        let read = |name| fs::read(self.directory.path().join(name)).unwrap_or_default();
        let bytes = [read("stdout"), read("stderr")].concat();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The log lines about requests, oldest first.
    #[must_use]
    pub fn request_lines(&self) -> Vec<Value> {
        let lines: Vec<Value> =
            self.output().lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        lines.into_iter().filter(|line| line.get("outcome").is_some()).collect()
    }

    /// The log line about the request to `path`, when it is written.
    pub async fn request_line(&self, path: &str) -> Value {
        eventually("a log line", async || self.request_lines().into_iter().rfind(|line| line["path"] == path))
            .await
    }

    /// Its memory (resident set) in bytes.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("it runs");
        let line = text.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says so");
        line.split_whitespace().nth(1).and_then(|kilobytes| kilobytes.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Waits until the admin listener says that it is ready and the public ones accept connections.
    ///
    /// # Panics
    /// When it does not; the message holds its output.
    pub async fn until_ready(&self) {
        let ready = async {
            until("the proxy is ready", async || {
                accepts(self.addresses.admin).await
                    && accepts(self.addresses.http1).await
                    && accepts(self.addresses.http2).await
                    && accepts(self.addresses.tls).await
                    && self.admin().get("/ready").send().await.status == 200
            })
            .await;
        };
        let died = async {
            let process = PathBuf::from(format!("/proc/{}/stat", self.child.id()));
            // A child that ended and was not waited for is a zombie: state Z.
            until("", async || fs::read_to_string(&process).is_ok_and(|stat| stat.contains(") Z "))).await;
        };
        tokio::select! {
            () = ready => {}
            () = died => panic!("the proxy ended:\n{}", self.output()),
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    fn pid(&self) -> Pid {
        let child = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        self.successor.or(child).expect("a process id")
    }

    /// From now on that process is meant, which took over by itself.
    ///
    /// # Panics
    /// When this is no process.
    pub fn succeeded_by(&mut self, process: u64) {
        let process = i32::try_from(process).ok().and_then(Pid::from_raw);
        self.successor = Some(process.expect("a process id"));
    }

    /// Has it hand over to a new process of the same binary, and waits until the old one has ended.
    ///
    /// # Panics
    /// When nobody takes over.
    pub async fn upgrade(&mut self) {
        let old = self.pid();
        self.signal(Signal::USR2);
        let successor = eventually("a successor starts", async || {
            let output = self.output();
            let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let mut ids =
                lines.filter_map(|line| line["successor"].as_i64()).filter_map(|id| i32::try_from(id).ok());
            ids.next_back().and_then(Pid::from_raw).filter(|id| *id != old && Some(*id) != self.successor)
        })
        .await;
        if self.successor.is_none() {
            eventually("the old process ends", async || self.child.try_wait().expect("it is our child"))
                .await;
        } else {
            until("the old process ends", async || has_ended(old)).await;
        }
        self.successor = Some(successor);
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        if let Some(successor) = self.successor.take() {
            until("the successor ends", async || has_ended(successor)).await;
        }
        eventually("the proxy ends", async || self.child.try_wait().expect("it is our child")).await
    }

    /// Starts it again with the same configuration, ports and secrets.
    pub async fn restart(&mut self) {
        self.restart_under_load().await;
        self.until_ready().await;
    }

    /// The same, but waits only until it accepts connections.
    pub async fn restart_under_load(&mut self) {
        self.stop().await;
        let program = environment::binary();
        self.child = spawn(&program, &self.config, self.directory.path(), &self.variables, None);
        until("the proxy accepts connections", async || accepts(self.addresses.http1).await).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(successor) = self.successor {
            let _ = kill_process(successor, Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let tail: Vec<_> = output.lines().rev().take(40).collect();
            for line in tail.iter().rev() {
                eprintln!("proxy: {line}");
            }
        }
    }
}

/// Runs the binary to its end.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn run_to_end(arguments: &[&str]) -> std::process::Output {
    Command::new(environment::binary()).args(arguments).output().expect("the binary was built")
}

async fn accepts(address: SocketAddr) -> bool {
    tokio::net::TcpStream::connect(address).await.is_ok()
}

fn migrate(config: &Path, variables: &[(String, String)]) {
    let mut command = Command::new(environment::binary());
    command.args(["migrate", "up"]).arg(config).envs(variables.iter().cloned());
    let output = command.output().expect("the binary was built");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "migrate up: {said}{}", String::from_utf8_lossy(&output.stdout));
}

fn spawn(
    program: &Path,
    config: &Path,
    directory: &Path,
    variables: &[(String, String)],
    log: Option<std::io::PipeWriter>,
) -> Child {
    let append = |name| {
        let file = File::options().create(true).append(true).open(directory.join(name));
        Stdio::from(file.expect("a writable directory"))
    };
    Command::new(program)
        .arg("run")
        .arg(config)
        .envs(variables.iter().cloned())
        .stdin(Stdio::null())
        .stdout(log.map_or_else(|| append("stdout"), Stdio::from))
        .stderr(append("stderr"))
        .spawn()
        .expect("the binary was built")
}

/// Whether a process is gone, or would be if its parent had looked.
fn has_ended(id: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", id.as_raw_nonzero()));
    stat.is_ok_and(|stat| stat.contains(") Z "))
        || !Path::new(&format!("/proc/{}", id.as_raw_nonzero())).exists()
}

/// Writes a file so that nobody sees half of it.
///
/// # Panics
/// When the directory is not writable.
pub fn replace_file(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).expect("a writable directory");
    fs::rename(&new, path).expect("a writable directory");
}

fn secret_file(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, content).expect("a writable directory");
    format!("{{ file = \"{}\" }}", path.display())
}

/// PEM of a new private key.
fn private_key(algorithm: &'static rcgen::SignatureAlgorithm) -> String {
    rcgen::KeyPair::generate_for(algorithm).expect("ring knows the algorithm").serialize_pem()
}

/// 32 random bytes as text.
fn random_text() -> String {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("ring knows Ed25519");
    URL_SAFE_NO_PAD.encode(pair.public_key_raw())
}
