//! Somebody who has nothing to do with the crowd and asks the database now and then: a process and a session of its own, which
//! gets a processor at once where it may (a negative `nice` needs rights), as if it ran on another machine. So what is measured is
//! how long the server takes, and not how long the answer waits behind ten thousand tasks of the program that measures.

use std::io::Read;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::Failure;

/// The word by which this program is started as such a process.
pub(crate) const WORD: &str = "unrelated";
/// What it says once it is connected.
const READY: &str = "ready";
/// Between two queries.
const PAUSE: Duration = Duration::from_millis(5);

/// How long each query took, and how many failed.
pub(crate) type Asked = (Vec<Duration>, usize);

/// The process, seen from the program that measures.
pub(crate) struct Stranger {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Stranger {
    /// Starts it. It is connected, and asks, when this returns, so that nothing of the crowd is missed.
    pub(crate) async fn start(database: &str) -> Result<Self, Failure> {
        let mut command = Command::new("nice");
        command.args(["-n", "-19", "setsid"]).arg(std::env::current_exe()?).args([WORD, database]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let stdout = child.stdout.take().ok_or("the output of the process that asks")?;
        let mut lines = BufReader::new(stdout).lines();
        match lines.next_line().await? {
            Some(line) if line == READY => Ok(Self { child, lines }),
            other => Err(format!("the process that asks said {other:?}").into()),
        }
    }

    /// Ends it.
    pub(crate) async fn end(mut self) -> Result<Asked, Failure> {
        drop(self.child.stdin.take());
        let (mut times, mut failed) = (Vec::new(), 0);
        while let Some(line) = self.lines.next_line().await? {
            match line.parse() {
                Ok(micros) => times.push(Duration::from_micros(micros)),
                Err(_) => failed += 1,
            }
        }
        self.child.wait().await?;
        if times.is_empty() { Err("no unrelated query was answered".into()) } else { Ok((times, failed)) }
    }
}

/// What that process does: it asks until nobody listens, and then says how long each query took, in microseconds.
#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(database: &str) -> Result<(), Failure> {
    let is_over = Arc::new(AtomicBool::new(false));
    std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            // Whatever it is, it is the end.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            is_over.store(true, Ordering::Relaxed);
        }
    });
    let mut connection = PgConnection::connect(database).await?;
    println!("{READY}");
    let mut answers = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        answers.push(ask(&mut connection).await);
        tokio::time::sleep(PAUSE).await;
    }
    for answer in answers {
        match answer {
            Some(time) => println!("{}", time.as_micros()),
            None => println!("failed"),
        }
    }
    Ok(())
}

/// Asks for nothing in particular.
pub(crate) async fn ask<'c>(way: impl Executor<'c, Database = sqlx::Postgres>) -> Option<Duration> {
    let begin = Instant::now();
    way.execute("SELECT 1").await.ok().map(|_| begin.elapsed())
}

/// Asks again after this.
pub(crate) async fn pause() {
    tokio::time::sleep(PAUSE).await;
}
