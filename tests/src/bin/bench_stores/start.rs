//! From the start of the process to the first request that it serves, stores up and down. Each round starts the binary
//! anew on a directory that was migrated and filled; a client tries every millisecond until it is answered.

use std::time::{Duration, Instant};

use e2e::proxy::{Builder, COOKIE, Proxy};
use e2e::stores::{Deadlines, Stores};
use e2e::upstream::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Failure, percentile, shown};

const ROUNDS: usize = 15;
const STEP: Duration = Duration::from_millis(1);
/// The longest that is waited for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) async fn run() -> Result<(), Failure> {
    let app = Upstream::start().await;
    println!("Start: {ROUNDS} starts each, from before the configuration is written to the first answer.\n");
    println!("| stores | request | answer | median | max |\n| --- | --- | --- | --- | --- |");
    let embedded = Stores::embedded();
    let (key, token) = prepare(&app, &embedded).await?;
    report("embedded", &app, &embedded, &key, &[("/public/", "", 200), ("/session/", &token, 200)]).await?;
    let mut stores = tokio::task::block_in_place(Stores::to_be_stopped);
    let (key, token) = prepare(&app, &stores).await?;
    stores.servers().deadlines = Some(Deadlines::DOCUMENTED);
    let up = [("/public/", "", 200), ("/session/", token.as_str(), 200)];
    report("Redis and Postgres up", &app, &stores, &key, &up).await?;
    stores.redis().kill();
    stores.postgres().stop();
    let down = [("/public/", "", 200), ("/session/", token.as_str(), 503)];
    report("both down", &app, &stores, &key, &down).await
}

fn builder(app: &Upstream) -> Builder {
    let builder = Proxy::builder().upstream("app", app.address(), "");
    let builder = builder.route("/auth/", "app", "\"nothing\"", "session_authority = true");
    builder.route("/public/", "app", "\"nothing\"", "").route("/session/", "app", "\"session\"", "")
}

/// Migrates, fills, and logs somebody in; answers the token key and the token.
async fn prepare(app: &Upstream, stores: &Stores) -> Result<(String, String), Failure> {
    let proxy = builder(app).start(stores).await;
    let browser = proxy.client();
    app.direct("/auth/do", "create;user=\"1\"");
    browser.post("/auth/do", "").send().await.expect(200);
    Ok((proxy.secret("token"), browser.cookie(COOKIE).ok_or("nobody was logged in")?))
}

async fn report(
    name: &str,
    app: &Upstream,
    stores: &Stores,
    key: &str,
    requests: &[(&str, &str, u16)],
) -> Result<(), Failure> {
    for &(path, token, expected) in requests {
        let mut times = Vec::new();
        for _ in 0..ROUNDS {
            let begin = Instant::now();
            let proxy = builder(app).unseeded().token_key(key).launch(stores).await;
            let status = first_answer(&proxy, path, token, begin).await?;
            times.push(begin.elapsed());
            if status != expected {
                return Err(format!("{name}: {path} was answered {status}").into());
            }
        }
        times.sort();
        let (median, longest) = (percentile(&times, 0.5), percentile(&times, 1.0));
        println!("| {name} | `{path}` | {expected} | {} | {} |", shown(median), shown(longest));
    }
    Ok(())
}

/// The status of the first answer, however often the port is closed before.
async fn first_answer(proxy: &Proxy, path: &str, token: &str, begin: Instant) -> Result<u16, Failure> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nCookie: {COOKIE}={token}\r\n\r\n"
    );
    while begin.elapsed() < PATIENCE {
        let Ok(mut stream) = TcpStream::connect(proxy.addresses().http1).await else {
            tokio::time::sleep(STEP).await;
            continue;
        };
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let status =
            answer.strip_prefix(b"HTTP/1.1 ").and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok());
        return Ok(status.ok_or("no answer")?.parse()?);
    }
    Err(format!("no answer\n{}", proxy.output()).into())
}
