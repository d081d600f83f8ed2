//! Holds the tree of a configuration against the JSON Schema of its types: unknown keys, wrong types, unknown words,
//! missing keys, texts in the wrong format. What does not fit is told and taken out, so that the rest can be judged.

use std::sync::LazyLock;

use serde_json::Value as Schema;

use super::document::{Entry, Node, Value, join};
use super::problem::{Place, Problem, Problems, shown};
use super::raw;
use super::raw::values::Format;

/// The JSON Schema of the configuration file.
pub(super) static SCHEMA: LazyLock<Schema> =
    LazyLock::new(|| schemars::schema_for!(raw::File).as_value().clone());

/// Judges the whole tree.
pub(super) fn check(root: &mut Node, problems: &mut Problems) {
    Walk { problems }.node(&SCHEMA, root, "", false);
}

/// Follows references until there is none.
pub(super) fn resolve(schema: &Schema) -> &Schema {
    let mut schema = schema;
    while let Some(reference) = schema.get("$ref").and_then(Schema::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| SCHEMA.pointer(pointer));
        // Schemas are generated here, so a reference leads somewhere; if not, anything goes.
        schema = target.unwrap_or(&Schema::Bool(true));
    }
    schema
}

/// The alternatives that a schema leaves, without `null`, which TOML does not have.
pub(super) fn branches(schema: &Schema) -> Vec<&Schema> {
    let schema = resolve(schema);
    let alternatives = ["anyOf", "oneOf"].iter().find_map(|word| schema.get(word)?.as_array());
    match alternatives {
        Some(alternatives) => alternatives
            .iter()
            .filter(|branch| branch.get("type") != Some(&"null".into()))
            .flat_map(branches)
            .collect(),
        None => vec![schema],
    }
}

/// The words that a branch allows, if it allows only certain words.
pub(super) fn words(branch: &Schema) -> Option<Vec<&str>> {
    if let Some(word) = branch.get("const") {
        return Some(word.as_str().into_iter().collect());
    }
    Some(branch.get("enum")?.as_array()?.iter().filter_map(Schema::as_str).collect())
}

/// Whether a branch is of the JSON type `name`.
pub(super) fn is_type(branch: &Schema, name: &str) -> bool {
    match branch.get("type") {
        Some(Schema::String(one)) => one == name,
        Some(Schema::Array(several)) => several.iter().any(|one| one == name),
        _ => branch.get("const").is_some_and(|word| word.is_string() && name == "string"),
    }
}

/// What a branch wants, for people.
pub(super) fn wanted(branches: &[&Schema]) -> String {
    let mut parts: Vec<String> = Vec::new();
    let all_words: Vec<&str> = branches.iter().filter_map(|branch| words(branch)).flatten().collect();
    match all_words.as_slice() {
        [] => {}
        [only] => parts.push(format!("{only:?}")),
        several => parts.push(format!("one of {}", list(several, '"'))),
    }
    for branch in branches.iter().filter(|branch| words(branch).is_none()) {
        parts.push(wanted_of_one(branch));
    }
    parts.join(", or ")
}

fn wanted_of_one(branch: &Schema) -> String {
    if let Some(format) = branch.get("format").and_then(Schema::as_str).and_then(Format::called) {
        return format.expected().to_owned();
    }
    if is_type(branch, "boolean") {
        return "true or false".to_owned();
    }
    if is_type(branch, "integer") {
        let bound = |name: &str| branch.get(name).and_then(Schema::as_i64);
        return match (bound("minimum"), bound("maximum")) {
            (Some(least), Some(most)) => format!("an integer from {least} to {most}"),
            (Some(least), None) => format!("an integer from {least}"),
            _ => "an integer".to_owned(),
        };
    }
    if is_type(branch, "number") {
        return "a number".to_owned();
    }
    if is_type(branch, "array") {
        let items = branch.get("items").map(branches).unwrap_or_default();
        return if items.iter().any(|item| is_type(item, "object")) {
            "a list of tables".to_owned()
        } else {
            format!("a list, each of it {}", wanted(&items))
        };
    }
    if is_type(branch, "object") {
        return format!("a table with the keys {}", list(&keys(branch), '`'));
    }
    "a string".to_owned()
}

