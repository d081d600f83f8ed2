//! JSON (RFC 8259), read by `serde_json` into nodes. A key that occurs twice is found out when it is asked for.

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

/// As [`decode`], into a session that holds other values too.
pub(super) fn read(bytes: &[u8], builder: &mut Builder) -> Result<NodeId, DecodeError> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let mut limit = None;
    let value = Value { builder, depth: Depth::default(), limit: &mut limit };
    let root = value.deserialize(&mut reader);
    let root = root.map_err(|_| limit.unwrap_or(MALFORMED))?;
    reader.end().map_err(|_| MALFORMED)?;
    Ok(root)
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
