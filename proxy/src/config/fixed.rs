//! What cannot change while a process runs: addresses, stores, what the stores' clients were opened with. A reload that
//! would change it is refused, and says by name which keys are meant. Knows values only by their digests.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::document::join;
use super::raw;

/// Sections, and keys of sections, that are read once, when the process starts.
const FIXED: [&str; 14] = [
    "admin.address",
    "cache",
    "directory",
    "events",
    "resolve",
    "session.absolute_timeout",
    "session.idle_timeout",
    "session.impersonation_roles",
    "session.platform_switches_per_hour",
    "session.rotation_grace",
    "session.sessions_per_user",
    "session.touch_interval",
    "session.when_exceeded",
    "store",
];

/// Digests of the values that cannot change, by key.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Fixed {
    values: BTreeMap<String, [u8; 32]>,
}

impl fmt::Debug for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixed").finish_non_exhaustive()
    }
}

impl Fixed {
    /// What `file` says about fixed keys.
    pub(super) fn of(file: &raw::File) -> Self {
        let mut fixed = Self::default();
        // Plain data: it was read from JSON a moment ago.
        let tree = serde_json::to_value(file).unwrap_or_default();
        fixed.walk("", &tree);
        for listen in tree["listen"].as_array().into_iter().flatten() {
            let place = listen.get("address").or(listen.get("socket")).and_then(Value::as_str);
            let key = format!("listen (\"{}\")", place.unwrap_or_default());
            let shape = (&listen["h2c"], &listen["socket_mode"]);
            fixed.note(&key, format!("{shape:?}").as_bytes());
        }
        fixed
    }

    fn walk(&mut self, key: &str, value: &Value) {
        match value {
            Value::Object(entries) => {
                for (name, value) in entries {
                    self.walk(&join(key, name), value);
                }
            }
            other if is_fixed(key) => self.note(key, other.to_string().as_bytes()),
            _ => {}
        }
    }

    /// Takes note of the content behind a secret, which may change although the file says the same.
    pub(super) fn note_secret(&mut self, key: &str, content: &[u8]) {
        if is_fixed(key) {
            self.note(&format!("{key} (its content)"), content);
        }
    }

    fn note(&mut self, key: &str, value: &[u8]) {
        self.values.insert(key.to_owned(), Sha256::digest(value).into());
    }

    /// The keys that `newer` sets otherwise, by name.
    #[must_use]
    pub fn differences(&self, newer: &Self) -> Vec<String> {
        let changed = |(key, value): &(&String, &[u8; 32])| newer.values.get(*key) != Some(value);
        let added = |key: &&String| !self.values.contains_key(*key);
        let mut keys: Vec<String> = self.values.iter().filter(changed).map(|(key, _)| key.clone()).collect();
        keys.extend(newer.values.keys().filter(added).cloned());
        keys.sort();
        keys
    }
}

fn is_fixed(key: &str) -> bool {
    FIXED
        .iter()
        .any(|fixed| key.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.')))
}

#[cfg(test)]
mod tests {
    use super::{FIXED, Fixed};
    use crate::config::{self, Snapshot};

    #[test]
    fn the_book_names_everything_that_needs_a_restart() {
        let page = include_str!("../../../docs/operating.md");
        let told = page.split("**What needs a restart.**").nth(1).unwrap().split("##").next().unwrap();
        for key in FIXED {
            let is_told = match key.split_once('.') {
                None => told.contains(&format!("`[{key}]`")),
                // Either whole, or among the keys of the section.
                Some((section, name)) => {
                    let listed = [format!("`[{section}]` "), format!("`{name}`")];
                    told.contains(&format!("`{key}`")) || listed.iter().all(|text| told.contains(text))
                }
            };
            assert!(is_told, "docs/operating.md does not say that `{key}` needs a restart");
        }
    }

    fn snapshot(more: &str) -> Snapshot {
        let text = format!(
            "[keys]\ntoken = [{{ id = \"t\", secret = {{ env = \"TOKEN\" }} }}]\n\
             csrf = [{{ id = \"c\", secret = {{ env = \"TOKEN\" }} }}]\n\
             [[listen]]\naddress = \"127.0.0.1:1\"\n{more}"
        );
        let key = |name: &str| (name == "TOKEN").then(|| "a token key of more than 32 bytes!".to_owned());
        config::parse(&text, "test.toml", &key).unwrap()
    }

    fn differences(one: &str, other: &str) -> Vec<String> {
        snapshot(one).fixed.differences(&snapshot(other).fixed)
    }

    #[test]
    fn what_a_reload_may_change_is_no_difference() {
        assert_eq!(differences("", "[log]\nlevel = \"debug\"\n[limits]\nhead_fields = 7\n"), [""; 0]);
        assert_eq!(differences("", "trusted_proxies = [\"10.0.0.0/8\"]\n"), [""; 0]);
    }

    #[test]
    fn what_needs_a_restart_is_told_by_name() {
        assert_eq!(differences("", "[store]\ntimeout = \"7ms\"\n"), ["store.timeout"]);
        assert_eq!(
            differences("", "[session]\nimpersonation_roles = [\"admin\"]\n[events]\nheartbeat = \"9s\"\n"),
            ["events.heartbeat", "session.impersonation_roles"]
        );
        assert_eq!(differences("", "h2c = true\n"), ["listen (\"127.0.0.1:1\")"]);
        assert_eq!(
            differences("[[listen]]\naddress = \"127.0.0.1:2\"\n", "[[listen]]\naddress = \"127.0.0.1:3\"\n"),
            ["listen (\"127.0.0.1:2\")", "listen (\"127.0.0.1:3\")"]
        );
    }

    #[test]
    fn the_content_behind_a_fixed_secret_counts_and_is_never_shown() {
        let (mut one, mut other) = (Fixed::default(), Fixed::default());
        one.note_secret("store.password", b"old password");
        other.note_secret("store.password", b"new password");
        other.note_secret("keys.token[0].secret", b"rotates at any time");
        assert_eq!(one.differences(&other), ["store.password (its content)"]);
        assert!(!format!("{other:?}").contains("password"));
    }
}
