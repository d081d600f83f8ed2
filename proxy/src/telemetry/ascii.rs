//! Lines of JSON without anything but printable ASCII: what a terminal, or a reader of another encoding, could take for
//! an order or turn around is written as `\uXXXX` (THREATS O6). Only strings can hold such characters, so it stays JSON.

use std::borrow::Cow;
use std::io::Write as _;

/// The lines as they are, which is nearly always, or with everything escaped that is not plain.
pub(super) fn plain(lines: &[u8]) -> Cow<'_, [u8]> {
    if lines.is_ascii() && memchr::memchr(DELETE, lines).is_none() {
        return Cow::Borrowed(lines);
    }
    let mut plain = Vec::with_capacity(lines.len() * 2);
    for char in String::from_utf8_lossy(lines).chars() {
        match u8::try_from(char) {
            Ok(byte) if byte < DELETE => plain.push(byte),
            _ => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    // A vector takes every byte.
                    let _ = write!(plain, "\\u{unit:04x}");
                }
            }
        }
    }
    Cow::Owned(plain)
}

const DELETE: u8 = 0x7f;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::plain;

    #[test]
    fn what_could_be_an_order_is_spelled_out() {
        for (line, expected) in [
            ("{\"a\":\"b\"}\n", "{\"a\":\"b\"}\n"),
            ("\"\u{7f}\u{85}\u{202e}é\u{1f511}\"", r#""\u007f\u0085\u202e\u00e9\ud83d\udd11""#),
        ] {
            assert_eq!(plain(line.as_bytes()), expected.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn it_says_the_same_as_before(text: String) {
            let line = serde_json::to_string(&text).unwrap();
            let plain = plain(line.as_bytes());
            prop_assert!(plain.iter().all(|byte| (b' '..0x7f).contains(byte)));
            prop_assert_eq!(serde_json::from_slice::<String>(&plain).unwrap(), text);
        }
    }
}
