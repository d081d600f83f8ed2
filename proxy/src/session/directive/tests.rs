//! What upstreams write into the directive header, rightly and wrongly.

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

fn read(value: &str) -> Result<Directive, DirectiveError> {
    let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_bytes(value.as_bytes()).unwrap())]);
    Directive::parse(&headers).map(|directive| directive.expect("there is a header"))
}

fn create(user: &str, platform: Option<&str>, actor: Option<&str>) -> Directive {
    Directive::Create {
        user: user.parse().unwrap(),
        platform: platform.map(|id| id.parse().unwrap()),
        actor: actor.map(|id| id.parse().unwrap()),
    }
}

#[test]
fn every_directive_is_read() {
    assert_eq!(read(r#"create;user="42";platform="7""#), Ok(create("42", Some("7"), None)));
    assert_eq!(read(r#"create; actor="1"; user="42""#), Ok(create("42", None, Some("1"))));
    assert_eq!(read(r#"create;user=%"zo%c3%ab""#), Ok(create("zo\u{eb}", None, None)));
    assert_eq!(read("rotate"), Ok(Directive::Rotate { authenticated: false }));
    assert_eq!(read("rotate;authenticated"), Ok(Directive::Rotate { authenticated: true }));
    assert_eq!(read("rotate;authenticated=?0"), Ok(Directive::Rotate { authenticated: false }));
    assert_eq!(read("end"), Ok(Directive::End));
    assert_eq!(read("end-all"), Ok(Directive::EndAll));
    assert_eq!(read(r#"platform;id="7""#), Ok(Directive::Platform(Some("7".parse().unwrap()))));
    assert_eq!(read("platform"), Ok(Directive::Platform(None)));
}

#[test]
fn a_response_without_the_header_has_no_directive() {
    assert_eq!(Directive::parse(&HeaderMap::new()), Ok(None));
}

#[test]
fn two_directives_are_never_one() {
    let mut headers = HeaderMap::new();
    headers.append(HEADER, HeaderValue::from_static("end"));
    headers.append(HEADER, HeaderValue::from_static("end"));
    assert_eq!(Directive::parse(&headers), Err(DirectiveError::Repeated));
    assert_eq!(read("end, end"), Err(DirectiveError::Malformed));
}

#[test]
fn what_cannot_be_read_completely_is_refused() {
    use DirectiveError::{BadParameter, Malformed, TooLong, UnknownDirective, UnknownParameter};
    for (value, error) in [
        ("", Malformed),
        ("end;", Malformed),
        (r#"create;user="4"#, Malformed),
        (r#"create;user="1";user="2""#, Malformed),
        (r#"create;User="1""#, Malformed),
        ("\"end\"", UnknownDirective),
        ("END", UnknownDirective),
        ("destroy", UnknownDirective),
        ("?1", UnknownDirective),
        ("create", BadParameter),
        ("create;user=42", BadParameter),
        ("create;user=ana", BadParameter),
        ("create;user", BadParameter),
        (r#"create;user="""#, BadParameter),
        (r#"create;user="1";platform=7"#, BadParameter),
        (r#"create;user=%"a%0ab""#, BadParameter),
        (r#"rotate;authenticated="yes""#, BadParameter),
        (r#"create;user="1";role="admin""#, UnknownParameter),
        ("end;now", UnknownParameter),
        (r#"platform;platform="7""#, UnknownParameter),
    ] {
        assert_eq!(read(value), Err(error), "{value}");
    }
    assert_eq!(read(&format!("create;user=\"{}\"", "1".repeat(1024))), Err(TooLong));
    assert_eq!(read(&format!("create;user=\"{}\"", "1".repeat(129))), Err(BadParameter));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            let directive = Directive::parse(&HeaderMap::from_iter([(HEADER, value)]));
            prop_assert!(directive != Ok(None));
        }
    }

    #[test]
    fn an_id_is_read_as_it_was_written(id in "[\u{20}-\u{7e}]{1,128}") {
        let text = sfv::StringRef::from_str(&id).unwrap();
        let written = sfv::ItemSerializer::new().bare_item(sfv::token_ref("create"));
        let written = written.parameter(sfv::key_ref("user"), text);
        prop_assert_eq!(read(&written.finish()), Ok(create(&id, None, None)));
    }
}
