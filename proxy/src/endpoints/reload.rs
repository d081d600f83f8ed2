//! What a reload came to, and how operators are told. Reloading itself is for the server.

use bytes::Bytes;
use http::{Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use super::own_answer;
use crate::clock::Timestamp;

/// Why the configuration was read again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// The process started.
    Start,
    /// SIGHUP.
    Signal,
    /// A file changed.
    File,
    /// An operator asked through the admin API.
    Admin,
}

impl Cause {
    /// The word in logs and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Signal => "signal",
            Self::File => "file",
            Self::Admin => "admin",
        }
    }
}

/// What reading the configuration came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// Why it was read.
    pub cause: Cause,
    /// When.
    pub at: Timestamp,
    /// How often a configuration has been put into force since the process started; 1 is the first.
    pub generation: u64,
    /// When the one in force was put there.
    pub in_force_since: Timestamp,
    /// Why it was not put into force; holds no secret. `None` when it was.
    pub error: Option<String>,
    /// Keys that cannot change without a restart and would have.
    pub needs_restart: Vec<String>,
    /// What an operator should know although all is well.
    pub notes: Vec<String>,
}

impl Report {
    /// What is told while nothing was read again yet.
    #[must_use]
    pub const fn of_the_start(now: Timestamp) -> Self {
        Self {
            cause: Cause::Start,
            at: now,
            generation: 1,
            in_force_since: now,
            error: None,
            needs_restart: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether what was read is in force.
    #[must_use]
    pub const fn is_applied(&self) -> bool {
        self.error.is_none()
    }

    /// `applied` or `refused`, as in metrics and answers.
    #[must_use]
    pub const fn result(&self) -> &'static str {
        if self.is_applied() { "applied" } else { "refused" }
    }

    fn shown(&self) -> String {
        let view = ReportView {
            result: self.result(),
            cause: self.cause.as_str(),
            at: self.at.as_secs(),
            generation: self.generation,
            in_force_since: self.in_force_since.as_secs(),
            error: self.error.as_deref(),
            needs_restart: &self.needs_restart,
            notes: &self.notes,
        };
        // Texts and numbers: there is nothing that could not be written.
        format!("{}\n", serde_json::to_string(&view).unwrap_or_default())
    }
}

/// What a reading of the configuration came to.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ReportView<'a> {
    /// `applied` or `refused`.
    result: &'a str,
    /// `start`, `signal`, `file` or `admin`.
    cause: &'a str,
    /// Seconds since the epoch.
    at: u64,
    /// How often a configuration has been put into force.
    generation: u64,
    /// Seconds since the epoch.
    in_force_since: u64,
    /// Why it was refused.
    error: Option<&'a str>,
    /// Keys that cannot change without a restart and would have.
    needs_restart: &'a [String],
    /// What an operator should know although all is well.
    notes: &'a [String],
}

/// The answer to who asked for a reload: 200 when it was put into force, 409 when the old configuration stays, 503 when
/// nothing can be read again (`None`).
#[must_use]
pub fn answer(report: Option<&Report>) -> Response<Bytes> {
    let Some(report) = report else {
        let nothing = Bytes::from_static(b"{\"result\":\"impossible\"}\n");
        return own_answer(StatusCode::SERVICE_UNAVAILABLE, "reload", "application/json", nothing);
    };
    let status = if report.is_applied() { StatusCode::OK } else { StatusCode::CONFLICT };
    own_answer(status, "reload", "application/json", report.shown().into())
}

/// The answer to who only asks what the last reload came to.
#[must_use]
pub fn status(report: &Report) -> Response<Bytes> {
    own_answer(StatusCode::OK, "reload", "application/json", report.shown().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_reload_is_told_with_its_cause_and_what_is_in_force() {
        let report = Report {
            cause: Cause::File,
            at: Timestamp::from_secs(20),
            generation: 3,
            in_force_since: Timestamp::from_secs(10),
            error: Some("`store.kind` needs a restart".to_owned()),
            needs_restart: vec!["store.kind".to_owned()],
            notes: Vec::new(),
        };
        let answered = answer(Some(&report));
        assert_eq!(answered.status(), StatusCode::CONFLICT);
        let body: serde_json::Value = serde_json::from_slice(answered.body()).unwrap();
        assert_eq!((body["result"].as_str(), body["generation"].as_u64()), (Some("refused"), Some(3)));
        assert_eq!(body["needs_restart"][0], "store.kind");
        assert_eq!(status(&report).status(), StatusCode::OK);
    }
}
