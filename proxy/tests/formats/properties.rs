//! Properties of every decoder and cookie reader: over arbitrary bytes, and over samples that were changed in a few places.

use std::sync::LazyLock;
use std::time::Duration;

use countersign::clock::Timestamp;
use countersign::formats::decode::{Decoder, Raw};
use countersign::formats::envelope::Cipher;
use countersign::formats::locate::{Path, identifier, moment};
use countersign::formats::preset::{Kind, Options};
use countersign::formats::spelling::Written;
use countersign::formats::table::{Row, StoredIn, TableOptions};
use countersign::formats::{Alphabet, Format};
use countersign::secret::Secret;
use proptest::prelude::*;

use super::hostile::decoders;
use super::sample::{NOW, Sample, all, bytes, own};

/// Read once, and not for every case. A folder may hold hostile values alone.
static SAMPLES: LazyLock<Vec<Sample>> = LazyLock::new(|| {
    let samples = all();
    if samples.is_empty() { own() } else { samples }
});

/// Cases per decoder in one run of the tests; the fuzz targets do the long runs.
const CASES: u32 = 512;
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a fuzz target does with its input: whatever comes out is bounded and has the shape that was promised.
pub(crate) fn exercise(decoder: &Decoder, input: &[u8]) {
    let raw = if decoder.reads_hash() {
        Raw::Hash(vec![
            (b"user_id".to_vec(), input.to_vec()),
            (b"sessionAttr:user_id".to_vec(), input.to_vec()),
        ])
    } else {
        Raw::Text(input.to_vec())
    };
    let Ok(session) = decoder.decode(&raw) else { return };
    let paths =
        ["/user_id", "/_auth_user_id", "/0/0", "/sessionAttr:user_id", "/Values/user_id"].map(Path::parse);
    if let Ok(Some(id)) = identifier(&session, &paths, true) {
        assert!((1..=128).contains(&id.len()) && !id.chars().any(char::is_control), "{id:?}");
    }
    let _ = moment(&session, &paths);
}

/// The same with a row of each table that is known.
pub(crate) fn read_rows(input: &[u8]) -> usize {
    let mut read = 0;
    for kind in [Kind::Django, Kind::Laravel, Kind::Express, Kind::BetterAuth, Kind::Spring] {
        let table = TableOptions { stored_in: StoredIn::Table, ..TableOptions::default() };
        let secrets = vec![Secret::from(SECRET)];
        let format = kind.format(Options { secrets, table, ..Options::default() }).unwrap();
        let ends = NOW.plus(Duration::from_mins(1));
        let row = Row { data: Some(input), ends, user: None, platform: None, created: None };
        let Ok(found) = format.table.unwrap().read(row, NOW) else { continue };
        assert!(found.ends <= ends && !found.user.as_str().is_empty());
        read += 1;
    }
    read
}

/// Every kind that reads cookies, with a secret where it needs one.
pub(crate) fn formats() -> Vec<Format> {
    let format = |kind: &Kind| {
        let secret = Secret::from(SECRET);
        let options = Options {
            cookie: Some("sid".to_owned()),
            prefix: Some("p:".to_owned()),
            secrets: vec![secret.clone()],
            block_keys: if *kind == Kind::Gorilla { vec![secret] } else { Vec::new() },
            cipher: Cipher::Cbc,
            ..Options::default()
        };
        kind.format(options).unwrap()
    };
    Kind::ALL.iter().map(format).collect()
}

pub(crate) fn claims(value: &[u8], signature: Option<&[u8]>) {
    for format in formats() {
        let cookie = Written { value, spaced: false };
        let signature = signature.map(|value| Written { value, spaced: false });
        let Ok(claimed) = format.claim(cookie, signature) else { continue };
        let key = claimed.key.expose_text().unwrap();
        let id = key.strip_prefix("p:").expect("the prefix is in front");
        let of_rails = id.strip_prefix("2::").unwrap_or(id);
        let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"-_,".contains(&byte);
        assert!(!of_rails.is_empty() && of_rails.bytes().all(harmless), "{}: {key}", format.name);
        assert!(format.id.alphabet != Alphabet::Hex || of_rails.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
}

/// Bytes at places that are replaced, put in or taken out.
fn changed(mut value: Vec<u8>, changes: &[(usize, u8, u8)]) -> Vec<u8> {
    for (at, how, byte) in changes {
        let at = if value.is_empty() { 0 } else { at % value.len() };
        match how % 3 {
            0 if !value.is_empty() => value[at] = *byte,
            1 => value.insert(at, *byte),
            _ if !value.is_empty() => drop(value.remove(at)),
            _ => {}
        }
    }
    value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn no_decoder_is_harmed_by_arbitrary_bytes(input in proptest::collection::vec(any::<u8>(), 0..512)) {
        for (_, decoder) in decoders() {
            exercise(&decoder, &input);
        }
        let _ = read_rows(&input);
    }

    #[test]
    fn no_decoder_is_harmed_by_a_session_that_was_changed(
        pick in any::<prop::sample::Index>(),
        changes in proptest::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..8),
    ) {
        let sample = pick.get(&SAMPLES);
        let value = changed(bytes(&sample.json["redis"]["value_base64"]), &changes);
        for (_, decoder) in decoders() {
            exercise(&decoder, &value);
        }
        let _ = sample.format().read(&Raw::Text(value), Some(NOW.plus(Duration::from_mins(1))), NOW);
    }

    #[test]
    fn whatever_a_cookie_says_the_key_has_the_prefix_and_an_id_and_nothing_else(
        value in "[ -~]{0,160}", signature in proptest::option::of("[ -~]{0,40}"),
    ) {
        claims(value.as_bytes(), signature.as_deref().map(str::as_bytes));
    }

    #[test]
    fn an_id_of_the_right_shape_is_claimed_as_it_is(id in "[0-9a-f]{32}") {
        for format in formats().iter().filter(|format| format.signature_cookie().is_none()) {
            let Ok(claimed) = format.claim(Written { value: id.as_bytes(), spaced: false }, None) else { continue };
            let key = claimed.key.expose_text().unwrap().to_owned();
            prop_assert!(key == format!("p:{id}") || key.starts_with("p:2::"), "{}: {key}", format.name);
            prop_assert!(claimed.ends.is_none_or(|end| end > Timestamp::default()));
        }
    }

    #[test]
    fn a_name_that_some_version_reads_as_ours_is_never_beside_it(name in "[a-z._ %0-9\\[]{1,12}") {
        for format in formats() {
            let confused = format.spelling.confuses(name.as_bytes(), "sid");
            prop_assert!(name != "sid" || !confused);
        }
    }
}
