//! Judges `[directory.queries]`. Whether a query fits the database is for the database to say.

use std::sync::Arc;

use super::Judge;
use crate::config::raw;
use crate::context::PasswordKeys;
use crate::directory::Queries;
use crate::session::profile::Profile;

impl Judge<'_> {
    pub(super) fn queries(&mut self, raw: &raw::Directory) -> Queries {
        let own = &raw.queries;
        let written = [
            ("user", &own.user),
            ("platforms", &own.platforms),
            ("platform", &own.platform),
            ("settings", &own.settings),
            ("stats", &own.stats),
            ("sessions", &own.sessions),
        ];
        for (name, sql) in written {
            let Some(sql) = sql else { continue };
            let key = format!("directory.queries.{name}");
            if raw.kind != raw::DirectoryKind::Postgres {
                let problem = self.problem(&key, format!("`{key}` means nothing to a sqlite directory"));
                self.tell(problem.hint("set `kind = \"postgres\"`, or take the key out"));
            } else if sql.trim().trim_end_matches(';').trim().is_empty() {
                let problem = self.problem(&key, format!("`{key}` is empty"));
                self.tell(problem.expected("one SELECT"));
            }
        }
        if raw.pooler && raw.kind != raw::DirectoryKind::Postgres {
            self.tell(
                self.problem("directory.pooler", "`directory.pooler` means nothing to a sqlite directory"),
            );
        }
        for (there, missing) in [("platforms", "platform"), ("platform", "platforms")] {
            let is_there = |name| written.iter().any(|(known, sql)| *known == name && sql.is_some());
            if is_there(there) && !is_there(missing) {
                let key = format!("directory.queries.{missing}");
                self.tell_missing(
                    self.problem(&key, format!("`{key}` is needed beside `directory.queries.{there}`"))
                        .expected("one query by the ids of users, and one by the ids of platforms"),
                );
            }
        }
        Queries {
            user: own.user.clone(),
            platforms: own.platforms.clone(),
            platform: own.platform.clone(),
            settings: own.settings.clone(),
            stats: own.stats.clone(),
            // Those of the formats come when they are judged.
            passwords: Arc::default(),
            sessions: Vec::new(),
        }
    }

    /// The keys under which applications mark sessions with passwords: nothing to compare with where nobody can read them.
    pub(super) fn passwords(&mut self, file: &raw::File, profile: &Profile) -> PasswordKeys {
        let applications: Vec<_> = profile.foreign().filter_map(|format| format.passwords.clone()).collect();
        if !applications.is_empty() && file.directory.queries.user.is_none() {
            let problem = self.problem("session.format", "`check_password` needs `directory.queries.user`");
            self.tell(
                problem
                    .expected("the operator's query for users, with the application's column `password`")
                    .hint("config/mappings/django.toml shows it"),
            );
        }
        PasswordKeys::new(applications)
    }

    /// Sessions of our own refer to users of our own: that is a foreign key, and what "log out everywhere" is written to.
    pub(super) fn people_of_others(&mut self, file: &raw::File, reads_own: bool) {
        if file.directory.queries.user.is_some() && reads_own {
            self.tell(
                self.problem("directory.queries.user", "sessions of our own need users of our own")
                    .expected("`[session] format`, without `native` in it, beside `directory.queries.user`")
                    .hint(
                        "an existing schema is only read: see docs/existing-schemas.md for what is possible",
                    ),
            );
        }
    }
}
