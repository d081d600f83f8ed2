//! The one log line of a request. JSON with stable field names; text from outside is escaped and capped.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use super::Steps;
use super::traces::Fact;
use crate::clock::{Timestamp, append_number};
use crate::context::SessionId;

/// Longest text from outside that a log line repeats, in bytes.
const CAP: usize = 512;

/// What one request came to. Never a token, a cookie, a query string or a signature.
#[derive(Debug)]
pub struct RequestFacts<'a> {
    /// When it arrived.
    pub at: Timestamp,
    /// Our number for it; also the `request-id` context header.
    pub request_id: &'a str,
    /// The client's address, from trusted proxies where there are any.
    pub client: Option<IpAddr>,
    /// HTTP version: `1.0`, `1.1` or `2`.
    pub protocol: &'static str,
    /// Method.
    pub method: &'a str,
    /// Host as it was asked for.
    pub host: &'a str,
    /// Path without the query. Of path parameters (`;jsessionid=...`) the line says only that there were some: old
    /// frameworks and careless scripts put sessions there.
    pub path: &'a str,
    /// Name of the route, if one was found.
    pub route: Option<&'a str>,
    /// Name of the upstream, if one was asked.
    pub upstream: Option<&'a str>,
    /// Servers tried.
    pub attempts: u32,
    /// `forwarded`, `refused`, `answered` or `failed`.
    pub outcome: &'static str,
    /// Why it was not simply let through.
    pub reason: Option<&'static str>,
    /// Why it would have been refused, had its route not only reported.
    pub would_refuse: Option<&'static str>,
    /// Status of the answer; 0 when there was none.
    pub status: u16,
    /// What the signed context said about identity.
    pub authn: Option<&'static str>,
    /// The session, by its hash.
    pub session: Option<SessionId>,
    /// The user's id.
    pub user: Option<&'a str>,
    /// The platform's id.
    pub platform: Option<&'a str>,
    /// The slowest layer that was asked for the context.
    pub layer: Option<&'static str>,
    /// Body bytes received.
    pub bytes_in: usize,
    /// Body bytes sent.
    pub bytes_out: usize,
    /// From the head's arrival to the end.
    pub duration: Duration,
    /// The trace it belongs to, in hexadecimal digits, where traces are on.
    pub trace_id: Option<[u8; 32]>,
    /// Whether it took longer than is usual; then its steps are told.
    pub slow: bool,
    /// When its steps ended, if anybody asked.
    pub steps: &'a Steps,
}

/// The fields of a request's line with their meaning, in order; then those of its steps.
pub const FIELDS: [(&str, &str); 25] = [
    ("timestamp", "When the head of the request was there, UTC"),
    ("level", "`INFO`, or `WARN` for a slow request"),
    ("message", "`request`"),
    ("request_id", "The request's number; also the `request-id` context header and in answers of our own"),
    ("trace_id", "Its W3C trace, where `[traces]` has an endpoint and there is one"),
    ("client", "The client's address, from trusted proxies where there are any"),
    ("protocol", "HTTP version: `1.0`, `1.1`, `2`"),
    ("method", "Method, at most 512 bytes"),
    ("host", "Host as it was asked for, at most 512 bytes"),
    ("path", "Path without the query, at most 512 bytes"),
    ("route", "Name of the route, or of the endpoint of our own"),
    ("upstream", "Name of the upstream, if one was asked"),
    ("attempts", "Servers tried"),
    (
        "outcome",
        "`forwarded`, `refused`, `answered` (by an endpoint of our own), `failed`, `dropped` (the client left)",
    ),
    ("reason", "Why it was not simply let through: docs/reasons.md"),
    ("would_refuse", "Why it would have been refused, had its route not only reported"),
    ("status", "Status of the answer; 0 when there was none"),
    ("authn", "What the signed context said about identity: `session`, `none`, `unchecked`, `undetermined`"),
    ("session_id", "The session, by its hash; never the token"),
    ("user_id", "The user"),
    ("platform_id", "The platform"),
    ("layer", "The slowest layer that was asked for the context: `process`, `store`, `directory`"),
    ("bytes_in", "Body bytes received"),
    ("bytes_out", "Body bytes sent"),
    ("duration_us", "From the head's arrival to the end, in microseconds"),
];

/// The field that slow requests alone have.
pub const SLOW: &str = "slow";

