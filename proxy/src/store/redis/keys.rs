//! The names of our keys in Redis (DESIGN.md section 4).

use crate::context::{PlatformId, SessionId, UserId};
use crate::store::EntityKey;

/// How many sorted sets share the times of last use, so that no single one becomes a large key.
const SHARDS: u8 = 64;

/// Makes the names under one prefix.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    pub(super) fn session(&self, id: &SessionId) -> String {
        format!("{}session:{id}", self.prefix)
    }

    pub(super) fn activity(&self, id: &SessionId) -> String {
        format!("{}activity:{}", self.prefix, id.as_bytes()[0] % SHARDS)
    }

    pub(super) fn user(&self, id: &UserId) -> String {
        format!("{}user:{}", self.prefix, part(id.as_str()))
    }

    pub(super) fn platform(&self, id: &PlatformId) -> String {
        format!("{}platform:{}", self.prefix, part(id.as_str()))
    }

    pub(super) fn user_platforms(&self, id: &UserId) -> String {
        format!("{}user_platforms:{}", self.prefix, part(id.as_str()))
    }

    pub(super) fn user_sessions(&self, id: &UserId) -> String {
        format!("{}user_sessions:{}", self.prefix, part(id.as_str()))
    }

    pub(super) fn entity(&self, key: &EntityKey) -> String {
        let pair = |name, user: &UserId, platform: &PlatformId| {
            format!("{}{name}:{}:{}", self.prefix, part(user.as_str()), part(platform.as_str()))
        };
        match key {
            EntityKey::User(id) => self.user(id),
            EntityKey::Platform(id) => self.platform(id),
            EntityKey::UserPlatforms(id) => self.user_platforms(id),
            EntityKey::UserSettings(user, platform) => pair("user_settings", user, platform),
            EntityKey::PlatformStats(user, platform) => pair("platform_stats", user, platform),
        }
    }
}

/// An id as a part of a key. Ids may hold colons: unescaped, the settings of user `a:b` for platform `c` would lie
/// under the key of user `a` for platform `b:c`.
fn part(id: &str) -> String {
    id.replace('%', "%25").replace(':', "%3A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_named_as_documented() {
        let keys = Keys::new("cs:");
        let (user, platform): (UserId, PlatformId) = ("42".parse().unwrap(), "7".parse().unwrap());
        assert_eq!(keys.user(&user), "cs:user:42");
        assert_eq!(keys.entity(&EntityKey::UserSettings(user.clone(), platform)), "cs:user_settings:42:7");
        assert_eq!(keys.user_sessions(&user), "cs:user_sessions:42");
        let id = SessionId::from_bytes([65; 32]);
        assert_eq!(keys.session(&id), "cs:session:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE");
        assert_eq!(keys.activity(&id), "cs:activity:1");
    }

    #[test]
    fn two_pairs_of_ids_never_share_a_key() {
        let keys = Keys::new("cs:");
        let key = |user: &str, platform: &str| {
            keys.entity(&EntityKey::UserSettings(user.parse().unwrap(), platform.parse().unwrap()))
        };
        assert_ne!(key("a:b", "c"), key("a", "b:c"));
        assert_ne!(key("a%3Ab", "c"), key("a:b", "c"));
    }
}
