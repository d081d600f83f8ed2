//! How records are written into a store and read back, whoever wrote them: JSON with a version field, bounded in
//! size and depth. What cannot be read is `Unreadable`, never an error and never a panic.

use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Entity, EntityKey, Lookup, StoredSession, UnconfirmedEnd};
use crate::clock::Timestamp;
use crate::context::{Platform, PlatformId, Session, SessionId, User, UserId};

/// The version of the records that this program writes, and the only one it reads.
pub(super) const VERSION: u64 = 1;
/// The largest record that is read or written. Ours are under 2 KiB; settings are the applications'.
pub(super) const LARGEST: usize = 64 * 1024;
/// What lies in the place of a session that was ended.
pub(super) const TOMBSTONE: &[u8] = br#"{"v":1,"ended":true}"#;

/// What lies for a while in the place of an entity that was forgotten. No JSON, so that it is nobody's settings.
pub(super) const FORGOTTEN: &[u8] = b"forgotten";
/// The same where somebody had used the entity.
pub(super) const FORGOTTEN_IN_USE: &[u8] = b"forgotten in use";

/// A record under its version.
#[derive(Serialize)]
struct Versioned<'a, T> {
    v: u64,
    #[serde(flatten)]
    record: &'a T,
}

/// The record of a live session.
pub(super) fn encode_session(session: &Session) -> Vec<u8> {
    encode(&Versioned { v: VERSION, record: session })
}

/// Reads what lies under the key of the session `id`.
pub(super) fn decode_session(bytes: &[u8], id: &SessionId) -> Lookup<StoredSession> {
    if bytes == TOMBSTONE {
        return Lookup::Found(StoredSession::Ended);
    }
    let Some(fields) = parse_versioned(bytes) else { return Lookup::Unreadable };
    match fields.get("ended") {
        Some(Value::Bool(true)) => Lookup::Found(StoredSession::Ended),
        Some(_) => Lookup::Unreadable,
        None => {
            found(read(Value::Object(fields)), |session: &Session| session.id == *id, StoredSession::Live)
        }
    }
}

/// The key and the record of an entity; `None` instead of a record that would be too large to be read back.
pub(super) fn encode_entity(entity: &Entity) -> (EntityKey, Option<Vec<u8>>) {
    let bytes = match entity {
        Entity::User(user) => encode(&Versioned { v: VERSION, record: user }),
        Entity::Platform(platform) => encode(&Versioned { v: VERSION, record: platform }),
        Entity::UserPlatforms(_, ids) => encode(ids),
        Entity::UserSettings(_, _, settings) => encode(settings),
        Entity::PlatformStats(_, _, stats) => encode(stats),
    };
    (entity.key(), (bytes.len() <= LARGEST).then_some(bytes))
}

/// Reads what lies under the key of the user `id`.
pub(super) fn decode_user(bytes: &[u8], id: &UserId) -> Lookup<User> {
    found(
        parse_versioned(bytes).and_then(|fields| read(fields.into())),
        |user: &User| user.id == *id,
        |user| user,
    )
}

/// Reads what lies under the key of the platform `id`.
pub(super) fn decode_platform(bytes: &[u8], id: &PlatformId) -> Lookup<Platform> {
    let platform = parse_versioned(bytes).and_then(|fields| read(fields.into()));
    found(platform, |platform: &Platform| platform.id == *id, |platform| platform)
}

/// Reads a list of platform ids.
pub(super) fn decode_ids(bytes: &[u8]) -> Lookup<Vec<PlatformId>> {
    found(parse(bytes).and_then(read), |_| true, |ids| ids)
}

/// Reads a JSON value of the applications.
pub(super) fn decode_json(bytes: &[u8]) -> Lookup<Value> {
    parse(bytes).map_or(Lookup::Unreadable, Lookup::Found)
}

/// The name and the record of an end that is not durable yet: one for a session, and one for each time that all of a user
/// were ended, so that whoever takes the earlier out leaves the later.
pub(super) fn encode_end(end: &UnconfirmedEnd) -> (String, Vec<u8>) {
    let name = match &end.session {
        Some(id) => format!("session:{id}"),
        None => format!("user:{}:{}", end.at.as_millis(), end.user),
    };
    (name, encode(&Versioned { v: VERSION, record: end }))
}

/// Reads it.
pub(super) fn decode_end(bytes: &[u8]) -> Option<UnconfirmedEnd> {
    parse_versioned(bytes).and_then(|fields| read(fields.into()))
}

/// How far the changes of the directory were gone through, and on which run of the server that was written.
#[derive(Serialize, Deserialize)]
pub(super) struct Noted {
    pub(super) upto: String,
    pub(super) at: Timestamp,
    /// Empty when an ACL hides it.
    pub(super) run: String,
}

