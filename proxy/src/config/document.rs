//! The configuration as it stands in its files: one tree out of all includes, every key and value with its place.
//! Knows TOML, nothing of what the keys mean.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::problem::{Place, Problem, Problems, shown};

/// How many files deep an include may lead. A guess at what anybody needs, doubled.
const DEEPEST_INCLUDE: usize = 8;
/// How many files one configuration may consist of.
const MOST_FILES: usize = 64;
/// The largest configuration file; thousands of routes fit.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;
/// How deep tables may lie in each other; our own keys need 5.
const DEEPEST_NESTING: usize = 16;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    /// Directory of the file the value stands in: what relative paths are relative to.
    pub(super) directory: PathBuf,
    pub(super) value: Value,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub(super) enum Value {
    String(String),
    Integer(i64),
    /// A number that is no integer of 64 bits, as it was written.
    Number(String),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Node>),
    Table(Vec<Entry>),
}

/// A key with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// The entry called `name`, if this is a table that has one.
    pub(super) fn entry(&self, name: &str) -> Option<&Node> {
        let Value::Table(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.name == name).map(|entry| &entry.node)
    }

    /// The tree as serde reads it; dates become text.
    pub(super) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::String(text) | Value::Datetime(text) => text.as_str().into(),
            Value::Number(text) => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => number.into(),
                _ => text.as_str().into(),
            },
            Value::Integer(number) => (*number).into(),
            Value::Boolean(truth) => (*truth).into(),
            Value::Array(nodes) => nodes.iter().map(Self::to_json).collect(),
            Value::Table(entries) => {
                entries.iter().map(|entry| (entry.name.clone(), entry.node.to_json())).collect()
            }
        }
    }
}

/// Where each key of a tree stands.
#[derive(Debug)]
pub(super) struct Places {
    by_key: HashMap<String, (Place, PathBuf)>,
    root: (Place, PathBuf),
}

impl Places {
    /// Notes the places of a tree.
    pub(super) fn of(root: &Node) -> Self {
        let mut places = Self { by_key: HashMap::new(), root: (root.place.clone(), root.directory.clone()) };
        places.note(root, String::new());
        places
    }

    fn note(&mut self, node: &Node, key: String) {
        match &node.value {
            Value::Table(entries) => {
                for entry in entries {
                    self.note(&entry.node, join(&key, &entry.name));
                }
            }
            Value::Array(nodes) => {
                for (index, node) in nodes.iter().enumerate() {
                    self.note(node, format!("{key}[{index}]"));
                }
            }
            _ => {}
        }
        self.by_key.insert(key, (node.place.clone(), node.directory.clone()));
    }

    /// Where `key` stands, or where the nearest table around it does.
    pub(super) fn find(&self, key: &str) -> Place {
        self.nearest(key).0.clone()
    }

    /// The directory of the file in which `key` stands.
    pub(super) fn directory(&self, key: &str) -> &Path {
        &self.nearest(key).1
    }

    fn nearest(&self, key: &str) -> &(Place, PathBuf) {
        let mut key = key;
        loop {
            if let Some(found) = self.by_key.get(key) {
                return found;
            }
            match key.rfind(['.', '[']) {
                Some(end) => key = &key[..end],
                None => return &self.root,
            }
        }
    }
}

/// Path of `name` inside the table at `key`.
pub(super) fn join(key: &str, name: &str) -> String {
    if key.is_empty() { name.to_owned() } else { format!("{key}.{name}") }
}

/// Reads the file at `path` and all that it includes. What cannot be read is noted and left out. `asked` is given every
/// path that was tried.
pub(super) fn load(path: &Path, problems: &mut Problems, asked: &mut Vec<PathBuf>) -> Node {
    let mut reader = Reader { problems, files: Vec::new(), asked };
    let nowhere = Place { file: path.display().to_string(), ..Place::default() };
    reader.read_file(path, &nowhere, 0).unwrap_or(Node {
        place: nowhere,
        directory: directory_of(path),
        value: Value::Table(Vec::new()),
    })
}

/// Reads `text` as if it were the file `name`, and all that it includes.
pub(super) fn parse(text: &str, name: &str, problems: &mut Problems) -> Node {
    let mut reader = Reader { problems, files: vec![PathBuf::from(name)], asked: &mut Vec::new() };
    reader.read_text(text, Path::new(name), 0)
}

fn directory_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

struct Reader<'a> {
    problems: &'a mut Problems,
    /// What was read, whatever it was called.
    files: Vec<PathBuf>,
    asked: &'a mut Vec<PathBuf>,
}

