//! Rendering: which headers are sent, and that no text leaves its value.

use std::sync::Arc;

use percent_encoding::percent_decode;
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::context::{LastUse, Layer, Session, SessionId, User};

fn context(name: &str, roles: &[String], platform_name: &str) -> Context {
    let user = "42".parse().unwrap();
    let session = Session {
        id: SessionId::of_token(b"token"),
        user,
        platform: Some("7".parse().unwrap()),
        created: Timestamp::from_secs(1_000),
        authenticated: Timestamp::from_secs(1_500),
        expires: Timestamp::from_secs(9_000),
        predecessor: None,
        successor: None,
        actor: None,
        version: 1,
    };
    let platform = Platform {
        id: "7".parse().unwrap(),
        user: "42".parse().unwrap(),
        kind: "mastodon".into(),
        name: platform_name.into(),
        url: "https://social.example/".into(),
        active: true,
        default: true,
        credential: None,
    };
    Context {
        user: Arc::new(User {
            id: session.user.clone(),
            name: name.into(),
            roles: roles.to_vec(),
            active: true,
            sessions_valid_after: None,
            passwords: Box::default(),
        }),
        session: Arc::new(session),
        platform: Some(Arc::new(platform)),
        platform_refused: false,
        last_seen: LastUse::at(Timestamp::from_secs(2_000)),
        layer: Layer::Process,
        password: None,
    }
}

fn input(context: Option<&Context>) -> RenderInput<'_> {
    let authn = if context.is_some() { Authn::Session } else { Authn::None };
    RenderInput {
        authn,
        context,
        request_id: "r1",
        platform_authorization: None,
        settings: None,
        stats: None,
        client_certificate: None,
    }
}

fn render_all(input: &RenderInput<'_>) -> Result<ContextHeaders, Reason> {
    let names = Names::new("x-context-").unwrap();
    let mut all = of_context(&names, input.authn, input.context)?;
    all.extend(of_request(&names, input)?);
    Ok(all)
}

fn value<'a>(headers: &'a ContextHeaders, name: &str) -> Option<&'a [u8]> {
    headers.iter().find(|(found, _)| found.as_str() == name).map(|(_, value)| value.as_bytes())
}

#[test]
fn without_identity_only_authn_and_request_id_are_sent() {
    let context = context("Ana", &[], "");
    for authn in [Authn::None, Authn::Unchecked, Authn::Undetermined] {
        let headers = render_all(&RenderInput { authn, ..input(Some(&context)) }).unwrap();
        assert_eq!(headers.len(), 2);
        assert_eq!(value(&headers, "x-context-authn"), Some(authn.as_str().as_bytes()));
        assert_eq!(value(&headers, "x-context-request-id"), Some(&b"r1"[..]));
    }
}

#[test]
fn a_session_without_a_context_is_refused() {
    let input = RenderInput { authn: Authn::Session, ..input(None) };
    assert_eq!(render_all(&input).unwrap_err(), Reason::CannotSign);
}

#[test]
fn the_context_is_told_in_full_and_empty_values_are_left_out() {
    let context = context("Ana B", &["admin".into(), String::new(), "a,b %".into()], "");
    let headers = render_all(&input(Some(&context))).unwrap();
    assert_eq!(value(&headers, "x-context-user-name"), Some(&b"Ana B"[..]));
    assert_eq!(value(&headers, "x-context-roles"), Some(&b"admin,a%2Cb%20%25"[..]));
    assert_eq!(value(&headers, "x-context-auth-time"), Some(&b"1500"[..]));
    assert_eq!(value(&headers, "x-context-platform-url"), Some(&b"https://social.example/"[..]));
    assert_eq!(value(&headers, "x-context-platform-name"), None);
    assert_eq!(value(&headers, "x-context-actor-id"), None);
}

#[test]
fn a_credential_is_sent_when_given_and_marked_as_sensitive() {
    let context = context("Ana", &[], "");
    let credential = Secret::from("Bearer abc");
    let input = RenderInput { platform_authorization: Some(&credential), ..input(Some(&context)) };
    let headers = render_all(&input).unwrap();
    let (_, value) = headers.iter().find(|(name, _)| name.as_str().ends_with("authorization")).unwrap();
    assert_eq!(value, "Bearer abc");
    assert!(value.is_sensitive());
}

proptest! {
    #[test]
    fn encoding_is_undone_by_percent_decoding(text in ".*") {
        let encoded = encode(text.as_bytes());
        prop_assert_eq!(percent_decode(encoded.trim_ascii()).collect::<Vec<_>>(), text.as_bytes());
    }

    #[test]
    fn encoding_any_bytes_is_undone_too(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let encoded = encode(&bytes);
        prop_assert!(encoded.iter().all(|byte| matches!(byte, b' '..=b'~')));
        prop_assert_eq!(percent_decode(&encoded).collect::<Vec<_>>(), bytes);
    }

    #[test]
    fn roles_come_back_as_they_were(roles in prop::collection::vec(".{1,8}", 0..6)) {
        let list = role_list(&roles);
        let decoded: Vec<String> = list
            .split(',')
            .filter(|role| !role.is_empty())
            .map(|role| percent_decode(role.trim().as_bytes()).decode_utf8().unwrap().into_owned())
            .collect();
        prop_assert_eq!(decoded, roles);
    }

    #[test]
    fn whatever_the_directory_holds_every_value_is_one_line_of_visible_ascii(
        name in any::<String>(), platform in any::<String>(), roles in prop::collection::vec(any::<String>(), 0..4),
    ) {
        let context = context(&name, &roles, &platform);
        let headers = render_all(&input(Some(&context))).unwrap();
        for (_, value) in &headers {
            prop_assert!(value.as_bytes().iter().all(|byte| matches!(byte, b' '..=b'~')));
        }
    }
}
