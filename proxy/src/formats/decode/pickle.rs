//! The part of Python's pickle (protocols 2 to 5) that sessions need: a machine with a stack and a memo. Whatever would
//! import, call or build something in Python becomes opaque here; nothing is ever run.

use crate::formats::input::Input;
use crate::formats::value::{
    Builder, DecodeError, Decoded, MOST_BYTES, MOST_DEPTH, MOST_ITEMS, Node, NodeId,
};

/// Reads one pickle and nothing after it; Python itself would not look at what follows.
pub(in crate::formats) fn decode(bytes: &[u8]) -> Result<Decoded, DecodeError> {
    if bytes.len() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let mut machine = Machine {
        input: Input::new(bytes, "pickle"),
        builder: Builder::default(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    machine.input.expect(&[0x80])?;
    if !(2..=5).contains(&machine.input.byte()?) {
        return Err(machine.input.malformed());
    }
    while let Some(opcode) = machine.next_opcode()? {
        machine.step(opcode)?;
    }
    let root = machine.pop()?;
    if !machine.input.is_empty() || !machine.stack.is_empty() {
        return Err(machine.input.malformed());
    }
    Ok(machine.builder.finish(root.id))
}

/// A value on the stack, and how deep it goes. Values that grow after they were put into others are not counted
/// again; nothing depends on it, since nodes are not nested in memory.
#[derive(Clone, Copy)]
struct Item {
    id: NodeId,
    depth: u8,
}

struct Machine<'a> {
    input: Input<'a>,
    builder: Builder,
    stack: Vec<Item>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Option<Item>>,
}

impl Machine<'_> {
    fn next_opcode(&mut self) -> Result<Option<u8>, DecodeError> {
        let opcode = self.input.byte()?;
        Ok((opcode != b'.').then_some(opcode))
    }

    fn step(&mut self, opcode: u8) -> Result<(), DecodeError> {
        match opcode {
            // FRAME: a length that only helps to read ahead
            0x95 => self.input.take(8).map(drop),
            b'(' => self.mark(),
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.push(top)
            }
            0x94 | b'q' | b'r' | b'h' | b'j' => self.memory(opcode),
            b'}' | b']' | b')' | b'l' | b'd' | b't' | 0x85..=0x87 | 0x8f | 0x90 | 0x91 => {
                self.container(opcode)
            }
            b'a' | b'e' | b's' | b'u' => self.fill(opcode),
            b'c' | b'i' | b'o' | b'R' | b'b' | b'Q' | b'P' | 0x81..=0x84 | 0x92 | 0x93 => self.object(opcode),
            _ => {
                let id = self.scalar(opcode)?;
                self.push(Item { id, depth: 0 })
            }
        }
    }

    fn scalar(&mut self, opcode: u8) -> Result<NodeId, DecodeError> {
        let node = match opcode {
            b'N' => Node::Null,
            0x88 => Node::Bool(true),
            0x89 => Node::Bool(false),
            b'K' => Node::Integer(self.input.byte()?.into()),
            b'M' => Node::Integer(u16::from_le_bytes(self.input.array()?).into()),
            b'J' => Node::Integer(i32::from_le_bytes(self.input.array()?).into()),
            0x8a => {
                let length = self.input.byte()?;
                long(self.input.take(length.into())?)
            }
            0x8b => {
                let length = self.long_length()?;
                long(self.input.take(length)?)
            }
            b'G' => Node::Float(f64::from_be_bytes(self.input.array()?)),
            0x8c => {
                let length = self.input.byte()?;
                return self.text(length.into());
            }
            b'X' => {
                let length = self.long_length()?;
                return self.text(length);
            }
            0x8d => {
                let length = u64::from_le_bytes(self.input.array()?);
                let text = self.input.take_long(length)?;
                return self.builder.text(text);
            }
            // Bytes are no text in Python: an application that keeps an id as bytes compares it with bytes.
            b'C' | b'U' => {
                let length = self.input.byte()?;
                self.input.take(length.into())?;
                Node::Opaque
            }
            b'B' | b'T' => {
                let length = self.long_length()?;
                self.input.take(length)?;
                Node::Opaque
            }
            0x8e | 0x96 => {
                let length = u64::from_le_bytes(self.input.array()?);
                self.input.take_long(length)?;
                Node::Opaque
            }
            _ => return Err(self.input.malformed()),
        };
        self.builder.add(node)
    }

    fn long_length(&mut self) -> Result<usize, DecodeError> {
        Ok(u32::from_le_bytes(self.input.array()?) as usize)
    }

    fn text(&mut self, length: usize) -> Result<NodeId, DecodeError> {
        let text = self.input.take(length)?;
        self.builder.text(text)
    }

    /// MEMOIZE, BINPUT, `LONG_BINPUT`, BINGET, `LONG_BINGET`
    fn memory(&mut self, opcode: u8) -> Result<(), DecodeError> {
        let place = match opcode {
            0x94 => self.memo.len(),
            b'q' | b'h' => self.input.byte()?.into(),
            _ => self.long_length()?,
        };
        if place >= MOST_ITEMS {
            return Err(DecodeError::TooMany);
        }
        if matches!(opcode, b'h' | b'j') {
            let kept = self.memo.get(place).copied().flatten();
            return self.push(kept.ok_or(self.input.malformed())?);
        }
        let top = self.top()?;
        if self.memo.len() <= place {
            self.memo.resize(place + 1, None);
        }
        self.memo[place] = Some(top);
        Ok(())
    }

    /// What makes a new container, empty or out of the stack.
    fn container(&mut self, opcode: u8) -> Result<(), DecodeError> {
        let items = match opcode {
            b'}' | b']' | b')' | 0x8f => Vec::new(),
            0x85..=0x87 => {
                let at = self.stack.len().checked_sub(usize::from(opcode - 0x84));
                let at = at.filter(|at| *at >= self.floor()).ok_or(self.input.malformed())?;
                self.stack.split_off(at)
            }
            // ADDITEMS puts into the set below the mark.
            0x90 => {
                self.pop_to_mark()?;
                return Ok(());
            }
            _ => self.pop_to_mark()?,
        };
        let node = match opcode {
            b'}' | b'd' => Node::Map(Vec::new()),
            // Sets have no order, so that no path leads into them.
            0x8f | 0x91 => Node::Opaque,
            _ => Node::List(Vec::new()),
        };
        let id = self.builder.add(node)?;
        let mut container = Item { id, depth: 1 };
        self.put(&mut container, &items, opcode == b'd')?;
        self.push(container)
    }

    /// APPEND, APPENDS, SETITEM, SETITEMS
    fn fill(&mut self, opcode: u8) -> Result<(), DecodeError> {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let mut container = self.pop()?;
        // What is no list has no end to put something at, and what is no dict has no keys.
        let fits = match self.builder.node(container.id) {
            Node::Map(_) => matches!(opcode, b's' | b'u'),
            Node::List(_) => matches!(opcode, b'a' | b'e'),
            node => *node == Node::Opaque,
        };
        if !fits {
            return Err(self.input.malformed());
        }
        self.put(&mut container, &items, matches!(opcode, b's' | b'u'))?;
        self.push(container)
    }

    fn put(&mut self, container: &mut Item, items: &[Item], are_pairs: bool) -> Result<(), DecodeError> {
        if are_pairs && !items.len().is_multiple_of(2) {
            return Err(self.input.malformed());
        }
        for item in items {
            container.depth = container.depth.max(item.depth + 1);
            if container.depth > MOST_DEPTH {
                return Err(DecodeError::TooDeep);
            }
        }
        if are_pairs {
            for pair in items.chunks_exact(2) {
                self.builder.insert(container.id, pair[0].id, pair[1].id)?;
            }
        } else {
            for item in items {
                self.builder.push(container.id, item.id)?;
            }
        }
        Ok(())
    }

    /// What would import, call or change an object. BUILD changes what is on the stack, which may have been plain.
    fn object(&mut self, opcode: u8) -> Result<(), DecodeError> {
        match opcode {
            b'c' => {
                self.input.until(b'\n')?;
                self.input.until(b'\n')?;
            }
            b'i' => {
                self.input.until(b'\n')?;
                self.input.until(b'\n')?;
                self.pop_to_mark()?;
            }
            b'P' => {
                self.input.until(b'\n')?;
            }
            b'o' => {
                self.pop_to_mark()?;
            }
            0x82 => self.input.take(1).map(drop)?,
            0x83 => self.input.take(2).map(drop)?,
            0x84 => self.input.take(4).map(drop)?,
            b'Q' => {
                self.pop()?;
            }
            // REDUCE, NEWOBJ, STACK_GLOBAL
            b'R' | 0x81 | 0x93 => {
                self.pop()?;
                self.pop()?;
            }
            // BUILD
            b'b' => {
                self.pop()?;
                let built = self.pop()?;
                self.builder.blacken(built.id);
            }
            // NEWOBJ_EX
            _ => {
                self.pop()?;
                self.pop()?;
                self.pop()?;
            }
        }
        let id = self.builder.add(Node::Opaque)?;
        self.push(Item { id, depth: 0 })
    }

    fn mark(&mut self) -> Result<(), DecodeError> {
        if self.marks.len() >= MOST_ITEMS {
            return Err(DecodeError::TooMany);
        }
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn push(&mut self, item: Item) -> Result<(), DecodeError> {
        if self.stack.len() >= MOST_ITEMS {
            return Err(DecodeError::TooMany);
        }
        self.stack.push(item);
        Ok(())
    }

    /// The height of the stack at the last mark: nothing below may be taken.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Item, DecodeError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<Item, DecodeError> {
        let above = self.stack.get(self.floor()..).and_then(<[Item]>::last);
        above.copied().ok_or(self.input.malformed())
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Item>, DecodeError> {
        let height = self.marks.pop().ok_or(self.input.malformed())?;
        if height > self.stack.len() {
            return Err(self.input.malformed());
        }
        Ok(self.stack.split_off(height))
    }
}

/// A whole number in two's complement, least byte first.
fn long(bytes: &[u8]) -> Node {
    if bytes.len() > 8 {
        return Node::Opaque;
    }
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    whole[..bytes.len()].copy_from_slice(bytes);
    Node::Integer(i64::from_le_bytes(whole))
}
