//! The registries agree with their documentation: every reason and every metric is unique, well named and described
//! in docs/. After a change, `COUNTERSIGN_WRITE_DOCS=1 cargo test --test registries` writes the pages anew.

#![expect(clippy::unwrap_used, reason = "a page that cannot be read is a failed test")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use countersign::reason::Reason;
use countersign::telemetry::Metrics;
use countersign::telemetry::metrics::Description;

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
    let metrics = Metrics::ALL;
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), metrics.len(), "a metric is registered twice");
    let mut page = String::from(
        "# Metrics\n\nServed on the admin listener. Labels come from closed sets: names of the configuration and words of \
         the program, never a path, a user or a session; where all values of a label are known they are listed and there \
         from the start. Times are in seconds, sizes in bytes. Who sends `Accept: application/openmetrics-text` (Prometheus \
         does) gets OpenMetrics, with the trace ids of recorded requests as exemplars of \
         `countersign_request_duration_seconds`. Beside these there are `process_cpu_seconds_total`, \
         `process_open_fds`, `process_max_fds`, `process_resident_memory_bytes`, `process_virtual_memory_bytes`, \
         `process_start_time_seconds` and `process_threads`, as every Prometheus client has them. Written by a test from \
         `proxy/src/telemetry/metrics.rs`.\n\n\
         | Metric | Kind | Labels | Meaning |\n|---|---|---|---|\n",
    );
    let mut buckets = String::from("\n## Buckets\n\n| Histogram | Upper bounds |\n|---|---|\n");
    for Description { name, kind, labels, words, buckets: bounds, help } in metrics {
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert_eq!(*kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
        let in_units = *kind != "histogram" || name.ends_with("_seconds") || name.ends_with("_bytes");
        assert!(in_units || name.ends_with("_keys"), "{name} has no unit");
        for label in *labels {
            assert!(!matches!(*label, "path" | "user" | "session" | "host"), "{name} has label {label}");
        }
        assert!(words.is_empty() || labels.len() == 1, "{name}: whose values are these?");
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
        let of = if words.is_empty() { String::new() } else { format!(": {}", words.join(", ")) };
        writeln!(page, "| `{name}` | {kind} | {}{of} | {help} |", labels.join(", ")).unwrap();
        if !bounds.is_empty() {
            let bounds: Vec<String> = bounds.iter().map(ToString::to_string).collect();
            writeln!(buckets, "| `{name}` | {} |", bounds.join(", ")).unwrap();
        }
    }
    check_page("docs/metrics.md", &(page + &buckets));
}

#[test]
fn every_metric_that_a_dashboard_or_an_alert_names_exists() {
    let mut named = 0;
    for file in fs::read_dir(root().join("dashboards")).unwrap() {
        let file = file.unwrap().path();
        if file.is_dir() {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for (at, word) in text.match_indices("countersign_") {
            // A recording rule may be named after the metric: LEVEL:METRIC:OPERATIONS.
            if text[..at].ends_with(':') {
                continue;
            }
            let rest = &text[at + word.len()..];
            let name: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let series = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
            let known = |name: &str| {
                Metrics::ALL.iter().any(|metric| metric.name.strip_prefix("countersign_") == Some(name))
            };
            assert!(known(&name) || series.is_some_and(known), "{}: countersign_{name}", file.display());
            named += 1;
        }
    }
    assert!(named > 5, "the dashboards were not read");
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let text = fs::read_to_string(root().join("dashboards/alerts.yml")).unwrap();
    let mut alerts = BTreeSet::new();
    for alert in text.split("- alert: ").skip(1) {
        let name = alert.lines().next().unwrap();
        let link = format!("runbook_url: ../docs/runbooks/{name}.md\n");
        assert!(
            alert.contains(&link) && alert.contains("severity: "),
            "{name} has no runbook or no severity"
        );
        alerts.insert(format!("{name}.md"));
    }
    let files = fs::read_dir(root().join("docs/runbooks")).unwrap();
    let pages: BTreeSet<String> =
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(alerts, pages);
    for page in pages {
        let text = fs::read_to_string(root().join("docs/runbooks").join(&page)).unwrap();
        let places: Vec<_> = ["## What it means\n", "## What to look at\n", "## What to do\n"]
            .map(|part| text.find(part))
            .into();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{page} lacks a part");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(root().join("docs/runbooks").join(link).exists(), "{page} leads to {link}");
        }
    }
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
