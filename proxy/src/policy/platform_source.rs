//! Where a route takes the platform of a request from, instead of from the session: two tabs of one session can work
//! with two platforms. Pure: says what the request names; whether it is the user's is for the resolver to find out.
//! Never falls back to the session's choice.

use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;

use super::Route;
use crate::context::PlatformId;

/// What of a request names its platform.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PlatformSource {
    /// A header. It is taken from the request before it is forwarded.
    Header(HeaderName),
    /// A segment of the path, counted from 0: 1 is `42` in `/p/42/posts`.
    PathSegment(usize),
    /// A label of the host, counted from 0: 0 is `42` in `42.app.example.org`.
    HostLabel(usize),
}

/// What a request names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Named {
    /// Nothing: there is no such header, segment or label.
    Nothing,
    /// Something that can be the name of no platform, or two different ones.
    Nonsense,
    /// A platform, perhaps somebody else's.
    Platform(PlatformId),
}

impl PlatformSource {
    /// What a request on `route` names. `host` is lower case without port, `path` canonical.
    #[must_use]
    pub fn named(&self, route: &Route, host: &str, path: &str, headers: &HeaderMap) -> Named {
        match self {
            Self::Header(name) => of_header(name, headers),
            Self::PathSegment(index) => {
                let segment = path.strip_prefix('/').unwrap_or(path).split('/').nth(*index);
                let Some(segment) = segment.filter(|segment| !segment.is_empty()) else {
                    return Named::Nothing;
                };
                // Canonical paths decode to UTF-8, and to no separator.
                percent_decode_str(segment).decode_utf8().map_or(Named::Nonsense, |text| id(&text))
            }
            Self::HostLabel(index) => {
                // Only what the route's `*` stands for: the rest of the host is the operator's.
                let suffix =
                    route.host.as_deref().and_then(|host| host.strip_prefix('*')).unwrap_or_default();
                let labels = host.strip_suffix(suffix).unwrap_or_default();
                labels.split('.').nth(*index).filter(|label| !label.is_empty()).map_or(Named::Nothing, id)
            }
        }
    }

    /// The header that names the platform, if one does.
    #[must_use]
    pub const fn header(&self) -> Option<&HeaderName> {
        match self {
            Self::Header(name) => Some(name),
            Self::PathSegment(_) | Self::HostLabel(_) => None,
        }
    }
}

fn of_header(name: &HeaderName, headers: &HeaderMap) -> Named {
    let mut values = headers.get_all(name).iter();
    let Some(first) = values.next() else { return Named::Nothing };
    // Twice the same is what careless proxies do; two different ones are a question that nobody answers.
    if values.any(|other| other != first) {
        return Named::Nonsense;
    }
    match std::str::from_utf8(first.as_bytes()) {
        Ok("") => Named::Nothing,
        Ok(text) => id(text),
        Err(_) => Named::Nonsense,
    }
}

fn id(text: &str) -> Named {
    text.parse().map_or(Named::Nonsense, Named::Platform)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn platform(id: &str) -> Named {
        Named::Platform(id.parse().unwrap())
    }

    fn named(source: &PlatformSource, host: &str, path: &str, headers: &[&[u8]]) -> Named {
        let route = Route { host: Some("*.app.example.org".to_owned()), ..Route::example() };
        let mut map = HeaderMap::new();
        for value in headers {
            map.append("x-platform", HeaderValue::from_bytes(value).unwrap());
        }
        source.named(&route, host, path, &map)
    }

    #[test]
    fn each_source_says_what_it_names_and_nothing_else() {
        let header = PlatformSource::Header(HeaderName::from_static("x-platform"));
        let too_long = "x".repeat(129);
        for (values, expected) in [
            (&[][..], Named::Nothing),
            (&[b"".as_slice()], Named::Nothing),
            (&[b"42"], platform("42")),
            (&[b"42", b"42"], platform("42")),
            (&[b"42", b"43"], Named::Nonsense),
            (&[b"42", b""], Named::Nonsense),
            (&["\u{e9}\u{df}".as_bytes()], platform("\u{e9}\u{df}")),
            (&[b"\xff"], Named::Nonsense),
            (&[too_long.as_bytes()], Named::Nonsense),
        ] {
            assert_eq!(named(&header, "a.app.example.org", "/", values), expected, "{values:?}");
        }
        for (path, expected) in [
            ("/p/42/posts", platform("42")),
            ("/p/42", platform("42")),
            ("/p/4%32/", platform("42")),
            ("/p/%C3%A9/", platform("\u{e9}")),
            ("/p/42;x=1/", platform("42;x=1")),
            ("/p/", Named::Nothing),
            ("/p", Named::Nothing),
            ("/", Named::Nothing),
            ("*", Named::Nothing),
        ] {
            assert_eq!(named(&PlatformSource::PathSegment(1), "", path, &[]), expected, "{path}");
        }
        for (host, label, expected) in [
            ("42.app.example.org", 0, platform("42")),
            ("eu.42.app.example.org", 1, platform("42")),
            ("42.app.example.org", 1, Named::Nothing),
            ("42.app.example.org", 3, Named::Nothing),
            ("elsewhere.test", 0, Named::Nothing),
        ] {
            assert_eq!(named(&PlatformSource::HostLabel(label), host, "/", &[]), expected, "{host} {label}");
        }
    }

    proptest! {
        #[test]
        fn no_request_panics(host in ".{0,40}", path in ".{0,80}", value in prop::collection::vec(32_u8..=255, 0..60)) {
            let value = value.into_iter().filter(|byte| *byte != 127).collect::<Vec<_>>();
            for source in [
                PlatformSource::Header(HeaderName::from_static("x-platform")),
                PlatformSource::PathSegment(1),
                PlatformSource::HostLabel(1),
            ] {
                let _ = named(&source, &host, &path, &[&value]);
            }
        }
    }
}
