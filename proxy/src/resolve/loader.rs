//! The way to the directory: one bounded queue, fewer workers than connections, and one query for all that wait
//! (DESIGN, section 5). So the pool cannot be exhausted, and writes keep a connection. Never says "not there" when it
//! could not find out: a full queue, a passed deadline and a failed query are all undetermined.

mod desk;
mod kinds;
mod lane;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::time::{Instant, timeout};

use self::desk::Desk;
pub(super) use self::kinds::TableKey;
use self::kinds::{
    ForeignRecords, Kind, Platforms, Sessions, Settings, Stats, TableSessions, UserPlatforms, Users,
};
use super::Stop;
use crate::context::{ForeignRecord, Layer, PasswordKeys, Platform, PlatformId, SessionId, User, UserId};
use crate::directory::{Directory, DirectoryError, Pair, SessionQuery, SessionRow, TableSession};
use crate::reason::Reason;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::LookupResult;

/// Reads single records of the directory. `Ok(None)` is the directory's word that there is none; an error is always
/// [`Stop::Undetermined`]. A caller that goes away leaves the queue at once.
#[derive(Debug)]
pub(super) struct Loader {
    desk: Arc<Desk>,
    patience: Duration,
    metrics: Arc<Metrics>,
}

/// Why a lookup has no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Failure {
    /// The directory could not say.
    Directory(DirectoryError),
    /// The queue is full.
    Shed,
    /// The worker died, which is a fault of ours.
    Abandoned,
}

impl Loader {
    /// `patience` is the longest that anybody waits, in the queue and for the query together.
    pub(super) fn new(directory: Arc<dyn Directory>, patience: Duration, metrics: Arc<Metrics>) -> Self {
        let desk = Arc::new(Desk::new(directory, patience, Arc::clone(&metrics)));
        Self { desk, patience, metrics }
    }

    /// A session, ended or not.
    pub(super) async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, Stop> {
        let row = self.look_up::<Sessions>(id).await?;
        Ok(self.counted::<Sessions, _>(row))
    }

    /// A session of an application that keeps it in a table.
    pub(super) async fn table_session(&self, key: &TableKey) -> Result<Option<Arc<TableSession>>, Stop> {
        let row = self.look_up::<TableSessions>(key).await?;
        Ok(self.counted::<TableSessions, _>(row))
    }

    /// What is ours about a session of another framework. Fails where the directory keeps nothing of that kind.
    pub(super) async fn foreign_record(&self, id: &SessionId) -> Result<Option<ForeignRecord>, Stop> {
        let record = self.look_up::<ForeignRecords>(id).await?;
        Ok(self.counted::<ForeignRecords, _>(record))
    }

    /// Whether the directory may keep something of that kind.
    pub(super) fn keeps_foreign(&self) -> bool {
        self.desk.directory().keeps_foreign()
    }

    /// Whether changes of what this query reads are told, as long as anything is.
    pub(super) fn tells_of(&self, query: &SessionQuery) -> bool {
        self.desk.directory().tells_of(query)
    }

    /// Whether a user has all marks of the password that sessions are compared with.
    pub(super) fn is_marked(&self, user: &User) -> bool {
        self.desk.directory().password_keys().is_none_or(|keys| keys.are_all_in(&user.passwords))
    }

    /// Marks users with these keys from now on. Answers whether those before were others.
    pub(super) fn mark_passwords_with(&self, keys: &PasswordKeys) -> bool {
        self.desk.directory().mark_passwords_with(keys)
    }

    /// A user, active or not.
    pub(super) async fn user(&self, id: &UserId) -> Result<Option<User>, Stop> {
        let user = self.look_up::<Users>(id).await?;
        Ok(self.counted::<Users, _>(user))
    }

    /// A platform, active or not, whoever owns it.
    pub(super) async fn platform(&self, id: &PlatformId) -> Result<Option<Platform>, Stop> {
        let platform = self.look_up::<Platforms>(id).await?;
        Ok(self.counted::<Platforms, _>(platform))
    }

    /// The user's active platforms, default first.
    pub(super) async fn user_platforms(&self, user: &UserId) -> Result<Vec<Platform>, Stop> {
        let platforms = self.look_up::<UserPlatforms>(user).await?;
        self.metrics.count_lookup(UserPlatforms::NAME, Layer::Directory, LookupResult::Found);
        Ok(platforms)
    }

    /// A user's settings for a platform.
    pub(super) async fn settings(&self, pair: &Pair) -> Result<Option<Value>, Stop> {
        let settings = self.look_up::<Settings>(pair).await?;
        Ok(self.counted::<Settings, _>(settings))
    }

    /// A user's figures for a platform.
    pub(super) async fn stats(&self, pair: &Pair) -> Result<Option<Value>, Stop> {
        let stats = self.look_up::<Stats>(pair).await?;
        Ok(self.counted::<Stats, _>(stats))
    }

    /// Waits for the answer of the query that this key goes into.
    ///
    /// Only keys that still wait are shared: whoever asks after a change never gets a reading from before it.
    async fn look_up<K: Kind>(&self, key: &K::Key) -> Result<K::Value, Stop> {
        let started = Instant::now();
        let answer = match self.desk.join::<K>(key) {
            Some(ticket) => timeout(self.patience, ticket.answer())
                .await
                .unwrap_or(Err(Failure::Directory(DirectoryError::Timeout))),
            None => Err(Failure::Shed),
        };
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.lookup_seconds.with_label_values(&["directory"]).observe(seconds);
        answer.map_err(|failure| {
            self.metrics.count_lookup(K::NAME, Layer::Directory, LookupResult::Failed);
            tracing::debug!(what = K::NAME, ?failure, "the directory could not say");
            Stop::Undetermined(failure.reason())
        })
    }

    fn counted<K: Kind, T>(&self, record: Option<T>) -> Option<T> {
        let result = if record.is_some() { LookupResult::Found } else { LookupResult::Missing };
        self.metrics.count_lookup(K::NAME, Layer::Directory, result);
        record
    }
}

impl Failure {
    const fn reason(self) -> Reason {
        match self {
            Self::Directory(DirectoryError::Timeout) => Reason::StoreTimeout,
            Self::Directory(
                DirectoryError::Unavailable | DirectoryError::Unreadable | DirectoryError::ReadOnly,
            ) => Reason::StoreUnavailable,
            Self::Shed => Reason::StoreOverloaded,
            Self::Abandoned => Reason::Internal,
        }
    }
}

#[cfg(test)]
mod tests;
