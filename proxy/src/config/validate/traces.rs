//! What is logged of requests, and where traces go.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Uri};

use super::{Judge, shown};
use crate::config::raw;
use crate::config::snapshot::RequestLog;
use crate::telemetry::traces::{Settings, Share};

impl Judge<'_> {
    /// Which requests get a line, and which lines tell more.
    pub(super) fn request_log(&mut self, raw: &raw::process::Log) -> RequestLog {
        let successes = self.share("log.successes", raw.successes);
        RequestLog { successes, slow: raw.slow.as_ref().map(|slow| slow.0) }
    }

    fn share(&mut self, key: &str, share: f64) -> Share {
        if !(0.0..=1.0).contains(&share) {
            self.tell(
                self.problem(key, format!("`{key}` is no share"))
                    .found(share.to_string())
                    .expected("a number from 0 (none) to 1 (all), such as 0.1"),
            );
        }
        Share::of(share)
    }

    /// Where records go; `None` when nothing is recorded.
    pub(super) fn traces(&mut self, raw: &raw::traces::Traces) -> Option<Arc<Settings>> {
        let share = self.share("traces.sample", raw.sample);
        let mut headers = Vec::new();
        for (position, header) in raw.headers.iter().enumerate() {
            let key = format!("traces.headers[{position}]");
            let value = self.secret(&format!("{key}.value"), &header.value);
            let value = value.map(|secret| HeaderValue::from_bytes(secret.expose()));
            match (HeaderName::from_bytes(header.name.as_bytes()), value) {
                (Ok(name), Some(Ok(mut value))) => {
                    value.set_sensitive(true);
                    headers.push((name, value));
                }
                (Err(_), _) => self.tell(
                    self.problem(&format!("{key}.name"), "this is not the name of a header")
                        .found(shown(&header.name)),
                ),
                (_, Some(Err(_))) => {
                    self.tell(self.problem(&format!("{key}.value"), "this cannot be the value of a header"));
                }
                (_, None) => {}
            }
        }
        let ca = raw.ca.as_ref().and_then(|file| self.read("traces.ca", file));
        let endpoint = self.endpoint(raw.endpoint.as_deref()?)?;
        let (service, timeout) = (raw.service.clone(), raw.timeout.0);
        Some(Arc::new(Settings { endpoint, headers, ca, service, share, timeout }))
    }

    fn endpoint(&mut self, written: &str) -> Option<Uri> {
        let uri = written.parse::<Uri>().ok().filter(|uri| {
            let plain = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            plain && matches!(uri.scheme_str(), Some("http" | "https"))
        });
        if uri.is_none() {
            self.tell(
                self.problem("traces.endpoint", "this is not the URL of a collector")
                    .found("a string (not shown: it may hold a password)")
                    .expected("an http or https URL without user and password, such as \"http://127.0.0.1:4318/v1/traces\"")
                    .hint("a key of the collector belongs in `headers`"),
            );
        }
        uri
    }
}
