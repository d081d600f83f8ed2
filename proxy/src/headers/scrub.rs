//! What a client may not say: every name that is ours, or could be mistaken for ours, is found here.
//! The gateway removes it on every route, before anything of ours is added (THREATS H1 to H9, H11).

use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};
use smallvec::SmallVec;

use super::names::Names;

/// Names to remove from a message; mostly none.
pub type Removals = SmallVec<[HeaderName; 4]>;

/// The fields of a request that must not travel on, whatever they say and however often they occur.
#[must_use]
pub fn forbidden(headers: &HeaderMap, names: &Names) -> Removals {
    headers.keys().filter(|name| names.reserved(name.as_str())).cloned().collect()
}

/// The fields that a request's `Connection` nominates as concerning this hop alone (RFC 9110, section 7.6.1), but for
/// those that a request cannot do without: nominating them changes nothing (THREATS H6).
#[must_use]
pub fn nominated(received: &HeaderMap) -> Removals {
    let fields = received.get_all(CONNECTION).into_iter();
    fields
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !NEEDED.contains(name))
        .collect()
}

const NEEDED: [HeaderName; 8] = [
    HOST,
    COOKIE,
    AUTHORIZATION,
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    CONTENT_TYPE,
    // Upgrades are judged and rebuilt elsewhere.
    CONNECTION,
    UPGRADE,
];

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::headers::names::ContextHeader;

    /// Every name that must never pass, as specified; the separators are the ones to be varied.
    fn protected() -> Vec<String> {
        let mut all: Vec<_> =
            ContextHeader::ALL.iter().map(|h| format!("x-context-{}", h.suffix())).collect();
        for name in [
            "x-context-unheard-of",
            "signature",
            "signature-input",
            "accept-signature",
            "countersign-session",
            "x-original-url",
            "x-rewrite-url",
            "x-http-method-override",
        ] {
            all.push(name.to_owned());
        }
        all
    }

    /// The name in another spelling: any case, any token character that is no letter or digit as separator.
    fn spelling() -> impl Strategy<Value = String> {
        let separators = prop::sample::select(b"!#$%&'*+-.^_`|~".to_vec());
        (prop::sample::select(protected()), prop::collection::vec((any::<bool>(), separators), 64)).prop_map(
            |(name, choices)| {
                let respell = |(byte, (upper, separator)): (u8, (bool, u8))| match byte {
                    b'-' => char::from(separator),
                    letter if upper => char::from(letter.to_ascii_uppercase()),
                    letter => char::from(letter),
                };
                name.bytes().zip(choices).map(respell).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn no_spelling_of_a_forbidden_header_survives(name in spelling(), copies in 1_usize..4) {
            let mut headers = HeaderMap::new();
            headers.insert("accept", HeaderValue::from_static("*/*"));
            let name = HeaderName::try_from(name).unwrap();
            for copy in 0..copies {
                headers.append(&name, HeaderValue::from(copy));
            }
            for removal in forbidden(&headers, &Names::new("x-context-").unwrap()) {
                headers.remove(removal);
            }
            prop_assert_eq!(headers.len(), 1);
            prop_assert!(headers.contains_key("accept"));
        }
    }
}
