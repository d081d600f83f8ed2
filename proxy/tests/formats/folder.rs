//! The folder of samples: every file of it, as JSON or as the value that it is.

use std::path::{Path as File, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::Value;

/// Where the samples of this repository lie.
pub(crate) const OWN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/session-samples");

/// Whether these are the samples of this repository, which leave nothing out.
pub(crate) fn is_own() -> bool {
    std::env::var_os("SESSION_SAMPLES").is_none()
}

fn folder() -> String {
    std::env::var("SESSION_SAMPLES").unwrap_or_else(|_| OWN.to_owned())
}

/// Every JSON file of the folder.
pub(crate) fn files() -> Vec<(String, Value)> {
    files_in(&folder())
}

pub(crate) fn files_in(folder: &str) -> Vec<(String, Value)> {
    let parsed = |(name, content): (String, Vec<u8>)| Some((name, serde_json::from_slice(&content).ok()?));
    folder_files(folder).into_iter().filter(|(name, _)| is_json(name)).filter_map(parsed).collect()
}

/// The content of every other file of the folder: values as they are.
pub(crate) fn raw_files() -> Vec<(String, Vec<u8>)> {
    let mut files = folder_files(&folder());
    files.retain(|(name, content)| !is_json(name) || serde_json::from_slice::<Value>(content).is_err());
    files
}

fn is_json(name: &str) -> bool {
    File::new(name).extension() == Some("json".as_ref())
}

/// The files of a folder and of the folders in it, in the order of their names.
fn folder_files(folder: &str) -> Vec<(String, Vec<u8>)> {
    let (mut folders, mut files) = (vec![PathBuf::from(folder)], Vec::new());
    while let Some(folder) = folders.pop() {
        let entries =
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                let content =
                    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                files.push((path.file_name().unwrap().to_string_lossy().into_owned(), content));
            }
        }
    }
    files.sort();
    files
}

/// The files that should be JSON and are none, with what is wrong.
pub(crate) fn broken() -> Vec<String> {
    let error = |(name, content): (String, Vec<u8>)| {
        let error = serde_json::from_slice::<Value>(&content).err()?;
        Some(format!("{name}: {error}"))
    };
    folder_files(&folder()).into_iter().filter(|(name, _)| is_json(name)).filter_map(error).collect()
}

/// What base64 says, of either alphabet, padded or not.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    let text: String = value.as_str().unwrap_or_default().split_whitespace().collect();
    let text = text.replace('-', "+").replace('_', "/");
    STANDARD_NO_PAD.decode(text.trim_end_matches('=')).unwrap_or_else(|error| panic!("{text}: {error}"))
}
