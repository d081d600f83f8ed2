//! How a directory in Postgres is reached: a small pool that connects when it is first asked, with deadlines on both sides.

use std::sync::Arc;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::gate::Gate;
use super::own::OwnQueries;
use super::{PostgresDirectory, foreign};
use crate::breaker::Breaker;
use crate::clock::SystemClock;
use crate::directory::rows::unreadable;
use crate::directory::trouble::{Dialect, Watch};
use crate::directory::{OpenError, Settings};
use crate::secret::Secret;

/// How to reach the database that `url` names.
pub(in crate::directory) fn options(url: &Secret) -> Result<PgConnectOptions, sqlx::Error> {
    let text = url.expose_text().map_err(unreadable)?;
    // The parser takes any scheme.
    if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
        return Err(sqlx::Error::Configuration("the scheme is not postgres".into()));
    }
    let options: PgConnectOptions = text.parse()?;
    Ok(options.application_name("countersign").disable_statement_logging())
}

/// With the server's own limits, where the connection can carry them.
fn limited(
    options: PgConnectOptions,
    limit: Duration,
    is_pooled: bool,
    is_existing: bool,
) -> PgConnectOptions {
    if is_pooled {
        // A pooler refuses what it does not track; the role has to have these (docs/existing-schemas.md).
        return options.extra_float_digits(None);
    }
    let on_server = (limit * 2 / 5).max(Duration::from_millis(1)).as_millis().to_string();
    let options = options.options([
        ("statement_timeout", &on_server),
        ("lock_timeout", &on_server),
        ("idle_in_transaction_session_timeout", &limit.as_millis().to_string()),
    ]);
    if is_existing { options.options([("default_transaction_read_only", "on")]) } else { options }
}

impl PostgresDirectory {
    /// A pool without a connection yet; must be called inside a tokio runtime.
    ///
    /// Of the deadline, half is for getting a connection and two fifths for the server: an abandoned query keeps its
    /// connection until the server gives up, so the server gives up first (STATE.md 4.2).
    ///
    /// # Errors
    /// `Url` when the URL is not one of a Postgres server.
    pub fn open(settings: &Settings, url: &Secret) -> Result<Self, OpenError> {
        let limit = settings.timeout;
        let is_existing = settings.queries.replace_people();
        let of = |url: &Secret, is_pooled: bool| -> Result<PgConnectOptions, OpenError> {
            let options = options(url).map_err(OpenError::Url)?;
            Ok(limited(options, limit, is_pooled, is_existing))
        };
        let to_pool = of(url, settings.pooler)?;
        let to_server = match &settings.direct_url {
            Some(url) => of(url, false)?,
            None => to_pool.clone(),
        };
        let connections = settings.connections.max(1);
        let breaker = Arc::new(Breaker::new(Arc::new(SystemClock)));
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(limit / 2)
            .connect_lazy_with(to_pool);
        let pool = Gate { pool, is_pooled: settings.pooler };
        Ok(Self {
            keeps: pool.keeps(),
            pool,
            connections,
            options: to_server,
            watch: Watch::new(Dialect::Postgres, limit, Some(breaker)),
            own: Arc::new(OwnQueries::new(&settings.queries)),
            place: foreign::Place::default(),
            is_existing,
        })
    }
}
