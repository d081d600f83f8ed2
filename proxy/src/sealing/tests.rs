//! Sealed is opened again with the right key at the right place, and in no other way.

use proptest::prelude::*;

use super::{Place, Sealer, SealingError};
use crate::context::SealedCredential;
use crate::keys::Key;
use crate::secret::Secret;

/// Key and tokens of the seeds' layout, made with another Fernet implementation.
const FERNET_KEY: &str = "UGQZMZbEIek3wGFWhoYToMpP2vmtAJFvImPnNPz5cUE=";
const FERNET_TOKEN: &str = "gAAAAABrAPHA2GyChYPFxhYOis_uiLoVkJRcZINNyEU6l81JP2j57fGguMiStRPBUToGmRjGksfD-dhh2REHQTN9bAlZ3lgBAeamtHnbimIoxFsxG1y3LIY=";
const PLACE: Place<'static> = Place { table: "platforms", row: "7", column: "credential" };

fn key(id: &str, byte: u8, length: usize) -> Key {
    Key { id: id.to_owned(), secret: Secret::new(vec![byte; length]) }
}

fn sealer(keys: Vec<Key>) -> Sealer {
    Sealer::new(keys, &[Secret::from(FERNET_KEY)]).unwrap()
}

fn text(text: &str) -> SealedCredential {
    SealedCredential::from_text(text.to_owned())
}

#[test]
fn the_newest_key_seals_and_older_ones_still_open() {
    let old = sealer(vec![key("k1", 1, 32)]);
    let sealed = old.seal(&Secret::from("token"), PLACE).unwrap();
    assert!(sealed.as_text().starts_with("cs1.k1."));

    let rotated = sealer(vec![key("k.2", 2, 48), key("k1", 1, 32)]);
    assert!(rotated.open(&sealed, PLACE).unwrap().matches(b"token"));
    let newer = rotated.seal(&Secret::from("token"), PLACE).unwrap();
    assert!(newer.as_text().starts_with("cs1.k.2."));
    assert!(rotated.open(&newer, PLACE).unwrap().matches(b"token"));
    assert_eq!(old.open(&newer, PLACE).unwrap_err(), SealingError::UnknownKey);
}

#[test]
fn another_place_is_refused_even_if_its_parts_read_the_same_joined() {
    let sealer = sealer(vec![key("k1", 1, 32)]);
    let text = sealer.seal(&Secret::from("token"), PLACE).unwrap();
    for (table, row, column) in [
        ("platforms", "8", "credential"),
        ("platform", "s7", "credential"),
        ("platforms7", "", "credential"),
        ("platforms", "7c", "redential"),
        ("", "", ""),
    ] {
        assert_eq!(sealer.open(&text, Place { table, row, column }).unwrap_err(), SealingError::Forged);
    }
}

#[test]
fn the_same_id_with_another_secret_opens_nothing() {
    let sealed = sealer(vec![key("k1", 1, 32)]).seal(&Secret::from("token"), PLACE).unwrap();
    for other in [key("k1", 2, 32), key("k1", 1, 33)] {
        assert_eq!(sealer(vec![other]).open(&sealed, PLACE).unwrap_err(), SealingError::Forged);
    }
}

#[test]
fn a_secret_sealed_twice_looks_different() {
    let sealer = sealer(vec![key("k1", 1, 32)]);
    let twice = [(); 2].map(|()| sealer.seal(&Secret::from("token"), PLACE).unwrap());
    assert_ne!(twice[0], twice[1]);
}

#[test]
fn keys_that_are_too_short_repeated_or_malformed_are_refused() {
    assert_eq!(Sealer::new(vec![key("k1", 1, 31)], &[]).unwrap_err(), SealingError::BadKey);
    assert_eq!(Sealer::new(vec![key("k1", 1, 32), key("k1", 2, 32)], &[]).unwrap_err(), SealingError::BadKey);
    for bad in ["", "short", &FERNET_KEY[..40], &FERNET_KEY.repeat(2)] {
        assert_eq!(Sealer::new(Vec::new(), &[Secret::from(bad)]).unwrap_err(), SealingError::BadKey, "{bad}");
    }
    let keyless = Sealer::new(Vec::new(), &[]).unwrap();
    assert_eq!(keyless.seal(&Secret::from("x"), PLACE).unwrap_err(), SealingError::NoKey);
}

