//! What a browser may send to the demo application: small forms, from its own pages only. Pure.

use http::HeaderMap;
use http::header::{HOST, ORIGIN};

use crate::endpoints::return_to;

/// A posted form. Every name occurs once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`. A repeated name is refused: the proxy, this application and the
    /// next reader might each pick another one (THREATS E5).
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let mut fields: Vec<(String, String)> = Vec::new();
        for (name, value) in form_urlencoded::parse(body) {
            if fields.iter().any(|(known, _)| *known == name) {
                return None;
            }
            fields.push((name.into_owned(), value.into_owned()));
        }
        Some(Self(fields))
    }

    /// The value of a field; empty if it was not sent.
    pub(super) fn field(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value.as_str())
    }
}

/// A path on this site that may be answered as `Location`, or `/`: by the same rule by which the proxy makes it.
pub(super) fn safe_return_to(wanted: &str) -> &str {
    return_to::verify(wanted).unwrap_or("/")
}

/// Whether a state-changing request can have come from a page of this site, or from no browser at all.
///
/// Browsers send `Sec-Fetch-Site` or, on every cross-origin POST, `Origin`; what sends neither (curl) carries no
/// cookie jar that somebody else's page could use.
pub(super) fn comes_from_our_pages(headers: &HeaderMap) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin" || site == "none";
    }
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let Some((_scheme, authority)) = origin.to_str().ok().and_then(|origin| origin.split_once("://")) else {
        return false;
    };
    headers.get(HOST).is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_return_address_stays_on_this_site() {
        for good in ["/", "/account", "/a?b=c&d=%20e", "/caf%C3%A9"] {
            assert_eq!(safe_return_to(good), good);
        }
        let bad = [
            "",
            "account",
            "//evil.example",
            "/\\evil.example",
            "/a\\b",
            "https://evil.example",
            "/a\r\nb",
            "/\t/evil",
            "/a b",
            "/é",
            "/%0d%0aset-cookie:x",
            "/%5cevil.example",
            "/%00",
            "/.//evil.example",
            "/..//evil.example",
            "/%2f/evil.example",
            "javascript:alert(1)",
        ];
        for bad in bad {
            assert_eq!(safe_return_to(bad), "/", "{bad:?}");
        }
        assert_eq!(safe_return_to(&format!("/{}", "a".repeat(2048))), "/");
    }

    #[test]
    fn a_form_with_a_repeated_name_is_refused() {
        assert_eq!(Form::parse(b"platform=11&platform=12"), None);
        assert_eq!(Form::parse(b"platform=11&%70latform=12"), None);
        let form = Form::parse(b"username=ana&password=a%26b+c").unwrap();
        assert_eq!(
            (form.field("username"), form.field("password"), form.field("other")),
            ("ana", "a&b c", "")
        );
    }

    #[test]
    fn a_form_of_another_site_is_refused() {
        let headers = |fields: &[(&'static str, &'static str)]| {
            fields
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        let host = ("host", "127.0.0.1:8080");
        for good in [
            vec![host],
            vec![host, ("sec-fetch-site", "same-origin"), ("origin", "https://public.example")],
            vec![host, ("origin", "http://127.0.0.1:8080")],
        ] {
            assert!(comes_from_our_pages(&headers(&good)), "{good:?}");
        }
        for bad in [
            vec![host, ("sec-fetch-site", "cross-site"), ("origin", "http://127.0.0.1:8080")],
            vec![host, ("sec-fetch-site", "same-site")],
            vec![host, ("origin", "http://127.0.0.1:9999")],
            vec![host, ("origin", "null")],
            vec![("origin", "http://127.0.0.1:8080")],
        ] {
            assert!(!comes_from_our_pages(&headers(&bad)), "{bad:?}");
        }
    }
}