impl RequestFacts<'_> {
    /// Appends the line, with its line end, to `out`. Written by hand: it is written for every request, and serde took
    /// five times as long.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"timestamp\":\"");
        self.at.append_to(out);
        let level: &[u8] = if self.slow { b"WARN" } else { b"INFO" };
        out.extend_from_slice(b"\",\"level\":\"");
        out.extend_from_slice(level);
        out.extend_from_slice(b"\",\"message\":\"request\"");
        word(out, b"request_id", self.request_id);
        if let Some(trace) = &self.trace_id {
            optional(out, b"trace_id", std::str::from_utf8(trace).ok());
        }
        if let Some(client) = self.client {
            key(out, b"client");
            out.push(b'"');
            append_address(out, client);
            out.push(b'"');
        }
        word(out, b"protocol", self.protocol);
        text(out, b"method", capped(self.method));
        text(out, b"host", capped(self.host));
        text(out, b"path", capped(&without_parameters(self.path)));
        optional(out, b"route", self.route);
        optional(out, b"upstream", self.upstream);
        number(out, b"attempts", self.attempts.into());
        word(out, b"outcome", self.outcome);
        self.reason.inspect(|known| word(out, b"reason", known));
        self.would_refuse.inspect(|known| word(out, b"would_refuse", known));
        number(out, b"status", self.status.into());
        self.authn.inspect(|known| word(out, b"authn", known));
        if let Some(session) = &self.session {
            word(out, b"session_id", session.as_text(&mut [0; 43]));
        }
        optional(out, b"user_id", self.user);
        optional(out, b"platform_id", self.platform);
        self.layer.inspect(|known| word(out, b"layer", known));
        number(out, b"bytes_in", self.bytes_in as u64);
        number(out, b"bytes_out", self.bytes_out as u64);
        number(out, b"duration_us", u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX));
        if self.slow {
            self.tell_steps(out);
        }
        out.extend_from_slice(b"}\n");
    }

    #[cold]
    fn tell_steps(&self, out: &mut Vec<u8>) {
        any_key(out, SLOW);
        out.extend_from_slice(b"true");
        for (step, begin, end) in self.steps.taken() {
            any_key(out, step.field());
            append_number(out, u64::from(end - begin));
        }
    }

    /// What a record of the request tells, by the names in [`FACTS`](super::traces::FACTS).
    #[must_use]
    pub fn recorded(&self) -> Vec<(&'static str, Fact)> {
        let text = |name, value: &str| (name, Fact::Text(capped(value).to_owned()));
        let mut facts = vec![
            text("http.request.method", self.method),
            text("url.path", &without_parameters(self.path)),
            text("server.address", self.host),
            text("network.protocol.version", self.protocol),
            ("http.response.status_code", Fact::Number(self.status.into())),
            text("countersign.request_id", self.request_id),
            text("countersign.outcome", self.outcome),
        ];
        let known = [
            ("countersign.route", self.route),
            ("countersign.upstream", self.upstream),
            ("countersign.reason", self.reason),
            ("countersign.layer", self.layer),
        ];
        facts.extend(known.into_iter().filter_map(|(name, value)| Some(text(name, value?))));
        facts
    }
}

fn any_key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Made for each length of a name by itself, so that copying it is a few moves and no call: a line has two dozen names.
fn key<const N: usize>(out: &mut Vec<u8>, name: &[u8; N]) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name);
    out.extend_from_slice(b"\":");
}

fn number<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: u64) {
    key(out, name);
    append_number(out, value);
}

fn optional<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: Option<&str>) {
    if let Some(value) = value {
        text(out, name, value);
    }
}

/// A text of our own making, without anything to escape.
fn word<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: &str) {
    debug_assert!(value.bytes().all(is_plain), "{name:?} is made of plain characters");
    key(out, name);
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}

const fn is_plain(byte: u8) -> bool {
    byte >= b' ' && byte != b'"' && byte != b'\\' && byte != 0x7f
}

fn text<const N: usize>(out: &mut Vec<u8>, name: &[u8; N], value: &str) {
    key(out, name);
    // Without a way out of the loop, so that many bytes are compared at once.
    if value.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else {
        let start = out.len();
        if serde_json::to_writer(&mut *out, value).is_err() {
            // A vector takes every byte; were it otherwise, the line would still be JSON.
            out.truncate(start);
            out.extend_from_slice(b"null");
        }
    }
}

/// Appends an address as people write it.
pub fn append_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let [first, rest @ ..] = address.octets();
            append_number(out, first.into());
            for octet in rest {
                out.push(b'.');
                append_number(out, octet.into());
            }
        }
        IpAddr::V6(address) => {
            // A vector takes every byte.
            let _ = write!(out, "{address}");
        }
    }
}

