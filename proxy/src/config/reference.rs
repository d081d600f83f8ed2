//! Writes config/schema.json and config/reference.md out of the types in `raw`. A test fails when the files are stale.

use std::fmt::Write as _;

use serde_json::Value as Schema;

use super::raw::values::Format;
use super::shape::{SCHEMA, branches, is_type, resolve, words};

/// The JSON Schema of the configuration file, as config/schema.json holds it.
pub fn schema_text() -> String {
    // A schema is plain JSON, whose printing does not fail.
    let mut text = serde_json::to_string_pretty(&*SCHEMA).unwrap_or_default();
    text.push('\n');
    text
}

/// The reference of all keys, as config/reference.md holds it.
pub fn reference_text() -> String {
    let mut text = String::from(INTRODUCTION);
    section(&mut text, "Top level", &SCHEMA, "", 0);
    text
}

const INTRODUCTION: &str = "\
# Configuration reference

Written by `countersign schema --reference`; do not edit by hand. default.toml shows every key with its default,
production.toml a whole configuration.

The file is strict: an unknown key, a wrong type or a key set twice is an error, and all errors are told at once.
A **length of time** is a text such as `\"250ms\"`, `\"30s\"`, `\"1h 30m\"`; a **size** is a number of bytes or a text such as
`\"8KiB\"`, `\"10MiB\"`. A **secret** is `{ env = \"NAME\" }` or `{ file = \"PATH\" }`, never written in the file itself. Relative
paths begin at the directory of the file that says them.
";

fn section(text: &mut String, title: &str, schema: &Schema, path: &str, depth: usize) {
    let _ = write!(text, "\n## {title}\n\n");
    let description = schema.get("description").and_then(Schema::as_str).filter(|_| depth > 1);
    if let Some(description) = description {
        let _ = write!(text, "{}\n\n", flat(description));
    }
    text.push_str("| key | value | default | meaning |\n|---|---|---|---|\n");
    let Some(properties) = schema.get("properties").and_then(Schema::as_object) else { return };
    let required = schema.get("required").and_then(Schema::as_array);
    let mut below = Vec::new();
    for (name, property) in properties {
        let is_required = required.is_some_and(|names| names.iter().any(|required| required == name));
        let default = match property.get("default") {
            _ if is_required => "**required**".to_owned(),
            Some(default) if has_plain_default(default) => format!("`{}`", toml_text(default)),
            _ => String::new(),
        };
        let _ = writeln!(text, "| `{name}` | {} | {default} | {} |", kind(property), meaning(property));
        if let Some((inner, many)) = table_of(property) {
            let inner_path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let title = match (path.is_empty(), many) {
                (true, true) => format!("`[[{name}]]`"),
                (true, false) => format!("`[{name}]`"),
                (false, true) => format!("`{inner_path}`, each of the list"),
                (false, false) => format!("`{inner_path}`"),
            };
            below.push((title, inner, inner_path));
        }
    }
    for (title, inner, inner_path) in below {
        section(text, &title, inner, &inner_path, depth + 1);
    }
}

/// The table that a property leads to, if it is one that deserves a section, and whether there may be many.
fn table_of(property: &Schema) -> Option<(&Schema, bool)> {
    if is_secret(property) {
        return None;
    }
    let all = branches(property);
    if let Some(table) = all.iter().copied().find(|branch| is_type(branch, "object")) {
        return (!is_secret_table(table)).then_some((table, false));
    }
    let items = all.iter().find(|branch| is_type(branch, "array"))?.get("items")?;
    let table = branches(items).into_iter().find(|branch| is_type(branch, "object"))?;
    (!is_secret_table(table)).then_some((table, true))
}

fn is_secret(property: &Schema) -> bool {
    resolve(property).get("x-secret").is_some()
}

fn is_secret_table(table: &Schema) -> bool {
    table.pointer("/properties/env").is_some() && table.pointer("/properties/file").is_some()
}

fn has_plain_default(default: &Schema) -> bool {
    !default.is_object() && default.as_array().is_none_or(|list| list.iter().all(|one| !one.is_object()))
}

fn toml_text(value: &Schema) -> String {
    match value {
        Schema::Array(list) => format!("[{}]", list.iter().map(toml_text).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}

fn kind(property: &Schema) -> String {
    if is_secret(property) {
        return "text or secret".to_owned();
    }
    let mut kinds: Vec<String> = Vec::new();
    for branch in branches(property) {
        let kind = kind_of_branch(branch);
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    kinds.join(" or ")
}

fn kind_of_branch(branch: &Schema) -> String {
    if let Some(words) = words(branch) {
        return words.iter().map(|word| format!("`\"{word}\"`")).collect::<Vec<_>>().join(", ");
    }
    if let Some(format) = branch.get("format").and_then(Schema::as_str).and_then(Format::called) {
        return match format {
            Format::Span | Format::SpanOrZero => "length of time",
            Format::Size => "size",
            Format::Cidr => "network",
            Format::Address => "address and port",
            Format::Moment => "moment",
            Format::Method => "method",
        }
        .to_owned();
    }
    if is_type(branch, "array") {
        let items = branch.get("items").map(kind).unwrap_or_default();
        return format!("list of {items}");
    }
    if is_type(branch, "object") {
        return if is_secret_table(branch) { "secret" } else { "table" }.to_owned();
    }
    for (name, kind) in [("boolean", "`true`, `false`"), ("integer", "integer"), ("number", "number")] {
        if is_type(branch, name) {
            return kind.to_owned();
        }
    }
    if branch.get("type").is_none() { "any value" } else { "text" }.to_owned()
}

fn meaning(property: &Schema) -> String {
    let mut text = property.get("description").and_then(Schema::as_str).map(flat).unwrap_or_default();
    let resolved = branches(property);
    let items = resolved.iter().filter_map(|branch| branch.get("items")).flat_map(branches);
    let words = resolved.iter().copied().chain(items).filter_map(|branch| {
        let description = branch.get("description").and_then(Schema::as_str)?;
        Some((branch.get("const")?.as_str()?, flat(description)))
    });
    for (word, description) in words {
        let _ = write!(text, " `{word}`: {description}");
    }
    text.replace('|', "\\|").trim().to_owned()
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
