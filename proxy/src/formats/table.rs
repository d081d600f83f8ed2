//! Sessions that frameworks keep in a table of Postgres: the query that finds them, how a row is written, and what it
//! says. Pure: who asks the database is elsewhere.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::decode::{Decoder, Raw, signed::SignedValues};
use super::expiry::{Expiry, Rule};
use super::locate::Path;
use super::preset::{Kind, Mistake, Options};
use super::value::Decoded;
use super::{Format, Found, Locator, Refusal};
use crate::clock::Timestamp;

/// How long Laravel keeps a session that nobody uses (`session.lifetime`: 120 minutes).
const LARAVEL_LIFETIME: Duration = Duration::from_hours(2);
/// Where connect-pg-simple's `expire` has no zone, it is that of the application's connections. The server's log is
/// written in the same one, unless somebody has set one of the two: `initdb` sets both.
const ZONE_OF_THE_SERVER: &str = "current_setting('log_timezone')";

/// Where an application keeps its sessions.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum StoredIn {
    /// In Redis.
    #[default]
    Store,
    /// In a table.
    Table,
    /// In Redis, and in a table for what Redis has lost: Django's `cached_db`.
    StoreThenTable,
}

/// What is asked of the database.
#[derive(PartialEq, Eq, Debug)]
pub struct Query {
    /// Where the configuration says it.
    pub key: String,
    /// Finds sessions by their keys.
    pub sql: String,
    /// Deletes one, where that is allowed.
    pub delete: Option<String>,
}

/// What an application has set about its table.
#[derive(Clone, Debug, Default)]
pub struct TableOptions {
    /// Where the sessions lie.
    pub stored_in: StoredIn,
    /// Name of the table, perhaps with that of its schema.
    pub name: Option<String>,
    /// The zone of moments that are written without one.
    pub zone: Option<String>,
    /// Laravel: how long an unused session is kept.
    pub lifetime: Option<Duration>,
    /// The operator's own query, with its place in the configuration.
    pub own: Option<(String, String)>,
    /// Where the configuration says the rest.
    pub key: String,
}

/// How sessions of one format are read from a table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Finds them.
    pub query: Arc<Query>,
    /// Whether Redis is asked first.
    pub behind_store: bool,
    /// What the keys of rows begin with.
    pub prefix: String,
    decoder: Decoder,
    locator: Locator,
    expiry: Expiry,
}

/// What a row says.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The session as the framework writes it.
    pub data: Option<&'a [u8]>,
    /// When it ends.
    pub ends: Timestamp,
    /// Whose it is, where a column says so.
    pub user: Option<&'a str>,
    /// The platform that was chosen, where a column says so.
    pub platform: Option<&'a str>,
    /// When it began, where a column says so.
    pub created: Option<Timestamp>,
}

impl Table {
    /// The table of an application that has set `options`; `None` when it keeps nothing there.
    ///
    /// # Errors
    /// The framework has no table of its own, or something that it needs is missing.
    pub(super) fn of(kind: Kind, options: Options, format: &Format) -> Result<Option<Self>, Mistake> {
        let behind_store = match options.table.stored_in {
            StoredIn::Store => return Ok(None),
            StoredIn::Table => false,
            StoredIn::StoreThenTable => true,
        };
        let usual = usual_query(kind, &options.table);
        let query = match (options.table.own, options.table.name) {
            (Some((key, sql)), None) => Query { key, sql, delete: None },
            _ => usual.ok_or(Mistake::NoTable)?,
        };
        if format.delete_on_logout && query.delete.is_none() {
            return Err(Mistake::NoDelete);
        }
        let decoder = match kind {
            Kind::Django => {
                let keys = SignedValues::new(&options.secrets).ok_or(Mistake::NoSecrets)?;
                Decoder::DjangoTable(keys)
            }
            Kind::BetterAuth | Kind::Spring | Kind::Hash => Decoder::Json,
            _ => match format.decoder.clone() {
                Decoder::Laravel(encrypter, how) => Decoder::LaravelTable(encrypter, how),
                decoder => decoder,
            },
        };
        let (locator, rule) = match kind {
            Kind::BetterAuth => {
                let own = [options.user, options.platform, options.created, options.authenticated];
                (of_better_auth(&format.locator, own), Rule::Lifetime)
            }
            Kind::Spring => (format.locator.clone(), Rule::Lifetime),
            _ => (format.locator.clone(), format.expiry.rule.clone()),
        };
        Ok(Some(Self {
            query: Arc::new(query),
            behind_store,
            // What Redis needs to tell keys apart, a table has in its name.
            prefix: options.prefix.filter(|_| !behind_store).unwrap_or_default(),
            decoder,
            locator,
            expiry: Expiry { rule, endless: false },
        }))
    }

