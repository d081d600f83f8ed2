//! The schema of the directory: what was applied, forward, back. The SQL is that of `migrations/`, built in.

use std::time::Duration;

use sqlx::migrate::{AppliedMigration, Migrate, MigrateError, Migration, MigrationType};
use sqlx::{Connection, PgConnection, SqlSafeStr, SqliteConnection};

use super::{Kind, Settings, postgres, sqlite};

/// Where the applied migrations are written down; a name of our own, because the schema may be shared.
const TABLE: &str = "countersign_migrations";
/// The longest that connecting may take.
const PATIENCE: Duration = Duration::from_secs(10);

macro_rules! migrations {
    ($folder:literal: $($version:literal $name:literal),+ $(,)?) => {
        &[$((
            $version,
            $name,
            include_str!(concat!("../../../migrations/", $folder, "/", $name, ".up.sql")),
            include_str!(concat!("../../../migrations/", $folder, "/", $name, ".down.sql")),
        )),+]
    };
}

type Files = &'static [(i64, &'static str, &'static str, &'static str)];

const POSTGRES: Files = migrations!(
    "postgres": 1 "0001_directory", 2 "0002_notify", 3 "0003_changes", 6 "0006_sessions_by_age",
    7 "0007_foreign_sessions"
);
const SQLITE: Files = migrations!(
    "sqlite": 1 "0001_directory", 3 "0003_changes", 6 "0006_sessions_by_age", 7 "0007_foreign_sessions"
);

/// One migration, and whether it was applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// Its number; they are applied in this order.
    pub version: i64,
    /// Its file name without the ending.
    pub name: &'static str,
    /// Whether the schema has it.
    pub applied: bool,
}