#[test]
fn tokens_of_the_seeds_are_read_with_whichever_of_their_keys_fits() {
    let other = Secret::from("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let sealer = Sealer::new(vec![key("k1", 1, 32)], &[other.clone(), Secret::from(FERNET_KEY)]).unwrap();
    assert!(sealer.open(&text(FERNET_TOKEN), PLACE).unwrap().matches(b"made-up-access-token"));
    let without_padding = text(FERNET_TOKEN.trim_end_matches('='));
    assert!(sealer.open(&without_padding, PLACE).unwrap().matches(b"made-up-access-token"));
    let keyless = Sealer::new(Vec::new(), &[other]).unwrap();
    assert_eq!(keyless.open(&text(FERNET_TOKEN), PLACE).unwrap_err(), SealingError::Forged);
}

#[test]
fn text_in_no_known_format_is_malformed() {
    let sealer = sealer(vec![key("k1", 1, 32)]);
    let long = format!("cs1.k1.{}", "A".repeat(100_000));
    for broken in ["", "cs1.", "cs1.k1", "cs1.k1.", "cs1.k1.A", "cs1.k1.****", "gAAAAA", "plain token", &long]
    {
        assert_eq!(sealer.open(&text(broken), PLACE).unwrap_err(), SealingError::Malformed, "{broken:.20}");
    }
    assert_eq!(sealer.open(&text("cs1.k1.AAAAAAAAAAAAAAAA"), PLACE).unwrap_err(), SealingError::Forged);
    assert_eq!(sealer.open(&text("cs1.k9.AAAA"), PLACE).unwrap_err(), SealingError::UnknownKey);
}

#[test]
fn nothing_printed_holds_a_key() {
    let secret = Secret::from("a key of thirty-two characters!!");
    let sealer = Sealer::new(vec![Key { id: "k1".into(), secret }], &[Secret::from(FERNET_KEY)]).unwrap();
    let printed = format!("{sealer:?}");
    assert!(!printed.contains("thirty-two") && !printed.contains("UGQZ"), "{printed}");
}

proptest! {
    #[test]
    fn opening_is_the_inverse_of_sealing(
        plaintext in proptest::collection::vec(any::<u8>(), 0..400),
        row in ".{0,40}",
        length in 32_usize..80,
    ) {
        let sealer = sealer(vec![key("k1", 7, length)]);
        let place = Place { table: "platforms", row: &row, column: "credential" };
        let sealed = sealer.seal(&Secret::new(plaintext.clone()), place).unwrap();
        prop_assert!(sealer.open(&sealed, place).unwrap().matches(&plaintext));
    }

    #[test]
    fn every_altered_character_is_an_error(at in any::<prop::sample::Index>(), to in "[A-Za-z0-9._=-]", old in any::<bool>()) {
        let sealer = sealer(vec![key("k1", 7, 32)]);
        let sealed = sealer.seal(&Secret::from("an access token"), PLACE).unwrap();
        // The last character of the token stands before its padding; the padding itself means nothing.
        let whole = if old { FERNET_TOKEN.trim_end_matches('=') } else { sealed.as_text() };
        let at = at.index(whole.len());
        prop_assume!(whole[at..=at] != to);
        let altered = format!("{}{to}{}", &whole[..at], &whole[at + 1..]);
        prop_assume!(altered.trim_end_matches('=') != whole);
        prop_assert!(sealer.open(&text(&altered), PLACE).is_err(), "{altered}");
    }

    #[test]
    fn arbitrary_text_never_panics(any_text in ".{0,200}") {
        let sealer = sealer(vec![key("k1", 7, 32)]);
        prop_assert!(sealer.open(&text(&any_text), PLACE).is_err());
    }
}
