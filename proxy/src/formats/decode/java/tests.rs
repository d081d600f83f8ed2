//! Values that a real Java 17 wrote: maps, lists, objects that refer to each other, and contexts of Spring Security.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::HEAD;
use crate::clock::Timestamp;
use crate::formats::Refusal;
use crate::formats::decode::{Decoder, Raw};
use crate::formats::locate::{Path, identifier};
use crate::formats::preset::{Kind, Options};
use crate::formats::value::{DecodeError, MOST_ITEMS};

/// `LinkedHashMap`: a Long, text, a list, a class, a case of an enum, an Externalizable, a set, itself, a `BigInteger`, a
/// Date, a `TreeMap` and an Instant.
const MAP: &str = "rO0ABXNyABdqYXZhLnV0aWwuTGlua2VkSGFzaE1hcDTATlwQbMD7AgABWgALYWNjZXNzT3JkZXJ4cgARamF2YS51dGlsLkhhc2hNYXAF\
     B9rBwxZg0QMAAkYACmxvYWRGYWN0b3JJAAl0aHJlc2hvbGR4cD9AAAAAAAAMdwgAAAAQAAAADHQAAmlkc3IADmphdmEubGFuZy5Mb25n\
     O4vkkMyPI98CAAFKAAV2YWx1ZXhyABBqYXZhLmxhbmcuTnVtYmVyhqyVHQuU4IsCAAB4cAAAAAAAAAAqdAAEbmFtZXQAAXh0AARsaXN0\
     c3IAE2phdmEudXRpbC5BcnJheUxpc3R4gdIdmcdhnQMAAUkABHNpemV4cAAAAAN3BAAAAANzcgARamF2YS5sYW5nLkludGVnZXIS4qCk\
     94GHOAIAAUkABXZhbHVleHEAfgAFAAAAAXQAATJzcgAOamF2YS51dGlsLlVVSUS8mQP3mG2FLwIAAkoADGxlYXN0U2lnQml0c0oAC21v\
     c3RTaWdCaXRzeHCffd+WZ50y/jP90ba0lkszeHQABWNsYXNzdnIAEGphdmEubGFuZy5TdHJpbmeg8KQ4ejuzQgIAAHhwdAAEZW51bX5y\
     AAVhLkEkRQAAAAAAAAAAEgAAeHIADmphdmEubGFuZy5FbnVtAAAAAAAAAAASAAB4cHQAA09ORXQAA2V4dHNyAAdhLkEkRXh0VhEc/Tdp\
     r3YMAAB4cHcEAAAABXQAAmlueHQAA3NldHNyABFqYXZhLnV0aWwuSGFzaFNldLpEhZWWuLc0AwAAeHB3DAAAABA/QAAAAAAAAXEAfgAN\
     eHQABHNlbGZxAH4AAnQAA2JpZ3NyABRqYXZhLm1hdGguQmlnSW50ZWdlcoz8nx+pO/sdAwAGSQAIYml0Q291bnRJAAliaXRMZW5ndGhJ\
     ABNmaXJzdE5vbnplcm9CeXRlTnVtSQAMbG93ZXN0U2V0Qml0SQAGc2lnbnVtWwAJbWFnbml0dWRldAACW0J4cQB+AAX/////////////\
     //7////+AAAAAXVyAAJbQqzzF/gGCFTgAgAAeHAAAAANAY7pD/bDc+DuTj8K0nh0AARkYXRlc3IADmphdmEudXRpbC5EYXRlaGqBAUtZ\
     dBkDAAB4cHcIAAAAAAAAAAB4dAAEdHJlZXNyABFqYXZhLnV0aWwuVHJlZU1hcAzB9j4tJWrmAwABTAAKY29tcGFyYXRvcnQAFkxqYXZh\
     L3V0aWwvQ29tcGFyYXRvcjt4cHB3BAAAAAF0AAFrdAABdnh0AAR0aW1lc3IADWphdmEudGltZS5TZXKVXYS6GyJIsgwAAHhwdw0CAAAA\
     AAAAAAAAAAAAeHgA";
