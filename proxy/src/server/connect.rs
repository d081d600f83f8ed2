//! Asks every neighbour once: what `countersign check --connect` does beyond reading the file.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::stores::KEPT_IN_STORE_ALONE;
use crate::clock::SystemClock;
use crate::config::Snapshot;
use crate::directory::{DirectoryError, QueryReport};
use crate::gateway::rules::Rules;
use crate::upstream::Upstream;
use crate::{directory, store};

/// How long a store may take to be connected.
const PATIENCE: Duration = Duration::from_secs(3);

/// One neighbour and what it said.
#[derive(Debug)]
pub struct Finding {
    /// Which neighbour: `keys`, `store`, `directory`, `upstream captions (127.0.0.1:5000)`.
    pub what: String,
    /// What it answered, or why it could not be asked.
    pub result: Result<String, String>,
}

/// Tries keys, store, directory and every server of every upstream.
pub async fn check(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = vec![keys(snapshot), store(snapshot).await];
    findings.extend(directory(snapshot).await);
    for upstream in &snapshot.upstreams {
        findings.extend(servers(upstream).await);
    }
    findings
}

fn keys(snapshot: &Snapshot) -> Finding {
    let result = match Rules::build(snapshot.clone()) {
        Ok(_) => Ok("every key and certificate can be read".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    Finding { what: "keys".to_owned(), result }
}

async fn store(snapshot: &Snapshot) -> Finding {
    let asked = async {
        let store = store::open(&snapshot.store, Arc::new(SystemClock)).map_err(|error| error.to_string())?;
        until_patience_ends(|| store.ping()).await.map_err(|error| error.to_string())
    };
    Finding { what: "store".to_owned(), result: asked.await }
}

async fn directory(snapshot: &Snapshot) -> Vec<Finding> {
    let named = |what: &str, result| Finding { what: what.to_owned(), result };
    let directory = match directory::open(&snapshot.directory).await {
        Ok(directory) => directory,
        Err(error) => return vec![named("directory", Err(error.to_string()))],
    };
    let answer = until_patience_ends(|| directory.ping()).await.map_err(|error| error.to_string());
    let is_there = answer.is_ok();
    let mut findings = vec![named("directory", answer)];
    if is_there {
        if snapshot.profile.reads_foreign() {
            findings.push(place_of_foreign(directory.check_foreign().await));
        }
        match directory.check_queries().await {
            Ok(reports) => {
                let of_sessions = snapshot.cache.degraded_lease;
                findings.extend(reports.into_iter().map(|report| query(report, of_sessions)));
            }
            Err(error) => findings.push(named("queries of the directory", Err(error.to_string()))),
        }
    }
    findings
}

/// Where what is ours about sessions of other frameworks is kept. That the store alone has it is no failure.
fn place_of_foreign(place: Result<Result<(), String>, DirectoryError>) -> Finding {
    let result = match place {
        Ok(Ok(())) => Ok("log-outs and platform choices are kept in the directory too".to_owned()),
        Ok(Err(why)) => Ok(format!("{KEPT_IN_STORE_ALONE}; {why}")),
        Err(error) => Err(error.to_string()),
    };
    Finding { what: "foreign sessions".to_owned(), result }
}

/// How long users and platforms are believed while nobody tells of changes.
const OF_PEOPLE: Duration = Duration::from_secs(30);

/// What a query came to, and how long what it answers may be old.
fn query(report: QueryReport, of_sessions: Duration) -> Finding {
    let result = report.result.map(|facts| {
        let bound = match facts.untold {
            None => String::new(),
            Some(untold) if untold.is_empty() => "; changes are told at once".to_owned(),
            Some(untold) => format!(
                "; changes are seen within {}, for want of triggers on {} (docs/existing-schemas.md)",
                said(if facts.finds_sessions { of_sessions } else { OF_PEOPLE }),
                untold.join(", ")
            ),
        };
        format!("{}{bound}", facts.shape)
    });
    Finding { what: report.key, result }
}

/// `30 s`, `250 ms`
fn said(span: Duration) -> String {
    if span.subsec_millis() == 0 {
        format!("{} s", span.as_secs())
    } else {
        format!("{} ms", span.as_millis())
    }
}

/// Connections are made in the background, so the first answers may be refusals.
async fn until_patience_ends<E, A: Future<Output = Result<String, E>>>(
    ask: impl Fn() -> A,
) -> Result<String, E> {
    let end = Instant::now() + PATIENCE;
    loop {
        match ask().await {
            Err(_) if Instant::now() < end => sleep(Duration::from_millis(50)).await,
            answer => return answer,
        }
    }
}

async fn servers(upstream: &Upstream) -> Vec<Finding> {
    let mut findings = Vec::new();
    for server in &upstream.servers {
        let connect = async {
            match server.strip_prefix("unix:") {
                Some(path) => UnixStream::connect(path).await.map(|_| ()),
                None => TcpStream::connect(server).await.map(|_| ()),
            }
        };
        let result = match timeout(upstream.connect_timeout, connect).await {
            Ok(Ok(())) => Ok("accepts connections".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no connection within {:?}", upstream.connect_timeout)),
        };
        findings.push(Finding { what: format!("upstream {} ({server})", upstream.name), result });
    }
    findings
}
