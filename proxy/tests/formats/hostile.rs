//! Values that were made to harm a decoder: each is given to every decoder, on a small stack, and an identity comes out
//! only where the file says so.

use std::time::Duration;

use countersign::formats::decode::laravel::Serialization;
use countersign::formats::decode::{Decoder, Raw};
use countersign::formats::locate::{Path, identifier};
use serde_json::Value;

use super::properties::formats;
use super::sample::{NOW, bytes, files};

/// A sixteenth of what threads usually get.
const SMALL_STACK: usize = 128 * 1024;

pub(crate) fn decoders() -> Vec<(&'static str, Decoder)> {
    vec![
        ("json", Decoder::Json),
        ("msgpack", Decoder::Msgpack),
        ("pickle", Decoder::Pickle),
        ("django", Decoder::Django),
        ("flask", Decoder::Flask),
        ("php", Decoder::Php),
        ("php_serialize", Decoder::PhpSerialize),
        ("php_binary", Decoder::PhpBinary),
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
        let mut checked = 0;
        for (file, json) in files() {
            for value in json["values"].as_array().into_iter().flatten() {
                check(&file, value);
                check_formats(&file, value);
                checked += 1;
            }
        }
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

fn check(file: &str, value: &Value) {
    let hostile = bytes(&value["value_base64"]);
    let named = value["decoder"].as_str().unwrap_or_default();
    let paths = ["/user_id", "/_auth_user_id", "/_user_id", "/user/id", "/user", "/id"].map(Path::parse);
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
        let expected = &value["expect"];
        let expected = match expected.get("user_id").unwrap_or(expected) {
            Value::String(text) if !["reject", "error", "none", "refuse"].contains(&text.as_str()) => {
                Some(text.clone())
            }
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        assert_eq!(identity, expected, "{file}: {name} {}", value["case"]);
    }
}