fn without_parameters(path: &str) -> Cow<'_, str> {
    if memchr::memchr(b';', path.as_bytes()).is_none() {
        return Cow::Borrowed(path);
    }
    let mut kept = String::with_capacity(path.len());
    for segment in path.split_inclusive('/') {
        match segment.split_once(';') {
            Some((name, parameters)) => {
                kept.push_str(name);
                kept.push_str(if parameters.ends_with('/') { ";/" } else { ";" });
            }
            None => kept.push_str(segment),
        }
    }
    Cow::Owned(kept)
}

fn capped(text: &str) -> &str {
    if text.len() <= CAP {
        return text;
    }
    let end = (0..=CAP).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::super::traces::FACTS;
    use super::*;

    #[test]
    fn a_line_is_one_line_of_json_whatever_the_client_sent() {
        let long = "x".repeat(5000);
        let facts = RequestFacts {
            at: Timestamp::from_secs(1),
            request_id: "r1",
            client: None,
            protocol: "1.1",
            method: "GET",
            host: "a\r\nforged: line\u{1b}[31m",
            path: &long,
            route: None,
            upstream: None,
            attempts: 0,
            outcome: "refused",
            reason: Some("bad_host"),
            would_refuse: None,
            status: 400,
            authn: None,
            session: None,
            user: None,
            platform: None,
            layer: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::from_micros(7),
            trace_id: None,
            slow: false,
            steps: &Steps::default(),
        };
        let mut out = Vec::new();
        facts.write(&mut out);
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(!text.contains('\u{1b}'));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["timestamp"], "1970-01-01T00:00:01.000Z");
        assert_eq!(value["path"].as_str().unwrap().len(), CAP);
        assert_eq!(value["duration_us"], 7);
    }

    #[test]
    fn parameters_of_a_path_are_not_told() {
        for (path, told) in [
            ("/a/b", "/a/b"),
            ("/a;session=secret", "/a;"),
            ("/a;x=1;y=2/b;/c", "/a;/b;/c"),
            (";", ";"),
            ("/;session=secret/", "/;/"),
        ] {
            assert_eq!(without_parameters(path), told);
        }
    }

    #[test]
    fn a_line_tells_everything_that_is_known_under_its_own_name() {
        let session = SessionId::of_token(b"token");
        let facts = RequestFacts {
            at: Timestamp::from_millis(1_795_244_786_042),
            request_id: "r2",
            client: "192.0.2.10".parse().ok(),
            protocol: "2",
            method: "POST",
            host: "app.example",
            path: "/a\"b\\\u{7f}é",
            route: Some("api"),
            upstream: Some("app"),
            attempts: 2,
            outcome: "failed",
            reason: Some("upstream_timeout"),
            would_refuse: Some("role_missing"),
            status: 504,
            authn: Some("session"),
            session: Some(session),
            user: Some("42"),
            platform: Some("7"),
            layer: Some("process"),
            bytes_in: 1,
            bytes_out: 1_048_576,
            duration: Duration::from_millis(250),
            trace_id: Some(*b"0af7651916cd43dd8448eb211c80319c"),
            slow: false,
            steps: &Steps::default(),
        };
        let mut out = Vec::new();
        facts.write(&mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        let expected = serde_json::json!({
            "timestamp": "2026-11-21T07:06:26.042Z", "level": "INFO", "message": "request", "request_id": "r2",
            "trace_id": "0af7651916cd43dd8448eb211c80319c", "client": "192.0.2.10", "protocol": "2", "method": "POST", "host": "app.example",
            "path": "/a\"b\\\u{7f}é", "route": "api", "upstream": "app", "attempts": 2, "outcome": "failed",
            "reason": "upstream_timeout", "would_refuse": "role_missing", "status": 504, "authn": "session", "session_id": session.to_string(),
            "user_id": "42", "platform_id": "7", "layer": "process", "bytes_in": 1, "bytes_out": 1_048_576,
            "duration_us": 250_000,
        });
        assert_eq!(value, expected);
        let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        let mut documented = FIELDS.map(|(name, _)| name);
        documented.sort_unstable();
        assert_eq!(names, documented);
        let recorded: Vec<_> = facts.recorded().into_iter().map(|(name, _)| name).collect();
        assert!(recorded.len() == FACTS.len() && FACTS.iter().all(|(name, _)| recorded.contains(name)));
    }
}
