//! What browsers, other parsers and attackers write into `Cookie` and `Set-Cookie`.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::keys::Key;
use crate::secret::Secret;

const NAME: &str = "__Host-session";

fn fields(values: &[&str]) -> HeaderMap {
    values.iter().map(|value| (COOKIE, HeaderValue::from_str(value).unwrap())).collect()
}

fn found(values: &[&str]) -> String {
    match find(&fields(values), NAME) {
        Presented::One(value) => String::from_utf8(value.to_vec()).unwrap(),
        other => format!("{other:?}"),
    }
}

fn rest(values: &[&str]) -> Option<String> {
    without(&fields(values), NAME).map(|value| value.to_str().unwrap().to_owned())
}

fn settings(secure: bool) -> Settings {
    Settings {
        cookie: NAME.to_owned(),
        secure,
        idle_timeout: Duration::from_mins(30),
        absolute_timeout: Duration::from_hours(12),
        touch_interval: Duration::from_mins(1),
        rotation_grace: Duration::from_secs(10),
        allowances: crate::session::Allowances::default(),
    }
}

#[test]
fn the_cookie_is_found_wherever_it_stands() {
    assert_eq!(found(&[]), "Nothing");
    assert_eq!(found(&["a=1"]), "Nothing");
    assert_eq!(found(&["__Host-session=x"]), "x");
    assert_eq!(found(&["a=1; __Host-session=x; b=2"]), "x");
    assert_eq!(found(&["a=1;__Host-session=x"]), "x");
    assert_eq!(found(&["a=1", "\t__Host-session = x "]), "x");
    assert_eq!(found(&["a=1", "__Host-session=x", "b=2"]), "x");
    assert_eq!(found(&["__Host-session=a=b"]), "a=b");
}

#[test]
fn the_cookie_of_the_admin_page_is_for_no_application() {
    assert_eq!(rest(&["a=1; countersign-admin=x; b=2"]), Some("a=1; b=2".to_owned()));
    assert_eq!(rest(&["countersign-admin=x"]), None);
    assert_eq!(rest(&["countersign-admins=x"]), Some("countersign-admins=x".to_owned()));
}

#[test]
fn equal_duplicates_are_one_and_different_ones_conflict() {
    assert_eq!(found(&["__Host-session=x; __Host-session=x"]), "x");
    assert_eq!(found(&["__Host-session=x", "__Host-session=x"]), "x");
    assert_eq!(found(&["__Host-session=x; __Host-session=y"]), "Conflicting");
    assert_eq!(found(&["__Host-session=x", "__Host-session=y", "__Host-session=x"]), "Conflicting");
    assert_eq!(found(&["__Host-session=x; __Host-session="]), "Conflicting");
}

#[test]
fn look_alikes_are_not_the_cookie() {
    for look_alike in [
        "__host-session=x",
        "__Host-session",
        "=__Host-session=x",
        "__Host%2Dsession=x",
        "\"__Host-session\"=x",
        "$Version=1, __Host-session=x",
        "a=1, __Host-session=x",
        "a=\"1",
        "__Host-session2=x",
        "x__Host-session=x",
    ] {
        assert_eq!(found(&[look_alike]), "Nothing", "{look_alike}");
    }
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, HeaderValue::from_bytes("\u{2003}__Host-session=x".as_bytes()).unwrap());
    assert_eq!(find(&headers, NAME), Presented::Nothing);
}

#[test]
fn a_semicolon_in_quotes_still_separates() {
    assert_eq!(found(&["a=\"1; __Host-session=x\""]), "x\"");
}

#[test]
fn more_cookies_than_are_looked_at_are_said_to_be_so() {
    let many = "a=1; ".repeat(MOST_COOKIES) + "__Host-session=x";
    assert_eq!(found(&[&many]), "Excessive");
    let long = format!("a={}; __Host-session=x", "1".repeat(MOST_BYTES));
    assert_eq!(found(&[&long]), "Excessive");
    assert_eq!(rest(&[&long]).unwrap().len(), MOST_BYTES + 2);
}

#[test]
fn our_cookie_is_taken_out_and_everything_else_left_byte_for_byte() {
    for (given, left) in [
        ("a=1; __Host-session=x; b=2", Some("a=1; b=2")),
        ("a=1;__Host-session=x;b=2", Some("a=1;b=2")),
        ("__Host-session=x; b=2", Some("b=2")),
        ("a=1; __Host-session=x", Some("a=1")),
        ("__Host-session=x", None),
        ("__Host-session=x; __Host-session=y", None),
        ("__Host-session=x;", None),
        ("__Host-session=x; ;\t", Some(";\t")),
        (" a = \"1,2\" ;;b;=c; __Host-session=x;d=%20 ", Some(" a = \"1,2\" ;;b;=c;d=%20 ")),
        ("a=1; b=2;", Some("a=1; b=2;")),
    ] {
        assert_eq!(rest(&[given]).as_deref(), left, "{given:?}");
    }
}

