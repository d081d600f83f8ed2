//! What Countersign costs beside bare Pingora of the same version and settings: CPU microseconds per request (utime +
//! stime of the proxy's process, over the requests it served), in interleaved rounds of one run, and their ratios.
//!
//! `cargo build --release --workspace --bins --examples && cargo run --release -p e2e --bin bench`

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Connections that ask at the same time.
const CONNECTIONS: usize = 32;
/// Rounds of each contender; the median is reported.
const ROUNDS: usize = 5;
/// Length of one round.
const ROUND: Duration = Duration::from_secs(4);
/// Sessions that take turns.
const SESSIONS: usize = 1000;
/// Kernel clock ticks a second, in which `/proc` counts CPU time (`CLK_TCK`, 100 on every Linux of today).
const TICKS: f64 = 100.0;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let upstream = start_upstream()?;
    let contenders = contenders(upstream)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut figures: Vec<Vec<f64>> = vec![Vec::new(); contenders.len()];
    for round in 0..=ROUNDS {
        for (contender, figures) in contenders.iter().zip(&mut figures) {
            let figure = runtime.block_on(contender.round())?;
            // The first round warms up.
            if round > 0 {
                figures.push(figure);
            }
            eprint!(".");
        }
    }
    eprintln!();
    print_table(&contenders, &mut figures);
    Ok(())
}

/// A proxy under load.
struct Contender {
    name: &'static str,
    address: SocketAddr,
    process: Child,
    path: &'static str,
    cookies: Vec<String>,
}

impl Drop for Contender {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Contender {
    /// CPU microseconds per request over one round.
    async fn round(&self) -> Result<f64, Failure> {
        let before = cpu_seconds(self.process.id())?;
        let end = Instant::now() + ROUND;
        let clients =
            (0..CONNECTIONS).map(|client| tokio::spawn(ask(self.address, self.requests(client), end)));
        let mut served = 0;
        for client in clients.collect::<Vec<_>>() {
            served += client.await??;
        }
        let spent = cpu_seconds(self.process.id())? - before;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 requests")]
        Ok(spent * 1e6 / served as f64)
    }

    /// The requests that one connection repeats.
    fn requests(&self, client: usize) -> Vec<Vec<u8>> {
        let request = |cookie: &str| {
            format!("GET {} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\n{cookie}\r\n", self.path)
                .into_bytes()
        };
        if self.cookies.is_empty() {
            return vec![request("Cookie: theme=dark\r\n")];
        }
        let mine = self.cookies.iter().skip(client).step_by(CONNECTIONS);
        mine.map(|cookie| request(&format!("Cookie: theme=dark; {cookie}\r\n"))).collect()
    }
}

async fn ask(address: SocketAddr, requests: Vec<Vec<u8>>, end: Instant) -> Result<usize, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; 16 * 1024];
    let mut served = 0;
    for request in requests.iter().cycle() {
        stream.write_all(request).await?;
        let answer = read_answer(&mut stream, &mut buffer).await?;
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(format!("unexpected answer: {}", String::from_utf8_lossy(answer)).into());
        }
        served += 1;
        if Instant::now() > end {
            break;
        }
    }
    Ok(served)
}

/// Reads one answer with a `Content-Length`, or without a body.
async fn read_answer<'a>(stream: &mut TcpStream, buffer: &'a mut [u8]) -> Result<&'a [u8], Failure> {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err("the proxy closed the connection".into());
        }
        filled += read;
        let Some(head) = buffer[..filled].windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let length: usize = length.map_or(Ok(0), |length| length.trim().parse())?;
        if filled >= head + 4 + length {
            return Ok(&buffer[..filled]);
        }
    }
}

/// The cheapest upstream there is: one read, one write. `POST /login` starts a session.
fn start_upstream() -> Result<SocketAddr, Failure> {
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
    const LOGIN: &[u8] = b"HTTP/1.1 204 No Content\r\ncountersign-session: create;user=\"1\"\r\n\r\n";
    let _ = stream.set_nodelay(true);
    let mut buffer = vec![0; 16 * 1024];
    let mut filled = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer[filled..]).await {
        filled += read;
        if !buffer[..filled].ends_with(b"\r\n\r\n") {
            continue;
        }
        let answer = if buffer.starts_with(b"POST /login") { LOGIN } else { PAGE };
        filled = 0;
        if stream.write_all(answer).await.is_err() {
            return;
        }
    }
}

fn contenders(upstream: SocketAddr) -> Result<Vec<Contender>, Failure> {
    let release = release_folder()?;
    let bare = |name: &'static str, binary: &str| -> Result<Contender, Failure> {
        let address = free_address()?;
        let process = Command::new(release.join("examples").join(binary))
            .args([address.to_string(), upstream.to_string()])
            .stdout(Stdio::null())
            .spawn()?;
        wait_for(address)?;
        Ok(Contender { name, address, process, path: "/", cookies: Vec::new() })
    };
    let folder = tempfile::tempdir()?.keep();
    let mut all = vec![bare("bare Pingora", "bare_proxy")?];
    let ours = |name, path, sessions| -> Result<Contender, Failure> {
        let folder = folder.join(path_name(path));
        let (process, address) = start_countersign(&release, &folder, upstream)?;
        let cookies = log_in(address, sessions)?;
        Ok(Contender { name, address, process, path, cookies })
    };
    all.push(ours("Countersign, route that asks for nothing", "/public", 0)?);
    all.push(ours("Countersign, session in the process", "/", SESSIONS)?);
    Ok(all)
}

