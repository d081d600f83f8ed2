//! What PHP's `serialize` writes, and the three ways in which PHP keeps a session with it: `php`, `php_serialize` and
//! `php_binary`. Objects are read over, never built.

use crate::formats::input::Input;
use crate::formats::value::{Builder, DecodeError, Decoded, Depth, MOST_BYTES, Node, NodeId};

const KIND: &str = "PHP serialisation";
/// What the names begin with under which Symfony keeps who is logged in: text that is serialized once more.
const SYMFONY_TOKEN: &[u8] = b"_security_";

/// `php_serialize`: one serialized array.
pub(in crate::formats) fn decode_serialized(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut reader = Reader::new(bytes)?;
    let root = reader.value(Depth::default())?;
    reader.finish(root)
}

/// `php`: a name, `|`, a serialized value, and again; nothing stands between them.
pub(in crate::formats) fn decode_session(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut reader = Reader::new(bytes)?;
    let root = reader.builder.add(Node::Map(Vec::new()))?;
    while !reader.input.is_empty() {
        let name = reader.input.until(b'|')?;
        reader.variable(root, name)?;
    }
    reader.finish(root)
}

/// `php_binary`: the length of the name in one byte, the name, a serialized value, and again.
pub(in crate::formats) fn decode_binary(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let mut reader = Reader::new(bytes)?;
    let root = reader.builder.add(Node::Map(Vec::new()))?;
    while !reader.input.is_empty() {
        let length = reader.input.byte()?;
        // The highest bit marks a variable without a value; PHP has not written it since version 7.
        if length & 0x80 != 0 {
            return Err(reader.input.malformed());
        }
        let name = reader.input.take(length.into())?;
        reader.variable(root, name)?;
    }
    reader.finish(root)
}

/// The text in `s:<length>:"...";`, which is how Laravel's cache keeps what it is given.
pub(super) fn unwrap_text(bytes: &[u8]) -> Result<&[u8], DecodeError> {
    let mut input = Input::new(bytes, KIND);
    input.expect(b"s:")?;
    let text = quoted(&mut input)?;
    input.expect(b";")?;
    if input.is_empty() { Ok(text) } else { Err(input.malformed()) }
}

/// `<length>:"..."`
fn quoted<'a>(input: &mut Input<'a>) -> Result<&'a [u8], DecodeError> {
    let length = input.length(b':')?;
    input.expect(b"\"")?;
    let text = input.take(length)?;
    input.expect(b"\"")?;
    Ok(text)
}

/// The name of a property: in front of one that is not public stands its class or `*` between two zero bytes.
fn bare(name: &[u8]) -> &[u8] {
    match name {
        [0, rest @ ..] => memchr::memchr(0, rest).map_or(name, |at| &rest[at + 1..]),
        name => name,
    }
}

/// How many bytes of tokens may still be opened: a text can be referred to any number of times.
pub(super) struct Openings(usize);

impl Default for Openings {
    fn default() -> Self {
        Self(MOST_BYTES)
    }
}

/// What a token of Symfony holds, where `value` is one that can be read and lets somebody in; else `value` itself.
pub(super) fn token(
    builder: &mut Builder,
    left: &mut Openings,
    (key, value): (NodeId, NodeId),
    depth: Depth,
) -> NodeId {
    let is_token = matches!(builder.node(key), Node::Text(name) if name.starts_with(SYMFONY_TOKEN));
    let (Node::Text(text), true, Ok(depth)) = (builder.node(value), is_token, depth.deeper()) else {
        return value;
    };
    let Some(rest) = left.0.checked_sub(text.len()) else { return value };
    let text = text.clone();
    let mark = builder.mark();
    let mut inner = Reader {
        input: Input::new(&text, KIND),
        builder: std::mem::take(builder),
        slots: Vec::new(),
        opens: true,
        left: Openings(rest),
    };
    let read = inner.value(depth);
    let is_whole = inner.input.is_empty();
    (*builder, *left) = (inner.builder, inner.left);
    match read {
        Ok(id) if is_whole && is_authenticated(builder, id) => id,
        _ => {
            builder.back_to(mark);
            value
        }
    }
}

/// Last in a token stands what all kinds have in common: the user, and whether the log-in is complete.
fn is_authenticated(builder: &Builder, token: NodeId) -> bool {
    let Node::Map(parts) = builder.node(token) else { return false };
    let Some(Node::Map(common)) = parts.last().map(|(_, part)| builder.node(*part)) else { return false };
    let mut said = common.iter().filter(|(key, _)| *builder.node(*key) == Node::Integer(1)).peekable();
    said.peek().is_some() && said.all(|(_, truth)| *builder.node(*truth) == Node::Bool(true))
}

