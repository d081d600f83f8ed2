//! Rows as frameworks write them, and what is refused.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Row, StoredIn, TableOptions, is_name};
use crate::clock::Timestamp;
use crate::formats::preset::{Kind, Mistake, Options};
use crate::formats::spelling::Written;
use crate::formats::{Format, Found, Refusal};
use crate::secret::Secret;

/// A row that Django 5.2 wrote (proxy/tests/session-samples, Django's `cached_db`).
const DJANGO: &str = ".eJxVjsEOgjAQRP-lZ9NsS7cUj979BrK0XUGREgon479bDAc9TTLzZjIv0dK29u2W49IOQZyF0eL0a3bkH3Hak3Cn6ZakT9O6DJ3cEXmkWV5TiOPlYP8Gesp9aVuIbNEpRGoU16iAK6sjcG2cYdbgLDZQtEHwwalOVwaRyYMyMQCU0XmkldPy_B6t3x91QDxR:1xUZiA:0CXa9YNC4XykxLOMTCNy_6-aKnwWXNBv6I3R50qF51M";
const DJANGO_SECRET: &str = "byos-made-up-django-secret-key-0123456789";
const APP_KEY: &str = "base64:xRif4hgrvRmodLGz4dMIlhP5ewbL025UfhGmKOXindA=";
const LARAVEL: &str = "a:3:{s:6:\"_token\";s:1:\"x\";s:11:\"platform_id\";i:7;\
     s:50:\"login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d\";i:42;}";
const NOW: Timestamp = Timestamp::from_secs(1_795_224_600);
const LATER: Timestamp = Timestamp::from_secs(1_795_228_200);

fn options(secret: &str) -> Options {
    let table = TableOptions {
        stored_in: StoredIn::Table,
        key: "session.format".to_owned(),
        ..TableOptions::default()
    };
    let secrets = if secret.is_empty() { Vec::new() } else { vec![Secret::from(secret)] };
    Options { secrets, table, ..Options::default() }
}

fn format(kind: Kind, options: Options) -> Format {
    kind.format(options).unwrap()
}

fn row(data: &[u8]) -> Row<'_> {
    Row { data: Some(data), ends: LATER, user: None, platform: None, created: None }
}

fn read(format: &Format, row: Row<'_>) -> Result<Found, Refusal> {
    format.table.as_ref().unwrap().read(row, NOW)
}

fn ids(found: &Found) -> (&str, Option<&str>) {
    (found.user.as_str(), found.platform.as_ref().map(crate::context::PlatformId::as_str))
}

#[test]
fn a_row_of_django_is_read_if_its_signature_fits_one_of_the_secrets() {
    let django = format(Kind::Django, options(DJANGO_SECRET));
    let found = read(&django, row(DJANGO.as_bytes())).unwrap();
    assert_eq!(ids(&found), ("42", Some("7")));
    assert_eq!(found.ends, LATER);
    let rotated = Options { secrets: vec![Secret::from("new"), Secret::from(DJANGO_SECRET)], ..options("") };
    assert!(read(&format(Kind::Django, rotated), row(DJANGO.as_bytes())).is_ok());
    let other = format(Kind::Django, options("another"));
    assert!(matches!(read(&other, row(DJANGO.as_bytes())), Err(Refusal::Unreadable(_))));
    for cut in 0..DJANGO.len() {
        assert!(read(&django, row(&DJANGO.as_bytes()[..cut])).is_err(), "{cut}");
    }
    let (data, _) = DJANGO.split_once(':').unwrap();
    for forged in [data.to_owned(), format!("{DJANGO}:"), format!("{data}:1xUZiA:"), format!("e30{DJANGO}")] {
        assert!(read(&django, row(forged.as_bytes())).is_err(), "{forged}");
    }
    let over = Row { ends: NOW, ..row(DJANGO.as_bytes()) };
    assert_eq!(read(&django, over), Err(Refusal::Expired));
}