    /// Reads a row. A column that names the user or the platform counts before what lies in the session.
    ///
    /// # Errors
    /// It is not a session in which somebody is logged in.
    pub fn read(&self, row: Row<'_>, now: Timestamp) -> Result<Found, Refusal> {
        let session = row.data.map(|data| self.decoder.decode(&Raw::Text(data.to_vec()))).transpose()?;
        let mut found = match (&session, row.user) {
            (Some(session), None) => super::read(session, &self.locator, &self.expiry, Some(row.ends), now)?,
            (session, user) => self.read_columns(session.as_ref(), user, row.ends, now)?,
        };
        if let Some(platform) = row.platform {
            found.platform = Some(platform.parse().map_err(|_| Refusal::Unusable)?);
        }
        found.created = row.created.or(found.created);
        Ok(found)
    }

    /// What to look at when there is no row.
    #[must_use]
    pub fn nothing_there(&self) -> String {
        format!(
            "there is no row for it: either the session is over, or `{}` does not ask the table in which the application \
             keeps its sessions",
            self.query.key
        )
    }

    /// A row that itself says whose session it is; the session beside it may say the rest.
    fn read_columns(
        &self,
        session: Option<&Decoded>,
        user: Option<&str>,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<Found, Refusal> {
        if let Some(session) = session {
            super::check_active(session, &self.locator)?;
        }
        let ends = session.map_or(Ok(ends), |session| self.expiry.end(session, Some(ends)))?;
        if ends <= now {
            return Err(Refusal::Expired);
        }
        if session.is_none() && self.locator.password.is_some() {
            return Err(Refusal::Passwordless);
        }
        let user = user.ok_or(Refusal::Anonymous)?.parse().map_err(|_| Refusal::Unusable)?;
        let mut found =
            Found { user, platform: None, created: None, authenticated: None, ends, password: None };
        if let Some(session) = session {
            super::complete(&mut found, session, &self.locator)?;
        }
        Ok(found)
    }
}

/// better-auth has a column for each field that its secondary storage has below `session`.
fn of_better_auth(usual: &Locator, own: [Vec<Path>; 4]) -> Locator {
    let paths = |own: Vec<Path>, usual: &[&str]| {
        if own.is_empty() { usual.iter().map(|path| Path::parse(path)).collect() } else { own }
    };
    let [user, platform, created, authenticated] = own;
    Locator {
        user: paths(user, &["/userId", "/user_id"]),
        platform: paths(platform, &["/activeOrganizationId", "/active_organization_id"]),
        created: paths(created, &["/createdAt", "/created_at"]),
        authenticated: paths(authenticated, &["/createdAt", "/created_at"]),
        ..usual.clone()
    }
}

/// The query of a framework whose table has its own columns.
fn usual_query(kind: Kind, options: &TableOptions) -> Option<Query> {
    let name = |usual: &str| quoted(options.name.as_deref().unwrap_or(usual));
    let zone = |usual: &str| options.zone.as_deref().map_or_else(|| usual.to_owned(), literal);
    // Some have made the column with a zone; both branches fit both types.
    let moment = |column: &str, zone: String| {
        format!(
            "CASE WHEN pg_typeof({column}) = 'timestamptz'::regtype THEN {column}::timestamptz \
             ELSE {column}::timestamp AT TIME ZONE {zone} END"
        )
    };
    let (table, id, rest) = match kind {
        Kind::Django => {
            (name("django_session"), "session_key", "expire_date AS expires, session_data AS data".to_owned())
        }
        Kind::Laravel => {
            let lifetime = options.lifetime.unwrap_or(LARAVEL_LIFETIME).as_secs();
            let rest =
                format!("to_timestamp(last_activity::bigint + {lifetime}) AS expires, payload AS data");
            (name("sessions"), "id", rest)
        }
        Kind::Express => {
            let expires = moment("expire", zone(ZONE_OF_THE_SERVER));
            (name("session"), "sid", format!("{expires} AS expires, sess AS data"))
        }
        Kind::BetterAuth => {
            let expires = moment("\"expiresAt\"", zone("'UTC'"));
            (name("session"), "token", format!("{expires} AS expires, to_jsonb(s) AS data"))
        }
        Kind::Spring => {
            let rest = "expiry_time AS expires, principal_name AS user_id, creation_time AS created";
            (name("spring_session"), "session_id", rest.to_owned())
        }
        _ => return None,
    };
    // Spring's column is padded: compared as text its index would not be used.
    let kind = if kind == Kind::Spring { "bpchar" } else { "text" };
    Some(Query {
        key: format!("{}.table", options.key),
        sql: format!("SELECT {id} AS id, {rest} FROM {table} AS s WHERE {id} = ANY($1::{kind}[])"),
        delete: Some(format!("DELETE FROM {table} WHERE {id} = $1::{kind}")),
    })
}

/// Whether this can be the name of a table, perhaps with that of its schema.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_part = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-'))
    };
    text.split('.').count() <= 2 && text.split('.').all(is_part)
}

fn quoted(name: &str) -> String {
    name.split('.').fold(String::new(), |mut text, part| {
        let dot = if text.is_empty() { "" } else { "." };
        // Writing to a String cannot fail.
        let _ = write!(text, "{dot}\"{}\"", part.replace('"', "\"\""));
        text
    })
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests;
