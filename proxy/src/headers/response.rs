//! What an application's answer must not carry to the client: reserved names and fields of the one hop behind us.
//! The framework cleans requests of those, but not answers to HTTP/1 clients (PINGORA 2.7).

use http::header::{CACHE_CONTROL, CONNECTION, PROXY_AUTHENTICATE, TE, UPGRADE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::names::Names;
use super::scrub::Removals;

/// The fields of an upstream's answer that stay on this side. `Connection` itself is the framework's to replace, and
/// `Upgrade` is for the client only where it was asked to switch, or is told that it has to.
#[must_use]
pub fn forbidden(headers: &HeaderMap, status: StatusCode, names: &Names) -> Removals {
    let upgrades = matches!(status, StatusCode::SWITCHING_PROTOCOLS | StatusCode::UPGRADE_REQUIRED);
    let stays = |name: &&HeaderName| {
        names.reserved(name.as_str()) || of_this_hop(name) || (**name == UPGRADE && !upgrades)
    };
    let mut removals: Removals = headers.keys().filter(stays).cloned().collect();
    for nominated in nominations(headers) {
        if headers.contains_key(&nominated) && !removals.contains(&nominated) {
            removals.push(nominated);
        }
    }
    removals
}

/// What keeps an answer made for one session out of shared caches (THREATS S12): the fields to set, where the
/// application has not said itself how its answer may be stored.
#[must_use]
pub fn privacy(headers: &HeaderMap) -> Option<[(HeaderName, HeaderValue); 2]> {
    // An empty field says nothing.
    if headers.get_all(CACHE_CONTROL).iter().any(|value| !value.is_empty()) {
        return None;
    }
    if !headers.contains_key(VARY) {
        // Nearly always.
        return Some([
            (CACHE_CONTROL, HeaderValue::from_static("private")),
            (VARY, HeaderValue::from_static("Cookie")),
        ]);
    }
    let mut vary = Vec::new();
    for value in headers.get_all(VARY) {
        vary.extend_from_slice(value.as_bytes());
        vary.extend_from_slice(b", ");
    }
    vary.extend_from_slice(b"Cookie");
    let vary = HeaderValue::from_bytes(&vary).unwrap_or(HeaderValue::from_static("*"));
    Some([(CACHE_CONTROL, HeaderValue::from_static("private")), (VARY, vary)])
}

fn of_this_hop(name: &HeaderName) -> bool {
    matches!(*name, PROXY_AUTHENTICATE | TE) || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The names that `Connection` gives, but for those that frame the message or switch the protocol: nominating them
/// changes nothing (THREATS H6).
fn nominations(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    headers
        .get_all(CONNECTION)
        .into_iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !PROTECTED.contains(&name.as_str()))
}

const PROTECTED: [&str; 7] =
    ["connection", "upgrade", "content-length", "transfer-encoding", "set-cookie", "date", "cache-control"];

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(fields: &[(&'static str, &'static str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for &(name, value) in fields {
            headers.append(name, HeaderValue::from_static(value));
        }
        let names = Names::new("x-context-").unwrap();
        forbidden(&headers, StatusCode::OK, &names).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn reserved_names_never_reach_the_client() {
        let removed =
            removed(&[("x-context-user-id", "1"), ("signature", "a"), ("countersign-session", "end")]);
        assert_eq!(removed.len(), 3);
    }

    #[test]
    fn fields_of_one_hop_and_nominated_fields_end_here() {
        let fields = [
            ("keep-alive", "timeout=5"),
            ("connection", "close, X-Trace ,, keep-alive"),
            ("x-trace", "1"),
            ("upgrade", "h2,h2c"),
            ("te", "x"),
        ];
        let mut removed = removed(&fields);
        removed.sort();
        assert_eq!(removed, ["keep-alive", "te", "upgrade", "x-trace"]);
    }

    #[test]
    fn nominating_what_frames_the_message_changes_nothing() {
        let fields = [("connection", "content-length, date"), ("content-length", "3"), ("date", "today")];
        assert!(removed(&fields).is_empty());
    }

    #[test]
    fn an_answer_without_a_storing_rule_becomes_private_and_varies_by_cookie() {
        let mut headers = HeaderMap::new();
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        let [(_, private), (_, vary)] = privacy(&headers).unwrap();
        assert_eq!((private.as_bytes(), vary.as_bytes()), (&b"private"[..], &b"Accept, Cookie"[..]));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(""));
        assert!(privacy(&headers).is_some());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=60"));
        assert!(privacy(&headers).is_none());
    }
}
