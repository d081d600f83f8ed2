//! Java's object serialisation (its specification, section 6.4): text, boxed numbers, UUIDs, maps, lists, and the fields
//! of whatever else there is by their names. Classes are descriptions in the stream and nothing more: none is looked up,
//! no object is ever made, and nothing that a class would do is done.

use std::borrow::Cow;

use crate::formats::input::Input;
use crate::formats::value::{Builder, DecodeError, Depth, MOST_BYTES, Node, NodeId};

/// What a stream begins with: magic and version.
pub(super) const HEAD: &[u8] = &[0xac, 0xed, 0, 5];
const NULL: u8 = 0x70;
const REFERENCE: u8 = 0x71;
const CLASS_DESCRIPTION: u8 = 0x72;
const OBJECT: u8 = 0x73;
const STRING: u8 = 0x74;
const ARRAY: u8 = 0x75;
const CLASS: u8 = 0x76;
const BLOCK: u8 = 0x77;
const END_OF_BLOCK: u8 = 0x78;
const LONG_BLOCK: u8 = 0x7a;
const LONG_STRING: u8 = 0x7c;
const PROXY_DESCRIPTION: u8 = 0x7d;
const ENUM: u8 = 0x7e;
/// The number of the first thing that can be referred to.
const FIRST_HANDLE: u32 = 0x007e_0000;
/// Flags of a class: it writes more than its fields, has fields, writes itself, does so in blocks.
const WRITE_METHOD: u8 = 1;
const SERIALIZABLE: u8 = 2;
const EXTERNALIZABLE: u8 = 4;
const BLOCK_DATA: u8 = 8;

/// Reads one value. Bytes after it are refused.
pub(in crate::formats) fn read(bytes: &[u8], builder: &mut Builder) -> Result<NodeId, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let input = Input::new(bytes, "Java serialisation");
    let mut reader = Reader { input, builder, handles: Vec::new(), classes: Vec::new() };
    reader.input.expect(HEAD)?;
    let root = reader.value(Depth::default())?;
    if reader.input.is_empty() { Ok(root) } else { Err(reader.input.malformed()) }
}

/// Whether more than a single value is written there.
pub(super) fn is_graph(bytes: &[u8]) -> bool {
    let is_single = |name: &[u8]| name.starts_with(b"java.lang.");
    match bytes.strip_prefix(HEAD) {
        Some([OBJECT, CLASS_DESCRIPTION, _, _, name @ ..]) => !is_single(name),
        Some([OBJECT | ARRAY, ..]) => true,
        _ => false,
    }
}

struct Reader<'a, 'b> {
    input: Input<'a>,
    builder: &'b mut Builder,
    handles: Vec<Handle>,
    classes: Vec<Class<'a>>,
}

/// What can be referred to.
#[derive(Clone, Copy)]
enum Handle {
    Value(NodeId),
    Class(usize),
    /// A class whose description is not at its end: nothing may refer to it yet, so that no class is its own ancestor.
    Open,
}

/// A description of a class.
struct Class<'a> {
    name: &'a [u8],
    flags: u8,
    /// The type of each field, and its name.
    fields: Vec<(u8, NodeId)>,
    parent: Option<usize>,
    /// How many ancestors it has.
    height: Depth,
}

