//! `MessagePack`, token by token through the `rmp` crate. Flask-Session writes plain maps; PHP marks arrays and objects
//! with an entry whose key is nil; Rails has types of its own, of which symbols and one kind of hash matter.

use rmp::Marker;

use crate::formats::input::Input;
use crate::formats::value::{Builder, DecodeError, Decoded, Depth, MOST_BYTES, Node, NodeId};

/// Rails' type of a symbol: its name.
const SYMBOL: u8 = 0;
/// Rails' type of a `HashWithIndifferentAccess`: the hash, written as a value of its own.
const HASH: u8 = 17;

/// Reads one value and nothing after it.
pub(in crate::formats) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    read(bytes, false)
}

/// As [`decode`], with the types of Rails.
pub(super) fn decode_rails(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    read(bytes, true)
}

fn read(bytes: &[u8], is_rails: bool) -> Result<Decoded, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let input = Input::new(bytes, "MessagePack");
    let mut reader = Reader { input, builder: Builder::default(), is_rails };
    let root = reader.value(Depth::default())?;
    if !reader.input.is_empty() {
        return Err(reader.input.malformed());
    }
    Ok(reader.builder.finish(root))
}

struct Reader<'a> {
    input: Input<'a>,
    builder: Builder,
    /// Whether the types of Rails are known.
    is_rails: bool,
}

impl Reader<'_> {
    fn value(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let marker = Marker::from_u8(self.input.byte()?);
        if let Some(number) = self.integer(marker)? {
            return self.builder.add(number);
        }
        match marker {
            Marker::Null => self.builder.add(Node::Null),
            Marker::True => self.builder.add(Node::Bool(true)),
            Marker::False => self.builder.add(Node::Bool(false)),
            Marker::F32 => {
                let bits = self.input.array()?;
                self.builder.add(Node::Float(f32::from_be_bytes(bits).into()))
            }
            Marker::F64 => {
                let bits = self.input.array()?;
                self.builder.add(Node::Float(f64::from_be_bytes(bits)))
            }
            Marker::FixStr(length) => self.text(length.into()),
            Marker::Str8 | Marker::Str16 | Marker::Str32 => {
                let length = self.length(marker)?;
                self.text(length)
            }
            Marker::Bin8 | Marker::Bin16 | Marker::Bin32 => {
                let length = self.length(marker)?;
                self.skip(length)
            }
            Marker::FixArray(length) => self.list(length.into(), depth),
            Marker::Array16 | Marker::Array32 => {
                let length = self.length(marker)?;
                self.list(length, depth)
            }
            Marker::FixMap(length) => self.map(length.into(), depth),
            Marker::Map16 | Marker::Map32 => {
                let length = self.length(marker)?;
                self.map(length, depth)
            }
            _ => self.extension(marker, depth),
        }
    }

    fn integer(&mut self, marker: Marker) -> Result<Option<Node>, DecodeError> {
        let number = match marker {
            Marker::FixPos(number) => number.into(),
            Marker::FixNeg(number) => number.into(),
            Marker::U8 => self.input.byte()?.into(),
            Marker::U16 => u16::from_be_bytes(self.input.array()?).into(),
            Marker::U32 => u32::from_be_bytes(self.input.array()?).into(),
            Marker::U64 => {
                let number = u64::from_be_bytes(self.input.array()?);
                return Ok(Some(i64::try_from(number).map_or(Node::Opaque, Node::Integer)));
            }
            Marker::I8 => i8::from_be_bytes(self.input.array()?).into(),
            Marker::I16 => i16::from_be_bytes(self.input.array()?).into(),
            Marker::I32 => i32::from_be_bytes(self.input.array()?).into(),
            Marker::I64 => i64::from_be_bytes(self.input.array()?),
            _ => return Ok(None),
        };
        Ok(Some(Node::Integer(number)))
    }

    fn length(&mut self, marker: Marker) -> Result<usize, DecodeError> {
        Ok(match marker {
            Marker::Str8 | Marker::Bin8 | Marker::Ext8 => self.input.byte()?.into(),
            Marker::Str16 | Marker::Bin16 | Marker::Array16 | Marker::Map16 | Marker::Ext16 => {
                u16::from_be_bytes(self.input.array()?).into()
            }
            _ => u32::from_be_bytes(self.input.array()?) as usize,
        })
    }

    fn text(&mut self, length: usize) -> Result<NodeId, DecodeError> {
        let text = self.input.take(length)?;
        self.builder.text(text)
    }

    fn skip(&mut self, length: usize) -> Result<NodeId, DecodeError> {
        self.input.take(length)?;
        self.builder.add(Node::Opaque)
    }

    /// A type byte, then the bytes.
    fn extension(&mut self, marker: Marker, depth: Depth) -> Result<NodeId, DecodeError> {
        let length = match marker {
            Marker::FixExt1 => 1,
            Marker::FixExt2 => 2,
            Marker::FixExt4 => 4,
            Marker::FixExt8 => 8,
            Marker::FixExt16 => 16,
            Marker::Ext8 | Marker::Ext16 | Marker::Ext32 => self.length(marker)?,
            _ => return Err(self.input.malformed()),
        };
        match self.input.byte()? {
            SYMBOL if self.is_rails => self.text(length),
            HASH if self.is_rails => self.within(length, depth),
            _ => self.skip(length),
        }
    }

    /// One value that fills so many bytes.
    fn within(&mut self, length: usize, depth: Depth) -> Result<NodeId, DecodeError> {
        let inner = Input::new(self.input.take(length)?, "MessagePack");
        let outer = std::mem::replace(&mut self.input, inner);
        let id = self.value(depth.deeper()?)?;
        let inner = std::mem::replace(&mut self.input, outer);
        if inner.is_empty() { Ok(id) } else { Err(inner.malformed()) }
    }

    /// Nothing is set aside for the length that is claimed: every element has to be there.
    fn list(&mut self, length: usize, depth: Depth) -> Result<NodeId, DecodeError> {
        let depth = depth.deeper()?;
        let list = self.builder.add(Node::List(Vec::new()))?;
        for _ in 0..length {
            let item = self.value(depth)?;
            self.builder.push(list, item)?;
        }
        Ok(list)
    }

    fn map(&mut self, length: usize, depth: Depth) -> Result<NodeId, DecodeError> {
        let depth = depth.deeper()?;
        let map = self.builder.add(Node::Map(Vec::new()))?;
        let mut is_object = false;
        for _ in 0..length {
            let key = self.value(depth)?;
            let value = self.value(depth)?;
            // PHP writes the class of an object, or the number 1 for an array, under nil.
            is_object |= *self.builder.node(key) == Node::Null
                && !matches!(self.builder.node(value), Node::Integer(1));
            self.builder.insert(map, key, value)?;
        }
        if is_object {
            self.builder.blacken(map);
        }
        Ok(map)
    }
}
