//! Values that were made to harm a decoder: each is given to every decoder, on a small stack, and an identity comes out
//! only where the file says so.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use countersign::formats::decode::laravel::Serialization;
use countersign::formats::decode::{Decoder, Raw};
use countersign::formats::locate::{Path, identifier};
use serde_json::{Value, json};

use super::properties::formats;
use super::sample::{NOW, bytes, files, raw_files};

/// A sixteenth of what threads usually get.
const SMALL_STACK: usize = 128 * 1024;

pub(crate) fn decoders() -> Vec<(&'static str, Decoder)> {
    vec![
        ("json", Decoder::Json),
        ("python_json", Decoder::PythonJson),
        ("msgpack", Decoder::Msgpack),
        ("pickle", Decoder::Pickle),
        ("django", Decoder::Django),
        ("flask", Decoder::Flask),
        ("php", Decoder::Php),
        ("php_serialize", Decoder::PhpSerialize),
        ("php_binary", Decoder::PhpBinary),
        ("php_msgpack", Decoder::PhpMsgpack),
        ("igbinary", Decoder::Igbinary),
        ("laravel", Decoder::Laravel(None, Serialization::Either)),
        ("marshal", Decoder::Marshal),
        ("rails_cache", Decoder::Rails),
        ("gob", Decoder::Gob),
        ("scs", Decoder::Scs),
        ("java", Decoder::Spring),
        ("hash_text", Decoder::HashText),
    ]
}

#[expect(clippy::print_stdout, reason = "says how much was tried")]
pub(crate) fn survive() {
    let thread = std::thread::Builder::new().stack_size(SMALL_STACK).spawn(|| {
        let (mut checked, mut wrong) = (0, Vec::new());
        for (file, json) in files() {
            for value in json["values"].as_array().into_iter().flatten() {
                wrong.extend(check(&file, value));
                check_formats(&file, value);
                checked += 1;
            }
        }
        // Files that are nothing but a value.
        for (file, content) in raw_files() {
            let value = json!({ "case": "the file", "value_base64": STANDARD.encode(content) });
            wrong.extend(check(&file, &value));
            check_formats(&file, &value);
            checked += 1;
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        checked
    });
    let checked = thread.unwrap().join().expect("no value harms a decoder");
    println!("{checked} hostile values");
}

/// Every format that has a name reads it, as a string and as a hash: it is no session, or one of the user that the value
/// itself names, and then its decoder says the same.
fn check_formats(file: &str, value: &Value) {
    let hostile = bytes(&value["value_base64"]);
    let later = Some(NOW.plus(Duration::from_mins(1)));
    for format in formats() {
        let hash = ["user_id", "lastAccessedTime", "maxInactiveInterval", "sessionAttr:user_id"];
        let hash = hash.map(|name| (name.as_bytes().to_vec(), hostile.clone())).to_vec();
        for raw in [Raw::Text(hostile.clone()), Raw::Hash(hash)] {
            let Ok(found) = format.read(&raw, later, NOW) else { continue };
            let id = found.user.as_str();
            let is_id = (1..=128).contains(&id.len()) && !id.chars().any(char::is_control);
            assert!(is_id && found.ends > NOW, "{file}: {} {}", format.name, value["case"]);
        }
    }
}

/// What is wrong with what its own decoder makes of it.
fn check(file: &str, value: &Value) -> Option<String> {
    let hostile = bytes(&value["value_base64"]);
    let named = value["decoder"].as_str().unwrap_or_default();
    let paths = ["/user_id", "/_auth_user_id", "/_user_id", "/user/id", "/user", "/id"].map(Path::parse);
    let mut wrong = None;
    for (name, decoder) in decoders() {
        let raw = if decoder.reads_hash() {
            Raw::Hash(vec![(b"user_id".to_vec(), hostile.clone())])
        } else {
            Raw::Text(hostile.clone())
        };
        let decoded = decoder.decode(&raw);
        if name != named && !(named == "pickle" && name == "django") {
            continue;
        }
        let identity = decoded.ok().and_then(|session| identifier(&session, &paths, false).ok().flatten());
        let expected = expected(value, &hostile);
        if identity != expected {
            wrong =
                Some(format!("{file} {name} {}: {expected:?} expected, {identity:?} found", value["case"]));
        }
    }
    wrong
}

/// The identity that comes out, where the file says so: as `expect` or `expected`, with the id alone or in a field. Any
/// other word says that there is none; an id stands in the value itself, unless it is a number.
fn expected(value: &Value, hostile: &[u8]) -> Option<String> {
    let said = ["expect", "expected"].into_iter().find_map(|field| value.get(field))?;
    let said = ["user_id", "identity", "id"].into_iter().find_map(|field| said.get(field)).unwrap_or(said);
    match said {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => {
            let digits = text.strip_prefix('-').unwrap_or(text);
            let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            let is_there =
                !text.is_empty() && hostile.windows(text.len()).any(|part| part == text.as_bytes());
            let is_word = ["reject", "error", "none", "refuse"].contains(&text.as_str());
            (is_number || (is_there && !is_word)).then(|| text.clone())
        }
        _ => None,
    }
}