/// An object of a class of its own with a field of every type, and another one that it refers to in a circle.
const GRAPH: &str = "rO0ABXNyAAlhLkEkTm9kZTBfKKBPE7SrnAIACUIAAWJDAAFjRAABZEYAAWZTAAFzTAAEbmV4dHQAC0xhL0EkTm9kZTA7WwAHbnVtYmVy\
     c3QAAltJTAAFb3RoZXJ0ABJMamF2YS9sYW5nL09iamVjdDtbAAV0ZXh0c3QAE1tMamF2YS9sYW5nL1N0cmluZzt4cP8AeD/4AAAAAAAA\
     QAAAAP/+c3EAfgAA/wB4P/gAAAAAAABAAAAA//5xAH4ABXVyAAJbSU26YCZ26rKlAgAAeHAAAAACAAAAAQAAAAJwdXIAE1tMamF2YS5s\
     YW5nLlN0cmluZzut0lbn6R17RwIAAHhwAAAAAnQAAWF0AAFidXEAfgAHAAAAAgAAAAEAAAACc3IAE2phdmEudXRpbC5BcnJheUxpc3R4\
     gdIdmcdhnQMAAUkABHNpemV4cAAAAAN3BAAAAANzcgARamF2YS5sYW5nLkludGVnZXIS4qCk94GHOAIAAUkABXZhbHVleHIAEGphdmEu\
     bGFuZy5OdW1iZXKGrJUdC5TgiwIAAHhwAAAAAXQAATJzcgAOamF2YS51dGlsLlVVSUS8mQP3mG2FLwIAAkoADGxlYXN0U2lnQml0c0oA\
     C21vc3RTaWdCaXRzeHCffd+WZ50y/jP90ba0lkszeHVxAH4ACQAAAAJxAH4AC3EAfgAM";
/// The number 33fdd1b6-b496-4b33-9f7d-df96679d32fe.
const UUID: &str = "rO0ABXNyAA5qYXZhLnV0aWwuVVVJRLyZA/eYbYUvAgACSgAMbGVhc3RTaWdCaXRzSgALbW9zdFNpZ0JpdHN4cJ9935ZnnTL+M/3RtrSW\
     SzM=";
/// Forty lists, each in the one before.
const DEEP: &str = "rO0ABXNyABNqYXZhLnV0aWwuQXJyYXlMaXN0eIHSHZnHYZ0DAAFJAARzaXpleHAAAAABdwQAAAABc3EAfgAAAAAAAXcEAAAAAXNxAH4A\
     AAAAAAF3BAAAAAFzcQB+AAAAAAABdwQAAAABc3EAfgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAAAAABdwQAAAABc3EA\
     fgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAAAAABdwQAAAABc3EAfgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFz\
     cQB+AAAAAAABdwQAAAABc3EAfgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAAAAABdwQAAAABc3EAfgAAAAAAAXcEAAAA\
     AXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAAAAABdwQAAAABc3EAfgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAAAAABdwQA\
     AAABc3EAfgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAAAAABdwQAAAABc3EAfgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3\
     BAAAAAFzcQB+AAAAAAABdwQAAAABc3EAfgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAAAAABdwQAAAABc3EAfgAAAAAA\
     AXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAAAAABdwQAAAABc3EAfgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAA\
     AAABdwQAAAABc3EAfgAAAAAAAXcEAAAAAXNxAH4AAAAAAAF3BAAAAAFzcQB+AAAAAAABdwQAAAABdAABeHh4eHh4eHh4eHh4eHh4eHh4\
     eHh4eHh4eHh4eHh4eHh4eHh4eHh4eHg=";
/// A context of Spring Security in which nobody is.
const NOBODY: &str = "rO0ABXNyAD1vcmcuc3ByaW5nZnJhbWV3b3JrLnNlY3VyaXR5LmNvcmUuY29udGV4dC5TZWN1cml0eUNvbnRleHRJbXBsAAAAAAAAAmwC\
     AAFMAA5hdXRoZW50aWNhdGlvbnQAMkxvcmcvc3ByaW5nZnJhbWV3b3JrL3NlY3VyaXR5L2NvcmUvQXV0aGVudGljYXRpb247eHBw";

