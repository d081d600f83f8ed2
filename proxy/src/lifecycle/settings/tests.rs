//! What settings may be, and how they change.

use serde_json::json;

use super::*;

fn field(name: &str, kind: Kind, min: f64, max: f64) -> Field {
    Field { name: name.to_owned(), kind, min: Some(min), max: Some(max), choices: Vec::new(), default: None }
}

fn schema() -> Schema {
    let posts = Field { default: Some(json!(50)), ..field("max_posts_per_run", Kind::Integer, 1.0, 500.0) };
    let style =
        Field { choices: vec![json!("short"), json!("long")], ..field("style", Kind::Text, 1.0, 10.0) };
    let delay = field("processing_delay", Kind::Number, 0.0, 10.0);
    let again = field("reprocess_existing", Kind::Boolean, 0.0, 0.0);
    Schema { fields: vec![posts, style, delay, again], bytes: 200 }
}

fn map(value: Value) -> Map<String, Value> {
    object(Some(value))
}

fn merged(before: Value, patch: Value) -> Result<Value, SettingsError> {
    SettingsChange::Merge(map(patch)).apply(Some(before), &schema())
}

#[test]
fn a_field_takes_what_its_kind_and_bounds_allow() {
    for (name, value, fits) in [
        ("max_posts_per_run", json!(1), true),
        ("max_posts_per_run", json!(500), true),
        ("max_posts_per_run", json!(501), false),
        ("max_posts_per_run", json!(0), false),
        ("max_posts_per_run", json!(1.5), false),
        ("max_posts_per_run", json!("50"), false),
        ("max_posts_per_run", json!(true), false),
        ("max_posts_per_run", json!(null), false),
        ("style", json!("long"), true),
        ("style", json!("other"), false),
        ("style", json!(["long"]), false),
        ("processing_delay", json!(0), true),
        ("processing_delay", json!(9.5), true),
        ("processing_delay", json!(10.1), false),
        ("reprocess_existing", json!(false), true),
        ("reprocess_existing", json!(0), false),
        ("unknown", json!({"anything": [1, null]}), true),
    ] {
        let settings = map(json!({ name: value }));
        assert_eq!(schema().misfits(&settings).is_empty(), fits, "{settings:?}");
    }
}

#[test]
fn a_partial_change_keeps_every_other_field_known_or_not() {
    let before = json!({"max_posts_per_run": 20, "theirs": {"a": 1, "b": [2]}, "style": "long"});
    let after = merged(before, json!({"max_posts_per_run": 30, "theirs": {"a": null}, "new": 1})).unwrap();
    assert_eq!(after, json!({"max_posts_per_run": 30, "theirs": {"b": [2]}, "style": "long", "new": 1}));
    assert_eq!(merged(json!({"style": "long"}), json!({"style": null})).unwrap(), json!({}));
    assert_eq!(merged(json!([1]), json!({"a": {"b": null, "c": 1}})).unwrap(), json!({"a": {"c": 1}}));
}

#[test]
fn replacing_keeps_nothing() {
    let change = SettingsChange::Replace(map(json!({"a": 1})));
    assert_eq!(change.apply(Some(json!({"b": 2})), &schema()).unwrap(), json!({"a": 1}));
}

#[test]
fn every_misfit_is_told_and_what_nobody_touches_is_left_alone() {
    let patch = json!({"max_posts_per_run": 501, "style": 1, "processing_delay": 3});
    let Err(SettingsError::Misfits(misfits)) = merged(json!({}), patch) else { panic!("accepted") };
    let told: Vec<_> = misfits.iter().map(|m| (m.field.as_str(), m.expected.as_str())).collect();
    let expected =
        [("max_posts_per_run", "a whole number from 1 to 500"), ("style", "one of [\"short\",\"long\"]")];
    assert_eq!(told, expected);
    assert!(merged(json!({"max_posts_per_run": 9999}), json!({"style": "long"})).is_ok());
}

#[test]
fn settings_have_a_size_and_defaults() {
    let long = "x".repeat(300);
    assert_eq!(merged(json!({}), json!({ "note": long })), Err(SettingsError::TooLarge(200)));
    assert_eq!(schema().complete(None), map(json!({"max_posts_per_run": 50})));
    let set = schema().complete(Some(json!({"max_posts_per_run": 7, "other": 1})));
    assert_eq!(set, map(json!({"max_posts_per_run": 7, "other": 1})));
}
