//! igbinary, the binary serialisation for PHP: a header, then one array of tagged values. Strings, and arrays and
//! objects, are numbered as they come, and referred to by number. Objects are read over, never built.

use super::php;
use crate::formats::input::Input;
use crate::formats::value::{Builder, DecodeError, Decoded, Depth, MOST_BYTES, Node, NodeId};

/// Reads a session.
pub(in crate::formats) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let input = Input::new(bytes, "igbinary");
    let mut reader = Reader {
        input,
        builder: Builder::default(),
        strings: Vec::new(),
        references: Vec::new(),
        left: php::Openings::default(),
    };
    // The two versions differ in nothing that is read here.
    if !matches!(reader.input.array()?, [0, 0, 0, 1 | 2]) {
        return Err(reader.input.malformed());
    }
    let root = reader.value(Depth::default())?;
    if !reader.input.is_empty() {
        return Err(reader.input.malformed());
    }
    Ok(reader.builder.finish(root))
}

struct Reader<'a> {
    input: Input<'a>,
    builder: Builder,
    strings: Vec<NodeId>,
    /// Arrays, objects, and scalars that something refers to.
    references: Vec<NodeId>,
    left: php::Openings,
}

impl Reader<'_> {
    fn value(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let tag = self.input.byte()?;
        match tag {
            0x25 => self.referred(depth),
            0x14..=0x16 => {
                let map = self.builder.add(Node::Map(Vec::new()))?;
                self.references.push(map);
                self.entries(map, tag - 0x14, depth)
            }
            0x17..=0x1c => self.object(tag, depth),
            0x01..=0x03 | 0x22..=0x24 => {
                let number = self.number(if tag < 0x22 { tag - 0x01 } else { tag - 0x22 })?;
                self.references.get(number).copied().ok_or(self.input.malformed())
            }
            _ => self.scalar(tag),
        }
    }

    fn scalar(&mut self, tag: u8) -> Result<NodeId, DecodeError> {
        match tag {
            0x00 => self.builder.add(Node::Null),
            0x04 => self.builder.add(Node::Bool(false)),
            0x05 => self.builder.add(Node::Bool(true)),
            0x0c => {
                let bits = self.input.array()?;
                self.builder.add(Node::Float(f64::from_be_bytes(bits)))
            }
            0x0d => self.builder.text(b""),
            0x06..=0x0b | 0x20 | 0x21 => self.integer(tag),
            0x0e..=0x10 => self.known_string(tag - 0x0e),
            0x11..=0x13 => self.new_string(tag - 0x11),
            _ => Err(self.input.malformed()),
        }
    }

    /// Even tags are positive, odd ones negative.
    fn integer(&mut self, tag: u8) -> Result<NodeId, DecodeError> {
        let size: u64 = match tag {
            0x06 | 0x07 => self.input.byte()?.into(),
            0x08 | 0x09 => u16::from_be_bytes(self.input.array()?).into(),
            0x0a | 0x0b => u32::from_be_bytes(self.input.array()?).into(),
            _ => u64::from_be_bytes(self.input.array()?),
        };
        let number = i64::try_from(size).ok().map(|size| if tag.is_multiple_of(2) { size } else { -size });
        self.builder.add(number.map_or(Node::Opaque, Node::Integer))
    }

    /// A number of 1, 2 or 4 bytes, as `width` 0, 1 or 2 says.
    fn number(&mut self, width: u8) -> Result<usize, DecodeError> {
        Ok(match width {
            0 => self.input.byte()?.into(),
            1 => u16::from_be_bytes(self.input.array()?).into(),
            _ => u32::from_be_bytes(self.input.array()?) as usize,
        })
    }

    fn new_string(&mut self, width: u8) -> Result<NodeId, DecodeError> {
        let length = self.number(width)?;
        let text = self.input.take(length)?;
        let id = self.builder.text(text)?;
        self.strings.push(id);
        Ok(id)
    }

    fn known_string(&mut self, width: u8) -> Result<NodeId, DecodeError> {
        let number = self.number(width)?;
        self.strings.get(number).copied().ok_or(self.input.malformed())
    }

    /// A value that is referred to later: arrays and objects have their number already, and so has what is referred to
    /// here for the second time.
    fn referred(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let has_number = matches!(self.input.peek(), Some(0x01..=0x03 | 0x14..=0x1c | 0x22..=0x24));
        let id = self.value(depth.deeper()?)?;
        if !has_number {
            self.references.push(id);
        }
        Ok(id)
    }

    fn entries(&mut self, map: NodeId, width: u8, depth: Depth) -> Result<NodeId, DecodeError> {
        let depth = depth.deeper()?;
        for _ in 0..self.number(width)? {
            let tag = self.input.byte()?;
            let key = match tag {
                0x06..=0x0b | 0x0d..=0x13 | 0x20 | 0x21 => self.scalar(tag)?,
                _ => return Err(self.input.malformed()),
            };
            let value = self.value(depth)?;
            let value = php::token(&mut self.builder, &mut self.left, (key, value), depth);
            self.builder.insert(map, key, value)?;
        }
        Ok(map)
    }

    /// The class, then either its parts as an array or bytes that only the class understands.
    fn object(&mut self, tag: u8, depth: Depth) -> Result<NodeId, DecodeError> {
        let class = if tag < 0x1a { self.new_string(tag - 0x17) } else { self.known_string(tag - 0x1a) }?;
        let id = self.builder.add(Node::Object(class, Vec::new()))?;
        self.references.push(id);
        match self.input.byte()? {
            tag @ 0x14..=0x16 => self.entries(id, tag - 0x14, depth),
            tag @ 0x1d..=0x1f => {
                let length = self.number(tag - 0x1d)?;
                self.input.take(length)?;
                Ok(id)
            }
            // A case of an enum: its name.
            0x27 => {
                let tag = self.input.byte()?;
                if !matches!(tag, 0x0e..=0x13) {
                    return Err(self.input.malformed());
                }
                self.scalar(tag)?;
                Ok(id)
            }
            _ => Err(self.input.malformed()),
        }
    }
}
