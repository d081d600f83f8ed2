//! Hashes: the plain text fields of an application's own layout, and the fields of Spring Session, each of them a value
//! in Java's serialisation or in JSON.

use super::{java, json};
use crate::formats::value::{Builder, DecodeError, Decoded, MOST_BYTES, Node, NodeId};

/// The fields of a hash in Redis.
pub type Fields = [(Vec<u8>, Vec<u8>)];

/// Where Spring Security keeps who is logged in.
const SECURITY_CONTEXT: &[u8] = b"sessionAttr:SPRING_SECURITY_CONTEXT";

/// Every field is text.
pub(in crate::formats) fn decode_text(fields: &Fields) -> Result<Decoded, DecodeError> {
    let (mut builder, map) = begin(fields)?;
    for (name, value) in fields {
        let key = builder.text(name)?;
        let value = builder.text(value)?;
        builder.insert(map, key, value)?;
    }
    Ok(builder.finish(map))
}

/// Every field is a value of its own. One that cannot be read harms no other: applications keep objects of all kinds
/// beside the few values that matter here. So do they with large ones: they come last, and what finds no room is as one
/// that cannot be read. Who looks for something in it is told so.
pub(in crate::formats) fn decode(fields: &Fields) -> Result<Decoded, DecodeError> {
    let (mut builder, map) = begin(fields)?;
    let mut graphs = Vec::new();
    for (name, value) in fields {
        let key = builder.text(name)?;
        let id = if java::is_graph(value) {
            let id = builder.add(Node::Opaque)?;
            graphs.push((id, name, value));
            id
        } else {
            single(value, &mut builder)?
        };
        builder.insert(map, key, id)?;
        if name == SECURITY_CONTEXT {
            check_authenticated(id, &mut builder);
        }
    }
    for (id, name, value) in graphs {
        let mark = builder.mark();
        match java::read(value, &mut builder) {
            // The few references to the whole that lie within it lead nowhere then, and are of no use.
            Ok(root) => {
                let whole = builder.node(root).clone();
                builder.replace(id, whole);
            }
            Err(error) => {
                builder.back_to(mark);
                builder.replace(id, Node::Unreadable(error));
            }
        }
        if name == SECURITY_CONTEXT {
            check_authenticated(id, &mut builder);
        }
    }
    Ok(builder.finish(map))
}

fn begin(fields: &Fields) -> Result<(Builder, NodeId), DecodeError> {
    if fields.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() > MOST_BYTES {
        return Err(DecodeError::TooLarge);
    }
    let mut builder = Builder::default();
    let map = builder.add(Node::Map(Vec::new()))?;
    Ok((builder, map))
}

fn single(value: &[u8], builder: &mut Builder) -> Result<NodeId, DecodeError> {
    let mark = builder.mark();
    let read =
        if value.starts_with(java::HEAD) { java::read(value, builder) } else { json::read(value, builder) };
    match read {
        Err(error @ DecodeError::Malformed(_)) => {
            builder.back_to(mark);
            return builder.add(Node::Unreadable(error));
        }
        Err(limit) => return Err(limit),
        Ok(_) => {}
    }
    for id in builder.since(mark) {
        if let Some(value) = wrapped(id, builder) {
            builder.replace(id, value);
        }
    }
    read
}

/// Jackson writes `["java.lang.Long", 42]` where the type would else be lost.
fn wrapped(id: NodeId, builder: &Builder) -> Option<Node> {
    let Node::List(items) = builder.node(id) else { return None };
    let [class, value] = items.as_slice() else { return None };
    let is_single = match builder.node(*class) {
        Node::Text(name) => name.starts_with(b"java.lang.") || **name == *b"java.util.UUID",
        _ => false,
    };
    let value = builder.node(*value);
    let is_plain = matches!(value, Node::Bool(_) | Node::Integer(_) | Node::Float(_) | Node::Text(_));
    (is_single && is_plain).then(|| value.clone())
}

/// Who has not been authenticated, or not by every step yet, is nobody to Spring. Of a context that could not be read
/// nobody can say.
fn check_authenticated(context: NodeId, builder: &mut Builder) {
    if matches!(builder.node(context), Node::Unreadable(_)) {
        return;
    }
    let field = |id: NodeId, name: &[u8]| match builder.node(id) {
        Node::Map(fields) => {
            let mut found = fields
                .iter()
                .filter(|(key, _)| matches!(builder.node(*key), Node::Text(text) if **text == *name));
            // Written twice, it says nothing.
            found.next().filter(|_| found.next().is_none()).map(|(_, value)| *value)
        }
        _ => None,
    };
    let authentication = field(context, b"authentication");
    let is_authenticated = authentication.and_then(|id| field(id, b"authenticated"));
    if !is_authenticated.is_some_and(|id| *builder.node(id) == Node::Bool(true)) {
        builder.replace(context, Node::Null);
    }
}
