//! Cookies of every format: whatever they say, the key that comes of them has the prefix and an id, and nothing else.
#![no_main]

use countersign::formats::preset::{Kind, Options};
use countersign::formats::spelling::Written;
use countersign::secret::Secret;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    for kind in Kind::ALL {
        let options = Options {
            cookie: Some("sid".to_owned()),
            prefix: Some("p:".to_owned()),
            secrets: vec![Secret::from("0123456789abcdef0123456789abcdef")],
            ..Options::default()
        };
        let Ok(format) = kind.format(options) else { continue };
        let Ok(claimed) = format.claim(Written { value: input, spaced: false }, Some(Written { value: input, spaced: false }))
        else {
            continue;
        };
        assert!(claimed.key.expose().starts_with(b"p:"));
        assert!(!claimed.key.expose().iter().any(|byte| byte.is_ascii_control() || *byte == b'*'));
    }
});
