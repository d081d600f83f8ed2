//! `countersign test-session`: what a proxy with this configuration sees of a cookie, step by step. Opens the stores by
//! itself, so that it works while no proxy runs; it writes nothing.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use http::Method;
use tokio::time::{Instant, sleep};

use super::operators::{is_coloured, json_text, plain};
use super::{NO, Stop, UNDETERMINED, cookie, load};
use crate::clock::{Clock, SystemClock};
use crate::config::Snapshot;
use crate::directory::{self, Directory};
use crate::endpoints::operators::trial::{Trial, try_cookie};
use crate::resolve::inspect::Verdict;
use crate::store::{self, Store};

/// How long connections may take to be made.
const PATIENCE: Duration = Duration::from_secs(3);

/// Flags of `test-session`.
#[derive(Clone, Debug, Args)]
pub(super) struct TestSession {
    /// The configuration file.
    config: PathBuf,
    /// The value of the session cookie, or a whole `Cookie` line; `-` reads standard input, where nobody can look on.
    #[arg(long, value_name = "COOKIE", allow_hyphen_values = true)]
    cookie: Option<String>,
    /// Read the cookie from this file.
    #[arg(long, value_name = "FILE", conflicts_with = "cookie")]
    cookie_file: Option<PathBuf>,
    /// Also say what a GET of this address would come to.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Tries the cookie. Exit code 3 when it opens no session, 4 when it could not be found out.
pub(super) fn test_session(flags: &TestSession, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(cookie) = cookie::read(flags.cookie.as_deref(), flags.cookie_file.as_deref())? else {
        bail!("say which cookie with `--cookie COOKIE`, `--cookie -` or `--cookie-file FILE`")
    };
    let snapshot = load(&flags.config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let trial = runtime.block_on(tried(&snapshot, &cookie, flags.url.as_deref()))?;
    if flags.json {
        json_text(&serde_json::to_value(&trial)?, out)?;
    } else {
        out.write_all(told(&trial, is_coloured()).as_bytes())?;
    }
    match trial.outcome {
        "known" => Ok(()),
        "unknown" => Err(Stop::silent(NO)),
        _ => Err(Stop::silent(UNDETERMINED)),
    }
}

async fn tried(snapshot: &Snapshot, cookie: &str, url: Option<&str>) -> anyhow::Result<Trial> {
    let store = store::open(&snapshot.store, Arc::new(SystemClock)).context("opening the store")?;
    let directory = open_directory(snapshot).await?;
    until_connected(store.as_ref(), directory.as_ref()).await;
    let request = url.map(|url| (&Method::GET, url));
    let layers = (store.as_ref(), directory.as_ref());
    Ok(try_cookie(snapshot, layers, cookie, request, SystemClock.now()).await)
}

/// A SQLite file is made when it is opened; here it must be there already.
async fn open_directory(snapshot: &Snapshot) -> anyhow::Result<Arc<dyn Directory>> {
    if let directory::Kind::Sqlite(Some(path)) = &snapshot.directory.kind
        && !path.exists()
    {
        bail!("there is no directory at {}; the proxy makes it when it is started", path.display());
    }
    directory::open(&snapshot.directory).await.context("opening the directory")
}

/// Connections are made in the background, so the first answers may be refusals. What cannot be reached is said in the
/// step that needs it.
async fn until_connected(store: &dyn Store, directory: &dyn Directory) {
    let end = Instant::now() + PATIENCE;
    loop {
        let (one, other) = tokio::join!(store.ping(), directory.ping());
        if (one.is_ok() && other.is_ok()) || Instant::now() >= end {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn told(trial: &Trial, coloured: bool) -> String {
    use std::fmt::Write as _;
    let mut said = String::new();
    for step in &trial.steps {
        let (word, colour) = match step.verdict {
            Verdict::Good => ("ok", 32),
            Verdict::Silent => ("-", 0),
            Verdict::Bad => ("no", 31),
            Verdict::Undetermined => ("?", 33),
        };
        let word =
            if coloured { format!("\u{1b}[{colour}m{word:<3}\u{1b}[0m") } else { format!("{word:<3}") };
        let _ = writeln!(said, "{word} {:<10} {}", step.step, plain(&step.found));
    }
    let _ = match trial.outcome {
        "known" => writeln!(said, "\nThis cookie opens a valid session."),
        "unknown" => writeln!(
            said,
            "\nThis cookie opens no valid session: {}.\nNext: docs/reasons.md explains the word; the person logs in again.",
            trial.code.unwrap_or_default()
        ),
        _ => writeln!(
            said,
            "\nIt cannot be said whether this cookie opens a session: {}.\n\
             Next: `countersign check --connect` tries every store.",
            trial.code.unwrap_or_default()
        ),
    };
    said
}
