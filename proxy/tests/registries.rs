//! The registries agree with their documentation: every reason and every metric is unique, well named and described
//! in docs/. After a change, `COUNTERSIGN_WRITE_DOCS=1 cargo test --test registries` writes the pages anew.

#![expect(clippy::unwrap_used, reason = "a page that cannot be read is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use countersign::reason::Reason;
use countersign::telemetry::metrics::Description;
use countersign::telemetry::{Metrics, Step, request_line, traces};

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
fn every_field_of_the_log_and_every_span_is_documented() {
    let mut page = String::from(LOGGING);
    let row =
        |page: &mut String, name: &str, meaning: &str| writeln!(page, "| `{name}` | {meaning} |").unwrap();
    for (name, meaning) in request_line::FIELDS {
        row(&mut page, name, meaning);
    }
    page.push_str(SLOW);
    row(&mut page, request_line::SLOW, "`true`");
    for step in Step::ALL {
        row(&mut page, step.field(), &format!("Microseconds {}", step.meaning()));
    }
    page.push_str(TRACES);
    row(&mut page, "request", "the whole request, of kind SERVER; its attributes are below");
    for step in Step::ALL {
        row(&mut page, step.span(), step.meaning());
    }
    page.push_str("\n| Attribute of `request` | Meaning |\n|---|---|\n");
    for (name, meaning) in traces::FACTS {
        row(&mut page, name, meaning);
    }
    page.push_str(OTHERS);
    for (message, (levels, fields)) in messages() {
        let words =
            |set: BTreeSet<String>| set.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
        writeln!(page, "| {} | {} | {} |", message.replace('|', "\\|"), words(levels), words(fields))
            .unwrap();
    }
    check_page("docs/logging.md", &page);
}

const LOGGING: &str = "# Logs and traces\n\nOne line of JSON for each thing that happens, on standard output; one for each \
    request. Names of fields stay what they are: dashboards may rest on them. Text from outside is escaped and capped; tokens, \
    cookies, query strings, signatures and keys are in no line. A log that is read too slowly loses lines \
    (`countersign_log_lines_dropped_total`), never requests. Written by a test from the source.\n\n\
    | `[log]` | |\n|---|---|\n\
    | `level` | the least that is logged; the line of a request is `info`, of a slow one `warn`; a reload changes it |\n\
    | `successes` | the share of successful requests that get a line; refused, failed and slow ones, and statuses of 400 and more, always do |\n\
    | `slow` | from this duration on a request is slow; streams and WebSockets never are |\n\n\
    ## The line of a request\n\nFields that are not known are left out.\n\n| Field | Meaning |\n|---|---|\n";

const SLOW: &str = "\n## What the line of a slow request adds\n\nOnly where `log.slow` is set. Each step begins where the \
    one before it ended; those not taken are left out, and of several attempts the last one counts.\n\n\
    | Field | Meaning |\n|---|---|\n";

const TRACES: &str = "\n## Traces\n\nWith `traces.endpoint` set, the proxy takes part in W3C Trace Context: a `traceparent` \
    that fits its form is continued, and `tracestate` passed on with it if that fits too; anything else is as if it were \
    not there. Recorded requests (`traces.sample` of all) are told to the application as its callers, unrecorded ones \
    pass the context on. Whether a caller records is believed only of `trusted_proxies`: for their requests they decide, \
    for all others the flag is cleared, so that no stranger can have everything recorded. Without an endpoint both fields \
    are headers like any other.\n\nRecords go to the collector as OTLP over HTTP (protobuf), in batches, from a queue of \
    2,048; what finds it full is dropped and counted (`countersign_trace_spans_total`). Requests never wait. The trace of \
    a recorded request is an exemplar in the metrics and `trace_id` in its line.\n\n| Span | From the end of the one before |\n|---|---|\n";

const OTHERS: &str = "\n## Other lines\n\nThey have `timestamp`, `level`, `message`, `target` (the module that speaks), and \
    these fields. Messages of the libraries beneath are passed on from `warn`, capped at 300 bytes, under `library`.\n\n\
    | Message | Level | Fields |\n|---|---|---|\n";

/// What the source logs: messages with their levels and fields.
fn messages() -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let mut found: BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> = BTreeMap::new();
    let source = source();
    for level in ["error", "warn", "info", "debug", "trace"] {
        for call in source.split(&format!("tracing::{level}!(")).skip(1) {
            let (message, fields) = message(call);
            let known = found.entry(spelled_out(&source, message)).or_default();
            known.0.insert(level.to_uppercase());
            known.1.extend(fields);
        }
    }
    // What is wrong with a directory is said in one place, in the words of whoever finds out.
    let (levels, fields) = found.remove(COMPLAINT).unwrap();
    let judge = fs::read_to_string(root().join("proxy/src/directory/trouble.rs")).unwrap();
    for call in judge.split("self.complain(").skip(1) {
        let text = arguments(call).into_iter().rfind(|part| part.starts_with('"')).unwrap();
        found.insert(text.trim_matches('"').to_owned(), (levels.clone(), fields.clone()));
    }
    assert!(found.len() > 20, "the source was not read");
    found
}

/// All files of the product, one behind the other.
fn source() -> String {
    let mut source = String::new();
    let mut folders = vec![root().join("proxy/src")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                source.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    source
}

const COMPLAINT: &str = "{what}";

/// A message that is made elsewhere: the constant that it names, or what it is about.
fn spelled_out(source: &str, message: String) -> String {
    match message.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some("message") => "(of a library beneath)".to_owned(),
        Some("note") => "(what is to be known about a configuration that was read again)".to_owned(),
        Some(name) if name.chars().all(|c| c.is_ascii_uppercase() || c == '_') => {
            let (_, rest) = source.split_once(&format!("const {name}: &str = \"")).unwrap();
            let text = rest.split_once("\";").unwrap().0;
            text.split("\\\n").map(str::trim_start).collect()
        }
        _ => message,
    }
}

/// Message and fields of one call, from behind its parenthesis on.
fn message(call: &str) -> (String, Vec<String>) {
    let (mut text, mut fields) = (String::new(), Vec::new());
    for part in arguments(call) {
        if let Some(quoted) = part.strip_prefix('"') {
            quoted.trim_end_matches('"').clone_into(&mut text);
            // What follows the message are its arguments.
            break;
        }
        let name = part.split('=').next().unwrap_or_default().trim().trim_start_matches(['%', '?']);
        fields.push(name.rsplit('.').next().unwrap_or_default().to_owned());
    }
    (text, fields)
}

/// What a call is given, from behind its parenthesis on.
fn arguments(call: &str) -> Vec<String> {
    let (mut nesting, mut parts, mut part, mut in_text, mut escaped) =
        (0, Vec::new(), String::new(), false, false);
    for c in call.chars() {
        if in_text {
            in_text = escaped || c != '"';
            escaped = c == '\\' && !escaped;
        } else {
            match c {
                '"' => in_text = true,
                '(' | '[' | '{' => nesting += 1,
                ')' if nesting == 0 => break,
                ')' | ']' | '}' => nesting -= 1,
                ',' if nesting == 0 => {
                    parts.push(std::mem::take(&mut part));
                    continue;
                }
                _ => {}
            }
        }
        part.push(c);
    }
    parts.push(part);
    parts.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

#[test]
fn the_description_of_the_admin_api_is_fresh() {
    check_page("docs/admin-openapi.json", &countersign::endpoints::operators::openapi::text());
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
