//! From the bytes in the store to a [`Decoded`]: one file per way of writing. Every decoder is pure, bounded in size,
//! depth and number of values, and refuses what follows the end. None of them runs anything.

pub(super) mod gob;
pub(super) mod igbinary;
pub(super) mod java;
pub(super) mod json;
pub mod laravel;
pub(super) mod marshal;
pub(super) mod msgpack;
pub(super) mod php;
mod phpredis;
pub(super) mod pickle;
pub(super) mod rails;
pub mod signed;
pub mod spring;
pub(super) mod squeezed;
pub(super) mod xz;
pub(super) mod zlib;

use self::signed::SignedValues;
use super::envelope::Encrypter;
use super::value::{DecodeError, Decoded, MOST_BYTES, Node};
use crate::clock::Timestamp;

/// What lies under a session's key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Raw {
    /// A string.
    Text(Vec<u8>),
    /// A hash: names and values.
    Hash(Vec<(Vec<u8>, Vec<u8>)>),
}

/// A way in which a session is written.
#[derive(Clone, Debug)]
pub enum Decoder {
    /// JSON.
    Json,
    /// `MessagePack`.
    Msgpack,
    /// JSON as Python writes it, which has words for numbers that are none.
    PythonJson,
    /// Python's pickle.
    Pickle,
    /// Django's caches: pickle, JSON or `MessagePack`, perhaps compressed.
    Django,
    /// Flask-Session: `MessagePack`, JSON or pickle, side by side while an application is upgraded; cachelib's pickle too.
    Flask,
    /// PHP, `php`: names and values in turn.
    Php,
    /// PHP, `php_serialize`: one array.
    PhpSerialize,
    /// PHP, `php_binary`.
    PhpBinary,
    /// PHP with `MessagePack`.
    PhpMsgpack,
    /// igbinary.
    Igbinary,
    /// Laravel.
    Laravel(Option<Encrypter>, laravel::Serialization),
    /// Laravel's table: the same in base64, without the text around it.
    LaravelTable(Option<Encrypter>, laravel::Serialization),
    /// Django's table: JSON or a pickle that is signed.
    DjangoTable(SignedValues),
    /// Ruby's Marshal.
    Marshal,
    /// Rails: Marshal, JSON or an entry of its cache.
    Rails,
    /// Go's gob.
    Gob,
    /// Go's scs: a gob with the end of the session beside it.
    Scs,
    /// A hash of plain text.
    HashText,
    /// Spring Session: a hash of Java or JSON values.
    Spring,
}

impl Decoder {
    /// Whether the session is a hash in Redis, not a string.
    #[must_use]
    pub const fn reads_hash(&self) -> bool {
        matches!(self, Self::HashText | Self::Spring)
    }

    /// Reads a session.
    ///
    /// # Errors
    /// It is of the wrong type, too large, or not well-formed.
    pub fn decode(&self, raw: &Raw) -> Result<Decoded, DecodeError> {
        match (self, raw) {
            (Self::HashText, Raw::Hash(fields)) => spring::decode_text(fields),
            (Self::Spring, Raw::Hash(fields)) => spring::decode(fields),
            (Self::HashText | Self::Spring, Raw::Text(_)) | (_, Raw::Hash(_)) => {
                Err(DecodeError::Malformed("Redis type"))
            }
            (_, Raw::Text(bytes)) => self.decode_text(bytes),
        }
    }

    fn decode_text(&self, bytes: &[u8]) -> Result<Decoded, DecodeError> {
        if bytes.len() > MOST_BYTES {
            return Err(DecodeError::TooLarge);
        }
        match self {
            Self::Json => json::decode(bytes),
            Self::PythonJson => json::decode_python(bytes),
            Self::Msgpack => msgpack::decode(bytes),
            Self::Pickle => pickle::decode(bytes),
            Self::Django => django(bytes),
            Self::Flask => flask(bytes),
            Self::Php => php::decode_session(&phpredis::expand(bytes)?),
            Self::PhpSerialize => php::decode_serialized(&phpredis::expand(bytes)?),
            Self::PhpBinary => php::decode_binary(&phpredis::expand(bytes)?),
            Self::PhpMsgpack => msgpack::decode(&phpredis::expand(bytes)?),
            Self::Igbinary => igbinary::decode(&phpredis::expand(bytes)?),
            Self::Laravel(encrypter, serialization) => {
                laravel::decode(bytes, encrypter.as_ref(), *serialization)
            }
            Self::LaravelTable(encrypter, serialization) => {
                laravel::decode_base64(bytes, encrypter.as_ref(), *serialization)
            }
            Self::DjangoTable(keys) => keys.decode(bytes),
            Self::Marshal => marshal::decode(bytes),
            Self::Rails => rails::decode(bytes),
            Self::Gob => gob::decode(bytes),
            Self::Scs => gob::decode_scs(bytes),
            Self::HashText | Self::Spring => Err(DecodeError::Malformed("Redis type")),
        }
    }
}

/// What applications in Python write, which one by its first bytes: `80 02` to `80 05` would be an empty map with
/// something behind it in `MessagePack`, and `{` a lone number.
fn python(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    match bytes {
        [0x80, 2..=5, ..] => pickle::decode(bytes),
        [b'{', ..] => json::decode_python(bytes),
        _ => msgpack::decode(bytes),
    }
}

/// Where Flask-Session keeps sessions through cachelib, a mark stands in front of the pickle.
fn flask(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    match bytes {
        [b'!', pickled @ ..] => pickle::decode(pickled),
        _ => python(bytes),
    }
}

/// The `HerdClient` of django-redis puts the session into a tuple: an object as a mark, the session, and when it ends.
fn django(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let session = match squeezed::expand(bytes)? {
        Some(plain) => python(&plain)?,
        None => python(bytes)?,
    };
    let Node::List(parts) = session.root() else { return Ok(session) };
    let [mark, inner, end] = *parts.as_slice() else { return Ok(session) };
    let ends = match (session.node(mark), session.node(inner), session.node(end)) {
        (Node::Opaque, Node::Map(_), Node::Integer(end)) => u64::try_from(*end).ok(),
        _ => return Ok(session),
    };
    let mut session = session.with_root(inner);
    session.ends = Some(ends.map_or(Timestamp::default(), Timestamp::from_secs));
    Ok(session)
}
