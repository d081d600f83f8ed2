//! How a key comes into use while the proxy runs: a verifier may keep the public keys for a while, so a key is published
//! at least that long before it signs (THREATS G8).

use std::time::Duration;

use crate::clock::Timestamp;
use crate::keys::{JwtAlgorithm, SigningKey};

/// Since when keys are published that were not there from the start.
#[derive(Clone, Debug, Default)]
pub struct Published {
    since: Vec<(SigningKey, Timestamp)>,
}

impl Published {
    /// Lets those of `keys` that verifiers may not know yet wait until they do, unless there is no other key to sign
    /// with. `before` are the keys of the rules before these, `max_age` is how long verifiers keep what they know.
    /// Answers the ids of keys that wait because of this.
    pub fn hold_back(
        &mut self,
        keys: &mut [SigningKey],
        before: &[SigningKey],
        max_age: Duration,
        now: Timestamp,
    ) -> Vec<String> {
        for key in keys.iter().filter(|key| key.algorithm != JwtAlgorithm::Hs256) {
            let known =
                before.iter().chain(self.since.iter().map(|(key, _)| key)).any(|known| is_same(known, key));
            if !known {
                self.since.push((key.clone(), now));
            }
        }
        self.since.retain(|(_, since)| since.plus(max_age) > now);
        let due = |key: &SigningKey| {
            let entry = self.since.iter().find(|(known, _)| is_same(known, key));
            entry.map(|(_, since)| since.plus(max_age))
        };
        let may_sign =
            |key: &SigningKey| due(key).is_none() && key.active_from.is_none_or(|from| from <= now);
        if !keys.iter().any(may_sign) {
            return Vec::new();
        }
        let mut waiting = Vec::new();
        for key in keys {
            if let Some(due) = due(key)
                && key.active_from.is_none_or(|from| from < due)
            {
                key.active_from = Some(due);
                waiting.push(key.id.clone());
            }
        }
        waiting
    }
}

fn is_same(one: &SigningKey, other: &SigningKey) -> bool {
    one.id == other.id && one.secret.matches(other.secret.expose())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    const MAX_AGE: Duration = Duration::from_mins(5);

    fn key(id: &str, active_from: Option<u64>) -> SigningKey {
        SigningKey {
            id: id.into(),
            algorithm: JwtAlgorithm::EdDsa,
            secret: Secret::from(format!("the secret of {id}").as_str()),
            active_from: active_from.map(Timestamp::from_secs),
        }
    }

    fn starts(keys: &[SigningKey]) -> Vec<Option<u64>> {
        keys.iter().map(|key| key.active_from.map(Timestamp::as_secs)).collect()
    }

    #[test]
    fn a_new_key_signs_only_when_every_verifier_knows_it() {
        let (mut published, old) = (Published::default(), [key("old", None)]);
        let read = || [key("new", None), key("old", None)];
        let mut first = read();
        let now = Timestamp::from_secs(1_000);
        assert_eq!(published.hold_back(&mut first, &old, MAX_AGE, now), ["new"]);
        assert_eq!(starts(&first), [Some(1_300), None]);
        // Read again meanwhile: it waits no longer and no shorter.
        let mut again = read();
        let later = Timestamp::from_secs(1_100);
        assert_eq!(published.hold_back(&mut again, &first, MAX_AGE, later), ["new"]);
        assert_eq!(starts(&again), [Some(1_300), None]);
        let mut at_last = read();
        assert!(published.hold_back(&mut at_last, &again, MAX_AGE, Timestamp::from_secs(1_300)).is_empty());
        assert_eq!(starts(&at_last), [None, None]);
    }

    #[test]
    fn a_later_start_of_the_operators_choice_stays() {
        let (mut published, old) = (Published::default(), [key("old", None)]);
        let mut keys = [key("new", Some(9_000)), key("old", None)];
        let now = Timestamp::from_secs(1_000);
        assert!(published.hold_back(&mut keys, &old, MAX_AGE, now).is_empty());
        assert_eq!(starts(&keys), [Some(9_000), None]);
    }

    #[test]
    fn where_no_older_key_is_left_the_new_one_signs_at_once() {
        let (mut published, old) = (Published::default(), [key("stolen", None)]);
        let mut keys = [key("new", None)];
        assert!(published.hold_back(&mut keys, &old, MAX_AGE, Timestamp::from_secs(1_000)).is_empty());
        assert_eq!(starts(&keys), [None]);
    }

    #[test]
    fn another_secret_under_an_old_name_is_a_new_key() {
        let (mut published, old) = (Published::default(), [key("a", None), key("b", None)]);
        let mut keys = [SigningKey { secret: Secret::from("another"), ..key("a", None) }, key("b", None)];
        let now = Timestamp::from_secs(1_000);
        assert_eq!(published.hold_back(&mut keys, &old, MAX_AGE, now), ["a"]);
    }
}