const CONTEXT: &str = "sessionAttr:SPRING_SECURITY_CONTEXT";

fn plain(value: &str) -> Vec<u8> {
    STANDARD.decode(value).unwrap()
}

/// The identifier at `path` in a session with these fields; `-` for none, `!` where something else stands.
fn at(fields: &[(&str, Vec<u8>)], path: &str) -> String {
    let fields = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.clone())).collect();
    let session = Decoder::Spring.decode(&Raw::Hash(fields)).unwrap();
    match identifier(&session, &[Path::parse(path)], false) {
        Ok(id) => id.unwrap_or_else(|| "-".to_owned()),
        Err(_) => "!".to_owned(),
    }
}

#[test]
fn maps_lists_and_the_fields_of_objects_are_read_and_what_only_a_class_understands_is_read_over() {
    let fields = [("m", plain(MAP)), ("g", plain(GRAPH)), ("u", plain(UUID))];
    for (path, found) in [
        ("/m/id", "42"),
        ("/m/name", "x"),
        ("/m/list/0", "1"),
        ("/m/list/1", "2"),
        ("/m/list/2", "33fdd1b6-b496-4b33-9f7d-df96679d32fe"),
        ("/m/list/3", "-"),
        ("/m/class", "!"),
        ("/m/enum", "!"),
        ("/m/ext", "-"),
        ("/m/set", "-"),
        ("/m/self/id", "42"),
        ("/m/tree/k", "v"),
        ("/m/date", "-"),
        ("/m/time", "-"),
        ("/u", "33fdd1b6-b496-4b33-9f7d-df96679d32fe"),
        ("/g/b", "-1"),
        ("/g/s", "-2"),
        ("/g/c", "!"),
        ("/g/d", "!"),
        ("/g/numbers", "!"),
        ("/g/texts/1", "b"),
        ("/g/other/0", "1"),
        ("/g/next/texts/0", "a"),
        ("/g/next/next/next/b", "-1"),
    ] {
        assert_eq!(at(&fields, path), found, "{path}");
    }
}

#[test]
fn what_is_cut_or_too_deep_cannot_be_read_and_the_fields_beside_it_are_read() {
    for whole in [MAP, GRAPH, UUID] {
        let whole = plain(whole);
        for length in 0..whole.len() {
            let cut = [("id", b"42".to_vec()), ("a", whole[..length].to_vec())];
            assert_eq!((at(&cut, "/id"), at(&cut, "/a")), ("42".to_owned(), "!".to_owned()), "{length}");
        }
        let more = [whole, vec![0x70]].concat();
        assert_eq!(at(&[("a", more)], "/a"), "!", "something stands behind it");
    }
    assert_eq!(at(&[("a", plain(DEEP)), ("id", b"42".to_vec())], "/a"), "!");
}

#[test]
fn a_value_that_finds_no_room_costs_nobody_their_session() {
    // A list of texts, each written once, as Java does.
    let head = "aced0005737200136a6176612e7574696c2e41727261794c6973747881d21d99c7619d03000149000473697a6578700000000077040000\
                0000";
    let digits: Vec<u8> = head.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |at: usize| char::from(digits[at]).to_digit(16).unwrap();
    let mut large: Vec<u8> = (0..digits.len() / 2)
        .map(|at| u8::try_from(digit(2 * at) * 16 + digit(2 * at + 1)).unwrap())
        .collect();
    large.extend((0..=MOST_ITEMS).flat_map(|_| [0x74, 0, 1, b'x']));
    large.push(0x78);
    let fields = [("a", large.clone()), ("b", large), ("m", plain(MAP)), ("id", b"42".to_vec())];
    for (path, found) in [("/id", "42"), ("/a", "!"), ("/b", "!"), ("/m/id", "42")] {
        assert_eq!(at(&fields, path), found, "{path}");
    }
}

