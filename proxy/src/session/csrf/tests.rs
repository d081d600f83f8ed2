//! Anti-forgery tokens: what passes, what does not, and the seeds' sample.

use proptest::prelude::*;

use super::*;

const NOW: Timestamp = Timestamp::from_secs(1_795_224_000);

fn key(id: &str, byte: u8) -> Key {
    Key { id: id.to_owned(), secret: Secret::new(vec![byte; 32]) }
}

fn settings(keys: &[Key]) -> Settings {
    Settings { keys: keys.to_vec(), lifetime: Duration::from_hours(12), seeds: None }
}

fn session(name: &str) -> SessionId {
    SessionId::of_token(name.as_bytes())
}

#[test]
fn a_token_is_valid_for_its_session_until_it_expires() {
    let settings = settings(&[key("c1", 1)]);
    let token = issue(&settings, &session("a"), NOW).unwrap();
    assert_eq!(token.expose().len(), TOKEN_LENGTH);
    assert_eq!(token.expires(), NOW.plus(settings.lifetime));
    let judge = |id: &str, at| verify(&settings, &session(id), token.expose().as_bytes(), at);
    assert_eq!(judge("a", NOW), Ok(()));
    assert_eq!(judge("a", token.expires().minus(Duration::from_millis(1))), Ok(()));
    assert_eq!(judge("a", token.expires()), Err(Reason::CsrfExpired));
    assert_eq!(judge("b", NOW), Err(Reason::CsrfInvalid));
    assert_eq!(judge("b", token.expires()), Err(Reason::CsrfInvalid));
}

#[test]
fn keys_rotate() {
    let token = issue(&settings(&[key("c1", 1)]), &session("a"), NOW).unwrap();
    let judge = |keys: &[Key]| verify(&settings(keys), &session("a"), token.expose().as_bytes(), NOW);
    assert_eq!(judge(&[key("c2", 2), key("c1", 1)]), Ok(()));
    assert_eq!(judge(&[key("c2", 2)]), Err(Reason::CsrfInvalid));
    assert_eq!(judge(&[]), Err(Reason::CsrfInvalid));
    assert!(issue(&settings(&[]), &session("a"), NOW).is_none());
}

#[test]
fn no_two_tokens_are_alike_and_none_holds_the_session_id() {
    let settings = settings(&[key("c1", 1)]);
    let (one, other) = (issue(&settings, &session("a"), NOW), issue(&settings, &session("a"), NOW));
    assert_ne!(one, other);
    let raw = URL_SAFE_NO_PAD.decode(one.unwrap().expose()).unwrap();
    let id = session("a");
    assert!(!raw.windows(8).any(|window| id.as_bytes().windows(8).any(|part| part == window)));
    assert_eq!(format!("{:?}", other.unwrap()), "CsrfToken(redacted)");
}

#[test]
fn the_seeds_tokens_pass_only_where_they_are_configured() {
    // SEEDS.md, section 6; the values of the sample were made with the rule of the application.
    const ID: &str = "3f85fe62-0000-4000-8000-00000000002a";
    const RANDOM: &str = "03ee9a5c7fde19cbced343effb84760e6473f61b563892719c3cf1ce50ecbebc";
    const MAC: &str = "f2a7047f417e8a3563d6029c9ef6a93f8970ced68aa26bebae8eed01787ab348";
    let seeds =
        Seeds { secret: Secret::from("byos-made-up-flask-secret"), lifetime: Duration::from_hours(1) };
    let with = Settings { seeds: Some(seeds), ..settings(&[key("c1", 1)]) };
    let made = Timestamp::from_secs(1_795_224_000);
    let judge = |settings: &Settings, token: &str, seconds: u64| {
        verify(settings, &session(ID), token.as_bytes(), made.plus(Duration::from_secs(seconds)))
    };
    let token = format!("{ID}:1795224000:{RANDOM}:{MAC}");
    assert_eq!(judge(&with, &token, 0), Ok(()));
    assert_eq!(judge(&with, &token, 3600), Ok(()));
    assert_eq!(judge(&with, &token, 3601), Err(Reason::CsrfExpired));
    assert_eq!(judge(&settings(&[key("c1", 1)]), &token, 0), Err(Reason::CsrfInvalid));
    let early = made.minus(Duration::from_mins(2));
    assert_eq!(verify(&with, &session(ID), token.as_bytes(), early), Err(Reason::CsrfInvalid));
    let other = verify(&with, &session("3f85fe62-0000-4000-8000-00000000002b"), token.as_bytes(), made);
    assert_eq!(other, Err(Reason::CsrfInvalid));
    for bad in [
        format!("3f85fe62-0000-4000-8000-00000000002b:1795224000:{RANDOM}:{MAC}"),
        format!("{ID}:1795224000:{RANDOM}:{}", "0".repeat(64)),
        format!("{ID}:1795224000:{RANDOM}"),
        format!(
            "{ID}:1795224000:{}:f89eed47dc86e2d2e141c7a07318bfeb5fc171e3012de4ab470656b4a697ec91",
            "0".repeat(64)
        ),
    ] {
        assert_eq!(judge(&with, &bad, 0), Err(Reason::CsrfInvalid), "{bad}");
    }
}

proptest! {
    #[test]
    fn a_token_with_one_byte_altered_is_refused(at in 0..TOKEN_LENGTH, byte: u8) {
        let settings = settings(&[key("c1", 1)]);
        let mut value = issue(&settings, &session("a"), NOW).unwrap().expose().as_bytes().to_vec();
        prop_assume!(value[at] != byte);
        value[at] = byte;
        prop_assert_eq!(verify(&settings, &session("a"), &value, NOW), Err(Reason::CsrfInvalid));
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(value in prop::collection::vec(any::<u8>(), 0..200)) {
        let seeds = Seeds { secret: Secret::from("s"), lifetime: Duration::from_hours(1) };
        let settings = Settings { seeds: Some(seeds), ..settings(&[key("c1", 1)]) };
        prop_assert!(verify(&settings, &session("a"), &value, NOW).is_err());
    }
}
