//! The one log line of a request. JSON with stable field names; text from outside is escaped and capped.

use std::net::IpAddr;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Timestamp;
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
    /// Path without the query.
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
}

#[derive(Serialize)]
struct Line<'a> {
    timestamp: Moment<'a>,
    level: &'static str,
    message: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<IpAddr>,
    protocol: &'static str,
    method: &'a str,
    host: &'a str,
    path: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    attempts: u32,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    authn: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session_id: Option<SessionId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<&'static str>,
    bytes_in: usize,
    bytes_out: usize,
    duration_us: u64,
}

/// Serializes a moment as RFC 3339 without an allocation.
struct Moment<'a>(&'a Timestamp);

impl Serialize for Moment<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

impl RequestFacts<'_> {
    /// Appends the line, with its line end, to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let line = Line {
            timestamp: Moment(&self.at),
            level: "INFO",
            message: "request",
            request_id: self.request_id,
            client: self.client,
            protocol: self.protocol,
            method: capped(self.method),
            host: capped(self.host),
            path: capped(self.path),
            route: self.route,
            upstream: self.upstream,
            attempts: self.attempts,
            outcome: self.outcome,
            reason: self.reason,
            status: self.status,
            authn: self.authn,
            session_id: self.session,
            user_id: self.user,
            platform_id: self.platform,
            layer: self.layer,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_us: u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX),
        };
        if serde_json::to_writer(&mut *out, &line).is_ok() {
            out.push(b'\n');
        }
    }
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
            status: 400,
            authn: None,
            session: None,
            user: None,
            platform: None,
            layer: None,
            bytes_in: 0,
            bytes_out: 0,
            duration: Duration::from_micros(7),
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
}
