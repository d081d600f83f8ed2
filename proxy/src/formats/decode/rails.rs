//! What Rails keeps: Marshal, JSON, or one of the envelopes of its cache store around Marshal (6.1: an object; 7.0: one
//! byte; 7.1 and later: a binary head, perhaps around `MessagePack` or JSON). Envelopes say when the session ends.

use super::{json, marshal, msgpack, zlib};
use crate::clock::Timestamp;
use crate::formats::value::{DecodeError, Decoded, Node, NodeId};

const MALFORMED: DecodeError = DecodeError::Malformed("Rails cache entry");
/// The class that Rails up to 6.1 puts around a value.
const ENTRY: &[u8] = b"ActiveSupport::Cache::Entry";
/// Head of an entry from Rails 7.1 on: signature, type, end of life, length of the version.
const HEAD_7_1: usize = 2 + 1 + 8 + 4;
/// The type of an entry that holds Marshal.
const OBJECT: u8 = 1;
/// Bit of the type: the payload is compressed.
const COMPRESSED: u8 = 0x80;
/// What Rails writes in front of its `MessagePack`: the number 128 in two bytes, which nothing else begins with.
const MESSAGE_PACK: &[u8] = &[0xcc, 0x80];

/// Reads a session, whichever of these it is.
pub(in crate::formats) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    match bytes {
        [0x00, 0x11, ..] => entry_7_1(bytes),
        [0x00, rest @ ..] => entry_7_0(marshal::decode(rest)?),
        [0x01, rest @ ..] => entry_7_0(marshal::decode(&zlib::inflate(rest)?)?),
        [b'{', ..] => json::decode(bytes),
        _ => entry_6_1(marshal::decode(bytes)?),
    }
}

/// `00 11`, type, end of life as a float, length of the version, version, payload.
fn entry_7_1(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let (head, rest) = bytes.split_first_chunk::<HEAD_7_1>().ok_or(MALFORMED)?;
    let [_, _, kind, e0, e1, e2, e3, e4, e5, e6, e7, v0, v1, v2, v3] = *head;
    let ends = f64::from_le_bytes([e0, e1, e2, e3, e4, e5, e6, e7]);
    // -1: there is no version.
    let version = usize::try_from(i32::from_le_bytes([v0, v1, v2, v3])).unwrap_or(0);
    let payload = rest.get(version..).ok_or(MALFORMED)?;
    if kind & !COMPRESSED != OBJECT {
        return Err(MALFORMED);
    }
    let mut session =
        if kind & COMPRESSED == 0 { object(payload)? } else { object(&zlib::inflate(payload)?)? };
    session.ends = (ends >= 0.0).then(|| moment(ends));
    Ok(session)
}

fn object(payload: &[u8]) -> Result<Decoded, DecodeError> {
    match payload.strip_prefix(MESSAGE_PACK) {
        Some(packed) => msgpack::decode_rails(packed),
        None if payload.starts_with(b"{") => json::decode(payload),
        None => marshal::decode(payload),
    }
}

/// `[value]`, `[value, end]` or `[value, end, version]`.
fn entry_7_0(entry: Decoded) -> Result<Decoded, DecodeError> {
    let Node::List(parts) = entry.root() else { return Ok(entry) };
    let value = *parts.first().ok_or(MALFORMED)?;
    let ends = match parts.get(1).map(|id| entry.node(*id)) {
        None | Some(Node::Null) => None,
        Some(end) => Some(seconds(end).map(moment).ok_or(MALFORMED)?),
    };
    let mut session = entry.with_root(value);
    session.ends = ends;
    Ok(session)
}

/// An object with `@value`, `@created_at` and `@expires_in`; any other value is the session itself.
fn entry_6_1(entry: Decoded) -> Result<Decoded, DecodeError> {
    let Node::Object(class, parts) = entry.root() else { return Ok(entry) };
    if !matches!(entry.node(*class), Node::Text(name) if **name == *ENTRY) {
        return Ok(entry);
    }
    let part = |name: &str| entry.entry(parts, name.as_bytes()).map_err(|_| MALFORMED);
    let number = |name: &str| part(name).map(|id| id.and_then(|id| seconds(entry.node(id))));
    let (created, lasts) = (number("@created_at")?, number("@expires_in")?);
    let value = part("@value")?.ok_or(MALFORMED)?;
    let is_compressed = part("@compressed")?.is_some_and(|id| *entry.node(id) == Node::Bool(true));
    let mut session = inner(entry, value, is_compressed)?;
    session.created = created.map(moment);
    session.ends = match (created, lasts) {
        (Some(created), Some(lasts)) => Some(moment(created + lasts)),
        (None, Some(_)) => return Err(MALFORMED),
        (_, None) => None,
    };
    Ok(session)
}

fn inner(entry: Decoded, value: NodeId, is_compressed: bool) -> Result<Decoded, DecodeError> {
    if !is_compressed {
        return Ok(entry.with_root(value));
    }
    match entry.node(value) {
        Node::Text(bytes) => marshal::decode(&zlib::inflate(bytes)?),
        _ => Err(MALFORMED),
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds of an age far below 2^52")]
fn seconds(node: &Node) -> Option<f64> {
    match node {
        Node::Integer(number) => Some(*number as f64),
        Node::Float(number) => Some(*number),
        _ => None,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates; NaN becomes the epoch"
)]
fn moment(seconds: f64) -> Timestamp {
    Timestamp::from_millis((seconds * 1000.0) as u64)
}
