//! The kinds of record that are looked up by key, and the one query for each.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde_json::Value;

use super::desk::Queue;
use super::lane::Lane;
use crate::context::{ForeignRecord, Platform, PlatformId, SessionId, User, UserId};
use crate::directory::{Asked, Directory, DirectoryError, Pair, SessionQuery, SessionRow, TableSession};
use crate::secret::Secret;

/// A kind of record. What the directory does not name is the default value: `None`, or an empty list. A record under
/// a key that nobody asked for, which replaced queries could bring, is nobody's.
pub(super) trait Kind: Send + Sync + 'static {
    type Key: Clone + Eq + Hash + fmt::Debug + Send + Sync;
    type Value: Clone + Default + fmt::Debug + Send + Sync;

    /// The word in metrics and logs.
    const NAME: &'static str;

    /// The word of the directory for it.
    const ASKED: Asked;

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
/// Sessions that applications keep in tables.
pub(super) struct TableSessions;
/// What is ours about sessions of other frameworks.
pub(super) struct ForeignRecords;

/// Where such a session lies. Told apart by its name, which is a hash of the key, and by the query.
#[derive(Clone)]
pub(in crate::resolve) struct TableKey {
    pub(in crate::resolve) session: SessionId,
    pub(in crate::resolve) key: Secret,
    pub(in crate::resolve) query: Arc<SessionQuery>,
}

impl PartialEq for TableKey {
    fn eq(&self, other: &Self) -> bool {
        self.session == other.session && self.query == other.query
    }
}

impl Eq for TableKey {}

impl Hash for TableKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.session.hash(state);
    }
}

impl fmt::Debug for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableKey")
            .field("session", &self.session)
            .field("query", &self.query.key)
            .finish_non_exhaustive()
    }
}

impl Kind for Sessions {
    type Key = SessionId;
    type Value = Option<SessionRow>;
    const NAME: &'static str = "session";
    const ASKED: Asked = Asked::Sessions;

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
    const ASKED: Asked = Asked::Users;

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
    const ASKED: Asked = Asked::Platforms;

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
    const ASKED: Asked = Asked::UserPlatforms;

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
    const ASKED: Asked = Asked::Settings;

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
    const ASKED: Asked = Asked::Stats;

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

impl Kind for ForeignRecords {
    type Key = SessionId;
    type Value = Option<ForeignRecord>;
    const NAME: &'static str = "foreign_session";
    const ASKED: Asked = Asked::ForeignRecords;

    fn lane(queue: &mut Queue) -> &mut Lane<Self::Key, Self::Value> {
        &mut queue.foreign_records
    }

    async fn ask(
        directory: &dyn Directory,
        keys: &[Self::Key],
    ) -> Result<HashMap<Self::Key, Self::Value>, DirectoryError> {
        let records = directory.foreign_records(keys).await?;
        Ok(records.into_iter().map(|record| (record.id, Some(record))).collect())
    }
}

impl Kind for TableSessions {
    type Key = TableKey;
    type Value = Option<Arc<TableSession>>;
    const NAME: &'static str = "session";
    const ASKED: Asked = Asked::TableSessions;

    fn lane(queue: &mut Queue) -> &mut Lane<Self::Key, Self::Value> {
        &mut queue.table_sessions
    }

    async fn ask(
        directory: &dyn Directory,
        keys: &[Self::Key],
    ) -> Result<HashMap<Self::Key, Self::Value>, DirectoryError> {
        let mut found = HashMap::new();
        let mut rest: Vec<&TableKey> = keys.iter().collect();
        // Usually there is one query for all.
        while let Some(first) = rest.first() {
            let query = Arc::clone(&first.query);
            let (these, others): (Vec<_>, Vec<_>) = rest.into_iter().partition(|key| key.query == query);
            let secrets: Vec<&Secret> = these.iter().map(|key| &key.key).collect();
            for row in directory.table_sessions(&query, &secrets).await? {
                if let Some(key) = these.iter().find(|key| key.key.expose() == row.key.expose()) {
                    found.insert((*key).clone(), Some(Arc::new(row)));
                }
            }
            rest = others;
        }
        Ok(found)
    }
}
