//! The registries agree with their documentation: every reason and every metric is unique, well named and described
//! in docs/. After a change, `COUNTERSIGN_WRITE_DOCS=1 cargo test --test registries` writes the pages anew.

#![expect(clippy::unwrap_used, reason = "a page that cannot be read is a failed test")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use countersign::reason::Reason;

#[test]
fn every_reason_is_documented() {
    let mut page = String::from(
        "# Reasons\n\nWhy a request was not simply let through. The same word stands in the log line (`reason`), in the \
         metric `countersign_refusals_total`, in the header `countersign-answer` and in the problem document (`code`; \
         its `type` is `urn:countersign:problem:` and the word). Written by a test from `proxy/src/reason.rs`.\n\n\
         | Code | Status | What the client reads | What it means |\n|---|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let explanation = reason.explanation().trim();
        assert!(explanation.ends_with('.') && !explanation.contains('|'), "{reason}: {explanation}");
        writeln!(page, "| `{reason}` | {} | {} | {explanation} |", reason.status(), reason.title()).unwrap();
    }
    check_page("docs/reasons.md", &page);
}

#[test]
fn reasons_are_told_apart_by_their_codes() {
    let codes: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.code()).collect();
    assert_eq!(codes.len(), Reason::ALL.len());
    for reason in Reason::ALL {
        assert!(!reason.title().ends_with('.') && reason.title().is_ascii(), "{reason}: {}", reason.title());
    }
}

#[test]
fn every_metric_is_unique_well_named_and_documented() {
    let metrics = metrics();
    assert!(metrics.len() > 15, "the registry was not read");
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names.len(), metrics.len(), "a metric is registered twice");
    let mut page = String::from(
        "# Metrics\n\nServed on the admin listener. Labels come from closed sets: names of the configuration and words of \
         the program, never a path, a user or a session. Written by a test from `proxy/src/telemetry/metrics.rs`.\n\n\
         | Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n",
    );
    for Metric { name, kind, labels, help } in &metrics {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let in_units = *kind != "histogram" || name.ends_with("_seconds") || name.ends_with("_bytes");
        assert!(in_units || name.ends_with("_keys"), "{name} has no unit");
        for label in labels {
            assert!(
                !matches!(label.as_str(), "path" | "user" | "session" | "host"),
                "{name} has label {label}"
            );
        }
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        writeln!(page, "| `countersign_{name}` | {kind} | {} | {help} |", labels.join(", ")).unwrap();
    }
    check_page("docs/metrics.md", &page);
}

#[test]
fn every_metric_that_a_dashboard_or_an_alert_names_exists() {
    let metrics = metrics();
    let mut named = 0;
    for file in fs::read_dir(root().join("dashboards")).unwrap() {
        let file = file.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        for rest in text.split("countersign_").skip(1) {
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let series = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let known = |name: &str| metrics.iter().any(|metric| metric.name == name);
            assert!(known(&name) || series.is_some_and(known), "{}: countersign_{name}", file.display());
            named += 1;
        }
    }
    assert!(named > 5, "the dashboards were not read");
}

struct Metric {
    name: String,
    kind: &'static str,
    labels: Vec<String>,
    help: String,
}

/// Reads the calls in the registry's constructor: a registry of the library shows a metric only once it was used.
fn metrics() -> Vec<Metric> {
    let source = fs::read_to_string(root().join("proxy/src/telemetry/metrics.rs")).unwrap();
    let start = source.find("fn new()").expect("the constructor of the registry");
    let end = source[start..].find("registry,\n        }").expect("its end") + start;
    let body = &source[start..end];
    let mut metrics = Vec::new();
    let mut field = String::new();
    for line in body.split("\n            ") {
        // A field begins at this indentation with `name: `; deeper lines belong to it.
        if !line.starts_with(' ') && line.split_once(": ").is_some_and(|(name, _)| is_word(name)) {
            metrics.extend(metric(&field));
            field.clear();
        }
        field.push_str(line);
    }
    metrics.extend(metric(&field));
    metrics
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn metric(field: &str) -> Option<Metric> {
    let (_, call) = field.split_once(": ")?;
    let kind = match () {
        () if call.to_lowercase().contains("histogram") => "histogram",
        () if call.to_lowercase().contains("gauge") => "gauge",
        () => "counter",
    };
    let mut texts = call.split('"').skip(1).step_by(2).map(str::to_owned);
    let name = texts.next()?;
    let name = name.strip_prefix("countersign_").unwrap_or(&name).to_owned();
    let help = texts.next()?;
    Some(Metric { name, kind, labels: texts.collect(), help })
}

fn check_page(path: &str, page: &str) {
    let file = root().join(path);
    if std::env::var_os("COUNTERSIGN_WRITE_DOCS").is_some() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, page).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == page, "{path} is out of date: COUNTERSIGN_WRITE_DOCS=1 cargo test --test registries");
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}
