//! The kinds of record that are looked up by key, and the one query for each.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;

use serde_json::Value;

use super::desk::Queue;
use super::lane::Lane;
use crate::context::{Platform, PlatformId, SessionId, User, UserId};
use crate::directory::{Directory, DirectoryError, Pair, SessionRow};

/// A kind of record. What the directory does not name is the default value: `None`, or an empty list. A record under
/// a key that nobody asked for, which replaced queries could bring, is nobody's.
pub(super) trait Kind: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + fmt::Debug + Send + Sync;
    type Value: Clone + Default + fmt::Debug + Send + Sync;

    /// The word in metrics and logs.
    const NAME: &'static str;

    fn lane(queue: &mut Queue) -> &mut Lane<Self::Key, Self::Value>;

    /// Asks once for all keys.
    fn ask(
        directory: &dyn Directory,
        keys: &[Self::Key],
    ) -> impl Future<Output = Result<HashMap<Self::Key, Self::Value>, DirectoryError>> + Send;
}

/// Sessions by id.
pub(super) struct Sessions;
/// Users by id.
pub(super) struct Users;
/// Platforms by id.
pub(super) struct Platforms;
/// The active platforms of a user, default first.
pub(super) struct UserPlatforms;
/// A user's settings for a platform.
pub(super) struct Settings;
/// A user's figures for a platform.
pub(super) struct Stats;

impl Kind for Sessions {
    type Key = SessionId;
    type Value = Option<SessionRow>;
    const NAME: &'static str = "session";

    fn lane(queue: &mut Queue) -> &mut Lane<Self::Key, Self::Value> {
        &mut queue.sessions
    }

    async fn ask(
        directory: &dyn Directory,
        keys: &[Self::Key],
    ) -> Result<HashMap<Self::Key, Self::Value>, DirectoryError> {
        let rows = directory.sessions(keys).await?;
        Ok(rows.into_iter().map(|row| (row.session.id, Some(row))).collect())
    }
}

impl Kind for Users {
    type Key = UserId;
    type Value = Option<User>;
    const NAME: &'static str = "user";

    fn lane(queue: &mut Queue) -> &mut Lane<Self::Key, Self::Value> {
        &mut queue.users
    }

    async fn ask(
        directory: &dyn Directory,
        keys: &[Self::Key],
    ) -> Result<HashMap<Self::Key, Self::Value>, DirectoryError> {
        let users = directory.users(keys).await?;
        Ok(users.into_iter().map(|user| (user.id.clone(), Some(user))).collect())
    }
}

impl Kind for Platforms {
    type Key = PlatformId;
    type Value = Option<Platform>;
    const NAME: &'static str = "platform";

    fn lane(queue: &mut Queue) -> &mut Lane<Self::Key, Self::Value> {
        &mut queue.platforms
    }

    async fn ask(
        directory: &dyn Directory,
        keys: &[Self::Key],
    ) -> Result<HashMap<Self::Key, Self::Value>, DirectoryError> {
        let platforms = directory.platforms(keys).await?;
        Ok(platforms.into_iter().map(|platform| (platform.id.clone(), Some(platform))).collect())
    }
}

impl Kind for UserPlatforms {
    type Key = UserId;
    type Value = Vec<Platform>;
    const NAME: &'static str = "user_platforms";

    fn lane(queue: &mut Queue) -> &mut Lane<Self::Key, Self::Value> {
        &mut queue.user_platforms
    }

    async fn ask(
        directory: &dyn Directory,
        keys: &[Self::Key],
    ) -> Result<HashMap<Self::Key, Self::Value>, DirectoryError> {
        let mut of_user: HashMap<UserId, Vec<Platform>> = HashMap::new();
        // The order within a user is the directory's: default first.
        for platform in directory.user_platforms(keys).await?.into_iter().filter(|platform| platform.active) {
            of_user.entry(platform.user.clone()).or_default().push(platform);
        }
        Ok(of_user)
    }
}

impl Kind for Settings {
    type Key = Pair;
    type Value = Option<Value>;
    const NAME: &'static str = "settings";

    fn lane(queue: &mut Queue) -> &mut Lane<Self::Key, Self::Value> {
        &mut queue.settings
    }

    async fn ask(
        directory: &dyn Directory,
        keys: &[Self::Key],
    ) -> Result<HashMap<Self::Key, Self::Value>, DirectoryError> {
        let found = directory.settings_of(keys).await?;
        Ok(found.into_iter().map(|(pair, value)| (pair, Some(value))).collect())
    }
}

impl Kind for Stats {
    type Key = Pair;
    type Value = Option<Value>;
    const NAME: &'static str = "stats";

    fn lane(queue: &mut Queue) -> &mut Lane<Self::Key, Self::Value> {
        &mut queue.stats
    }

    async fn ask(
        directory: &dyn Directory,
        keys: &[Self::Key],
    ) -> Result<HashMap<Self::Key, Self::Value>, DirectoryError> {
        let found = directory.stats_of(keys).await?;
        Ok(found.into_iter().map(|(pair, value)| (pair, Some(value))).collect())
    }
}
