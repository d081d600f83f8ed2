//! From file to rules: one TOML file and what it includes become a [`Snapshot`], or the list of all that is wrong.
//! Document (with places) -> shape (against the schema of the types) -> raw types -> validated settings.

mod document;
mod fixed;
pub mod problem;
mod raw;
pub mod reference;
mod shape;
pub mod snapshot;
mod validate;

use std::path::{Path, PathBuf};

pub use fixed::Fixed;
pub use problem::{Place, Problem, Problems, Severity};
pub use snapshot::Snapshot;

use document::{Node, Places};

/// Looks a variable of the environment up; `None` when it is not set or not UTF-8.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The configuration of the demo (config/demo.toml).
pub const DEMO: &str = include_str!("../../../config/demo.toml");

/// Reads the configuration file at `path`, all that it includes, and the secrets it points to.
///
/// # Errors
/// Everything that is wrong, at once, by file and line. Warnings alone do not fail; they are in the snapshot.
pub fn load(path: &Path, environment: Environment<'_>) -> Result<Snapshot, Problems> {
    read(path, environment).result
}

/// What reading a configuration came to.
#[derive(Debug)]
pub struct Reading {
    /// As [`load`] answers.
    pub result: Result<Snapshot, Problems>,
    /// Every file that was read, or should have been: the configuration, its includes, secrets, certificates. When one
    /// of them changes, reading again may come to something else.
    pub files: Vec<PathBuf>,
}

/// Like [`load`], and also says which files had a part in it.
pub fn read(path: &Path, environment: Environment<'_>) -> Reading {
    let (mut problems, mut files) = (Problems::default(), Vec::new());
    let root = document::load(path, &mut problems, &mut files);
    let result = finish(root, environment, problems, &mut files);
    Reading { result, files }
}

/// Reads `text` as if it were the configuration file `name`; relative paths begin beside that file.
///
/// # Errors
/// As [`load`].
pub fn parse(text: &str, name: &str, environment: Environment<'_>) -> Result<Snapshot, Problems> {
    let mut problems = Problems::default();
    let root = document::parse(text, name, &mut problems);
    finish(root, environment, problems, &mut Vec::new())
}

/// The environment of this process.
pub fn process_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn finish(
    mut root: Node,
    environment: Environment<'_>,
    mut problems: Problems,
    files: &mut Vec<PathBuf>,
) -> Result<Snapshot, Problems> {
    if problems.has_errors() {
        // A file that is not TOML, or not there, leaves holes; what they lead to would only distract.
        return Err(problems.sorted());
    }
    shape::check(&mut root, &mut problems);
    let places = Places::of(&root);
    let Ok(file) = serde_json::from_value(root.to_json()) else {
        // serde's own text is left out: it quotes values, and a value may be a secret in the wrong place.
        let what = "the configuration cannot be read, though it fits its schema: a fault of ours";
        problems.push_unless_known(Problem::error(root.place, "", what));
        return Err(problems.sorted());
    };
    let mut snapshot = validate::snapshot(&file, &places, environment, &mut problems, files);
    let problems = problems.sorted();
    if problems.has_errors() {
        return Err(problems);
    }
    snapshot.warnings = problems.into_vec();
    Ok(snapshot)
}

#[cfg(test)]
mod tests;
