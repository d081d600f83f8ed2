//! What Laravel's redis driver keeps: a string, serialized by PHP or by the connection, that holds a PHP-serialized array,
//! JSON, or an encrypted envelope around one more such string.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{json, php, phpredis};
use crate::formats::envelope::Encrypter;
use crate::formats::value::{DecodeError, Decoded, MOST_BYTES};

/// Reads a session. With an encrypter it has to be encrypted, without one it must not be: the application would take
/// neither for the other.
pub(in crate::formats) fn decode(
    bytes: &[u8],
    encrypter: Option<&Encrypter>,
    serialization: Serialization,
) -> Result<Decoded, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    opened(&phpredis::laravel_text(&phpredis::expand(bytes)?)?, encrypter, serialization)
}

/// Reads a session as the database driver keeps it: base64 of what the redis driver has in its string.
pub(in crate::formats) fn decode_base64(
    bytes: &[u8],
    encrypter: Option<&Encrypter>,
    serialization: Serialization,
) -> Result<Decoded, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let payload = STANDARD.decode(bytes).map_err(|_| DecodeError::Malformed("Laravel payload"))?;
    opened(&payload, encrypter, serialization)
}

fn opened(
    payload: &[u8],
    encrypter: Option<&Encrypter>,
    serialization: Serialization,
) -> Result<Decoded, DecodeError> {
    let Some(encrypter) = encrypter else { return content(payload, serialization) };
    let opened = encrypter.open(payload).ok_or(DecodeError::Malformed("Laravel envelope"))?;
    content(php::unwrap_text(&opened)?, serialization)
}

/// How the array of a session is written (`session.serialization`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Serialization {
    /// Whichever it is.
    #[default]
    Either,
    /// As PHP writes it.
    Php,
    /// As JSON.
    Json,
}

fn content(payload: &[u8], serialization: Serialization) -> Result<Decoded, DecodeError> {
    match (payload.first(), serialization) {
        (Some(b'{'), Serialization::Either | Serialization::Json) => json::decode(payload),
        (Some(b'a'), Serialization::Either | Serialization::Php) => php::decode_serialized(payload),
        _ => Err(DecodeError::Malformed("Laravel session")),
    }
}
