//! `[directory.queries]`: the operator's own SQL, as the file writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[directory.queries]`
///
/// Each is one SELECT. Ids may be integers, uuids or text; a parameter that is an array (`= ANY($1)`) lets many be asked for
/// at once. Columns go by their names, and what is not named here is refused. docs/existing-schemas.md has examples.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Queries {
    /// Users by id (`$1`). Columns: `id`; `name`, `roles` (text separated by commas, an array, JSON, or one row for each),
    /// `active` (default true), `sessions_valid_after`, `password` (read only for `check_password` of a format). With it the
    /// directory is only read: sessions have to be those of another framework, and what has no query of its own here is not
    /// there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The platforms of users, by their ids (`$1`). Columns: `id`, `user_id`; `type`, `name`, `url`, `active` (default
    /// true), `is_default` (default false), `credential`. The default comes first, then they are sorted by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platforms: Option<String>,
    /// Platforms by id (`$1`). Columns as for `platforms`; both are needed, or neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) platform: Option<String>,
    /// Settings by user (`$1`) and platform (`$2`). Columns: `user_id`, `platform_id`, `settings` (JSON). With it settings
    /// are only read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) settings: Option<String>,
    /// Figures by user (`$1`) and platform (`$2`). Columns: `user_id`, `platform_id`, `stats` (JSON).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<String>,
    /// Sessions that an application keeps in a table, by their keys (`$1`), for formats with `stored_in = "table"` and
    /// without a `table`. Columns: `id`, `expires`; `data` (the session as the framework writes it), `user_id`,
    /// `platform_id`, `created`. `user_id` and `platform_id` count before what lies in `data`; one of `data` and `user_id`
    /// is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sessions: Option<String>,
}

/// A kind of directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DirectoryKind {
    /// A Postgres server.
    Postgres,
    /// One SQLite file.
    Sqlite,
}
