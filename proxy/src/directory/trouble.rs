//! What a failed query means: away, too slow, or unreadable. Tells the log once when a directory goes and when it is
//! back, by code and never by the server's sentence, which may quote what is stored.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::Error;
use sqlx::error::DatabaseError;
use tokio::time::{Instant, timeout};

use super::DirectoryError;
use crate::breaker::Breaker;

/// A complaint that repeats is logged once in this time.
const INTERVAL: Duration = Duration::from_secs(30);

/// Which database answers; their codes differ.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dialect {
    Postgres,
    Sqlite,
}

/// Runs the queries of one directory under its deadline and judges their failures.
#[derive(Debug)]
pub(super) struct Watch {
    dialect: Dialect,
    limit: Duration,
    breaker: Option<Arc<Breaker>>,
    complaint: Mutex<Option<(String, Instant)>>,
}

impl Watch {
    pub(super) fn new(dialect: Dialect, limit: Duration, breaker: Option<Arc<Breaker>>) -> Self {
        Self { dialect, limit, breaker, complaint: Mutex::new(None) }
    }

    /// What keeps calls from waiting for a server that is not there.
    pub(super) const fn breaker(&self) -> Option<&Arc<Breaker>> {
        self.breaker.as_ref()
    }

    /// The outcome of `work`, or `Timeout` after the deadline; `Unavailable` at once while the breaker is open. A write
    /// that timed out may have been made.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send,
    ) -> Result<T, DirectoryError> {
        let mut admission = None;
        if let Some(breaker) = &self.breaker {
            admission = Some(breaker.admit().ok_or(DirectoryError::Unavailable)?);
        }
        let outcome = timeout(self.limit, work).await;
        let is_away = match &outcome {
            Ok(Ok(_)) => false,
            Ok(Err(error)) => is_out_of_reach(error),
            Err(_) => true,
        };
        match admission {
            Some(admission) if is_away => admission.failed(),
            Some(admission) => admission.succeeded(),
            None => {}
        }
        match outcome {
            Ok(Ok(answer)) => {
                self.note_answer();
                Ok(answer)
            }
            Ok(Err(error)) => Err(self.judge(&error)),
            Err(_) => {
                self.complain("timeout", "the directory did not answer in time");
                Err(DirectoryError::Timeout)
            }
        }
    }

    fn note_answer(&self) {
        // The lock is held for a moment only, and taken by nobody else while all is well.
        if self.complaint.lock().take().is_some() {
            tracing::info!("the directory answers again");
        }
    }

    /// What a failure means; tells the log once in a while.
    pub(super) fn judge(&self, error: &Error) -> DirectoryError {
        match error {
            Error::Database(error) => self.judge_answer(error.as_ref()),
            Error::Io(_) | Error::Tls(_) | Error::PoolTimedOut | Error::PoolClosed | Error::WorkerCrashed => {
                self.complain("unreachable", "the directory cannot be reached");
                DirectoryError::Unavailable
            }
            // A query of the operator's own, which has said why.
            Error::Configuration(_) => DirectoryError::Unreadable,
            // A server that hangs up in the middle of a message.
            Error::Protocol(_) => {
                self.complain("protocol", "the directory broke off");
                DirectoryError::Unavailable
            }
            _ => {
                self.complain("unreadable", "the directory's answer cannot be read");
                DirectoryError::Unreadable
            }
        }
    }

    fn judge_answer(&self, error: &dyn DatabaseError) -> DirectoryError {
        let code = error.code().unwrap_or_default();
        let meaning = match self.dialect {
            Dialect::Postgres => meaning_of_sqlstate(&code),
            Dialect::Sqlite => meaning_of_result(&code),
        };
        match (self.dialect, &*code) {
            // undefined_table, undefined_column, invalid_schema_name (PostgreSQL, appendix A)
            (Dialect::Postgres, "42P01" | "42703" | "3F000") => self.complain(
                &code,
                "the directory's schema is missing or older than this program: run `countersign migrate up`",
            ),
            _ => self.complain(&code, "the directory refused a query"),
        }
        meaning
    }

    fn complain(&self, code: &str, what: &'static str) {
        let mut last = self.complaint.lock();
        let is_new = last.as_ref().is_none_or(|(known, at)| known != code || at.elapsed() > INTERVAL);
        if is_new {
            tracing::warn!(code, "{what}");
            *last = Some((code.to_owned(), Instant::now()));
        }
    }
}

/// Whether the server was not reached or broke off. A query that it refused, or ended for its length, was answered: the
/// breaker is for servers that are away, not for queries that wait for each other's locks.
fn is_out_of_reach(error: &Error) -> bool {
    match error {
        Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            // connection exceptions, too many connections, shutdown and start of the server
            code.starts_with("08") || matches!(&*code, "53300" | "57P01" | "57P02" | "57P03" | "57P05")
        }
        Error::Io(_)
        | Error::Tls(_)
        | Error::PoolTimedOut
        | Error::PoolClosed
        | Error::WorkerCrashed
        | Error::Protocol(_) => true,
        _ => false,
    }
}

/// By class of SQLSTATE (PostgreSQL, appendix A).
fn meaning_of_sqlstate(code: &str) -> DirectoryError {
    match code {
        // query_canceled (the server's own time limit), lock_not_available, idle_in_transaction_session_timeout
        "57014" | "55P03" | "25P03" => DirectoryError::Timeout,
        // read_only_sql_transaction (a replica after a failover), invalid_catalog_name
        "25006" | "3D000" => DirectoryError::Unavailable,
        // connection, authorization, rollback (serialization, deadlock), resources, operator intervention, system
        _ => match code.get(..2) {
            Some("08" | "28" | "40" | "53" | "57" | "58") => DirectoryError::Unavailable,
            _ => DirectoryError::Unreadable,
        },
    }
}

/// By primary result code, the low byte of the extended one (sqlite.org/rescode.html).
fn meaning_of_result(code: &str) -> DirectoryError {
    match code.parse::<i32>().map(|code| code & 0xff) {
        // SQLITE_BUSY, SQLITE_LOCKED
        Ok(5 | 6) => DirectoryError::Timeout,
        // SQLITE_READONLY, SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN, SQLITE_PROTOCOL
        Ok(8 | 10 | 13 | 14 | 15) => DirectoryError::Unavailable,
        _ => DirectoryError::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_told_from_what_needs_a_person() {
        for (code, meaning) in [
            ("57014", DirectoryError::Timeout),
            ("57P01", DirectoryError::Unavailable),
            ("53300", DirectoryError::Unavailable),
            ("40P01", DirectoryError::Unavailable),
            ("25006", DirectoryError::Unavailable),
            ("42P01", DirectoryError::Unreadable),
            ("22P02", DirectoryError::Unreadable),
            ("", DirectoryError::Unreadable),
        ] {
            assert_eq!(meaning_of_sqlstate(code), meaning, "{code}");
        }
        assert_eq!(meaning_of_result("517"), DirectoryError::Timeout);
        assert_eq!(meaning_of_result("14"), DirectoryError::Unavailable);
        assert_eq!(meaning_of_result("2067"), DirectoryError::Unreadable);
    }
}
