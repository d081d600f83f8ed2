//! The way to the directory. Now one call with one key; the bounded queue that asks once for all who wait (DESIGN,
//! section 5) goes in here, behind the same four questions.

use std::sync::Arc;

use tokio::time::Instant;

use super::Stop;
use crate::context::{Layer, Platform, PlatformId, SessionId, User, UserId};
use crate::directory::{Directory, DirectoryError, SessionRow};
use crate::reason::Reason;
use crate::telemetry::Metrics;
use crate::telemetry::metrics::LookupResult;

/// Reads single records of the directory. `Ok(None)` is the directory's word that there is none; an error is always
/// [`Stop::Undetermined`].
#[derive(Debug)]
pub(super) struct Loader {
    directory: Arc<dyn Directory>,
    metrics: Arc<Metrics>,
}

impl Loader {
    pub(super) const fn new(directory: Arc<dyn Directory>, metrics: Arc<Metrics>) -> Self {
        Self { directory, metrics }
    }

    /// A session, ended or not.
    pub(super) async fn session(&self, id: &SessionId) -> Result<Option<SessionRow>, Stop> {
        let answer = self.timed("session", self.directory.sessions(std::slice::from_ref(id))).await?;
        Ok(self.only("session", answer, |row| row.session.id == *id))
    }

    /// A user, active or not.
    pub(super) async fn user(&self, id: &UserId) -> Result<Option<User>, Stop> {
        let answer = self.timed("user", self.directory.users(std::slice::from_ref(id))).await?;
        Ok(self.only("user", answer, |user| user.id == *id))
    }

    /// A platform, active or not, whoever owns it.
    pub(super) async fn platform(&self, id: &PlatformId) -> Result<Option<Platform>, Stop> {
        let answer = self.timed("platform", self.directory.platforms(std::slice::from_ref(id))).await?;
        Ok(self.only("platform", answer, |platform| platform.id == *id))
    }

    /// The user's active platforms, default first.
    pub(super) async fn user_platforms(&self, user: &UserId) -> Result<Vec<Platform>, Stop> {
        let call = self.directory.user_platforms(std::slice::from_ref(user));
        let mut answer = self.timed("user_platforms", call).await?;
        answer.retain(|platform| platform.user == *user && platform.active);
        self.metrics.count_lookup("user_platforms", Layer::Directory, LookupResult::Found);
        Ok(answer)
    }

    async fn timed<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T, DirectoryError>>,
    ) -> Result<T, Stop> {
        let started = Instant::now();
        let answer = call.await;
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.lookup_seconds.with_label_values(&["directory"]).observe(seconds);
        answer.map_err(|error| {
            self.metrics.count_lookup(what, Layer::Directory, LookupResult::Failed);
            tracing::debug!(what, %error, "the directory could not say");
            Stop::Undetermined(match error {
                DirectoryError::Timeout => Reason::StoreTimeout,
                DirectoryError::Unavailable | DirectoryError::Unreadable => Reason::StoreUnavailable,
            })
        })
    }

    /// The record that was asked for; one with another key, which replaced queries could bring, is nobody's.
    fn only<T>(&self, what: &str, answer: Vec<T>, wanted: impl Fn(&T) -> bool) -> Option<T> {
        let record = answer.into_iter().find(wanted);
        let result = if record.is_some() { LookupResult::Found } else { LookupResult::Missing };
        self.metrics.count_lookup(what, Layer::Directory, result);
        record
    }
}