fn path_name(path: &str) -> String {
    path.replace('/', "_")
}

fn release_folder() -> Result<PathBuf, Failure> {
    let program = std::env::current_exe()?;
    Ok(program.parent().ok_or("the program lies in no folder")?.to_owned())
}

fn start_countersign(
    release: &Path,
    folder: &Path,
    upstream: SocketAddr,
) -> Result<(Child, SocketAddr), Failure> {
    std::fs::create_dir_all(folder)?;
    let (address, admin) = (free_address()?, free_address()?);
    for name in ["token", "csrf", "sealing", "hmac", "jwt"] {
        let key = Command::new(release.join("countersign")).args(["key", "new", name]).output()?;
        std::fs::write(folder.join(name), key.stdout)?;
    }
    let secret = |name: &str| folder.join(name).display().to_string();
    let config = format!(
        r#"
[[listen]]
address = "{address}"
[admin]
address = "{admin}"
[store]
kind = "embedded"
[directory]
kind = "sqlite"
path = "{database}"
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
path = "/login"
upstream = "bench"
require = "nothing"
session_authority = true
[[route]]
path = "/public"
upstream = "bench"
require = "nothing"
[[route]]
path = "/"
upstream = "bench"
require = "session"
"#,
        database = secret("bench.sqlite"),
        token = secret("token"),
        csrf = secret("csrf"),
        sealing = secret("sealing"),
        hmac = secret("hmac"),
        jwt = secret("jwt"),
    );
    let file = folder.join("bench.toml");
    std::fs::write(&file, config)?;
    let log = std::fs::File::create(folder.join("log"))?;
    let process = Command::new(release.join("countersign")).arg("run").arg(&file).stdout(log).spawn()?;
    wait_for(address)?;
    put_user(&folder.join("bench.sqlite"))?;
    Ok((process, address))
}

/// Puts user 1, with a platform, into the directory, as an application's migration would.
fn put_user(database: &Path) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
        let pool = sqlx::SqlitePool::connect_with(options).await?;
        sqlx::query("INSERT INTO users (id, name, roles, active) VALUES ('1', 'Ana Fern', '[\"admin\"]', 1)")
            .execute(&pool)
            .await?;
        sqlx::query(
            "INSERT INTO platforms (id, user_id, type, name, url, active, is_default) \
             VALUES ('7', '1', 'mastodon', 'Ana on Mastodon', 'https://social.example.org', 1, 1)",
        )
        .execute(&pool)
        .await?;
        Ok(())
    })
}

fn log_in(address: SocketAddr, sessions: usize) -> Result<Vec<String>, Failure> {
    let mut cookies = Vec::with_capacity(sessions);
    for _ in 0..sessions {
        let mut stream = std::net::TcpStream::connect(address)?;
        stream.write_all(
            b"POST /login HTTP/1.1\r\nHost: bench.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        )?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer)?;
        let cookie = answer
            .lines()
            .find_map(|line| line.to_ascii_lowercase().starts_with("set-cookie:").then(|| line[11..].trim()))
            .and_then(|cookie| cookie.split(';').next())
            .ok_or_else(|| format!("no cookie in: {answer}"))?;
        cookies.push(cookie.to_owned());
    }
    Ok(cookies)
}

fn wait_for(address: SocketAddr) -> Result<(), Failure> {
    for _ in 0..500 {
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(format!("nothing listens on {address}").into())
}

fn free_address() -> Result<SocketAddr, Failure> {
    Ok(StdListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// utime + stime of a process, all its threads (proc(5), fields 14 and 15).
fn cpu_seconds(process: u32) -> Result<f64, Failure> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit_once(") ").ok_or("unreadable stat")?.1.split(' ').collect();
    let (user, system): (f64, f64) = (fields[11].parse()?, fields[12].parse()?);
    Ok((user + system) / TICKS)
}

#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
fn print_table(contenders: &[Contender], figures: &mut [Vec<f64>]) {
    let mut medians = Vec::new();
    for figures in figures.iter_mut() {
        figures.sort_by(f64::total_cmp);
        medians.push(figures[figures.len() / 2]);
    }
    println!("| proxy | CPU per request, us (min / median / max) | ratio |");
    println!("| --- | --- | --- |");
    for ((contender, figures), median) in contenders.iter().zip(figures.iter()).zip(&medians) {
        let (least, most) = (figures[0], figures[figures.len() - 1]);
        println!(
            "| {} | {least:.1} / {median:.1} / {most:.1} | {:.2} |",
            contender.name,
            median / medians[0]
        );
    }
}
