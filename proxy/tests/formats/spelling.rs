//! What each framework reads, as measured: where it refuses a spelling the proxy refuses it too, and of two different
//! cookies the proxy never takes one.

use serde_json::Value;

use super::sample::{Sample, Verdict, all, files};

#[expect(clippy::print_stdout, reason = "says how much was tried")]
pub(crate) fn check() {
    let samples = all();
    let mut wrong = Vec::new();
    for (file, json) in files() {
        let Some(columns) = json["columns"].as_array() else { continue };
        for (framework, answers) in json["rows"].as_object().into_iter().flatten() {
            let Some(sample) = samples.iter().find(|sample| is_of(sample, framework)) else {
                println!("{file}: no sample of {framework}");
                continue;
            };
            for (column, answer) in columns.iter().zip(answers.as_array().unwrap()) {
                let column = column.as_str().unwrap();
                let Some(cookie) = spelled(column, sample.text("/cookie_header")) else { continue };
                let is_accepted = sample.resolve(&cookie) != Verdict::Refused;
                let two = column.contains("then");
                if is_accepted && (two || *answer != Value::Bool(true)) {
                    wrong.push(format!("{framework} {column}: accepted, and the framework says {answer}"));
                }
                if !is_accepted && !two && *answer == Value::Bool(true) {
                    wrong.push(format!("{framework} {column}: refused, and the framework accepts it"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first word decides, and a second one where the first is a language.
fn is_of(sample: &Sample, framework: &str) -> bool {
    let own = sample.text("/framework").to_lowercase();
    let words: Vec<String> = framework.to_lowercase().split([' ', '(', ')']).map(str::to_owned).collect();
    let word = |name: &str| words.iter().any(|word| word.contains(name));
    match own.as_str() {
        own if own.contains("starsessions") || word("starsessions") => {
            own.contains("starsessions") && word("starsessions")
        }
        own if own.contains("gorilla") || word("gorilla") => own.contains("gorilla") && word("gorilla"),
        own => words.first().is_some_and(|first| own.contains(first.trim_start_matches('@'))),
    }
}

fn spelled(column: &str, header: &str) -> Option<String> {
    let (first, rest) =
        header.split_once("; ").map_or((header, String::new()), |(first, rest)| (first, format!("; {rest}")));
    let (name, value) = first.split_once('=')?;
    Some(match column {
        "good_then_bad" => format!("{name}={value}; {name}=bad{rest}"),
        "bad_then_good" => format!("{name}=bad; {name}={value}{rest}"),
        "quoted" => format!("{name}=\"{value}\"{rest}"),
        "upper_name" if name != name.to_uppercase() => format!("{}={value}{rest}", name.to_uppercase()),
        "space_around" => format!("{name} = {value}{rest}"),
        _ => return None,
    })
}