#[test]
fn no_class_is_its_own_ancestor_and_nothing_refers_to_what_is_not_there() {
    let class = |parent: &[u8]| {
        let name = [0x73, 0x72, 0, 1, b'A', 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0x78];
        [&[0xac, 0xed, 0, 5][..], &name, parent].concat()
    };
    assert_eq!(at(&[("a", class(&[0x70]))], "/a"), "-");
    for parent in [
        &[0x71, 0, 0x7e, 0, 0][..],
        &[0x71, 0, 0x7e, 0, 1],
        &[0x71, 0, 0, 0, 0],
        &[0x71, 0xff, 0xff, 0xff, 0xff],
    ] {
        assert_eq!(at(&[("a", class(parent))], "/a"), "!", "{parent:?}");
    }
}

#[test]
fn who_has_not_been_authenticated_is_nobody() {
    let path = "/sessionAttr:SPRING_SECURITY_CONTEXT/authentication/principal";
    let json = |rest: &str| format!("{{\"authentication\":{{\"principal\":\"42\"{rest}}}}}").into_bytes();
    assert_eq!(at(&[(CONTEXT, json(",\"authenticated\":true"))], path), "42");
    for rest in [
        "",
        ",\"authenticated\":false",
        ",\"authenticated\":\"true\"",
        ",\"authenticated\":1",
        ",\"authenticated\":false,\"authenticated\":true",
    ] {
        assert_eq!(at(&[(CONTEXT, json(rest))], path), "-", "{rest}");
    }
    assert_eq!(at(&[(CONTEXT, plain(NOBODY))], path), "-");
    assert_eq!(at(&[(CONTEXT, b"{\"authentication\":".to_vec())], path), "!", "nobody can say");
}

#[test]
fn what_jackson_wraps_to_keep_its_type_is_unwrapped_wherever_it_stands() {
    for (json, path, found) in [
        ("[\"java.lang.Long\",42]", "/f", "42"),
        ("{\"@class\":\"java.util.HashMap\",\"id\":[\"java.lang.Long\",42]}", "/f/id", "42"),
        (
            "[\"java.util.UUID\",\"33fdd1b6-b496-4b33-9f7d-df96679d32fe\"]",
            "/f",
            "33fdd1b6-b496-4b33-9f7d-df96679d32fe",
        ),
        ("[\"java.lang.Object\",[42]]", "/f/1/0", "42"),
        ("[\"x\",42]", "/f/1", "42"),
    ] {
        assert_eq!(at(&[("f", json.as_bytes().to_vec())], path), found, "{json}");
    }
}

#[test]
fn of_a_security_context_that_cannot_be_read_nobody_says_that_it_is_nobodys() {
    let format = Kind::Spring.format(Options::default()).unwrap();
    let (now, later) = (Timestamp::from_secs(1_000), Timestamp::from_secs(2_000));
    let times = [("lastAccessedTime", "1000000"), ("maxInactiveInterval", "1800")];
    let read = |fields: &[(&str, Vec<u8>)]| {
        let times = times.iter().map(|(name, value)| (*name, value.as_bytes().to_vec()));
        let fields = times.chain(fields.iter().cloned());
        let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value)).collect();
        format.read(&Raw::Hash(fields), Some(later), now).map(|found| found.user.as_str().to_owned())
    };
    let malformed = |kind| Err(Refusal::Unreadable(DecodeError::Malformed(kind)));
    let whole = plain(NOBODY);
    assert_eq!(read(&[(CONTEXT, whole.clone())]), Err(Refusal::Anonymous));
    for length in HEAD.len()..whole.len() {
        assert_eq!(read(&[(CONTEXT, whole[..length].to_vec())]), malformed("Java serialisation"), "{length}");
    }
    assert_eq!(read(&[(CONTEXT, plain(DEEP))]), Err(Refusal::Unreadable(DecodeError::TooDeep)));
    assert_eq!(read(&[(CONTEXT, b"{\"authentication\":".to_vec())]), malformed("JSON"));
    // Whoever is found before it is looked at is who it is.
    let known = [(CONTEXT, whole[..9].to_vec()), ("sessionAttr:user_id", b"42".to_vec())];
    assert_eq!(read(&known).as_deref(), Ok("42"));
}