fn keys(branch: &Schema) -> Vec<&str> {
    let properties = branch.get("properties").and_then(Schema::as_object);
    properties.map(|properties| properties.keys().map(String::as_str).collect()).unwrap_or_default()
}

fn list(words: &[&str], quote: char) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{quote}{word}{quote}")).collect();
    quoted.join(", ")
}

fn is_secret(schema: &Schema) -> bool {
    let names_secret =
        schema.get("$ref").and_then(Schema::as_str).is_some_and(|name| name.ends_with("/SecretSource"));
    names_secret || resolve(schema).get("x-secret").is_some()
}

/// Whether a branch takes a value of this kind. One without any type takes every scalar; a whole number is a number.
fn takes(branch: &Schema, value: &Value) -> bool {
    let untyped = ["type", "const", "enum", "$ref"].iter().all(|word| branch.get(*word).is_none());
    let scalar = !matches!(value, Value::Array(_) | Value::Table(_));
    is_type(branch, type_name(value))
        || (matches!(value, Value::Integer(_)) && is_type(branch, "number"))
        || (untyped && scalar)
}

/// The JSON type of a value, and what may be printed of it.
fn type_name(value: &Value) -> &'static str {
    match value {
        Value::String(_) | Value::Datetime(_) => "string",
        Value::Integer(_) => "integer",
        Value::Number(_) => "number",
        Value::Boolean(_) => "boolean",
        Value::Array(_) => "array",
        Value::Table(_) => "object",
    }
}

fn description(value: &Value, may_show: bool) -> String {
    match value {
        Value::String(text) if may_show => shown(text),
        Value::String(_) => "a string (not shown: it may be secret)".to_owned(),
        Value::Integer(number) if may_show => number.to_string(),
        Value::Integer(_) => "an integer".to_owned(),
        Value::Number(text) if may_show => text.clone(),
        Value::Number(_) => "a number".to_owned(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(_) => "a date".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Table(_) => "a table".to_owned(),
    }
}

struct Walk<'a> {
    problems: &'a mut Problems,
}

