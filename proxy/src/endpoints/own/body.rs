//! Bodies that our endpoints read: bounded before they come here, a JSON object or a precise problem. What was sent is
//! never echoed, only where the fault lies and what was expected.

use serde_json::error::Category;
use serde_json::{Map, Value, json};

use super::json::Strict;
use crate::endpoints::problem::Fault;
use crate::reason::Reason;

/// Reads a body as a JSON object.
///
/// # Errors
/// `MalformedJson` with line and column, `InvalidFields` for JSON that is no object.
pub fn parse(bytes: &[u8]) -> Result<Map<String, Value>, Fault> {
    match serde_json::from_slice(bytes) {
        // Postgres keeps no U+0000 in JSON; said here, it is the same whatever the directory is.
        Ok(Strict(Value::Object(object))) if holds_null(&object) => {
            Err(invalid("", "texts without the character U+0000 are expected"))
        }
        Ok(Strict(Value::Object(object))) => Ok(object),
        Ok(_) => Err(invalid("", "an object is expected")),
        Err(error) => {
            let detail = match error.classify() {
                Category::Eof => "the body ends too early",
                Category::Data => "a member occurs twice",
                Category::Io | Category::Syntax => "this is not JSON",
            };
            let fault = Fault::from(Reason::MalformedJson).with("detail", detail);
            Err(fault.with("line", error.line()).with("column", error.column()))
        }
    }
}

/// Whether a name or a text anywhere in it holds U+0000. As deep as JSON is read at all.
fn holds_null(object: &Map<String, Value>) -> bool {
    fn within(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(values) => values.iter().any(within),
            Value::Object(object) => holds_null(object),
            _ => false,
        }
    }
    object.iter().any(|(name, value)| name.contains('\0') || within(value))
}

/// A text that must be there.
///
/// # Errors
/// `InvalidFields` when it is missing or something else.
pub(super) fn text<'a>(object: &'a Map<String, Value>, field: &'static str) -> Result<&'a str, Fault> {
    object.get(field).and_then(Value::as_str).ok_or_else(|| invalid(field, "a text is expected"))
}

/// A whole number that may be missing.
///
/// # Errors
/// `InvalidFields` when it is something else.
pub(super) fn whole_number(object: &Map<String, Value>, field: &'static str) -> Result<Option<u64>, Fault> {
    match object.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| invalid(field, "a whole number is expected")),
    }
}

/// One field that is not as it has to be; `field` is a name of ours, or empty for the whole.
pub(super) fn invalid(field: &str, expected: &str) -> Fault {
    Fault::from(Reason::InvalidFields).with("errors", json!([{ "field": field, "expected": expected }]))
}
