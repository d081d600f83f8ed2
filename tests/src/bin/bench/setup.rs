//! The proxies that are measured, and the application behind all of them: the cheapest one there is.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::process::{Process, free_address};
use super::servers::Servers;
use super::{Failure, sessions};

/// The cookie that Countersign is told to look for.
pub(super) const COOKIE: &str = "bench-session";

/// A proxy under load.
pub(super) struct Contender {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) process: Process,
    pub(super) path: &'static str,
    /// Values of the session cookie that take turns; empty: no session.
    pub(super) tokens: Vec<String>,
    /// A store whose work for the requests is counted too.
    pub(super) store: Option<Process>,
}

impl Contender {
    /// What all that is counted has spent so far, in seconds of processor time.
    pub(super) fn cpu_seconds(&self) -> Result<f64, Failure> {
        let store = self.store.as_ref().map_or(Ok(0.0), Process::cpu_seconds)?;
        Ok(self.process.cpu_seconds()? + store)
    }
}

/// How Countersign is started for a measurement.
pub(super) struct Wanted<'a> {
    pub(super) name: &'a str,
    pub(super) path: &'static str,
    pub(super) sessions: u64,
    pub(super) h2c: bool,
    /// A command in front of the proxy's own: what runs it.
    pub(super) under: &'a [String],
    /// The servers that it keeps its sessions in, else in a file of its own.
    pub(super) servers: Option<&'a Servers>,
}

/// The folder of the build, which this program lies in itself.
pub(super) fn release_folder() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    Ok(program.parent().ok_or("the program lies in no folder")?.to_owned())
}

/// The repository, in whose `target` the release folder lies.
pub(super) fn repository() -> Result<PathBuf, Failure> {
    let release = release_folder()?;
    Ok(release.ancestors().nth(2).ok_or("the program lies outside of a repository")?.to_owned())
}

/// How many sessions are told apart by what bare Pingora is asked.
const COOKIES: u64 = 1_000;

/// Bare Pingora; `binary` is one of the examples. It is asked what Countersign is asked: with cookies of the same form.
pub(super) fn bare(name: &str, binary: &str, upstream: SocketAddr, h2c: bool) -> Result<Contender, Failure> {
    let address = free_address()?;
    let mut command = Command::new(release_folder()?.join("examples").join(binary));
    command
        .args([address.to_string(), upstream.to_string()])
        .args(h2c.then_some("h2c"))
        .stdout(Stdio::null());
    let process = Process::start(&mut command, address)?;
    let tokens = sessions::tokens(b"nobody checks them", COOKIES);
    Ok(Contender { name: name.to_owned(), address, process, path: "/", tokens, store: None })
}

/// Countersign with sessions of its own in a folder of its own: the one that lies beside this program, or that the
/// environment names.
pub(super) fn countersign(wanted: &Wanted<'_>, upstream: SocketAddr) -> Result<Contender, Failure> {
    let folder = tempfile::tempdir()?.keep();
    let binary = match std::env::var_os("COUNTERSIGN_BINARY") {
        Some(binary) => PathBuf::from(binary),
        None => release_folder()?.join("countersign"),
    };
    let (address, admin) = (free_address()?, free_address()?);
    for name in ["token", "csrf", "sealing", "hmac", "jwt"] {
        let key = Command::new(&binary).args(["key", "new", name]).output()?;
        std::fs::write(folder.join(name), key.stdout)?;
    }
    let file = folder.join("bench.toml");
    let text = configuration(&folder, address, admin, upstream, wanted.h2c);
    std::fs::write(&file, wanted.servers.map_or(text.clone(), |servers| servers.instead_of_files(&text)))?;
    let tokens = if wanted.sessions == 0 {
        Vec::new()
    } else {
        migrate(&binary, &file)?;
        let token_key = std::fs::read(folder.join("token"))?;
        let key = token_key.trim_ascii_end();
        match wanted.servers {
            Some(servers) => servers.write(key, wanted.sessions)?,
            None => sessions::write(&folder.join("bench.sqlite"), key, wanted.sessions)?,
        }
    };
    let line: Vec<&str> =
        wanted.under.iter().map(String::as_str).chain([path(&binary), "run", path(&file)]).collect();
    let mut command = Command::new(line[0]);
    command.args(&line[1..]).stdout(std::fs::File::create(folder.join("log"))?);
    let process = Process::start(&mut command, address)?;
    Ok(Contender { name: wanted.name.to_owned(), address, process, path: wanted.path, tokens, store: None })
}

pub(super) fn migrate(binary: &Path, file: &Path) -> Result<(), Failure> {
    let done = Command::new(binary).args(["migrate", "up", path(file)]).output()?;
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("migrate: {}", String::from_utf8_lossy(&done.stderr)).into())
    }
}

pub(super) fn path(path: &Path) -> &str {
    path.to_str().expect("temporary folders have names of ASCII")
}

pub(super) fn configuration(
    folder: &Path,
    address: SocketAddr,
    admin: SocketAddr,
    upstream: SocketAddr,
    h2c: bool,
) -> String {
    let file = |name: &str| folder.join(name).display().to_string();
    format!(
        r#"
[[listen]]
address = "{address}"
h2c = {h2c}
[admin]
address = "{admin}"
[store]
kind = "embedded"
[directory]
kind = "sqlite"
path = "{database}"
timeout = "10s" # valgrind makes all of it fifty times slower
[resolve]
budget = "30s"
[session]
cookie = "{COOKIE}"
[cache]
bytes = "1GiB"
[keys]
token = [{{ id = "t1", secret = {{ file = "{token}" }} }}]
csrf = [{{ id = "c1", secret = {{ file = "{csrf}" }} }}]
sealing = [{{ id = "s1", secret = {{ file = "{sealing}" }} }}]
hmac = [{{ id = "h1", secret = {{ file = "{hmac}" }} }}]
jwt = [{{ id = "j1", algorithm = "EdDSA", secret = {{ file = "{jwt}" }} }}]
[[upstream]]
name = "bench"
servers = ["{upstream}"]
[[route]]
path = "/public"
upstream = "bench"
require = "nothing"
[[route]]
path = "/"
upstream = "bench"
require = "platform"
"#,
        database = file("bench.sqlite"),
        token = file("token"),
        csrf = file("csrf"),
        sealing = file("sealing"),
        hmac = file("hmac"),
        jwt = file("jwt"),
    )
}

/// One read, one write, in a thread of this program.
pub(super) fn start_upstream() -> Result<SocketAddr, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        runtime.block_on(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream));
            }
        });
    });
    Ok(address)
}

async fn serve(mut stream: TcpStream) {
    const PAGE: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 13\r\n\r\nhello, world\n";
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += read;
        if buffer[..filled].ends_with(b"\r\n\r\n") {
            filled = 0;
            if stream.write_all(PAGE).await.is_err() {
                return;
            }
        }
    }
}
