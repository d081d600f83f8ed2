//! A real Prometheus that scrapes every second, with rules whose times are divided so that days pass in minutes; and its
//! own tool for rules. Both come with Debian's package.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::alerts::exchange;
use crate::daemon::{Daemon, program};
use crate::eventually::eventually;
use crate::ports;

/// What every length of time in the rules is divided by.
const SCALE: u64 = 1000;
/// The shortest range: rates need some scrapes.
const SHORTEST_RANGE: Duration = Duration::from_secs(8);
/// The shortest `for`: one evaluation.
const SHORTEST_FOR: Duration = Duration::from_secs(1);

/// A rule as the server has read it.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The name of the alert, or of what is recorded.
    pub name: String,
    /// Its expression, with the times divided.
    pub expression: String,
    /// Whether it is an alert.
    pub is_alert: bool,
    /// What went wrong when it was last evaluated; empty when nothing did.
    pub error: String,
}

/// The server; ends with this value.
#[derive(Debug)]
pub struct Prometheus {
    daemon: Option<Daemon>,
    _directory: TempDir,
    address: SocketAddr,
}

impl Prometheus {
    /// One that scrapes these targets as the job `countersign`, and evaluates these files of rules, scaled.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start(targets: &[SocketAddr], rules: &[PathBuf]) -> Self {
        let binary = program("prometheus", &[], "prometheus");
        let directory = tempfile::tempdir().expect("a writable directory for temporary files");
        let mut config = String::from(
            "global: { scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }\nrule_files:\n",
        );
        for (number, file) in rules.iter().enumerate() {
            let text = std::fs::read_to_string(file).expect("the rules are in the repository");
            let scaled_file = directory.path().join(format!("rules-{number}.yml"));
            std::fs::write(&scaled_file, scaled(&text)).expect("a writable directory");
            let _ = writeln!(config, "  - {}", scaled_file.display());
        }
        let targets: Vec<_> = targets.iter().map(|target| format!("\"{target}\"")).collect();
        let _ = writeln!(
            config,
            "scrape_configs:\n  - job_name: countersign\n    static_configs: [{{ targets: [{}] }}]",
            targets.join(", ")
        );
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("a writable directory");
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let command: Vec<String> = [
            binary.display().to_string(),
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", directory.path().join("data").display()),
            format!("--web.listen-address={address}"),
        ]
        .into();
        let daemon =
            Daemon::start(directory.path(), &command, "Server is ready to receive web requests", "KILL")
                .unwrap_or_else(|log| panic!("prometheus does not start:\n{log}"));
        Self { daemon: Some(daemon), _directory: directory, address }
    }

    /// What an expression comes to now: the value of each series.
    ///
    /// # Errors
    /// Prometheus' own word for what is wrong with the expression.
    pub async fn ask(&self, expression: &str) -> Result<Vec<f64>, String> {
        let expression = percent_encoded(expression);
        let answer = self.get(&format!("/api/v1/query?query={expression}")).await;
        if answer["status"] != "success" {
            return Err(answer["error"].to_string());
        }
        let result = &answer["data"]["result"];
        let values = match answer["data"]["resultType"].as_str() {
            Some("scalar") => vec![result[1].clone()],
            _ => result.as_array().into_iter().flatten().map(|series| series["value"][1].clone()).collect(),
        };
        Ok(values.iter().filter_map(|value| value.as_str()?.parse().ok()).collect())
    }

    /// The names of the alerts that fire now.
    pub async fn firing(&self) -> BTreeSet<String> {
        let answer = self.get("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().into_iter().flatten();
        let firing = alerts.filter(|alert| alert["state"] == "firing");
        firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect()
    }

    /// Every rule, as soon as they were read.
    pub async fn rules(&self) -> Vec<Rule> {
        let answer = self.get("/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        let read = |rule: &Value| Rule {
            name: text(&rule["name"]),
            expression: text(&rule["query"]),
            is_alert: rule["type"] == "alerting",
            error: text(&rule["lastError"]),
        };
        rules.map(read).collect()
    }

    /// Asks until there is an answer: a machine that is busy may drop a connection.
    async fn get(&self, path: &str) -> Value {
        // HTTP/1.0, so that the answer comes in one piece and ends with the connection.
        let request = format!("GET {path} HTTP/1.0\r\nhost: {}\r\n\r\n", self.address);
        eventually("Prometheus answers", async || {
            let answer = exchange(self.address, request.as_bytes()).await?;
            serde_json::from_slice(answer.body()).ok()
        })
        .await
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        drop(self.daemon.take());
    }
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The rules with every range and every `for` divided; nothing else is changed.
#[must_use]
pub fn scaled(rules: &str) -> String {
    let mut out = String::new();
    for line in rules.lines() {
        if let Some((before, span)) = line.split_once("for: ").filter(|(before, _)| before.trim().is_empty())
        {
            let _ = writeln!(
                out,
                "{before}for: {}",
                divided(span, SHORTEST_FOR).unwrap_or_else(|| span.to_owned())
            );
            continue;
        }
        let mut parts = line.split('[');
        out.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let range =
                part.split_once(']').and_then(|(range, rest)| Some((divided(range, SHORTEST_RANGE)?, rest)));
            match range {
                Some((range, rest)) => _ = write!(out, "[{range}]{rest}"),
                None => _ = write!(out, "[{part}"),
            }
        }
        out.push('\n');
    }
    out
}

fn divided(span: &str, least: Duration) -> Option<String> {
    let digits = span.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = span[..digits].parse().ok()?;
    let seconds = match &span[digits..] {
        "s" => number,
        "m" => number * 60,
        "h" => number * 3600,
        "d" => number * 86_400,
        _ => return None,
    };
    let millis = Duration::from_millis(seconds * 1000 / SCALE).max(least).as_millis();
    Some(format!("{millis}ms"))
}

/// `promtool` with these arguments, in this directory.
///
/// # Panics
/// When it is not installed, or does not succeed.
pub async fn promtool(directory: &Path, arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(program("promtool", &[], "prometheus"));
    let output = crate::environment::run(command.args(arguments).current_dir(directory), b"").await;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    said
}

#[cfg(test)]
mod tests {
    use super::scaled;

    #[test]
    fn only_ranges_and_waits_are_divided() {
        let rules = "  - record: a:b:ratio_rate5m\n    expr: rate(a_total{x=~\"[a]b\"}[5m]) > 6h / b[3d]\n    for: 1h\n    list: [1, 2]\n";
        let expected = "  - record: a:b:ratio_rate5m\n    expr: rate(a_total{x=~\"[a]b\"}[8000ms]) > 6h / b[259200ms]\n    for: 3600ms\n    list: [1, 2]\n";
        assert_eq!(scaled(rules), expected);
    }
}
