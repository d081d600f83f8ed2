//! The rules of the house, read from ARCHITECTURE.md where they are a table: who imports whom, who may name which
//! foreign crate, and what every file looks like. Tests inside `src` are exempt: they may reach for anything.

#![expect(clippy::unwrap_used, reason = "a rule that cannot be read is a failed rule")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LONGEST_MODULE_DOC: usize = 8;
const LONGEST_FILE: usize = 500;
const LONGEST_HOOK: usize = 25;
const PURE_LAYER: usize = 1;

#[test]
fn every_module_stands_in_exactly_one_layer() {
    let layers = Layers::read();
    let library = code_of(&root().join("proxy/src/lib.rs"));
    let mut declared: Vec<&str> =
        library.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    declared.sort_unstable();
    let listed: Vec<&str> = layers.of.keys().map(String::as_str).collect();
    assert_eq!(listed, declared, "the layers in ARCHITECTURE.md and the modules in lib.rs differ");
}

#[test]
fn imports_point_down() {
    let layers = Layers::read();
    let mut wrong = BTreeSet::new();
    for (module, file) in product_files() {
        for used in modules_used(&file, &layers) {
            let (from, to) = (layers.of[&module], layers.of[&used]);
            let sideways = from == to && layers.within.contains(&(module.clone(), used.clone()));
            if module != used && to >= from && !sideways {
                wrong.insert(format!("{} (layer {from}) names crate::{used} (layer {to})", shown(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "imports must point down:\n{}", lines(&wrong));
}

#[test]
fn sideways_imports_have_no_circle_and_are_used() {
    let layers = Layers::read();
    for (user, used) in &layers.within {
        assert_eq!(layers.of.get(user), layers.of.get(used), "`{user}` and `{used}` are in different layers");
        assert!(
            !layers.within.contains(&(used.clone(), user.clone())),
            "`{user}` and `{used}` use each other"
        );
        let in_use = product_files()
            .any(|(module, file)| module == *user && modules_used(&file, &layers).contains(used));
        assert!(in_use, "ARCHITECTURE.md lets `{user}` use `{used}`, and it does not");
    }
}

#[test]
fn foreign_crates_stay_in_their_rooms() {
    let mut wrong = BTreeSet::new();
    let rooms = foreign_crates();
    assert!(rooms.contains_key("pingora") && rooms.contains_key("redis") && rooms.contains_key("sqlx"));
    for (module, file) in product_files() {
        let code = code_of(&file);
        for (name, allowed) in &rooms {
            if names_crate(&code, name) && !allowed.contains(&module) {
                wrong.insert(format!("{} names {name}", shown(&file)));
            }
        }
    }
    assert!(wrong.is_empty(), "these crates have rooms of their own:\n{}", lines(&wrong));
}

#[test]
fn what_is_fuzzed_has_the_crates_that_it_needs() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let (of_proxy, of_fuzz, fuzzed) =
        (read("proxy/Cargo.toml"), read("fuzz/Cargo.toml"), read("fuzz/src/lib.rs"));
    let names = |manifest: &str| -> BTreeSet<String> {
        let table = manifest.split("[dependencies]").nth(1).unwrap().split("\n[").next().unwrap().to_owned();
        let names = table.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.to_owned());
        names.filter(|name| !name.starts_with('#')).collect()
    };
    let (known, there) = (names(&of_proxy), names(&of_fuzz));
    assert!(known.contains("ring") && there.contains("ring"));
    let mut wrong = BTreeSet::new();
    for (module, file) in product_files().filter(|(module, _)| fuzzed.contains(&format!("pub mod {module};")))
    {
        let code = code_of(&file);
        // Within a function `hmac::` may be ring's; what is imported is the crate.
        let imports = |name: &str| code.lines().any(|line| line.starts_with(&format!("use {name}::")));
        let used = known.difference(&there).filter(|name| imports(&name.replace('-', "_")));
        wrong.extend(used.map(|name| format!("{} ({module}) names {name}", shown(&file))));
    }
    assert!(wrong.is_empty(), "fuzz/Cargo.toml lacks what the fuzzed files name:\n{}", lines(&wrong));
}

#[test]
fn the_pure_rules_do_not_wait_read_or_ask_the_time() {
    let layers = Layers::read();
    let banned = [
        "async fn",
        ".await",
        "tokio::",
        "std::fs",
        "File::open",
        "std::env",
        "TcpStream",
        "SystemTime::now",
        "Instant::now",
        "std::thread",
        "std::process",
    ];
    let mut wrong = BTreeSet::new();
    for (module, file) in product_files().filter(|(module, _)| layers.of[module] == PURE_LAYER) {
        let code = code_of(&file);
        for word in banned.iter().filter(|word| code.contains(**word)) {
            wrong.insert(format!("{} ({module}): {word}", shown(&file)));
        }
    }
    assert!(wrong.is_empty(), "layer 1 is pure:\n{}", lines(&wrong));
}

#[test]
fn every_file_says_what_it_is_in_at_most_eight_lines() {
    let mut wrong = BTreeSet::new();
    for file in all_sources() {
        let text = fs::read_to_string(&file).unwrap();
        let length = text.lines().take_while(|line| line.starts_with("//!")).count();
        if !(1..=LONGEST_MODULE_DOC).contains(&length) {
            wrong.insert(format!("{}: {length} lines of //!", shown(&file)));
        }
    }
    assert!(wrong.is_empty(), "{}", lines(&wrong));
}

#[test]
fn files_and_hooks_are_short() {
    let mut wrong = BTreeSet::new();
    for (_, file) in product_files() {
        let length = code_of(&file).trim_end().lines().count();
        if length > LONGEST_FILE {
            wrong.insert(format!("{}: {length} lines", shown(&file)));
        }
    }
    let spine = code_of(&root().join("proxy/src/gateway/mod.rs"));
    let hooks = functions(spine.split("impl ProxyHttp for").nth(1).unwrap_or_default());
    for (name, length) in hooks.iter().filter(|(_, length)| *length > LONGEST_HOOK) {
        wrong.insert(format!("hook {name}: {length} lines"));
    }
    assert!(wrong.is_empty(), "too long to read at once:\n{}", lines(&wrong));
}

#[test]
fn names_say_what_things_are() {
    let mut wrong = BTreeSet::new();
    for file in all_sources() {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        for empty in ["util", "helper", "manager", "common", "misc"] {
            if stem.contains(empty) {
                wrong.insert(format!("{}: a file named after nothing", shown(&file)));
            }
        }
        // What a trait calls its methods is the trait's business: ours is where it is defined.
        let mut implements = false;
        for line in code_of(&file).lines() {
            implements = if line.is_empty() || line.starts_with([' ', '}']) {
                implements
            } else {
                line.starts_with("impl") && line.contains(" for ")
            };
            if implements || !line.contains("fn get_") {
                continue;
            }
            wrong.insert(format!("{}: {}", shown(&file), line.trim()));
        }
    }
    assert!(wrong.is_empty(), "{}", lines(&wrong));
}

#[test]
fn every_file_that_the_architecture_names_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut missing = BTreeSet::new();
    for quoted in text
        .split('`')
        .skip(1)
        .step_by(2)
        .filter(|quoted| Path::new(quoted).extension() == Some("rs".as_ref()))
    {
        if !root().join("proxy/src").join(quoted).exists() && !root().join(quoted).exists() {
            missing.insert(quoted);
        }
    }
    assert!(missing.is_empty(), "ARCHITECTURE.md names files that are not there: {missing:?}");
}

#[test]
fn the_rules_see_what_they_are_about() {
    assert_eq!(first_names("cache::Cell;"), ["cache"]);
    assert_eq!(first_names("{cache::{a, b}, store::c};"), ["cache", "store"]);
    assert!(names_crate("use redis::Client;", "redis") && names_crate("x: pingora_core::Result", "pingora"));
    assert!(
        !names_crate("use crate::store::redis::Store;", "redis") && !names_crate("redis: Client", "redis")
    );
    assert_eq!(blanked(r#"let a = "use crate::x"; // crate::y"#), r#"let a = ""; "#);
    assert_eq!(
        functions("fn a() {\n  { }\n}\nfn b(c: D) -> E { f }"),
        [("a".to_owned(), 3), ("b".to_owned(), 1)]
    );
}

/// The table of layers.
struct Layers {
    /// Module to layer.
    of: BTreeMap<String, usize>,
    /// Pairs of one layer in which the first may use the second.
    within: BTreeSet<(String, String)>,
}

impl Layers {
    fn read() -> Self {
        let mut layers = Self { of: BTreeMap::new(), within: BTreeSet::new() };
        for row in table("Layer") {
            let layer = row[0].parse().expect("the first column is a number");
            for module in quoted(&row[1]) {
                let before = layers.of.insert(module.clone(), layer);
                assert!(before.is_none(), "`{module}` stands in two layers");
            }
            // "`a` uses `b`, `c`; `d` uses `b`"
            for sentence in row[2].split(';').filter(|sentence| sentence.contains("uses")) {
                let mut names = quoted(sentence).into_iter();
                let user = names.next().expect("a user before `uses`");
                layers.within.extend(names.map(|used| (user.clone(), used)));
            }
        }
        layers
    }
}

fn foreign_crates() -> BTreeMap<String, Vec<String>> {
    table("Foreign crate").into_iter().map(|row| (quoted(&row[0]).remove(0), quoted(&row[1]))).collect()
}

/// The rows of the table in ARCHITECTURE.md whose first heading is `heading`.
fn table(heading: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let start = format!("| {heading} |");
    let rows: Vec<Vec<String>> = text
        .lines()
        .skip_while(|line| !line.starts_with(&start))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    assert!(!rows.is_empty(), "ARCHITECTURE.md has no table that begins with `{start}`");
    rows
}

fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// The modules of ours that a file names, through `crate::` or enough `super::`.
fn modules_used(file: &Path, layers: &Layers) -> BTreeSet<String> {
    let code = code_of(file);
    let depth = module_depth(file);
    let mut used = BTreeSet::new();
    let to_root = format!("{}::", vec!["super"; depth].join("::"));
    for prefix in ["crate::", to_root.as_str()] {
        for (at, _) in code.match_indices(prefix) {
            let preceded = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':');
            if !preceded {
                used.extend(first_names(&code[at + prefix.len()..]));
            }
        }
    }
    used.retain(|name| layers.of.contains_key(name));
    used
}

/// `a` of `a::b`, or `a` and `c` of `{a::b, c}`.
fn first_names(rest: &str) -> Vec<String> {
    let word = |text: &str| {
        let text = text.trim_start();
        text[..text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len())].to_owned()
    };
    let Some(group) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut nesting, mut names, mut start) = (0_i32, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => nesting += 1,
            '}' if nesting == 0 => {
                names.push(word(&group[start..at]));
                break;
            }
            '}' => nesting -= 1,
            ',' if nesting == 0 => {
                names.push(word(&group[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    names
}

fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let rest = &code[at + name.len()..];
        // `pingora_core::` counts as `pingora`; `redis:` in a field or `my_redis::` do not.
        let family = rest.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_');
        let starts = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        let continues = rest.is_empty() || !rest.starts_with(|c: char| c.is_alphanumeric());
        starts && continues && family.starts_with("::")
    })
}

/// Name and length of each function in a block of code, by its braces.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let rest = &code[at + 3..];
        let name = rest[..rest.find(['(', '<']).unwrap_or(rest.len())].to_owned();
        let mut nesting = 0;
        for (end, c) in rest.char_indices() {
            match c {
                '{' => nesting += 1,
                '}' if nesting == 1 => {
                    found.push((name, rest[..end].matches('\n').count() + 1));
                    break;
                }
                '}' => nesting -= 1,
                _ => {}
            }
        }
    }
    found
}

/// A file's code up to its tests, with comments and the insides of string literals blanked out.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let end = text.find("\n#[cfg(test)]\nmod ").unwrap_or(text.len());
    let mut code = String::with_capacity(end);
    for line in text[..end].lines() {
        code.push_str(&blanked(line));
        code.push('\n');
    }
    code
}

