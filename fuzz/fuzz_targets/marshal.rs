//! Sessions written as `marshal`: whatever the bytes are, decoding them ends, within bounds.
#![no_main]

use countersign::formats::decode::{Decoder, Raw};
use countersign::formats::locate::{Path, identifier};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    if let Ok(session) = Decoder::Marshal.decode(&Raw::Text(input.to_vec())) {
        let _ = identifier(&session, &[Path::parse("/user_id"), Path::parse("/0/0")], true);
    }
});
