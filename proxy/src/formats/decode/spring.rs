//! Hashes: the plain text fields of an application's own layout, and the fields of Spring Session, each of them a value
//! in Java's serialisation or in JSON.

use super::{java, json};
use crate::formats::value::{Builder, DecodeError, Decoded, MOST_BYTES, Node, NodeId};

/// The fields of a hash in Redis.
pub type Fields = [(Vec<u8>, Vec<u8>)];

/// Every field is text.
pub(in crate::formats) fn decode_text(fields: &Fields) -> Result<Decoded, DecodeError> {
    decode_with(fields, |value, builder| builder.text(value))
}

/// Every field is a value of its own. One that cannot be read is opaque: applications keep objects of all kinds beside
/// the few values that matter here.
pub(in crate::formats) fn decode(fields: &Fields) -> Result<Decoded, DecodeError> {
    decode_with(fields, |value, builder| {
        let read = if value.starts_with(java::HEAD) {
            java::read(value, builder)
        } else {
            json::read(value, builder).map(|id| unwrapped(id, builder))
        };
        match read {
            Err(DecodeError::Malformed(_)) => builder.add(Node::Opaque),
            other => other,
        }
    })
}

fn decode_with(
    fields: &Fields,
    mut read: impl FnMut(&[u8], &mut Builder) -> Result<NodeId, DecodeError>,
) -> Result<Decoded, DecodeError> {
    if fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let mut builder = Builder::default();
    let map = builder.add(Node::Map(Vec::new()))?;
    for (name, value) in fields {
        let key = builder.text(name)?;
        let value = read(value, &mut builder)?;
        builder.insert(map, key, value)?;
    }
    Ok(builder.finish(map))
}

/// Jackson writes `["java.lang.Long", 42]` where the type would else be lost.
fn unwrapped(id: NodeId, builder: &Builder) -> NodeId {
    let Node::List(items) = builder.node(id) else { return id };
    match items.as_slice() {
        [class, value] => match builder.node(*class) {
            Node::Text(name) if name.starts_with(b"java.lang.") => *value,
            _ => id,
        },
        _ => id,
    }
}
