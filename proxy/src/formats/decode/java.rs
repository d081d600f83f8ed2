//! Java's object serialisation, as far as it writes single values: text, boxed numbers, booleans. Everything else is
//! opaque and is not read any further, so that no class description can lead anywhere.

use crate::formats::input::Input;
use crate::formats::value::{Builder, DecodeError, MOST_BYTES, Node, NodeId};

/// What a stream begins with: magic and version (Java Object Serialization Specification, 6.4.2).
pub(super) const HEAD: &[u8] = &[0xac, 0xed, 0, 5];
const NULL: u8 = 0x70;
const CLASS_DESCRIPTION: u8 = 0x72;
const OBJECT: u8 = 0x73;
const STRING: u8 = 0x74;
const LONG_STRING: u8 = 0x7c;
const END_OF_BLOCK: u8 = 0x78;
const ENUM: u8 = 0x7e;

/// Reads one value. Bytes after a value that is understood are refused.
pub(in crate::formats) fn read(bytes: &[u8], builder: &mut Builder) -> Result<NodeId, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let mut input = Input::new(bytes, "Java serialisation");
    input.expect(HEAD)?;
    let node = match input.byte()? {
        NULL => Node::Null,
        STRING => {
            let length = u16::from_be_bytes(input.array()?);
            text(input.take(length.into())?)
        }
        LONG_STRING => {
            let length = u64::from_be_bytes(input.array()?);
            text(input.take_long(length)?)
        }
        OBJECT => match boxed(&mut input)? {
            Some(node) => node,
            None => return builder.add(Node::Opaque),
        },
        ENUM | 0x71..=0x7e => return builder.add(Node::Opaque),
        _ => return Err(input.malformed()),
    };
    if !input.is_empty() {
        return Err(input.malformed());
    }
    match node {
        Node::Text(text) => builder.text(&text),
        node => builder.add(node),
    }
}

/// Java writes modified UTF-8; it is the same as UTF-8 but for NUL and what lies outside the first plane.
fn text(bytes: &[u8]) -> Node {
    Node::Text(bytes.into())
}

/// `java.lang.Long` and its like: class description, description of `Number`, the value. `None` for other classes.
fn boxed(input: &mut Input<'_>) -> Result<Option<Node>, DecodeError> {
    let Some((name, field)) = class(input)? else { return Ok(None) };
    match (name, field) {
        (b"java.lang.Boolean", Some(b'Z')) => {
            input.expect(&[NULL])?;
            match input.byte()? {
                0 => Ok(Some(Node::Bool(false))),
                1 => Ok(Some(Node::Bool(true))),
                _ => Err(input.malformed()),
            }
        }
        (b"java.lang.Long" | b"java.lang.Integer" | b"java.lang.Short" | b"java.lang.Byte", Some(kind)) => {
            match class(input)? {
                Some((b"java.lang.Number", None)) => input.expect(&[NULL])?,
                _ => return Err(input.malformed()),
            }
            Ok(Some(Node::Integer(match (name, kind) {
                (b"java.lang.Long", b'J') => i64::from_be_bytes(input.array()?),
                (b"java.lang.Integer", b'I') => i32::from_be_bytes(input.array()?).into(),
                (b"java.lang.Short", b'S') => i16::from_be_bytes(input.array()?).into(),
                (b"java.lang.Byte", b'B') => i8::from_be_bytes(input.array()?).into(),
                _ => return Err(input.malformed()),
            })))
        }
        _ => Ok(None),
    }
}

/// Name of a class, and the type of its field.
type Class<'a> = (&'a [u8], Option<u8>);

/// A class description without annotations and with at most one field, called `value`: name and type of the field.
/// `None` when it is another kind of description, which is then not read to its end.
fn class<'a>(input: &mut Input<'a>) -> Result<Option<Class<'a>>, DecodeError> {
    if input.byte()? != CLASS_DESCRIPTION {
        return Ok(None);
    }
    let length = u16::from_be_bytes(input.array()?);
    let name = input.take(length.into())?;
    // Version of the class, flags.
    input.take(8 + 1)?;
    let field = match u16::from_be_bytes(input.array()?) {
        0 => None,
        1 => {
            let kind = input.byte()?;
            if !matches!(kind, b'J' | b'I' | b'S' | b'B' | b'Z') {
                return Ok(None);
            }
            let length = u16::from_be_bytes(input.array()?);
            if input.take(length.into())? != b"value" {
                return Ok(None);
            }
            Some(kind)
        }
        _ => return Ok(None),
    };
    input.expect(&[END_OF_BLOCK])?;
    Ok(Some((name, field)))
}