impl<'a> Reader<'a, '_> {
    fn value(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        match self.input.byte()? {
            NULL => self.builder.add(Node::Null),
            tag @ (STRING | LONG_STRING) => self.text(tag),
            REFERENCE => match self.referred()? {
                Handle::Value(id) => Ok(id),
                Handle::Class(_) | Handle::Open => Err(self.input.malformed()),
            },
            OBJECT => self.object(depth.deeper()?),
            ARRAY => self.array(depth.deeper()?),
            // A case of an enum: its class, and its name.
            ENUM => {
                let depth = depth.deeper()?;
                self.class(depth)?;
                let id = self.numbered(Node::Opaque)?;
                self.value(depth)?;
                Ok(id)
            }
            CLASS => {
                self.class(depth.deeper()?)?;
                self.numbered(Node::Opaque)
            }
            _ => Err(self.input.malformed()),
        }
    }

    fn numbered(&mut self, node: Node) -> Result<NodeId, DecodeError> {
        let id = self.builder.add(node)?;
        self.handles.push(Handle::Value(id));
        Ok(id)
    }

    fn referred(&mut self) -> Result<Handle, DecodeError> {
        let number = u32::from_be_bytes(self.input.array()?).checked_sub(FIRST_HANDLE);
        let handle = number.and_then(|number| self.handles.get(number as usize));
        handle.copied().ok_or(self.input.malformed())
    }

    /// Java writes modified UTF-8; it is the same as UTF-8 but for NUL and what lies outside the first plane.
    fn text(&mut self, tag: u8) -> Result<NodeId, DecodeError> {
        let bytes = if tag == STRING {
            self.short_text()?
        } else {
            let length = u64::from_be_bytes(self.input.array()?);
            self.input.take_long(length)?
        };
        let id = self.builder.text(&standard(bytes))?;
        self.handles.push(Handle::Value(id));
        Ok(id)
    }

    fn short_text(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = u16::from_be_bytes(self.input.array()?);
        self.input.take(length.into())
    }

    /// The description of a class, or a reference to one.
    fn class(&mut self, depth: Depth) -> Result<Option<usize>, DecodeError> {
        match self.input.byte()? {
            NULL => Ok(None),
            REFERENCE => match self.referred()? {
                Handle::Class(at) => Ok(Some(at)),
                Handle::Value(_) | Handle::Open => Err(self.input.malformed()),
            },
            CLASS_DESCRIPTION => {
                let name = self.short_text()?;
                self.input.take(8)?;
                let handle = self.open();
                let flags = self.input.byte()?;
                let fields = self.fields()?;
                let height = Depth::default();
                self.described(Class { name, flags, fields, parent: None, height }, handle, depth)
            }
            // A class that was made while the application ran: the names of its interfaces.
            PROXY_DESCRIPTION => {
                let handle = self.open();
                for _ in 0..u32::from_be_bytes(self.input.array()?) {
                    self.short_text()?;
                }
                let (fields, height) = (Vec::new(), Depth::default());
                let class = Class { name: b"", flags: SERIALIZABLE, fields, parent: None, height };
                self.described(class, handle, depth)
            }
            _ => Err(self.input.malformed()),
        }
    }

    fn open(&mut self) -> usize {
        self.handles.push(Handle::Open);
        self.handles.len() - 1
    }

    /// What stands behind both kinds of description: what the writer adds to it, and the class above.
    fn described(
        &mut self,
        mut class: Class<'a>,
        handle: usize,
        depth: Depth,
    ) -> Result<Option<usize>, DecodeError> {
        self.contents(depth)?;
        class.parent = self.class(depth.deeper()?)?;
        class.height = match class.parent.and_then(|parent| self.classes.get(parent)) {
            Some(parent) => parent.height.deeper()?,
            None => Depth::default(),
        };
        let at = self.classes.len();
        self.classes.push(class);
        self.handles[handle] = Handle::Class(at);
        Ok(Some(at))
    }

    fn fields(&mut self) -> Result<Vec<(u8, NodeId)>, DecodeError> {
        let mut fields = Vec::new();
        for _ in 0..u16::from_be_bytes(self.input.array()?) {
            let kind = self.input.byte()?;
            let name = self.short_text()?;
            fields.push((kind, self.builder.text(name)?));
            match kind {
                b'B' | b'C' | b'D' | b'F' | b'I' | b'J' | b'S' | b'Z' => {}
                // The name of its type: text, or a reference to one.
                b'L' | b'[' if matches!(self.input.peek(), Some(STRING | REFERENCE)) => {
                    self.value(Depth::default())?;
                }
                _ => return Err(self.input.malformed()),
            }
        }
        Ok(fields)
    }

    /// What a class wrote by itself, up to its end: values, and bytes that only the class understands.
    fn contents(&mut self, depth: Depth) -> Result<Vec<NodeId>, DecodeError> {
        let mut found = Vec::new();
        loop {
            match self.input.peek() {
                Some(END_OF_BLOCK) => {
                    self.input.byte()?;
                    return Ok(found);
                }
                Some(BLOCK) => {
                    let [_, length] = self.input.array()?;
                    self.input.take(length.into())?;
                }
                Some(LONG_BLOCK) => {
                    self.input.byte()?;
                    let length = u32::from_be_bytes(self.input.array()?);
                    self.input.take_long(length.into())?;
                }
                _ => found.push(self.value(depth)?),
            }
        }
    }

    fn object(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let class = self.class(depth)?.ok_or(self.input.malformed())?;
        let id = self.numbered(Node::Map(Vec::new()))?;
        let mut line = vec![class];
        while let Some(parent) = line.last().and_then(|at| self.classes[*at].parent) {
            line.push(parent);
        }
        let mut inside = Vec::new();
        for at in line.into_iter().rev() {
            self.part(id, at, &mut inside, depth)?;
        }
        self.settle(id, self.classes[class].name, &inside)?;
        Ok(id)
    }

    /// What one class of an object's line wrote of it.
    fn part(
        &mut self,
        id: NodeId,
        class: usize,
        inside: &mut Vec<NodeId>,
        depth: Depth,
    ) -> Result<(), DecodeError> {
        let flags = self.classes[class].flags;
        match flags & (SERIALIZABLE | EXTERNALIZABLE) {
            SERIALIZABLE => {
                for field in 0..self.classes[class].fields.len() {
                    let (kind, name) = self.classes[class].fields[field];
                    let value = self.typed(kind, depth)?;
                    self.builder.insert(id, name, value)?;
                }
                if flags & WRITE_METHOD != 0 {
                    inside.extend(self.contents(depth)?);
                }
            }
            EXTERNALIZABLE if flags & BLOCK_DATA != 0 => inside.extend(self.contents(depth)?),
            // An ancestor that wrote nothing.
            0 if self.classes[class].fields.is_empty() => {}
            _ => return Err(self.input.malformed()),
        }
        Ok(())
    }

    /// A value whose type is known before it comes.
    fn typed(&mut self, kind: u8, depth: Depth) -> Result<NodeId, DecodeError> {
        let node = match kind {
            b'B' => Node::Integer(i8::from_be_bytes(self.input.array()?).into()),
            b'S' => Node::Integer(i16::from_be_bytes(self.input.array()?).into()),
            b'I' => Node::Integer(i32::from_be_bytes(self.input.array()?).into()),
            b'J' => Node::Integer(i64::from_be_bytes(self.input.array()?)),
            b'F' => Node::Float(f32::from_be_bytes(self.input.array()?).into()),
            b'D' => Node::Float(f64::from_be_bytes(self.input.array()?)),
            b'Z' => match self.input.byte()? {
                0 => Node::Bool(false),
                1 => Node::Bool(true),
                _ => return Err(self.input.malformed()),
            },
            b'C' => {
                self.input.take(2)?;
                Node::Opaque
            }
            _ => return self.value(depth),
        };
        self.builder.add(node)
    }

    /// The type of what is in it is the second letter of its class. Numbers are read over.
    fn array(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let class = self.class(depth)?.ok_or(self.input.malformed())?;
        let id = self.numbered(Node::List(Vec::new()))?;
        let count = u32::from_be_bytes(self.input.array()?);
        let width: u64 = match self.classes[class].name {
            [b'[', b'L' | b'[', ..] => {
                for _ in 0..count {
                    let item = self.value(depth)?;
                    self.builder.push(id, item)?;
                }
                return Ok(id);
            }
            b"[B" | b"[Z" => 1,
            b"[C" | b"[S" => 2,
            b"[I" | b"[F" => 4,
            b"[J" | b"[D" => 8,
            _ => return Err(self.input.malformed()),
        };
        self.input.take_long(width * u64::from(count))?;
        self.builder.blacken(id);
        Ok(id)
    }

    /// Makes of an object what it stands for, where its class is one of the few that are known.
    fn settle(&mut self, id: NodeId, class: &[u8], inside: &[NodeId]) -> Result<(), DecodeError> {
        let node = match class {
            b"java.lang.Long" | b"java.lang.Integer" | b"java.lang.Short" | b"java.lang.Byte" => {
                match self.builder.node(self.only_field(id)?) {
                    Node::Integer(number) => Node::Integer(*number),
                    _ => return Err(self.input.malformed()),
                }
            }
            b"java.lang.Boolean" => match self.builder.node(self.only_field(id)?) {
                Node::Bool(truth) => Node::Bool(*truth),
                _ => return Err(self.input.malformed()),
            },
            b"java.util.UUID" => {
                let uuid = self.uuid(id).ok_or(self.input.malformed())?;
                Node::Text(uuid.into_bytes().into())
            }
            b"java.util.HashMap"
            | b"java.util.LinkedHashMap"
            | b"java.util.TreeMap"
            | b"java.util.Hashtable" => {
                if !inside.len().is_multiple_of(2) {
                    return Err(self.input.malformed());
                }
                self.builder.replace(id, Node::Map(Vec::new()));
                return inside.chunks_exact(2).try_for_each(|pair| self.builder.insert(id, pair[0], pair[1]));
            }
            b"java.util.ArrayList" | b"java.util.LinkedList" => {
                self.builder.replace(id, Node::List(Vec::new()));
                return inside.iter().try_for_each(|item| self.builder.push(id, *item));
            }
            _ => return Ok(()),
        };
        self.builder.replace(id, node);
        Ok(())
    }

    fn only_field(&self, id: NodeId) -> Result<NodeId, DecodeError> {
        match self.builder.node(id) {
            Node::Map(fields) => match fields.as_slice() {
                [(_, value)] => Ok(*value),
                _ => Err(self.input.malformed()),
            },
            _ => Err(self.input.malformed()),
        }
    }

    /// Its two halves, as `UUID.toString` writes them.
    fn uuid(&self, id: NodeId) -> Option<String> {
        let Node::Map(fields) = self.builder.node(id) else { return None };
        let half = |name: &[u8]| {
            let found = fields
                .iter()
                .find(|(key, _)| matches!(self.builder.node(*key), Node::Text(text) if **text == *name));
            match found.map(|(_, value)| self.builder.node(*value)) {
                Some(Node::Integer(number)) => Some(number.cast_unsigned()),
                _ => None,
            }
        };
        let (high, low) = (half(b"mostSigBits")?, half(b"leastSigBits")?);
        let digits = format!("{high:016x}{low:016x}");
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        Some(parts.join("-"))
    }
}

/// Text as everybody else writes it. Java writes characters beyond the first plane as two surrogates of three bytes each, and
/// NUL in two (modified UTF-8, `java.io.DataInput`).
fn standard(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.iter().any(|byte| matches!(byte, 0xed | 0xc0)) {
        return Cow::Borrowed(bytes);
    }
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        match rest {
            [0xc0, 0x80, behind @ ..] => {
                out.push(0);
                rest = behind;
            }
            [
                0xed,
                high @ 0xa0..=0xaf,
                low @ 0x80..=0xbf,
                0xed,
                third @ 0xb0..=0xbf,
                last @ 0x80..=0xbf,
                behind @ ..,
            ] => {
                let bits = |byte: u8, mask: u8| u32::from(byte & mask);
                let plane = (bits(*high, 0x0f) << 6 | bits(*low, 0x3f)) + 0x40;
                let code = plane << 10 | bits(*third, 0x0f) << 6 | bits(*last, 0x3f);
                let letter = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                rest = behind;
            }
            _ => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests;
