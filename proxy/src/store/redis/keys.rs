//! The names of our keys in Redis (DESIGN.md section 4).

use crate::context::{PlatformId, SessionId, UserId};
use crate::store::{Allowance, Change, EntityKey};

/// How many sorted sets share the times of last use, so that no single one becomes a large key.
const SHARDS: u8 = 64;

/// Makes the names under one prefix.
#[derive(Debug)]
pub(super) struct Keys {
    prefix: String,
    /// What keys of other frameworks' sessions begin with.
    foreign: Vec<String>,
}

impl Keys {
    pub(super) fn new(prefix: &str, foreign: &[String]) -> Self {
        Self { prefix: prefix.to_owned(), foreign: foreign.to_vec() }
    }

    /// What is ours about a session of another framework.
    pub(super) fn foreign(&self, id: &SessionId) -> String {
        format!("{}foreign:{id}", self.prefix)
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

    pub(super) fn events(&self, id: &UserId) -> String {
        format!("{}events:{}", self.prefix, part(id.as_str()))
    }

    pub(super) fn allowance(&self, id: &UserId, what: Allowance) -> String {
        let what = match what {
            Allowance::PlatformSwitches => "platform_switches",
        };
        format!("{}allowance:{what}:{}", self.prefix, part(id.as_str()))
    }

    pub(super) fn activity_shards(&self) -> Vec<String> {
        (0..SHARDS).map(|shard| format!("{}activity:{shard}", self.prefix)).collect()
    }

    /// Ends that are not durable yet.
    pub(super) fn outbox(&self) -> String {
        format!("{}{OUTBOX}", self.prefix)
    }

    /// How far the changes of the directory were gone through; not tracked.
    pub(super) fn progress(&self) -> String {
        format!("{}progress", self.prefix)
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

    /// What keeps older readings of an entity out for a while; not tracked.
    pub(super) fn forgotten(&self, key: &EntityKey) -> String {
        let entity = self.entity(key);
        format!("{}forgotten:{}", self.prefix, entity.strip_prefix(&self.prefix).unwrap_or(&entity))
    }

    /// What the server is asked to report: everything that copies are made of (not the times of last use, which change
    /// all the time), and the ends that no copy may outlive. The server refuses prefixes of which one begins with another, so the shorter one stands for both.
    pub(super) fn tracked(&self) -> impl Iterator<Item = String> {
        let own = TRACKED.iter().map(|kind| format!("{}{kind}:", self.prefix)).chain([self.outbox()]);
        let mut wanted: Vec<String> = own.chain(self.foreign.iter().cloned()).collect();
        wanted.sort_unstable();
        wanted.dedup_by(|later, earlier| later.starts_with(earlier.as_str()));
        wanted.into_iter()
    }

    /// What a key is the name of; `None` when nobody is interested in it. A name of ours that cannot be read could be
    /// anything.
    pub(super) fn change(&self, key: &[u8]) -> Option<Change> {
        if !key.starts_with(self.prefix.as_bytes()) {
            return self.foreign_change(key);
        }
        let name = std::str::from_utf8(key).ok()?.strip_prefix(&self.prefix)?;
        if name == OUTBOX {
            return Some(Change::Ends);
        }
        let (kind, id) = name.split_once(':')?;
        let pair = |id: &str| {
            let (user, platform) = id.split_once(':')?;
            Some((whole(user)?, whole(platform)?))
        };
        let change = match kind {
            "session" | "foreign" => id.parse().ok().map(Change::Session),
            "events" => whole(id).map(Change::Events),
            "user" => whole(id).map(|id| Change::Entity(EntityKey::User(id))),
            "user_platforms" => whole(id).map(|id| Change::Entity(EntityKey::UserPlatforms(id))),
            "platform" => whole(id).map(|id| Change::Entity(EntityKey::Platform(id))),
            "user_settings" => {
                pair(id).map(|(user, platform)| Change::Entity(EntityKey::UserSettings(user, platform)))
            }
            "platform_stats" => {
                pair(id).map(|(user, platform)| Change::Entity(EntityKey::PlatformStats(user, platform)))
            }
            _ => return None,
        };
        Some(change.unwrap_or(Change::Everything))
    }

    /// A session of another framework has the hash of its key for a name, so that nothing has to be remembered here.
    fn foreign_change(&self, key: &[u8]) -> Option<Change> {
        let is_foreign = self.foreign.iter().any(|prefix| key.starts_with(prefix.as_bytes()));
        is_foreign.then(|| Change::Session(SessionId::of_token(key)))
    }
}

/// The kinds of key that are tracked. No prefix of one is another's: the server refuses overlaps.
const TRACKED: [&str; 8] =
    ["session", "foreign", "events", "user", "user_platforms", "platform", "user_settings", "platform_stats"];

const OUTBOX: &str = "outbox";

/// The id that [`part`] made a part of a key of.
fn whole<T: std::str::FromStr>(part: &str) -> Option<T> {
    part.replace("%3A", ":").replace("%25", "%").parse().ok()
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
        let keys = Keys::new("cs:", &[]);
        let (user, platform): (UserId, PlatformId) = ("42".parse().unwrap(), "7".parse().unwrap());
        assert_eq!(keys.user(&user), "cs:user:42");
        assert_eq!(keys.entity(&EntityKey::UserSettings(user.clone(), platform)), "cs:user_settings:42:7");
        assert_eq!(keys.user_sessions(&user), "cs:user_sessions:42");
        assert_eq!(keys.forgotten(&EntityKey::User(user)), "cs:forgotten:user:42");
        let id = SessionId::from_bytes([65; 32]);
        assert_eq!(keys.session(&id), "cs:session:QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE");
        assert_eq!(keys.activity(&id), "cs:activity:1");
    }

    #[test]
    fn a_key_leads_back_to_what_it_names() {
        let keys = Keys::new("cs:", &[]);
        let id = SessionId::from_bytes([65; 32]);
        assert_eq!(keys.change(keys.session(&id).as_bytes()), Some(Change::Session(id)));
        for name in ["42", "a:b", "a%3Ab", "%25", "\u{e4} b"] {
            let (user, platform): (UserId, PlatformId) = (name.parse().unwrap(), name.parse().unwrap());
            for entity in [
                EntityKey::User(user.clone()),
                EntityKey::UserPlatforms(user.clone()),
                EntityKey::Platform(platform.clone()),
                EntityKey::UserSettings(user.clone(), platform.clone()),
                EntityKey::PlatformStats(user, platform),
            ] {
                let key = keys.entity(&entity);
                assert!(keys.tracked().any(|prefix| key.starts_with(&prefix)), "{key}");
                assert_eq!(keys.change(key.as_bytes()), Some(Change::Entity(entity)));
            }
        }
        assert!(keys.tracked().any(|prefix| prefix == keys.outbox()));
        assert_eq!(keys.change(keys.outbox().as_bytes()), Some(Change::Ends));
        let user: UserId = "a:b".parse().unwrap();
        assert_eq!(keys.change(keys.events(&user).as_bytes()), Some(Change::Events(user)));
        for others in
            ["cs:activity:1", "other:session:x", "cs:user_sessions:42", "cs:forgotten:user:42", "", "cs:"]
        {
            assert_eq!(keys.change(others.as_bytes()), None, "{others}");
        }
        assert_eq!(keys.change(b"cs:session:not-an-id"), Some(Change::Everything));
    }

    #[test]
    fn a_key_of_another_framework_leads_to_its_session_and_overlapping_prefixes_are_asked_for_once() {
        let keys = |foreign: &[&str]| {
            let foreign: Vec<String> = foreign.iter().map(|prefix| (*prefix).to_owned()).collect();
            Keys::new("cs:", &foreign)
        };
        let express = keys(&["sess:"]);
        assert_eq!(express.change(b"sess:abc"), Some(Change::Session(SessionId::of_token(b"sess:abc"))));
        assert_eq!(express.change(b"other:abc"), None);
        assert!(express.tracked().any(|prefix| prefix == "sess:"));
        assert_eq!(express.tracked().count(), TRACKED.len() + 2);
        let overlapping = keys(&["sess:", "sess:admin:", "cs:", "sess:"]);
        assert_eq!(overlapping.tracked().collect::<Vec<_>>(), ["cs:", "sess:"]);
        assert_eq!(keys(&[""]).tracked().collect::<Vec<_>>(), [""]);
        let id = SessionId::from_bytes([65; 32]);
        assert_eq!(express.change(express.foreign(&id).as_bytes()), Some(Change::Session(id)));
    }

    #[test]
    fn two_pairs_of_ids_never_share_a_key() {
        let keys = Keys::new("cs:", &[]);
        let key = |user: &str, platform: &str| {
            keys.entity(&EntityKey::UserSettings(user.parse().unwrap(), platform.parse().unwrap()))
        };
        assert_ne!(key("a:b", "c"), key("a", "b:c"));
        assert_ne!(key("a%3Ab", "c"), key("a:b", "c"));
    }
}
