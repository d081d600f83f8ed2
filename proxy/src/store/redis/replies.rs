//! What Redis replies, read: everything that is not what was asked for is a failure or unreadable, never "missing".

use std::time::Duration;

use redis::Value;

use crate::clock::Timestamp;
use crate::store::{Lookup, StoreError, Uses, record};

/// Pairs, as RESP3 nests them, or flat.
pub(super) fn pairs(value: &Value) -> Vec<(&Value, &Value)> {
    let Value::Array(items) = value else { return Vec::new() };
    if items.iter().all(|item| matches!(item, Value::Array(_))) {
        let nested = items.iter().filter_map(|item| match item {
            Value::Array(pair) => Some((pair.first()?, pair.get(1)?)),
            _ => None,
        });
        return nested.collect();
    }
    items.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect()
}

/// Reads one reply to GET: a key of the wrong type holds something unreadable, any other refusal is a failure.
pub(super) fn lookup<T>(value: Value, decode: impl Fn(&[u8]) -> Lookup<T>) -> Result<Lookup<T>, StoreError> {
    match value {
        Value::Nil => Ok(Lookup::Missing),
        Value::ServerError(error) if error.code() == "WRONGTYPE" => Ok(Lookup::Unreadable),
        Value::ServerError(_) => Err(StoreError::Unavailable),
        value => Ok(match bytes_of(&value) {
            Some(record::FORGOTTEN | record::FORGOTTEN_IN_USE) => Lookup::Missing,
            Some(bytes) => decode(bytes),
            None => Lookup::Unreadable,
        }),
    }
}

/// A time of last use. When the server refuses to say, so do we: "never seen" would make a session idle.
pub(super) fn time_of(score: &Value) -> Result<Option<Timestamp>, StoreError> {
    let millis = match score {
        Value::Nil => return Ok(None),
        Value::Double(number) => Some(*number),
        value => bytes_of(value).and_then(|bytes| std::str::from_utf8(bytes).ok()?.parse().ok()),
    };
    // Beyond 2^53 a score is no time in milliseconds, and no longer exact.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked before"
    )]
    match millis {
        Some(number) if (0.0..9_007_199_254_740_992.0).contains(&number) => {
            Ok(Some(Timestamp::from_millis(number as u64)))
        }
        _ => Err(StoreError::Unavailable),
    }
}

pub(super) fn bytes_of(value: &Value) -> Option<&[u8]> {
    match value {
        Value::BulkString(bytes) => Some(bytes),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text.as_bytes()),
        _ => None,
    }
}

/// What the answers to INCR and PTTL, the first and the last, say.
pub(super) fn uses(values: &[Value]) -> Option<Uses> {
    let (Some(Value::Int(count)), Some(Value::Int(left))) = (values.first(), values.last()) else {
        return None;
    };
    let ends_in = Duration::from_millis(u64::try_from(*left).unwrap_or(0));
    Some(Uses { count: u64::try_from(*count).ok()?, ends_in })
}

pub(super) fn exactly<const N: usize>(values: Vec<Value>) -> Result<[Value; N], StoreError> {
    values.try_into().map_err(|_| StoreError::Unavailable)
}
