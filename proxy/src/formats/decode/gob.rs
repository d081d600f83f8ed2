//! Go's gob: descriptions of types, then one value. Enough for the maps that gorilla and scs write; anything that is
//! described is also read, so that nothing can be missed, but only maps, text, numbers and times become values.

use std::collections::HashMap;
use std::rc::Rc;

use crate::clock::Timestamp;
use crate::formats::input::Input;
use crate::formats::value::{Builder, DecodeError, Decoded, Depth, MOST_BYTES, Node, NodeId};

/// Seconds from the year 1, which is where Go's times begin, to 1970.
const EPOCH: i64 = 62_135_596_800;
/// Most types that one session may describe.
const MOST_TYPES: usize = 64;

/// The number of the first type that is not Go's own.
const FIRST_TYPE: i64 = 64;

/// Reads one value and nothing after it.
pub(in crate::formats) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let (input, rest) = (Input::new(&[], "gob"), Input::new(bytes, "gob"));
    let mut reader = Reader { input, rest, builder: Builder::default(), types: HashMap::new() };
    let id = reader.next_type(false)?;
    let root = reader.single(id, Depth::default())?;
    if !reader.input.is_empty() || !reader.rest.is_empty() {
        return Err(reader.input.malformed());
    }
    Ok(reader.builder.finish(root))
}

/// What scs keeps: a struct of `Deadline` and `Values`. The values are the session.
pub(in crate::formats) fn decode_scs(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    let malformed = DecodeError::Malformed("scs session");
    let whole = decode(bytes)?;
    let Node::Map(fields) = whole.root() else { return Err(malformed) };
    let deadline = whole.entry(fields, b"Deadline").map_err(|_| malformed)?.ok_or(malformed)?;
    let Node::Time(ends) = *whole.node(deadline) else { return Err(malformed) };
    let values = whole.entry(fields, b"Values").map_err(|_| malformed)?.ok_or(malformed)?;
    let mut session = whole.with_root(values);
    session.ends = Some(ends);
    Ok(session)
}

/// The text in a gob that holds just that: the id in a cookie of gorilla.
pub(in crate::formats) fn decode_text(bytes: &[u8]) -> Result<Box<[u8]>, DecodeError> {
    match decode(bytes)?.root() {
        Node::Text(text) => Ok(text.clone()),
        _ => Err(DecodeError::Malformed("gob")),
    }
}

/// A type that the stream describes.
enum Type {
    /// An array or slice of this type.
    List(i64),
    Map(i64, i64),
    Struct(Vec<(NodeId, i64)>),
    /// Bytes that only the type understands; the flag says that it is `time.Time`.
    Own(bool),
}

struct Reader<'a> {
    /// What is left of a message.
    input: Input<'a>,
    /// The messages behind it.
    rest: Input<'a>,
    builder: Builder,
    types: HashMap<i64, Rc<Type>>,
}

