//! What a format makes of a cookie and of what lies in the store, in words, for an operator who asks why. Names of
//! fields are told, so that the right path can be found; values and ids never are.

use super::decode::Raw;
use super::locate::Path;
use super::value::{Decoded, Node};
use super::{Format, KeyForm, Refusal};

/// Most names of fields that are told.
const MOST_NAMES: usize = 40;

/// What to look at when a cookie is refused for this.
#[must_use]
pub fn advice(format: &Format, refusal: Refusal) -> String {
    let looked = match refusal {
        Refusal::Spelling => {
            "the browser's `Cookie` line has to be given as it was sent, and once".to_owned()
        }
        Refusal::Unsigned if format.signature_cookie().is_some() => {
            format!("`{}.sig` has to come with it; or set `signed = false`", format.cookie)
        }
        Refusal::Unsigned => "is it the application's session cookie, as the browser sends it?".to_owned(),
        Refusal::Forged => {
            "compare `secrets` with the application's, and `cookie` with the cookie's name there".to_owned()
        }
        Refusal::IdShape => {
            let begin = if format.around.0.is_empty() { "" } else { ", behind `prefix`" };
            let (name, id) = (format.name, &format.id);
            format!(
                "ids of `{name}` have {} to {} characters ({:?}){begin}; `id` describes others",
                id.shortest, id.longest, id.alphabet
            )
        }
        Refusal::Unreadable(_) => "compare `serializer` with the application's".to_owned(),
        Refusal::Endless => "its key has no lifetime in Redis; `endless = true` accepts that".to_owned(),
        Refusal::Expired => "Redis or the session itself says so".to_owned(),
        Refusal::Anonymous => "`user` says where the id is".to_owned(),
        Refusal::Unusable => {
            "an id is text or a whole number, a time RFC 3339 or seconds; no key may stand there twice"
                .to_owned()
        }
        Refusal::Passwordless => {
            "Django ends such a session too, and so does `check_password`; versions before 3.1 wrote another hash"
                .to_owned()
        }
        Refusal::Inactive => "the text under `active` is not `true`".to_owned(),
    };
    format!("{refusal}: {looked}")
}

/// What the session is in the store, without the id.
#[must_use]
pub fn place(format: &Format) -> String {
    if let Some(table) = &format.table
        && !table.behind_store
    {
        return format!("row that `{}` finds", table.query.key);
    }
    let kind = if format.decoder.reads_hash() { "hash" } else { "string" };
    let id = match format.key {
        KeyForm::Plain => "the id",
        KeyForm::RailsPrivate => "`2::` and the SHA-256 of the id",
        KeyForm::Hashed => "the SHA-256 of the id",
    };
    format!("{kind} under `{}` and {id}", format.prefix)
}

/// What to look at when nothing lies there.
#[must_use]
pub fn nothing_there(format: &Format) -> String {
    format!(
        "there is no {}: either the session is over, or `prefix` or the number of the database is not the application's \
         (`redis-cli --scan` shows its keys)",
        place(format)
    )
}

/// What a value looks like, whatever the format says that it is.
#[must_use]
pub fn looks_like(raw: &Raw) -> &'static str {
    let Raw::Text(bytes) = raw else { return "a hash" };
    match bytes.as_slice() {
        [] => "nothing at all",
        [b'{', ..] => "JSON",
        [0x80, 2..=5, ..] => "a pickle",
        [4, 8, ..] => "Marshal",
        [0, 0x11, ..] | [0 | 1, 4 | 0x78, ..] => "an entry of the Rails cache",
        [0, 0, 0, 1 | 2, ..] => "igbinary",
        [0xac, 0xed, ..] => "Java's serialisation",
        [0x78, ..] | [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x04, 0x22, 0x4d, 0x18, ..] => {
            "something compressed"
        }
        [b's', b':', ..] => "a PHP-serialized text, as Laravel keeps sessions",
        [b'a', b':', ..] => "PHP's `php_serialize`",
        [0x81..=0x8f | 0xde | 0xdf, ..] => "MessagePack",
        bytes if bytes.iter().take(64).any(|byte| *byte == b'|') => "PHP's `php` or `php_binary`",
        _ => "nothing that is known",
    }
}

/// Which paths were tried, and what fields there are at the top of the session.
#[must_use]
pub fn paths_and_fields(format: &Format, raw: &Raw) -> String {
    let tried: Vec<String> = format.locator.user.iter().map(Path::to_string).collect();
    let fields = match format.decoder.decode(raw) {
        Ok(session) => names(&session),
        Err(_) => Vec::new(),
    };
    format!("looked at {}; the session has: {}", listed(&tried), listed(&fields))
}

fn names(session: &Decoded) -> Vec<String> {
    let Node::Map(entries) = session.root() else { return Vec::new() };
    let name = |id| match session.node(id) {
        Node::Text(text) => {
            Some(format!("/{}", String::from_utf8_lossy(text).chars().take(64).collect::<String>()))
        }
        Node::Integer(number) => Some(format!("/{number}")),
        _ => None,
    };
    entries.iter().filter_map(|(key, _)| name(*key)).take(MOST_NAMES).collect()
}

fn listed(texts: &[String]) -> String {
    if texts.is_empty() { "nothing".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::formats::decode::Decoder;
    use crate::formats::preset::{Kind, Options};

    fn raw(text: &[u8]) -> Raw {
        Raw::Text(text.to_vec())
    }

    #[test]
    fn a_value_of_another_kind_is_recognised() {
        for (value, kind) in [
            (&b"{}"[..], "JSON"),
            (b"\x80\x05}.", "pickle"),
            (b"\x04\x08{", "Marshal"),
            (b"\x00\x11\x01", "Rails"),
            (b"\x00\x00\x00\x02", "igbinary"),
            (b"s:2:\"x\"", "Laravel"),
            (b"a:0:{}", "php_serialize"),
            (b"user_id|i:42;", "`php`"),
            (b"\x82\xa1a", "MessagePack"),
            (b"\x78\x9c", "compressed"),
            (b"", "nothing"),
        ] {
            assert!(looks_like(&raw(value)).contains(kind), "{kind}: {}", looks_like(&raw(value)));
        }
    }

    #[test]
    fn fields_are_told_by_name_and_never_by_value() {
        let format = Kind::Django.format(Options::default()).unwrap();
        let told = paths_and_fields(&format, &raw(b"{\"account\":\"secret-value\",\"n\":1}"));
        assert_eq!(told, "looked at /_auth_user_id, /user_id; the session has: /account, /n");
        let none = paths_and_fields(&Format { decoder: Decoder::Msgpack, ..format }, &raw(b"{"));
        assert!(none.ends_with("the session has: nothing"));
    }
}