#[test]
fn a_row_of_laravel_is_base64_of_what_its_redis_driver_keeps() {
    let laravel = format(Kind::Laravel, options(APP_KEY));
    let payload = STANDARD.encode(LARAVEL);
    assert_eq!(ids(&read(&laravel, row(payload.as_bytes())).unwrap()), ("42", Some("7")));
    let json =
        STANDARD.encode(r#"{"login_web_59ba36addc2b2f9401580f014c7f58ea4e30989d":"42","platform_id":null}"#);
    assert_eq!(ids(&read(&laravel, row(json.as_bytes())).unwrap()), ("42", None));
    let nobody = STANDARD.encode("a:1:{s:6:\"_token\";s:1:\"x\";}");
    assert_eq!(read(&laravel, row(nobody.as_bytes())), Err(Refusal::Anonymous));
    assert!(matches!(read(&laravel, row(LARAVEL.as_bytes())), Err(Refusal::Unreadable(_))), "not in base64");
    let wrapped = STANDARD.encode(format!("s:{}:\"{LARAVEL}\";", LARAVEL.len()));
    assert!(
        matches!(read(&laravel, row(wrapped.as_bytes())), Err(Refusal::Unreadable(_))),
        "the cache's text"
    );
    let encrypted = format(Kind::Laravel, Options { encrypted: true, ..options(APP_KEY) });
    assert!(
        matches!(read(&encrypted, row(payload.as_bytes())), Err(Refusal::Unreadable(_))),
        "not encrypted"
    );
}

#[test]
fn a_column_that_names_user_or_platform_counts_before_the_session() {
    let express = format(Kind::Express, options("secret"));
    let data = br#"{"cookie":{"expires":"2020-01-01T00:00:00Z"},"user_id":42,"platform_id":7}"#;
    assert_eq!(ids(&read(&express, row(data)).unwrap()), ("42", Some("7")));
    let columns = Row { user: Some("43"), platform: Some("8"), created: Some(NOW), ..row(data) };
    let found = read(&express, columns).unwrap();
    assert_eq!((ids(&found), found.created), (("43", Some("8")), Some(NOW)));
    let bare = Row { data: None, user: Some("ana"), ..row(data) };
    assert_eq!(ids(&read(&express, bare).unwrap()), ("ana", None));
    assert_eq!(read(&express, Row { user: None, ..bare }), Err(Refusal::Anonymous));
    assert_eq!(read(&express, Row { user: Some("a\nb"), ..bare }), Err(Refusal::Unusable));
    assert_eq!(read(&express, Row { ends: NOW, ..bare }), Err(Refusal::Expired));
}

#[test]
fn better_auth_has_a_column_for_each_field() {
    let better = format(Kind::BetterAuth, options("secret"));
    let data = br#"{"id":"s","token":"t","userId":"u1","expiresAt":"2026-11-28T10:00:00","activeOrganizationId":"o1","createdAt":"2026-11-20T10:00:00+00:00"}"#;
    let found = read(&better, row(data)).unwrap();
    assert_eq!(ids(&found), ("u1", Some("o1")));
    assert!(found.created.is_some() && found.authenticated == found.created);
}

#[test]
fn a_row_is_named_apart_from_a_key_of_redis_and_as_triggers_name_it() {
    let id = "kc7bkzjugdkch06gspube18c3rsy3geg";
    let cookie = Written { value: id.as_bytes(), spaced: false };
    let in_table = format(Kind::Django, options(DJANGO_SECRET)).claim(cookie, None).unwrap();
    assert_eq!(in_table.row.as_ref().unwrap().expose(), id.as_bytes());
    assert_eq!(in_table.session, crate::context::SessionId::of_token(format!("table:{id}").as_bytes()));
    let both = TableOptions { stored_in: StoredIn::StoreThenTable, ..options("").table };
    let both = format(Kind::Django, Options { table: both, ..options(DJANGO_SECRET) });
    let in_both = both.claim(cookie, None).unwrap();
    assert_eq!(in_both.row.as_ref().unwrap().expose(), id.as_bytes());
    let in_redis = Kind::Django.format(Options::default()).unwrap().claim(cookie, None).unwrap();
    assert_eq!(in_both.session, in_redis.session, "one name, wherever it is found");
    assert!(in_redis.row.is_none() && in_table.session != in_redis.session);
}

#[test]
fn what_has_no_table_or_no_secret_is_refused() {
    let said = |kind: Kind, options: Options| kind.format(options).unwrap_err();
    assert_eq!(said(Kind::Django, options("")), Mistake::NoSecrets);
    assert_eq!(said(Kind::Flask, options("")), Mistake::NoTable);
    let own = TableOptions { own: Some(("k".to_owned(), "SELECT".to_owned())), ..options("").table };
    let deletes = Options { table: own.clone(), delete_on_logout: true, ..options("") };
    assert_eq!(said(Kind::Flask, deletes), Mistake::NoDelete);
    let php = format(Kind::Php, Options { table: own, ..options("") });
    assert_eq!(ids(&read(&php, row(b"user_id|i:42;platform_id|i:7;")).unwrap()), ("42", Some("7")));
    for (name, is_good) in
        [("sessions", true), ("app.Sessions_2", true), ("a.b.c", false), ("", false), ("a\"; DROP", false)]
    {
        assert_eq!(is_name(name), is_good, "{name}");
    }
}