impl Reader<'_> {
    fn unsigned(&mut self) -> Result<u64, DecodeError> {
        unsigned(&mut self.input)
    }

    fn signed(&mut self) -> Result<i64, DecodeError> {
        let raw = self.unsigned()?;
        let half = (raw >> 1).cast_signed();
        Ok(if raw & 1 == 1 { !half } else { half })
    }

    /// The number of the type of the value that follows, after descriptions of those that are new. Go ends a message
    /// behind each of them, in the middle of a value too where it meets a type within one; what it then calls the length
    /// of the value is that of a part of it, so that Go itself does not look at it.
    fn next_type(&mut self, is_inside: bool) -> Result<i64, DecodeError> {
        loop {
            if self.input.is_empty() {
                let length = unsigned(&mut self.rest)?;
                self.input = Input::new(self.rest.take_long(length)?, "gob");
            }
            let id = self.signed()?;
            if id >= 0 {
                return Ok(id);
            }
            self.describe(id)?;
            if !self.input.is_empty() {
                if !is_inside {
                    return Err(self.input.malformed());
                }
                self.unsigned()?;
            }
        }
    }

    /// A value that stands alone: structs as they are, everything else behind a zero.
    fn single(&mut self, id: i64, depth: Depth) -> Result<NodeId, DecodeError> {
        if !matches!(self.types.get(&id).map(Rc::as_ref), Some(Type::Struct(_))) {
            self.input.expect(&[0])?;
        }
        self.value(id, depth)
    }

    fn value(&mut self, id: i64, depth: Depth) -> Result<NodeId, DecodeError> {
        let node = match id {
            1 => Node::Bool(self.unsigned()? != 0),
            2 => Node::Integer(self.signed()?),
            3 => i64::try_from(self.unsigned()?).map_or(Node::Opaque, Node::Integer),
            4 => Node::Float(f64::from_bits(self.unsigned()?.swap_bytes())),
            5 => {
                let length = self.unsigned()?;
                self.input.take_long(length)?;
                Node::Opaque
            }
            6 => return self.text(),
            7 => {
                self.unsigned()?;
                self.unsigned()?;
                Node::Opaque
            }
            8 => return self.interface(depth.deeper()?),
            _ => return self.described(id, depth.deeper()?),
        };
        self.builder.add(node)
    }

    fn text(&mut self) -> Result<NodeId, DecodeError> {
        let length = self.unsigned()?;
        let text = self.input.take_long(length)?;
        self.builder.text(text)
    }

    /// The name of the type, its number, a length, the value.
    fn interface(&mut self, depth: Depth) -> Result<NodeId, DecodeError> {
        let length = self.unsigned()?;
        if self.input.take_long(length)?.is_empty() {
            return self.builder.add(Node::Null);
        }
        let id = self.next_type(true)?;
        self.unsigned()?;
        self.single(id, depth)
    }

    fn described(&mut self, id: i64, depth: Depth) -> Result<NodeId, DecodeError> {
        let kind = self.types.get(&id).cloned().ok_or(self.input.malformed())?;
        match *kind {
            Type::List(of) => {
                let list = self.builder.add(Node::List(Vec::new()))?;
                for _ in 0..self.unsigned()? {
                    let item = self.value(of, depth)?;
                    self.builder.push(list, item)?;
                }
                Ok(list)
            }
            Type::Map(keys, values) => {
                let map = self.builder.add(Node::Map(Vec::new()))?;
                for _ in 0..self.unsigned()? {
                    let key = self.value(keys, depth)?;
                    let value = self.value(values, depth)?;
                    self.builder.insert(map, key, value)?;
                }
                Ok(map)
            }
            Type::Struct(ref fields) => {
                let map = self.builder.add(Node::Map(Vec::new()))?;
                let mut at = 0;
                while let Some(field) = self.next_field(at)? {
                    at = field;
                    let (name, of) = *fields.get(field - 1).ok_or(self.input.malformed())?;
                    let value = self.value(of, depth)?;
                    self.builder.insert(map, name, value)?;
                }
                Ok(map)
            }
            Type::Own(is_time) => {
                let length = self.unsigned()?;
                let bytes = self.input.take_long(length)?;
                let time = if is_time { time(bytes) } else { None };
                self.builder.add(time.map_or(Node::Opaque, Node::Time))
            }
        }
    }

    /// The number of the next field of a struct, from 1; `None` at its end.
    fn next_field(&mut self, at: usize) -> Result<Option<usize>, DecodeError> {
        match usize::try_from(self.unsigned()?) {
            Ok(0) => Ok(None),
            Ok(step) => at.checked_add(step).map(Some).ok_or(self.input.malformed()),
            Err(_) => Err(self.input.malformed()),
        }
    }

    /// Description of the type `-id`: a struct of which one field is set, saying what kind of type it is.
    fn describe(&mut self, id: i64) -> Result<(), DecodeError> {
        // None twice, and none of Go's own.
        let is_new = |id: &i64| *id >= FIRST_TYPE && !self.types.contains_key(id);
        let Some(id) = id.checked_neg().filter(|id| self.types.len() < MOST_TYPES && is_new(id)) else {
            return Err(self.input.malformed());
        };
        let kind = self.next_field(0)?.ok_or(self.input.malformed())?;
        let mut name = None;
        let mut parts = [0; 2];
        let mut fields = Vec::new();
        let mut at = 0;
        while let Some(field) = self.next_field(at)? {
            at = field;
            match (kind, field) {
                (1..=7, 1) => name = Some(self.named(&mut 0)?),
                (3, 2) => fields = self.fields()?,
                (1 | 2 | 4, 2) => parts[0] = self.signed()?,
                (1 | 4, 3) => parts[1] = self.signed()?,
                _ => return Err(self.input.malformed()),
            }
        }
        // The end of the description itself.
        self.input.expect(&[0])?;
        let name = name.map(|name| self.builder.node(name));
        let is_time = matches!(name, Some(Node::Text(name)) if **name == *b"Time");
        let described = match kind {
            1 | 2 => Type::List(parts[0]),
            3 => Type::Struct(fields),
            4 => Type::Map(parts[0], parts[1]),
            5..=7 => Type::Own(is_time),
            _ => return Err(self.input.malformed()),
        };
        self.types.insert(id, Rc::new(described));
        Ok(())
    }

    /// A struct of name and number, both of which may be left out.
    fn named(&mut self, number: &mut i64) -> Result<NodeId, DecodeError> {
        let mut name = None;
        let mut at = 0;
        while let Some(field) = self.next_field(at)? {
            at = field;
            match field {
                1 => name = Some(self.text()?),
                2 => *number = self.signed()?,
                _ => return Err(self.input.malformed()),
            }
        }
        name.map_or_else(|| self.builder.text(b""), Ok)
    }

    fn fields(&mut self) -> Result<Vec<(NodeId, i64)>, DecodeError> {
        let mut fields = Vec::new();
        for _ in 0..self.unsigned()? {
            let mut id = 0;
            let name = self.named(&mut id)?;
            fields.push((name, id));
        }
        Ok(fields)
    }
}

fn unsigned(input: &mut Input<'_>) -> Result<u64, DecodeError> {
    let first = input.byte()?;
    if first < 0x80 {
        return Ok(first.into());
    }
    let bytes = input.take(usize::from(first.wrapping_neg()))?;
    let mut whole = [0; 8];
    let at = 8_usize.checked_sub(bytes.len()).ok_or(input.malformed())?;
    whole[at..].copy_from_slice(bytes);
    Ok(u64::from_be_bytes(whole))
}

/// What `time.Time` writes of itself: version, seconds since the year 1, nanoseconds, zone.
fn time(bytes: &[u8]) -> Option<Timestamp> {
    let mut input = Input::new(bytes, "gob");
    if !matches!((input.byte().ok()?, bytes.len()), (1, 15) | (2, 16)) {
        return None;
    }
    let seconds = i64::from_be_bytes(input.array().ok()?).checked_sub(EPOCH)?;
    let nanoseconds = u32::from_be_bytes(input.array().ok()?);
    let millis = u64::try_from(seconds).ok()?.checked_mul(1000)?;
    Some(Timestamp::from_millis(millis.checked_add(u64::from(nanoseconds / 1_000_000))?))
}