/// The record of a progress.
pub(super) fn encode_progress(noted: &Noted) -> Vec<u8> {
    encode(&Versioned { v: VERSION, record: noted })
}

/// Reads it; what cannot be read is as good as none: everything is gone through.
pub(super) fn decode_progress(bytes: &[u8]) -> Option<Noted> {
    parse_versioned(bytes).and_then(|fields| read(fields.into()))
}

/// A record that lies under another key than its own is as good as garbage.
fn found<T, U>(record: Option<T>, belongs: impl Fn(&T) -> bool, made: impl Fn(T) -> U) -> Lookup<U> {
    record.filter(|record| belongs(record)).map_or(Lookup::Unreadable, |record| Lookup::Found(made(record)))
}

/// A record of ours under its version.
pub(super) fn encode_versioned(record: &impl Serialize) -> Vec<u8> {
    encode(&Versioned { v: VERSION, record })
}

/// Reads a record of ours; `None` when it is none of this version.
pub(super) fn decode_versioned<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    parse_versioned(bytes).and_then(|fields| read(fields.into()))
}

fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("our records have text keys and no failing parts")
}

fn read<T: DeserializeOwned>(value: Value) -> Option<T> {
    serde_json::from_value(value).ok()
}

/// The fields of a record of the version we read.
fn parse_versioned(bytes: &[u8]) -> Option<Map<String, Value>> {
    match parse(bytes)? {
        Value::Object(fields) if fields.get("v").and_then(Value::as_u64) == Some(VERSION) => Some(fields),
        _ => None,
    }
}

/// Parses JSON in which no object names a key twice: two readers could see two different records in it. The parser
/// itself stops at a depth of 128.
fn parse(bytes: &[u8]) -> Option<Value> {
    if bytes.len() > LARGEST {
        return None;
    }
    serde_json::from_slice(bytes).ok().map(|Strict(value)| value)
}

/// A JSON value without repeated keys.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without repeated keys")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if fields.insert(key, value).is_some() {
                return Err(A::Error::custom("a key is repeated"));
            }
        }
        Ok(fields.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::contract::sample_session;

    #[test]
    fn a_session_is_read_back_as_it_was_written() {
        let session = sample_session("ana");
        let bytes = encode_session(&session);
        assert!(bytes.starts_with(br#"{"v":1,"#));
        assert_eq!(decode_session(&bytes, &session.id), Lookup::Found(StoredSession::Live(session)));
    }

    #[test]
    fn a_record_under_another_key_than_its_own_is_unreadable() {
        let bytes = encode_session(&sample_session("ana"));
        assert_eq!(decode_session(&bytes, &SessionId::of_token(b"another")), Lookup::Unreadable);
    }

    #[test]
    fn what_is_newer_broken_ambiguous_too_deep_or_too_large_is_unreadable() {
        let session = sample_session("ana");
        let text = String::from_utf8(encode_session(&session)).unwrap();
        let padding = " ".repeat(LARGEST);
        for hostile in [
            text.replace("\"v\":1", "\"v\":2"),
            text.replace("\"v\":1", "\"v\":\"1\""),
            text.replace("\"v\":1,", ""),
            text.replace("\"v\":1", "\"v\":1,\"\\u0076\":1"),
            text.replace("\"v\":1", "\"v\":1,\"note\":{\"a\":1,\"a\":2}"),
            text.replace("\"v\":1", "\"v\":1,\"ended\":false"),
            format!("{text}{text}"),
            format!("{text}{padding}"),
            "[".repeat(60_000),
            String::new(),
            "null".to_owned(),
        ] {
            assert_eq!(decode_session(hostile.as_bytes(), &session.id), Lookup::Unreadable, "{hostile:.120}");
        }
    }

    #[test]
    fn an_entity_too_large_to_be_read_back_is_not_written() {
        let user: UserId = "ana".parse().unwrap();
        let platform: PlatformId = "7".parse().unwrap();
        let large = Entity::UserSettings(user, platform, Some(Value::String("x".repeat(LARGEST))));
        assert_eq!(encode_entity(&large).1, None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let id = SessionId::of_token(b"x");
            prop_assert_eq!(decode_session(&bytes, &id), Lookup::Unreadable);
            let _ = decode_json(&bytes);
            let _ = decode_ids(&bytes);
        }

        #[test]
        fn every_altered_byte_of_a_record_is_read_without_a_panic(at in 0_usize..200, byte in any::<u8>()) {
            let session = sample_session("ana");
            let mut bytes = encode_session(&session);
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = decode_session(&bytes, &session.id);
        }
    }
}