impl Reader<'_> {
    fn read_file(&mut self, path: &Path, asked_at: &Place, depth: usize) -> Option<Node> {
        let key = if depth == 0 { "" } else { "include" };
        let refuse = |what: String| Problem::error(asked_at.clone(), key, what);
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        if self.files.contains(&identity) {
            self.problems.push(
                refuse(format!("the file {} is included twice", path.display()))
                    .hint("name each file in one `include` only"),
            );
            return None;
        }
        if depth > DEEPEST_INCLUDE || self.files.len() >= MOST_FILES {
            self.problems.push(refuse("too many files are included".to_owned()).expected(format!(
                "at most {MOST_FILES} files, and includes at most {DEEPEST_INCLUDE} files deep"
            )));
            return None;
        }
        self.files.push(identity);
        self.asked.push(path.to_path_buf());
        match read_text(path) {
            Ok(text) => Some(self.read_text(&text, path, depth)),
            Err(error) => {
                self.problems.push(
                    refuse(format!("the file {} cannot be read: {error}", path.display()))
                        .hint("check the path, and that this user may read it"),
                );
                None
            }
        }
    }

    fn read_text(&mut self, text: &str, path: &Path, depth: usize) -> Node {
        let source = Source { text, starts: line_starts(text), path, directory: directory_of(path) };
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut last_line = 0;
        for error in errors {
            let place = source.place(error.span().map_or(0, |span| span.start));
            // The parser goes on after a mistake; what it finds further on the same line mostly follows from it.
            if std::mem::replace(&mut last_line, place.line) == place.line {
                continue;
            }
            let what = format!("this is not TOML: {}", error.message().trim_end().replace('\n', "; "));
            self.problems.push(Problem::error(place, "", what));
        }
        let mut root = Node {
            place: source.place(0),
            directory: source.directory.clone(),
            value: Value::Boolean(false),
        };
        root.value = source.table(table.get_ref(), "", 0, self.problems);
        self.follow_includes(root, path, depth)
    }

    fn follow_includes(&mut self, mut root: Node, path: &Path, depth: usize) -> Node {
        // Read without being taken out: the walk along the schema judges its type like that of any other key.
        let Some(Node { value: Value::Array(names), .. }) = root.entry("include").cloned() else {
            return root;
        };
        for name in names {
            let Value::String(file) = &name.value else { continue };
            let included = directory_of(path).join(file);
            if let Some(mut other) = self.read_file(&included, &name.place, depth + 1) {
                if let Value::Table(entries) = &mut other.value {
                    entries.retain(|entry| entry.name != "include");
                }
                merge(&mut root, other, "", self.problems);
            }
        }
        root
    }
}

/// Puts `other` into `node`: tables key by key, lists of tables end to end; anything else is set twice.
fn merge(node: &mut Node, other: Node, key: &str, problems: &mut Problems) {
    let is_list_of_tables = |nodes: &[Node]| nodes.iter().all(|node| matches!(node.value, Value::Table(_)));
    match (&mut node.value, other.value) {
        (Value::Table(entries), Value::Table(others)) => {
            for other in others {
                match entries.iter_mut().find(|entry| entry.name == other.name) {
                    Some(entry) => merge(&mut entry.node, other.node, &join(key, &other.name), problems),
                    None => entries.push(other),
                }
            }
        }
        (Value::Array(nodes), Value::Array(others))
            if is_list_of_tables(nodes) && is_list_of_tables(&others) =>
        {
            nodes.extend(others);
        }
        _ => problems.push(
            Problem::error(other.place, key, format!("`{key}` is set twice"))
                .found(format!("it is also set at {}", node.place))
                .expected("each key in one file only; tables and lists of tables are put together"),
        ),
    }
}

fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read_bounded(path, LARGEST_FILE)?).map_err(|_| io::Error::other("it is not UTF-8"))
}

/// The content of a file that is no larger than `largest` bytes.
pub(super) fn read_bounded(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    // One byte more tells a file that is too large; its own word is not asked, a pipe has none.
    File::open(path)?.take(largest + 1).read_to_end(&mut content)?;
    if content.len() as u64 > largest {
        return Err(io::Error::other(format!("it is larger than {largest} bytes")));
    }
    Ok(content)
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

struct Source<'a> {
    text: &'a str,
    starts: Vec<usize>,
    path: &'a Path,
    directory: PathBuf,
}

impl Source<'_> {
    fn place(&self, offset: usize) -> Place {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let before = self.text.get(self.starts[line]..offset).unwrap_or_default();
        Place { file: self.path.display().to_string(), line: line + 1, column: before.chars().count() + 1 }
    }

    fn table(&self, table: &DeTable<'_>, key: &str, depth: usize, problems: &mut Problems) -> Value {
        let mut entries: Vec<Entry> = Vec::with_capacity(table.len());
        let mut in_order: Vec<_> = table.iter().collect();
        in_order.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in in_order {
            let place = self.place(name.span().start);
            let path = join(key, name.get_ref());
            let value_place = self.place(value.span().start);
            // An array or table that a header makes has no value place of its own to point at.
            let value_place = if value.span().is_empty() { place.clone() } else { value_place };
            let value = self.value(value.get_ref(), &path, depth, &place, problems);
            let node = Node { place: value_place, directory: self.directory.clone(), value };
            entries.push(Entry { name: name.get_ref().to_string(), place, node });
        }
        Value::Table(entries)
    }

    fn value(
        &self,
        value: &DeValue<'_>,
        key: &str,
        depth: usize,
        place: &Place,
        problems: &mut Problems,
    ) -> Value {
        if depth > DEEPEST_NESTING {
            problems.push(
                Problem::error(place.clone(), "", "tables are nested too deep")
                    .expected(format!("at most {DEEPEST_NESTING} levels")),
            );
            return Value::Table(Vec::new());
        }
        match value {
            DeValue::String(text) => Value::String(text.to_string()),
            DeValue::Boolean(truth) => Value::Boolean(*truth),
            DeValue::Datetime(moment) => Value::Datetime(moment.to_string()),
            DeValue::Float(number) => Value::Number(number.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or_else(|_| Value::Number(shown(number.as_str())), Value::Integer),
            DeValue::Array(items) => Value::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        let place = self.place(item.span().start);
                        let path = format!("{key}[{index}]");
                        let value = self.value(item.get_ref(), &path, depth + 1, &place, problems);
                        Node { place, directory: self.directory.clone(), value }
                    })
                    .collect(),
            ),
            DeValue::Table(table) => self.table(table, key, depth + 1, problems),
        }
    }
}