struct Reader<'a> {
    input: Input<'a>,
    builder: Builder,
    /// What `R:` and `r:` count: every value but keys and `R:` itself, from 1.
    slots: Vec<NodeId>,
    /// Whether paths lead into objects: only within a token of Symfony, where there is nothing else.
    opens: bool,
    left: Openings,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > MOST_BYTES {
            return Err(DecodeError::TooLarge);
        }
        Ok(Self {
            input: Input::new(bytes, KIND),
            builder: Builder::default(),
            slots: Vec::new(),
            opens: false,
            left: Openings::default(),
        })
    }

    fn finish(self, root: NodeId) -> Result<Decoded, DecodeError> {
        if self.input.is_empty() { Ok(self.builder.finish(root)) } else { Err(self.input.malformed()) }
    }

    fn variable(&mut self, root: NodeId, name: &[u8]) -> Result<(), DecodeError> {
        let key = self.builder.text(name)?;
        let value = self.value(Depth::default())?;
        let value = token(&mut self.builder, &mut self.left, (key, value), Depth::default());
        self.builder.insert(root, key, value)
    }

    fn value(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        match self.input.array()? {
            [b'N', b';'] => self.scalar(Node::Null),
            [b'b', b':'] => {
                let truth = match self.input.array()? {
                    [b'0', b';'] => false,
                    [b'1', b';'] => true,
                    _ => return Err(self.input.malformed()),
                };
                self.scalar(Node::Bool(truth))
            }
            [b'i', b':'] => {
                let number = self.input.decimal(b';')?;
                self.scalar(Node::Integer(number))
            }
            [b'd', b':'] => {
                let digits = self.input.until(b';')?;
                let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
                self.scalar(number.map_or(Node::Opaque, Node::Float))
            }
            [b's', b':'] => {
                let text = quoted(&mut self.input)?;
                self.input.expect(b";")?;
                let id = self.builder.text(text)?;
                self.slots.push(id);
                Ok(id)
            }
            [b'a', b':'] => self.entries(Node::Map(Vec::new()), depth),
            [b'O', b':'] => {
                let class = quoted(&mut self.input)?;
                let class = self.builder.text(class)?;
                self.input.expect(b":")?;
                let opened = Node::Map(Vec::new());
                self.entries(if self.opens { opened } else { Node::Object(class, Vec::new()) }, depth)
            }
            [b'C', b':'] => self.custom(),
            [b'E', b':'] => {
                quoted(&mut self.input)?;
                self.input.expect(b";")?;
                self.scalar(Node::Opaque)
            }
            [b'R', b':'] => self.reference(),
            [b'r', b':'] => {
                let target = self.reference()?;
                self.slots.push(target);
                Ok(target)
            }
            _ => Err(self.input.malformed()),
        }
    }

    fn scalar(&mut self, node: Node) -> Result<NodeId, DecodeError> {
        let id = self.builder.add(node)?;
        self.slots.push(id);
        Ok(id)
    }

    /// `<count>:{key value ...}`
    fn entries(&mut self, container: Node, depth: Depth) -> Result<NodeId, DecodeError> {
        let depth = depth.deeper()?;
        let id = self.scalar(container)?;
        let count = self.input.length(b':')?;
        self.input.expect(b"{")?;
        for _ in 0..count {
            let key = self.key()?;
            let value = self.value(depth)?;
            let value = token(&mut self.builder, &mut self.left, (key, value), depth);
            self.builder.insert(id, key, value)?;
        }
        self.input.expect(b"}")?;
        Ok(id)
    }

    fn key(&mut self) -> Result<NodeId, DecodeError> {
        match self.input.array()? {
            [b'i', b':'] => {
                let number = self.input.decimal(b';')?;
                self.builder.add(Node::Integer(number))
            }
            [b's', b':'] => {
                let text = quoted(&mut self.input)?;
                self.input.expect(b";")?;
                self.builder.text(if self.opens { bare(text) } else { text })
            }
            _ => Err(self.input.malformed()),
        }
    }

    /// `C:<length>:"<class>":<length>:{...}`: bytes that only the class understands.
    fn custom(&mut self) -> Result<NodeId, DecodeError> {
        quoted(&mut self.input)?;
        self.input.expect(b":")?;
        let length = self.input.length(b':')?;
        self.input.expect(b"{")?;
        self.input.take(length)?;
        self.input.expect(b"}")?;
        self.scalar(Node::Opaque)
    }

    fn reference(&mut self) -> Result<NodeId, DecodeError> {
        let number = self.input.length(b';')?;
        let target = number.checked_sub(1).and_then(|index| self.slots.get(index));
        target.copied().ok_or(self.input.malformed())
    }
}