/// Why the schema could not be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum MigrationError {
    /// No connection.
    #[error("the directory cannot be reached")]
    Unreachable(#[source] sqlx::Error),
    /// What was applied is unlike what this program carries, or a step failed; nothing of that step stays.
    #[error("the migration failed")]
    Failed(#[from] MigrateError),
}

/// All migrations in their order. Changes nothing.
///
/// # Errors
/// `Unreachable` without a connection, `Failed` when the list cannot be read.
pub async fn status(settings: &Settings) -> Result<Vec<Step>, MigrationError> {
    match &settings.kind {
        Kind::Postgres(url) => {
            let mut connection = connect_postgres(settings, url).await?;
            let known: Option<String> = sqlx::query_scalar("SELECT to_regclass($1)::text")
                .bind(TABLE)
                .fetch_one(&mut connection)
                .await
                .map_err(MigrationError::Unreachable)?;
            steps(&mut connection, POSTGRES, known.is_some()).await
        }
        Kind::Sqlite(path) => {
            let options = sqlite::options(path.as_deref(), settings.timeout).create_if_missing(false);
            let mut connection = connect_sqlite(&options).await?;
            let known: bool = sqlx::query_scalar("SELECT count(*) > 0 FROM sqlite_master WHERE name = ?1")
                .bind(TABLE)
                .fetch_one(&mut connection)
                .await
                .map_err(MigrationError::Unreachable)?;
            steps(&mut connection, SQLITE, known).await
        }
    }
}

/// Applies what is missing; calls `progress` before each step. Answers how many were applied. Two that run at once wait
/// for each other.
///
/// # Errors
/// `Unreachable` without a connection, `Failed` at the first step that fails.
pub async fn up(settings: &Settings, progress: impl FnMut(&Step) + Send) -> Result<usize, MigrationError> {
    match &settings.kind {
        Kind::Postgres(url) => apply(&mut connect_postgres(settings, url).await?, POSTGRES, progress).await,
        Kind::Sqlite(path) => {
            sqlite::make_private(path.as_deref())
                .map_err(|error| MigrationError::Unreachable(error.into()))?;
            let options = sqlite::options(path.as_deref(), settings.timeout);
            apply(&mut connect_sqlite(&options).await?, SQLITE, progress).await
        }
    }
}

/// Takes back the last `count` steps; calls `progress` before each. Answers how many were taken back.
///
/// # Errors
/// As [`up`].
pub async fn down(
    settings: &Settings,
    count: usize,
    progress: impl FnMut(&Step) + Send,
) -> Result<usize, MigrationError> {
    match &settings.kind {
        Kind::Postgres(url) => {
            revert(&mut connect_postgres(settings, url).await?, POSTGRES, count, progress).await
        }
        Kind::Sqlite(path) => {
            let options = sqlite::options(path.as_deref(), settings.timeout);
            revert(&mut connect_sqlite(&options).await?, SQLITE, count, progress).await
        }
    }
}

/// Brings a SQLite connection up to date; the embedded directory does this when it opens.
pub(super) async fn up_sqlite(connection: &mut SqliteConnection) -> Result<usize, MigrationError> {
    apply(connection, SQLITE, |step| tracing::info!(name = step.name, "migrating the directory")).await
}

/// Without the pool's limits: a migration may take longer than a request.
/// Past a pooler: the lock that keeps two from migrating at once belongs to one connection.
async fn connect_postgres(
    settings: &Settings,
    url: &crate::secret::Secret,
) -> Result<PgConnection, MigrationError> {
    let url = settings.direct_url.as_ref().unwrap_or(url);
    let options = postgres::options(url).map_err(MigrationError::Unreachable)?;
    match tokio::time::timeout(PATIENCE, PgConnection::connect_with(&options)).await {
        Ok(outcome) => outcome.map_err(MigrationError::Unreachable),
        Err(_) => Err(MigrationError::Unreachable(sqlx::Error::PoolTimedOut)),
    }
}

async fn connect_sqlite(
    options: &sqlx::sqlite::SqliteConnectOptions,
) -> Result<SqliteConnection, MigrationError> {
    SqliteConnection::connect_with(options).await.map_err(MigrationError::Unreachable)
}

fn migration(file: &(i64, &'static str, &'static str, &'static str), kind: MigrationType) -> Migration {
    let (version, name, up, down) = *file;
    let sql = if kind == MigrationType::ReversibleUp { up } else { down };
    Migration::new(version, name.into(), kind, sql.into_sql_str(), sql.starts_with("-- no-transaction"))
}

async fn steps(
    connection: &mut impl Migrate,
    files: Files,
    known: bool,
) -> Result<Vec<Step>, MigrationError> {
    let applied = if known { connection.list_applied_migrations(TABLE).await? } else { Vec::new() };
    let step = |file: &(i64, &'static str, _, _)| Step {
        version: file.0,
        name: file.1,
        applied: applied.iter().any(|a: &AppliedMigration| a.version == file.0),
    };
    Ok(files.iter().map(step).collect())
}

/// Locks the schema and answers what was applied, if that is a beginning of what we carry.
async fn begin(connection: &mut impl Migrate, files: Files) -> Result<Vec<AppliedMigration>, MigrationError> {
    connection.lock().await?;
    connection.ensure_migrations_table(TABLE).await?;
    if let Some(version) = connection.dirty_version(TABLE).await? {
        return Err(MigrateError::Dirty(version).into());
    }
    let applied = connection.list_applied_migrations(TABLE).await?;
    for one in &applied {
        let Some(file) = files.iter().find(|file| file.0 == one.version) else {
            return Err(MigrateError::VersionMissing(one.version).into());
        };
        if migration(file, MigrationType::ReversibleUp).checksum != one.checksum {
            return Err(MigrateError::VersionMismatch(one.version).into());
        }
    }
    Ok(applied)
}

async fn apply(
    connection: &mut impl Migrate,
    files: Files,
    mut progress: impl FnMut(&Step) + Send,
) -> Result<usize, MigrationError> {
    let applied = begin(connection, files).await?;
    let mut count = 0;
    for file in files.iter().filter(|file| !applied.iter().any(|a| a.version == file.0)) {
        progress(&Step { version: file.0, name: file.1, applied: false });
        connection.apply(TABLE, &migration(file, MigrationType::ReversibleUp)).await?;
        count += 1;
    }
    connection.unlock().await?;
    Ok(count)
}

async fn revert(
    connection: &mut impl Migrate,
    files: Files,
    count: usize,
    mut progress: impl FnMut(&Step) + Send,
) -> Result<usize, MigrationError> {
    let applied = begin(connection, files).await?;
    let mut reverted = 0;
    let last = files.iter().rev().filter(|file| applied.iter().any(|a| a.version == file.0));
    for file in last.take(count) {
        progress(&Step { version: file.0, name: file.1, applied: true });
        connection.revert(TABLE, &migration(file, MigrationType::ReversibleDown)).await?;
        reverted += 1;
    }
    connection.unlock().await?;
    Ok(reverted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn every_file_is_built_in_and_has_its_counterpart() {
        for (folder, files) in [("postgres", POSTGRES), ("sqlite", SQLITE)] {
            let path = format!("{}/../migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let found = std::fs::read_dir(path).unwrap().count();
            assert_eq!(found, files.len() * 2, "{folder}");
            assert!(files.is_sorted_by(|one, two| one.0 < two.0), "{folder}");
            for (version, name, _, _) in files {
                assert!(name.starts_with(&format!("{version:04}_")), "{name}");
            }
        }
    }

    async fn goes_up_down_and_up_again(settings: &Settings, files: Files) {
        let all = files.len();
        let applied = |steps: Vec<Step>| steps.into_iter().filter(|step| step.applied).count();
        assert_eq!(applied(status(settings).await.unwrap()), 0);
        let mut seen = Vec::new();
        assert_eq!(up(settings, |step| seen.push(step.version)).await.unwrap(), all);
        assert_eq!(seen, files.iter().map(|file| file.0).collect::<Vec<i64>>());
        assert_eq!(up(settings, |_| panic!("there is nothing to do")).await.unwrap(), 0);
        assert_eq!(applied(status(settings).await.unwrap()), all);
        assert_eq!(down(settings, 1, |_| ()).await.unwrap(), 1);
        assert_eq!(applied(status(settings).await.unwrap()), all - 1);
        assert_eq!(down(settings, usize::MAX, |_| ()).await.unwrap(), all - 1);
        assert_eq!(up(settings, |_| ()).await.unwrap(), all);
    }

    fn settings(kind: Kind) -> Settings {
        Settings::new(kind, 2, Duration::from_secs(1))
    }

    #[tokio::test]
    async fn postgres_goes_up_down_and_up_again_and_leaves_nothing_behind() {
        let url = e2e::postgres::shared_database();
        let settings = settings(Kind::Postgres(Secret::from(url.as_str())));
        goes_up_down_and_up_again(&settings, POSTGRES).await;
        down(&settings, usize::MAX, |_| ()).await.unwrap();
        let rest = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace \
             AND relname NOT LIKE 'countersign_migrations%' UNION ALL \
             SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace";
        assert_eq!(e2e::postgres::run_sql(&url, rest), "");
    }

    #[tokio::test]
    async fn sqlite_goes_up_down_and_up_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("directory.sqlite");
        std::fs::write(&path, b"").unwrap();
        goes_up_down_and_up_again(&settings(Kind::Sqlite(Some(path))), SQLITE).await;
    }

    #[tokio::test]
    async fn a_schema_that_another_version_made_is_left_alone() {
        let url = e2e::postgres::shared_database();
        let settings = settings(Kind::Postgres(Secret::from(url.as_str())));
        up(&settings, |_| ()).await.unwrap();
        let _ = e2e::postgres::run_sql(
            &url,
            "UPDATE countersign_migrations SET checksum = '\\x00' WHERE version = 2",
        );
        let outcome = down(&settings, 1, |_| panic!("it must not be touched")).await;
        assert!(matches!(outcome, Err(MigrationError::Failed(MigrateError::VersionMismatch(2)))));
    }
}
