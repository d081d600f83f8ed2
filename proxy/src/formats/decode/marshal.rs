//! Ruby's Marshal 4.8. Symbols and objects are numbered as they come, and referred to by number. Objects are read over,
//! never built; a subclass of Hash, Array or String counts as what it is derived from.

use crate::formats::input::Input;
use crate::formats::value::{Builder, DecodeError, Decoded, Depth, MOST_BYTES, Node, NodeId};

/// What Marshal begins with: its version.
pub(super) const HEAD: &[u8] = &[4, 8];

/// Reads one value and nothing after it.
pub(in crate::formats) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let mut reader = Reader {
        input: Input::new(bytes, "Marshal"),
        builder: Builder::default(),
        symbols: Vec::new(),
        objects: Vec::new(),
    };
    reader.input.expect(HEAD)?;
    let root = reader.value(Depth::default())?;
    if !reader.input.is_empty() {
        return Err(reader.input.malformed());
    }
    Ok(reader.builder.finish(root))
}

struct Reader<'a> {
    input: Input<'a>,
    builder: Builder,
    symbols: Vec<NodeId>,
    /// Everything but nil, true, false, small numbers and symbols.
    objects: Vec<NodeId>,
}

impl Reader<'_> {
    fn value(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        match self.input.byte()? {
            b'0' => self.builder.add(Node::Null),
            b'T' => self.builder.add(Node::Bool(true)),
            b'F' => self.builder.add(Node::Bool(false)),
            b'i' => {
                let number = self.number()?;
                self.builder.add(Node::Integer(number))
            }
            b':' => self.new_symbol(),
            b';' => self.known_symbol(),
            b'@' => {
                let number = self.length()?;
                self.objects.get(number).copied().ok_or(self.input.malformed())
            }
            b'I' => self.with_variables(depth),
            b'"' => self.string(),
            b'f' => self.float(),
            b'l' => self.large_number(),
            b'[' => self.array(depth),
            tag @ (b'{' | b'}') => self.hash(tag == b'}', depth),
            b'o' | b'S' => self.object(depth),
            // A subclass, or a value with singleton modules: the name, then the value itself.
            b'C' | b'e' => {
                let depth = depth.deeper()?;
                self.symbol(depth)?;
                self.value(depth)
            }
            b'u' => self.dumped(false, depth),
            b'U' => self.converted(depth),
            b'c' | b'm' | b'M' => self.opaque_bytes(),
            b'/' => {
                let id = self.opaque_bytes()?;
                self.input.byte()?;
                Ok(id)
            }
            _ => Err(self.input.malformed()),
        }
    }

    fn register(&mut self, node: Node) -> Result<NodeId, DecodeError> {
        let id = self.builder.add(node)?;
        self.objects.push(id);
        Ok(id)
    }

    /// A small whole number in one to five bytes.
    fn number(&mut self) -> Result<i64, DecodeError> {
        let first = i64::from(i8::from_be_bytes(self.input.array()?));
        let count = match first {
            0 => return Ok(0),
            5.. => return Ok(first - 5),
            ..=-5 => return Ok(first + 5),
            _ => first,
        };
        let mut number: i64 = if count < 0 { -1 } else { 0 };
        for place in 0..count.unsigned_abs() {
            let byte = i64::from(self.input.byte()?);
            number &= !(0xff << (8 * place));
            number |= byte << (8 * place);
        }
        Ok(number)
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        usize::try_from(self.number()?).map_err(|_| self.input.malformed())
    }

    fn bytes(&mut self) -> Result<&[u8], DecodeError> {
        let length = self.length()?;
        self.input.take(length)
    }

    fn string(&mut self) -> Result<NodeId, DecodeError> {
        let length = self.length()?;
        let text = self.input.take(length)?;
        let id = self.builder.text(text)?;
        self.objects.push(id);
        Ok(id)
    }

    fn float(&mut self) -> Result<NodeId, DecodeError> {
        let digits = std::str::from_utf8(self.bytes()?).ok();
        let node = digits.and_then(|text| text.parse().ok()).map_or(Node::Opaque, Node::Float);
        self.register(node)
    }

    fn large_number(&mut self) -> Result<NodeId, DecodeError> {
        let sign = self.input.byte()?;
        let halves = self.length()?;
        let bytes = self.input.take(halves.saturating_mul(2))?;
        let mut whole = [0; 8];
        let size = whole.get_mut(..bytes.len()).map(|place| place.copy_from_slice(bytes));
        let size = size.and_then(|()| i64::try_from(u64::from_le_bytes(whole)).ok());
        let number = size.map(|size| if sign == b'-' { -size } else { size });
        self.register(number.map_or(Node::Opaque, Node::Integer))
    }

    fn opaque_bytes(&mut self) -> Result<NodeId, DecodeError> {
        self.bytes()?;
        self.register(Node::Opaque)
    }

    fn array(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let depth = depth.deeper()?;
        let list = self.register(Node::List(Vec::new()))?;
        for _ in 0..self.length()? {
            let item = self.value(depth)?;
            self.builder.push(list, item)?;
        }
        Ok(list)
    }

    fn hash(&mut self, has_default: bool, depth: Depth) -> Result<NodeId, DecodeError> {
        let depth = depth.deeper()?;
        let map = self.register(Node::Map(Vec::new()))?;
        for _ in 0..self.length()? {
            let key = self.value(depth)?;
            let value = self.value(depth)?;
            self.builder.insert(map, key, value)?;
        }
        if has_default {
            self.value(depth)?;
        }
        Ok(map)
    }

    /// An object or a Struct: class, number of parts, names and values.
    fn object(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let depth = depth.deeper()?;
        let class = self.symbol(depth)?;
        let id = self.register(Node::Object(class, Vec::new()))?;
        self.variables(Some(id), depth)?;
        Ok(id)
    }

    /// Names and values, put into `owner` or read over.
    fn variables(&mut self, owner: Option<NodeId>, depth: Depth) -> Result<(), DecodeError> {
        for _ in 0..self.length()? {
            let name = self.symbol(depth)?;
            let value = self.value(depth)?;
            if let Some(owner) = owner {
                self.builder.insert(owner, name, value)?;
            }
        }
        Ok(())
    }

    /// A value, then variables of it: for a string its encoding.
    fn with_variables(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let depth = depth.deeper()?;
        if self.input.peek() == Some(b'u') {
            self.input.byte()?;
            return self.dumped(true, depth);
        }
        let id = self.value(depth)?;
        self.variables(None, depth)?;
        Ok(id)
    }

    /// `_dump`: class and bytes. Its variables come before it is numbered.
    fn dumped(&mut self, has_variables: bool, depth: Depth) -> Result<NodeId, DecodeError> {
        self.symbol(depth)?;
        self.bytes()?;
        if has_variables {
            self.variables(None, depth)?;
        }
        self.register(Node::Opaque)
    }

    /// `marshal_dump`: class and another value.
    fn converted(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let depth = depth.deeper()?;
        self.symbol(depth)?;
        let id = self.register(Node::Opaque)?;
        self.value(depth)?;
        Ok(id)
    }

    fn symbol(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        match self.input.byte()? {
            b':' => self.new_symbol(),
            b';' => self.known_symbol(),
            // A symbol with an encoding of its own.
            b'I' => {
                let depth = depth.deeper()?;
                self.input.expect(b":")?;
                let id = self.new_symbol()?;
                self.variables(None, depth)?;
                Ok(id)
            }
            _ => Err(self.input.malformed()),
        }
    }

    fn new_symbol(&mut self) -> Result<NodeId, DecodeError> {
        let length = self.length()?;
        let name = self.input.take(length)?;
        let id = self.builder.text(name)?;
        self.symbols.push(id);
        Ok(id)
    }

    fn known_symbol(&mut self) -> Result<NodeId, DecodeError> {
        let number = self.length()?;
        self.symbols.get(number).copied().ok_or(self.input.malformed())
    }
}
