//! The one value that every decoder makes: nodes in one list that point to each other by number. References cost
//! nothing, circles are harmless, and dropping it never recurses. Every limit on what a session may hold stands here.

use crate::clock::Timestamp;

/// Most bytes of one session, as it lies in the store and again after inflating it (256 KiB).
pub const MOST_BYTES: usize = 256 * 1024;
/// Deepest nesting; sessions of real applications stay below 8.
pub const MOST_DEPTH: u8 = 32;
/// Most values, and most places that hold one, in a session.
pub const MOST_ITEMS: usize = 10_000;

/// The session cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    /// It has more bytes than [`MOST_BYTES`].
    #[error("the session is larger than 256 KiB")]
    TooLarge,
    /// It is nested more deeply than [`MOST_DEPTH`].
    #[error("the session is nested more than 32 levels deep")]
    TooDeep,
    /// It holds more values than [`MOST_ITEMS`].
    #[error("the session holds more than 10 000 values")]
    TooMany,
    /// It ends too early, goes on after its end, or breaks its grammar.
    #[error("the session is not well-formed {0}")]
    Malformed(&'static str),
}

/// The number of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeId(u32);

/// One value.
#[derive(Clone, PartialEq, Debug)]
pub enum Node {
    /// Nothing.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number; larger ones are opaque.
    Integer(i64),
    /// A number that is not known to be whole.
    Float(f64),
    /// Text, not checked to be UTF-8: PHP and Ruby do not either.
    Text(Box<[u8]>),
    /// A moment.
    Time(Timestamp),
    /// Values in order.
    List(Vec<NodeId>),
    /// Keys and values in the order in which they were written; a key may occur twice.
    Map(Vec<(NodeId, NodeId)>),
    /// An object of the class that the first node names: read over, and no path leads into it.
    Object(NodeId, Vec<(NodeId, NodeId)>),
    /// Something else: read over, never built, never run.
    Opaque,
    /// A value of its own within the session that could not be read, and why.
    Unreadable(DecodeError),
}

/// A decoded session.
#[derive(Debug)]
pub struct Decoded {
    nodes: Vec<Node>,
    root: NodeId,
    /// When it began, where the envelope around it says so.
    pub created: Option<Timestamp>,
    /// When it ends, where the envelope around it says so.
    pub ends: Option<Timestamp>,
}

impl Decoded {
    /// The outermost value.
    #[must_use]
    pub fn root(&self) -> &Node {
        self.node(self.root)
    }

    /// The value with this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::Opaque)
    }

    /// The same session with another of its values outermost.
    #[must_use]
    pub fn with_root(mut self, root: NodeId) -> Self {
        self.root = root;
        self
    }

    /// The entry under `key` of a map. `Err` when there is more than one: readers differ in which they take.
    ///
    /// # Errors
    /// The key occurs twice.
    pub fn entry(&self, entries: &[(NodeId, NodeId)], key: &[u8]) -> Result<Option<NodeId>, Twice> {
        let mut found = None;
        for (name, value) in entries {
            if !self.spells(*name, key) {
                continue;
            }
            if found.is_some() {
                return Err(Twice);
            }
            found = Some(*value);
        }
        Ok(found)
    }

    fn spells(&self, name: NodeId, key: &[u8]) -> bool {
        match self.node(name) {
            Node::Text(text) => **text == *key,
            Node::Integer(number) => number.to_string().as_bytes() == key,
            _ => false,
        }
    }
}

/// A key of a map occurs twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Twice;

/// How far a [`Builder`] had come.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    nodes: usize,
    links: usize,
    entries: usize,
    text: usize,
}

/// Where a decoder puts what it reads. It counts, so that no decoder has to.
#[derive(Debug, Default)]
pub struct Builder {
    nodes: Vec<Node>,
    links: usize,
    /// Entries of maps and objects, whose keys are no values.
    entries: usize,
    text: usize,
}

impl Builder {
    /// Adds a value without parts, or a container that is still empty.
    ///
    /// # Errors
    /// There are too many.
    pub fn add(&mut self, node: Node) -> Result<NodeId, DecodeError> {
        if self.nodes.len() >= MOST_ITEMS + self.entries {
            return Err(DecodeError::TooMany);
        }
        let id = u32::try_from(self.nodes.len()).map_err(|_| DecodeError::TooMany)?;
        self.nodes.push(node);
        Ok(NodeId(id))
    }

    /// Adds text.
    ///
    /// # Errors
    /// There is too much.
    pub fn text(&mut self, bytes: &[u8]) -> Result<NodeId, DecodeError> {
        self.text += bytes.len();
        if self.text > MOST_BYTES {
            return Err(DecodeError::TooLarge);
        }
        self.add(Node::Text(bytes.into()))
    }

    /// Puts a value at the end of a list. Anything but a list stays as it is.
    ///
    /// # Errors
    /// There are too many.
    pub fn push(&mut self, list: NodeId, item: NodeId) -> Result<(), DecodeError> {
        self.link()?;
        if let Some(Node::List(items)) = self.nodes.get_mut(list.0 as usize) {
            items.push(item);
        }
        Ok(())
    }

    /// Puts an entry at the end of a map or object. Anything else stays as it is.
    ///
    /// # Errors
    /// There are too many.
    pub fn insert(&mut self, map: NodeId, key: NodeId, value: NodeId) -> Result<(), DecodeError> {
        self.link()?;
        self.entries += 1;
        if let Some(Node::Map(entries) | Node::Object(_, entries)) = self.nodes.get_mut(map.0 as usize) {
            entries.push((key, value));
        }
        Ok(())
    }

    /// Makes a value opaque after the fact.
    pub fn blacken(&mut self, id: NodeId) {
        self.replace(id, Node::Opaque);
    }

    /// Puts another value in the place of one.
    pub fn replace(&mut self, id: NodeId, node: Node) {
        if let Some(place) = self.nodes.get_mut(id.0 as usize) {
            *place = node;
        }
    }

    /// Where it stands, to come back to.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { nodes: self.nodes.len(), links: self.links, entries: self.entries, text: self.text }
    }

    /// Forgets all that was added since. Nothing from before may point there.
    pub fn back_to(&mut self, mark: Mark) {
        self.nodes.truncate(mark.nodes);
        (self.links, self.entries, self.text) = (mark.links, mark.entries, mark.text);
    }

    /// The values that were added since.
    pub fn since(&self, mark: Mark) -> impl Iterator<Item = NodeId> + use<> {
        (mark.nodes..self.nodes.len()).filter_map(|at| u32::try_from(at).ok()).map(NodeId)
    }

    /// The value with this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes.get(id.0 as usize).unwrap_or(&Node::Opaque)
    }

    /// The finished session.
    #[must_use]
    pub fn finish(self, root: NodeId) -> Decoded {
        Decoded { nodes: self.nodes, root, created: None, ends: None }
    }

    fn link(&mut self) -> Result<(), DecodeError> {
        self.links += 1;
        if self.links > MOST_ITEMS { Err(DecodeError::TooMany) } else { Ok(()) }
    }
}

/// How deeply a decoder has gone: it cannot go deeper than [`MOST_DEPTH`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Depth(u8);

impl Depth {
    /// One level further in.
    ///
    /// # Errors
    /// That would be too deep.
    pub fn deeper(self) -> Result<Self, DecodeError> {
        if self.0 >= MOST_DEPTH { Err(DecodeError::TooDeep) } else { Ok(Self(self.0 + 1)) }
    }
}
