//! Every sample of a session that a real framework made is accepted or refused as its file says; every hostile value is
//! survived. The samples lie in `session-samples`, or in the folder that `SESSION_SAMPLES` names: what is done with a
//! file follows from its fields alone.

#![expect(clippy::unwrap_used, reason = "a sample that cannot be read is a failed test")]

#[path = "formats/folder.rs"]
mod folder;
#[path = "formats/guide.rs"]
mod guide;
#[path = "formats/hostile.rs"]
mod hostile;
#[path = "formats/passwords.rs"]
mod passwords;
#[path = "formats/properties.rs"]
mod properties;
#[path = "formats/rows.rs"]
mod rows;
#[path = "formats/sample.rs"]
mod sample;
#[path = "formats/secrets.rs"]
mod secrets;
#[path = "formats/smoke.rs"]
mod smoke;
#[path = "formats/spelling.rs"]
mod spelling;

use sample::{Sample, Verdict};
use serde_json::Value;

#[test]
fn every_sample_is_accepted_or_refused_as_its_file_says() {
    let mut wrong = sample::undescribed();
    let mut checked = 0;
    for sample in sample::all() {
        let own = Verdict::of(&sample.json["expected"]);
        let itself = [Value::Null];
        let cases = |list: &str| sample.json[list].as_array().map_or(&[][..], Vec::as_slice);
        for (list, cases, usual) in [
            ("itself", &itself[..], own.clone()),
            ("positives", cases("positives"), own),
            ("negatives", cases("negatives"), Verdict::Refused),
        ] {
            for case in cases {
                checked += 1;
                let verdict = Verdict::of_case(&sample, case, &usual);
                let found = sample.varied(case).resolve(&cookie(&sample, case));
                if found != verdict {
                    let name = case["case"].as_str().unwrap_or(list);
                    wrong.push(format!("{} {name}: {verdict:?} expected, {found:?} found", sample.file));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {checked} cases:\n{}", wrong.len(), wrong.join("\n"));
    assert!(checked > 0 || !sample::is_own(), "there are no samples");
}

/// The `Cookie` field of a case, which may be in pieces as HTTP/2 sends it, or that of its sample.
fn cookie(sample: &Sample, case: &Value) -> String {
    match &case["cookie_header"] {
        Value::String(field) => field.clone(),
        Value::Array(fields) => fields.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; "),
        _ => sample.text("/cookie_header").to_owned(),
    }
}

#[test]
fn every_variant_of_a_value_is_read_as_its_file_says() {
    let mut wrong = Vec::new();
    for sample in sample::all() {
        for variant in sample.json["variants"].as_array().into_iter().flatten() {
            let found = sample.varied(variant).resolve(&cookie(&sample, variant));
            let verdict = Verdict::of_case(&sample, variant, &Verdict::Refused);
            if found != verdict {
                wrong.push(format!(
                    "{} {}: {verdict:?} expected, {found:?} found",
                    sample.file, variant["case"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_usual_paths_of_a_format_find_the_same_user() {
    let mut wrong = Vec::new();
    for sample in sample::all().iter().filter(|sample| sample.is_usual()) {
        let usual = Sample { locates: false, ..sample.clone() };
        let found = usual.resolve(sample.text("/cookie_header"));
        let expected = Verdict::of(&sample.json["expected"]);
        let same_user = match (&found, &expected) {
            (Verdict::User(found, _), Verdict::User(expected, _)) => found == expected,
            (found, expected) => found == expected,
        };
        if !same_user {
            wrong.push(format!("{}: {expected:?} expected, {found:?} found", sample.file));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_second_cookie_of_the_same_name_with_another_value_is_refused_and_neither_is_forwarded() {
    for sample in sample::all() {
        let header = sample.text("/cookie_header");
        let name = sample.cookie().0;
        for both in
            [format!("{header}; {name}=x"), format!("{name}=x; {header}"), format!("a=b; {name}=; {header}")]
        {
            assert_eq!(sample.resolve(&both), Verdict::Refused, "{}: {both}", sample.file);
            let forwarded = sample.forwarded(&both);
            let is_left = forwarded.split("; ").any(|pair| pair.starts_with(&format!("{name}=")));
            assert!(!is_left, "{}: {forwarded}", sample.file);
        }
        // The session's own cookies again, and not what else the browser sends.
        let ours = |pair: &&str| {
            let own = pair.split('=').next().unwrap_or_default();
            own == name || own.strip_suffix(".sig") == Some(name)
        };
        let again: Vec<&str> = header.split("; ").filter(ours).collect();
        let twice = format!("{header}; theme=dark; {}", again.join("; "));
        assert_eq!(sample.resolve(&twice), sample.resolve(header), "{}", sample.file);
        assert_eq!(sample.forwarded(&twice), format!("{header}; theme=dark"), "{}", sample.file);
    }
}

#[test]
fn a_session_ends_with_its_key_and_one_without_an_end_is_refused() {
    for sample in sample::all() {
        let header = sample.text("/cookie_header");
        let with = |ttl: i64| {
            let mut changed = Sample { endless: false, ..sample.clone() };
            changed.json["redis"]["ttl"] = Value::from(ttl);
            changed.resolve(header)
        };
        assert_eq!(with(-1), Verdict::Refused, "{}", sample.file);
        assert_eq!(with(0), Verdict::Refused, "{}", sample.file);
    }
}

#[test]
fn a_wrong_secret_a_cut_value_and_a_cut_cookie_are_refused() {
    for sample in sample::all() {
        let header = sample.text("/cookie_header");
        if sample.has_secret() {
            let mut changed = sample.clone();
            changed.wrong_secret = true;
            assert_eq!(changed.resolve(header), Verdict::Refused, "{}", sample.file);
        }
        let (name, value) = sample.cookie();
        let begin = header.find(&format!("{name}={value}")).unwrap() + name.len() + 1;
        // Base64 says the same with and without the signs at its end.
        let value = value.trim_end_matches('=');
        for cut in begin..begin + value.len() {
            assert_eq!(
                sample.resolve(&header[..cut]),
                Verdict::Refused,
                "{} {}",
                sample.file,
                &header[..cut]
            );
        }
        sample.cut_values();
    }
}

#[test]
fn a_cookie_from_before_the_secret_was_changed_is_still_read() {
    let mut checked = 0;
    for sample in sample::all().into_iter().filter(Sample::has_secret) {
        let rotated = Sample { rotated: true, ..sample.clone() };
        let header = sample.text("/cookie_header");
        assert_eq!(rotated.resolve(header), sample.resolve(header), "{}", sample.file);
        checked += 1;
    }
    assert!(checked > 0 || !sample::is_own(), "no sample has a secret");
}

#[test]
fn rows_of_tables_are_read_as_their_frameworks_write_them() {
    rows::check();
}

#[test]
fn hostile_values_are_survived_on_a_small_stack() {
    hostile::survive();
}

#[test]
fn cookies_are_spelled_as_each_framework_reads_them() {
    spelling::check();
}