/// One line without comment and string contents. Strings over several lines keep their inside, which only matters
/// where that looks like an import.
fn blanked(line: &str) -> String {
    let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            if !in_string {
                out.push(c);
            }
        } else if c == '/' && chars.peek() == Some(&'/') {
            break;
        } else {
            in_string = c == '"' && !out.ends_with('\'');
            out.push(c);
        }
    }
    out
}

/// Product sources with the module they belong to; tests beside the code are left out.
fn product_files() -> impl Iterator<Item = (String, PathBuf)> {
    let source = root().join("proxy/src");
    let files = sources_below(&source);
    let tests: Vec<PathBuf> = files.iter().flat_map(|file| test_modules(file)).collect();
    files.into_iter().filter_map(move |file| {
        let path = file.strip_prefix(&source).unwrap().with_extension("");
        let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
        let contract = parts.iter().any(|part| matches!(part.as_str(), "contract" | "bin"));
        let test = contract || tests.iter().any(|module| file.with_extension("").starts_with(module));
        let top = parts[0].clone();
        (!test && top != "lib" && top != "main").then_some((top, file))
    })
}

/// Where the modules lie that a file declares for tests only.
fn test_modules(file: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(file).unwrap();
    let folder = if file.file_stem().is_some_and(|stem| stem == "mod" || stem == "lib") {
        file.parent().unwrap().to_path_buf()
    } else {
        file.with_extension("")
    };
    let declared = text.match_indices("#[cfg(test)]\n").filter_map(|(at, mark)| {
        let line = text[at + mark.len()..].lines().next()?;
        line.split("mod ").nth(1)?.strip_suffix(';')
    });
    declared.map(|name| folder.join(name)).collect()
}

/// How many `super` lead from a file's module to the crate.
fn module_depth(file: &Path) -> usize {
    let path = file.strip_prefix(root().join("proxy/src")).unwrap().with_extension("");
    let parts = path.iter().filter(|part| *part != "mod").count();
    parts.max(1)
}

fn all_sources() -> Vec<PathBuf> {
    let rooms = ["proxy/src", "proxy/tests", "proxy/benches", "proxy/examples", "tests", "clients"];
    rooms.iter().flat_map(|room| sources_below(&root().join(room))).collect()
}

fn sources_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("target") && !path.ends_with("node_modules") {
            found.extend(sources_below(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn shown(file: &Path) -> String {
    file.strip_prefix(root()).unwrap().display().to_string()
}

fn lines(wrong: &BTreeSet<String>) -> String {
    wrong.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
}
