//! The operator's own SQL in place of the directory's queries, as it is configured, and what was found out about it. The
//! directory that runs it is in `postgres`; nothing here asks anybody.

use std::sync::Arc;

use crate::context::PasswordKeys;
pub use crate::formats::table::Query as SessionQuery;

/// The operator's own queries. What is left out is asked as usual; but where `user` is given, the people are not ours, and
/// what is left out is not there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Queries {
    /// Users by id.
    pub user: Option<String>,
    /// The platforms of users.
    pub platforms: Option<String>,
    /// Platforms by id.
    pub platform: Option<String>,
    /// Settings by user and platform.
    pub settings: Option<String>,
    /// Figures by user and platform.
    pub stats: Option<String>,
    /// Keys under which applications mark sessions with the passwords of users. With any, `user` has to answer `password`.
    pub passwords: Arc<PasswordKeys>,
    /// Sessions that applications keep in tables, one query for each format that reads them.
    pub sessions: Vec<Arc<SessionQuery>>,
}

impl Queries {
    /// Whether users are read from tables that are not ours: then nothing is ever written there, and there are no
    /// sessions of our own.
    #[must_use]
    pub const fn replace_people(&self) -> bool {
        self.user.is_some()
    }
}

/// What one query came to when it was described.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryReport {
    /// Where the configuration says it: `directory.queries.user`.
    pub key: String,
    /// What it asks for and answers, or why it cannot be used.
    pub result: Result<QueryFacts, String>,
}

/// What is known of a query that can be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QueryFacts {
    /// Parameters and columns in words.
    pub shape: String,
    /// Tables that it reads and that have no triggers which tell of changes; empty when every change is told. `None` for
    /// figures, which are never told of.
    pub untold: Option<Vec<String>>,
    /// Whether it finds sessions: those are believed for a shorter time than users while nobody tells of changes.
    pub finds_sessions: bool,
}

/// Told of every query by its key: whether it can be used.
pub type QueryObserver = Arc<dyn Fn(&str, bool) + Send + Sync>;