impl Walk<'_> {
    /// Judges one value. False: it does not fit and has to go.
    fn node(&mut self, schema: &Schema, node: &mut Node, key: &str, secret: bool) -> bool {
        let secret = secret || is_secret(schema);
        let all = branches(schema);
        let fitting: Vec<&Schema> = all.iter().copied().filter(|branch| takes(branch, &node.value)).collect();
        if fitting.is_empty() {
            self.wrong_type(&all, node, key, secret);
            return false;
        }
        let place = node.place.clone();
        match &mut node.value {
            Value::Table(entries) => self.table(fitting[0], entries, &place, key, secret),
            Value::Array(nodes) => {
                self.list(fitting[0], nodes, key, secret);
                true
            }
            Value::String(text) | Value::Datetime(text) => self.text(&fitting, text, &place, key),
            Value::Integer(number) => self.integer(fitting[0], *number, &place, key),
            Value::Number(_) | Value::Boolean(_) => true,
        }
    }

    fn wrong_type(&mut self, all: &[&Schema], node: &Node, key: &str, secret: bool) {
        let takes_scalar = all.iter().any(|branch| !is_type(branch, "object") && !is_type(branch, "array"));
        let problem = Problem::error(node.place.clone(), key, format!("`{key}` has the wrong type"))
            .found(description(&node.value, takes_scalar && !secret))
            .expected(wanted(all));
        let takes = |name: &str| all.iter().any(|branch| is_type(branch, name));
        let problem = match &node.value {
            Value::Table(_) if takes("array") => problem.hint(format!("write `[[{key}]]`, once for each")),
            Value::Array(_) if takes("object") => problem.hint(format!("write `[{key}]`, once")),
            Value::String(_) if secret => {
                problem.hint("secrets are not written here: `{ env = \"NAME\" }` or `{ file = \"PATH\" }`")
            }
            Value::String(text) if takes("integer") && text.parse::<i64>().is_ok() => {
                problem.hint("leave out the quotes")
            }
            Value::String(text) if takes("boolean") && matches!(text.as_str(), "true" | "false") => {
                problem.hint("leave out the quotes")
            }
            Value::Integer(_) if takes("string") => problem.hint("put it in quotes"),
            _ => problem,
        };
        self.problems.push(problem);
    }

    fn table(
        &mut self,
        schema: &Schema,
        entries: &mut Vec<Entry>,
        place: &Place,
        key: &str,
        secret: bool,
    ) -> bool {
        let written = entries.len() as u64;
        let (least, most) = (schema.get("minProperties"), schema.get("maxProperties"));
        let within = least.and_then(Schema::as_u64).is_none_or(|least| least <= written)
            && most.and_then(Schema::as_u64).is_none_or(|most| written <= most);
        let known = schema.get("properties").and_then(Schema::as_object);
        for name in schema.get("required").and_then(Schema::as_array).into_iter().flatten() {
            let name = name.as_str().unwrap_or_default();
            if !entries.iter().any(|entry| entry.name == name) {
                self.missing(known.and_then(|known| known.get(name)), place, key, name);
            }
        }
        let before = entries.len();
        entries.retain_mut(|entry| {
            let path = join(key, &entry.name);
            let Some(schema_of_entry) = known.and_then(|known| known.get(&entry.name)) else {
                self.unknown(schema, entry, key);
                return false;
            };
            self.node(schema_of_entry, &mut entry.node, &path, secret || path == "keys")
        });
        if !within && before == entries.len() {
            self.problems.push(
                Problem::error(place.clone(), key, format!("`{key}` must name one source"))
                    .expected(format!("exactly one of {}", list(&keys(schema), '`'))),
            );
        }
        within && before == entries.len() || least.is_none()
    }

    fn missing(&mut self, schema: Option<&Schema>, place: &Place, key: &str, name: &str) {
        let around = if key.is_empty() { "the configuration".to_owned() } else { format!("`{key}`") };
        let problem =
            Problem::error(place.clone(), join(key, name), format!("`{name}` is missing in {around}"));
        let expected = schema.map(|schema| wanted(&branches(schema)));
        self.problems.push(match expected {
            Some(expected) => problem.expected(expected),
            None => problem,
        });
    }

    fn unknown(&mut self, schema: &Schema, entry: &Entry, key: &str) {
        let known = keys(schema);
        let around = if key.is_empty() { "at the top level".to_owned() } else { format!("in `{key}`") };
        self.problems.push(
            Problem::error(
                entry.place.clone(),
                join(key, &entry.name),
                format!("unknown key {} {around}", shown(&entry.name).replace('"', "`")),
            )
            .expected(format!("one of {}", list(&known, '`')))
            .did_you_mean(&entry.name, known.iter().copied()),
        );
    }

    fn list(&mut self, schema: &Schema, nodes: &mut Vec<Node>, key: &str, secret: bool) {
        let Some(items) = schema.get("items") else { return };
        let takes_tables = branches(items).iter().any(|branch| is_type(branch, "object"));
        let mut index = 0;
        nodes.retain_mut(|node| {
            let fits = self.node(items, node, &format!("{key}[{index}]"), secret);
            index += 1;
            if !fits && takes_tables {
                // An empty table keeps the numbers of those behind it.
                node.value = Value::Table(Vec::new());
            }
            fits || takes_tables
        });
    }

    fn text(&mut self, fitting: &[&Schema], text: &str, place: &Place, key: &str) -> bool {
        let allowed: Vec<&str> = fitting.iter().filter_map(|branch| words(branch)).flatten().collect();
        let fits = fitting.iter().any(|branch| match words(branch) {
            Some(words) => words.contains(&text),
            None => match branch.get("format").and_then(Schema::as_str).and_then(Format::called) {
                Some(format) => format.fits(text),
                None => true,
            },
        });
        if !fits {
            // Only words and texts of a format get here; secrets have neither.
            self.problems.push(
                Problem::error(place.clone(), key, format!("`{key}` cannot be this"))
                    .found(shown(text))
                    .expected(wanted(fitting))
                    .did_you_mean(text, allowed),
            );
        }
        fits
    }

    fn integer(&mut self, branch: &Schema, number: i64, place: &Place, key: &str) -> bool {
        let bound = |name: &str| branch.get(name).and_then(Schema::as_i64);
        let fits = bound("minimum").is_none_or(|least| least <= number)
            && bound("maximum").is_none_or(|most| number <= most);
        if !fits {
            self.problems.push(
                Problem::error(place.clone(), key, format!("`{key}` is out of range"))
                    .found(number.to_string())
                    .expected(wanted(&[branch])),
            );
        }
        fits
    }
}
