//! JSON (RFC 8259), read by `serde_json` into nodes. A key that occurs twice is found out when it is asked for. Half of a
//! character beyond the first plane, which JavaScript and Python write where a text was cut within one, costs nobody
//! their session: the crate would refuse the whole.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use crate::formats::value::{Builder, DecodeError, Decoded, Depth, MOST_BYTES, Node, NodeId};

const MALFORMED: DecodeError = DecodeError::Malformed("JSON");

/// Reads one JSON value and nothing after it.
pub(in crate::formats) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let mut builder = Builder::default();
    let root = read(bytes, &mut builder)?;
    Ok(builder.finish(root))
}

/// As [`decode`], with `NaN` and `Infinity`: Python writes them, and reads them again.
pub(super) fn decode_python(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    match decode(bytes) {
        Err(MALFORMED) => decode(&without_words(bytes)),
        other => other,
    }
}

/// The same text, with a fraction for each of those words: it is no identifier either.
fn without_words(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    let (mut at, mut is_text) = (0, false);
    while let Some(byte) = bytes.get(at) {
        let word = [b"NaN".as_slice(), b"Infinity"].into_iter().find(|word| bytes[at..].starts_with(word));
        let is_part =
            |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'.');
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let is_alone = !is_part(before) && !is_part(bytes.get(at + word.map_or(0, <[u8]>::len)));
        at += match (byte, word) {
            (b'\\', _) if is_text => 2,
            (b'"', _) => {
                is_text = !is_text;
                1
            }
            (_, Some(word)) if !is_text && is_alone => {
                out[at..at + word.len()].copy_from_slice(&b"0.000000"[..word.len()]);
                word.len()
            }
            _ => 1,
        };
    }
    out
}

/// As [`decode`], into a session that holds other values too.
pub(super) fn read(bytes: &[u8], builder: &mut Builder) -> Result<NodeId, DecodeError> {
    let whole = without_halves(bytes);
    let mut reader = serde_json::Deserializer::from_slice(&whole);
    let mut limit = None;
    let value = Value { builder, depth: Depth::default(), limit: &mut limit };
    let root = value.deserialize(&mut reader);
    let root = root.map_err(|_| limit.unwrap_or(MALFORMED))?;
    reader.end().map_err(|_| MALFORMED)?;
    Ok(root)
}

/// The same text, with a NUL for each escape that is half of a pair and alone. No identifier has a NUL in it.
fn without_halves(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut out = Cow::Borrowed(bytes);
    let mut at = 0;
    while let Some(found) = bytes.get(at..).and_then(|rest| memchr::memchr(b'\\', rest)) {
        at += found;
        match (unit(bytes, at), unit(bytes, at + ESCAPE)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => at += 2 * ESCAPE,
            (Some(0xd800..=0xdfff), _) => {
                out.to_mut()[at..at + ESCAPE].copy_from_slice(b"\\u0000");
                at += ESCAPE;
            }
            // A backslash, and what it is in front of.
            _ => at += 2,
        }
    }
    out
}

/// Length of `\u` and four digits.
const ESCAPE: usize = 6;

/// What such an escape stands for, if there is one.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + ESCAPE)?.strip_prefix(b"\\u").filter(|digits| digits[0] != b'+')?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// One value about to be read.
struct Value<'a> {
    builder: &'a mut Builder,
    depth: Depth,
    /// The limit that was met; the crate's own error cannot carry it.
    limit: &'a mut Option<DecodeError>,
}

impl Value<'_> {
    fn add<E: Error>(self, node: Node) -> Result<NodeId, E> {
        let added = self.builder.add(node);
        noted(added, self.limit)
    }
}

fn noted<T, E: Error>(result: Result<T, DecodeError>, limit: &mut Option<DecodeError>) -> Result<T, E> {
    result.map_err(|error| {
        *limit = Some(error);
        E::custom(error)
    })
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = NodeId;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<NodeId, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = NodeId;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<NodeId, E> {
        self.add(Node::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<NodeId, E> {
        self.add(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<NodeId, E> {
        self.add(Node::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<NodeId, E> {
        self.add(i64::try_from(value).map_or(Node::Opaque, Node::Integer))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<NodeId, E> {
        self.add(Node::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<NodeId, E> {
        let added = self.builder.text(value.as_bytes());
        noted(added, self.limit)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<NodeId, A::Error> {
        let Self { builder, depth, limit } = self;
        let depth = noted(depth.deeper(), limit)?;
        let list = noted(builder.add(Node::List(Vec::new())), limit)?;
        while let Some(item) = items.next_element_seed(Value { builder, depth, limit })? {
            noted(builder.push(list, item), limit)?;
        }
        Ok(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<NodeId, A::Error> {
        let Self { builder, depth, limit } = self;
        let depth = noted(depth.deeper(), limit)?;
        let map = noted(builder.add(Node::Map(Vec::new())), limit)?;
        while let Some(key) = entries.next_key_seed(Value { builder, depth, limit })? {
            let value = entries.next_value_seed(Value { builder, depth, limit })?;
            noted(builder.insert(map, key, value), limit)?;
        }
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::locate::{Path, Unusable, identifier};

    #[test]
    fn half_a_character_costs_nobody_their_session_and_is_no_identity() {
        let id = |json: &str, path: &str| {
            let session = decode(json.as_bytes()).unwrap();
            identifier(&session, &[Path::parse(path)], true)
        };
        for half in
            [r"\ud83d", r"\uDE00", r"\ud83dx", r"\ud83d\ud83d", r"\ude00\ud83d", r"\\\ud83d", r"x\ud83d\n"]
        {
            let json = format!(r#"{{"name":"{half}","{half}":1,"user_id":42}}"#);
            assert_eq!(id(&json, "/user_id"), Ok(Some("42".to_owned())), "{half}");
            assert_eq!(id(&json, "/name"), Err(Unusable::NotOne), "{half}");
        }
        for (whole, read) in [
            (r"\ud83d\ude00", "\u{1f600}"),
            (r"\\ud83d", r"\ud83d"),
            (r"\\\ud83d\ude00", "\\\u{1f600}"),
            (r"\u00fc\/", "\u{fc}/"),
        ] {
            assert_eq!(
                id(&format!(r#"{{"name":"{whole}"}}"#), "/name"),
                Ok(Some(read.to_owned())),
                "{whole}"
            );
        }
        for wrong in [r"\ud8", r"\u+83d", r"\", r"\ud83d\", r"\x"] {
            assert!(decode(format!(r#"{{"name":"{wrong}"}}"#).as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pythons_words_for_numbers_cost_nobody_their_session_and_are_no_identity() {
        for word in ["NaN", "Infinity", "-Infinity"] {
            let json =
                format!(r#"{{"a\"NaN": [{word}, "NaN"], "user_id": 42, "id": {word}, "NaN":"{word}"}}"#);
            assert!(decode(json.as_bytes()).is_err());
            let session = decode_python(json.as_bytes()).unwrap();
            let id = |path: &str| identifier(&session, &[Path::parse(path)], false);
            assert_eq!(id("/user_id"), Ok(Some("42".to_owned())));
            assert_eq!(id("/id"), Err(Unusable::NotOne));
            assert_eq!(id("/NaN"), Ok(Some(word.to_owned())), "within a text it is one");
        }
        for wrong in ["4NaN", "NaN4", "-NaNN", "nan", "+Infinity", "1.NaN", "Infinity1", "1eInfinity", "\"\\"]
        {
            let json = format!(r#"{{"user_id": 42, "id": {wrong}}}"#);
            assert!(decode_python(json.as_bytes()).is_err(), "{wrong}");
        }
    }
}