#[test]
fn several_cookie_fields_are_joined_as_http2_prescribes() {
    assert_eq!(rest(&["a=1", "__Host-session=x", "b=2"]).unwrap(), "a=1; b=2");
    assert_eq!(rest(&["a=1; c=3", "b=2; __Host-session=x"]).unwrap(), "a=1; c=3; b=2");
    assert_eq!(rest(&["__Host-session=x", "__Host-session=x"]), None);
    assert_eq!(rest(&[]), None);
}

#[test]
fn the_cookie_is_set_for_the_whole_host_and_out_of_reach_of_scripts() {
    let keys = [Key { id: "k".to_owned(), secret: Secret::new(vec![1; 32]) }];
    let token = SessionToken::mint(&keys);
    let value = set(&settings(true), &token);
    assert!(value.is_sensitive());
    let text = value.to_str().unwrap();
    assert_eq!(text, format!("__Host-session={}; HttpOnly; SameSite=Lax; Secure; Path=/", token.expose()));
    assert!(!set(&settings(false), &token).to_str().unwrap().contains("Secure"));
    assert!(names(&value, NAME));
}

#[test]
fn the_cookie_is_cleared_by_an_end_in_the_past() {
    let value = clear(&settings(true));
    let text = value.to_str().unwrap();
    assert!(text.starts_with("__Host-session=; "), "{text}");
    assert!(text.contains("Max-Age=0") && text.contains("Expires=Thu, 01 Jan 1970 00:00:00 GMT"), "{text}");
    assert!(text.contains("Secure") && text.contains("Path=/"), "{text}");
}

#[test]
fn an_upstream_that_sets_our_cookie_is_recognised_as_browsers_would() {
    let sets = |value: &str| names(&HeaderValue::from_str(value).unwrap(), NAME);
    for ours in [
        "__Host-session=x; Path=/",
        "__Host-session=",
        " \t__Host-session\t = x",
        "=__Host-session=x; Path=/",
        " = __Host-session=x",
    ] {
        assert!(sets(ours), "{ours:?}");
    }
    for other in [
        "__host-session=x",
        "__Host-sessions=x",
        "a=__Host-session=x",
        "==__Host-session=x",
        "__Host-session",
        "=__Host-session",
        "a=1; __Host-session=x",
        "",
    ] {
        assert!(!sets(other), "{other:?}");
    }
}

/// Text of cookies in which ours turns up often, with odd spacing and separators.
fn cookie_text() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        3 => Just("__Host-session=x".to_owned()),
        1 => Just(" __Host-session =y".to_owned()),
        3 => "[a-z_\" =\\-\t]{0,12}",
        1 => "[\u{20}-\u{7e}]{0,12}",
    ];
    prop::collection::vec(part, 0..8).prop_map(|parts| parts.join(";"))
}

/// The cookies of one text as a naive reader would list them.
fn listed(text: &str) -> Vec<String> {
    text.split(';')
        .filter(|part| {
            let name = part.split_once('=').map(|(name, _)| name.trim_matches([' ', '\t']));
            name != Some(NAME)
        })
        .map(|part| part.trim_matches([' ', '\t']).to_owned())
        .filter(|part| !part.is_empty())
        .collect()
}

proptest! {
    #[test]
    fn exactly_our_cookies_are_removed(texts in prop::collection::vec(cookie_text(), 0..4)) {
        let borrowed: Vec<&str> = texts.iter().map(String::as_str).collect();
        let headers = fields(&borrowed);
        let left = without(&headers, NAME);
        let left = left.as_ref().map_or("", |value| value.to_str().unwrap_or_default());
        let expected: Vec<String> = texts.iter().flat_map(|text| listed(text)).collect();
        prop_assert_eq!(listed(left), expected);
        let headers = fields(&[left]);
        prop_assert_eq!(find(&headers, NAME), Presented::Nothing);
    }

    #[test]
    fn a_field_without_our_cookie_is_left_as_it_is(text in "[\u{20}-\u{7e}]{1,60}") {
        prop_assume!(find(&fields(&[&text]), NAME) == Presented::Nothing);
        prop_assume!(!trim(text.as_bytes()).is_empty());
        prop_assert_eq!(rest(&[&text]), Some(text));
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let recognised = names(&value, "a");
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, value);
            let presented = find(&headers, "a") != Presented::Nothing;
            let left = without(&headers, "a");
            prop_assert!(left.is_none_or(|left| left.len() <= bytes.len()));
            prop_assert!(!(recognised || presented) || bytes.contains(&b'='));
        }
    }
}
