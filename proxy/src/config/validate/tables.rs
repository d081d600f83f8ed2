//! Judges where sessions of other frameworks lie: the tables and the query for them. Whether they fit the database is for
//! the database to say.

use std::sync::Arc;

use super::Judge;
use crate::config::problem::shown;
use crate::config::raw;
use crate::config::raw::formats::{Format, FormatName, StoredIn};
use crate::directory::SessionQuery;
use crate::formats::table::{self, TableOptions, is_name};
use crate::session::profile::Profile;

impl Judge<'_> {
    /// Where the sessions of a format lie. `own` is the operator's own query.
    pub(super) fn table(&mut self, at: &str, raw: &Format, own: Option<&str>) -> TableOptions {
        let stored_in = match raw.stored_in {
            StoredIn::Redis => table::StoredIn::Store,
            StoredIn::Table => table::StoredIn::Table,
            StoredIn::RedisThenTable => table::StoredIn::StoreThenTable,
        };
        let is_in_table = raw.stored_in != StoredIn::Redis;
        let has_zone = is_in_table && matches!(raw.name, FormatName::Express | FormatName::BetterAuth);
        for (name, is_there, means) in [
            ("table", raw.table.is_some(), is_in_table),
            ("time_zone", raw.time_zone.is_some(), has_zone),
            ("lifetime", raw.lifetime.is_some(), is_in_table && raw.name == FormatName::Laravel),
        ] {
            if is_there && !means {
                let problem = self.problem(&format!("{at}.{name}"), format!("`{name}` means nothing here"));
                self.tell(problem.hint("`stored_in = \"table\"` says that sessions lie in a table"));
            }
        }
        if let Some(name) = raw.table.as_deref().filter(|name| !is_name(name)) {
            let problem = self.problem(&format!("{at}.table"), "this cannot be the name of a table");
            self.tell(problem.found(shown(name)).expected("`sessions`, or `schema.sessions`"));
        }
        TableOptions {
            stored_in,
            name: raw.table.clone(),
            zone: raw.time_zone.clone(),
            lifetime: raw.lifetime.as_ref().map(|span| span.0),
            own: own.map(|sql| ("directory.queries.sessions".to_owned(), sql.to_owned())),
            key: at.to_owned(),
        }
    }

    /// The queries for all tables of sessions.
    pub(super) fn session_tables(&mut self, file: &raw::File, profile: &Profile) -> Vec<Arc<SessionQuery>> {
        let tables = profile.foreign().filter_map(|format| format.table.as_ref());
        let queries: Vec<Arc<SessionQuery>> = tables.map(|table| Arc::clone(&table.query)).collect();
        if !queries.is_empty() && file.directory.kind != raw::DirectoryKind::Postgres {
            let problem = self.problem("session.format", "sessions in a table need a postgres directory");
            self.tell(
                problem.hint("name the application's database in `[directory]`, with `kind = \"postgres\"`"),
            );
        }
        let own = "directory.queries.sessions";
        if file.directory.queries.sessions.is_some() && !queries.iter().any(|query| query.key == own) {
            let problem = self.problem(own, format!("`{own}` is asked by no format"));
            self.tell(problem.expected("a format with `stored_in = \"table\"` and without `table`"));
        }
        queries
    }
}
