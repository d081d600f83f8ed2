//! The public keys as served: static content with an entity tag and a lifetime, without any store behind it
//! (THREATS G9). Made once per key set, not per request.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};
use sha2::{Digest, Sha256};

use super::own_answer;

/// A JWKS (RFC 7517, section 5), ready to be served.
#[derive(Clone, Debug)]
pub struct JwksDocument {
    body: Bytes,
    etag: HeaderValue,
    cache_control: HeaderValue,
}

impl JwksDocument {
    /// Wraps the JSON text. `max_age` is how long verifiers may keep it: a new key has to be published that long
    /// before it signs.
    #[must_use]
    pub fn new(text: String, max_age: Duration) -> Self {
        let tag = URL_SAFE_NO_PAD.encode(&Sha256::digest(text.as_bytes())[..12]);
        let ascii = |text: String| HeaderValue::try_from(text).expect("base64 and digits are visible ASCII");
        Self {
            body: Bytes::from(text),
            etag: ascii(format!("\"{tag}\"")),
            cache_control: ascii(format!("public, max-age={}", max_age.as_secs())),
        }
    }

    /// Answers GET and HEAD: 304 to who has it already, 405 to other methods.
    #[must_use]
    pub fn answer(&self, method: &Method, headers: &HeaderMap) -> Response<Bytes> {
        if *method != Method::GET && *method != Method::HEAD {
            let mut refusal =
                own_answer(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "text/plain", Bytes::new());
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refusal;
        }
        let known = self.is_known_to(headers);
        let status = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
        let mut response = own_answer(status, "jwks", "application/jwk-set+json", self.body.clone());
        if known || *method == Method::HEAD {
            response.body_mut().clear();
        }
        let fields = response.headers_mut();
        fields.insert(CACHE_CONTROL, self.cache_control.clone());
        fields.insert(ETAG, self.etag.clone());
        // Public keys are for everybody, also for a verifier that runs in a browser.
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        response
    }

    /// Weak comparison with a list of entity tags (RFC 9110, section 13.1.2).
    fn is_known_to(&self, headers: &HeaderMap) -> bool {
        let own = self.etag.as_bytes();
        headers.get_all(IF_NONE_MATCH).iter().flat_map(|value| value.as_bytes().split(|&b| b == b',')).any(
            |tag| {
                let tag = tag.trim_ascii();
                tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == own
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, Method};

    use super::JwksDocument;

    fn asked_with(tag: &str) -> HeaderMap {
        HeaderMap::from_iter([(http::header::IF_NONE_MATCH, tag.parse().unwrap())])
    }

    #[test]
    fn who_has_the_current_keys_is_told_so() {
        let document = JwksDocument::new("{\"keys\":[]}".into(), Duration::from_mins(5));
        let first = document.answer(&Method::GET, &HeaderMap::new());
        assert_eq!((first.status().as_u16(), first.body().as_ref()), (200, &b"{\"keys\":[]}"[..]));
        assert_eq!(first.headers()["cache-control"], "public, max-age=300");
        assert_eq!(first.headers()["content-type"], "application/jwk-set+json");
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
            let again = document.answer(&Method::GET, &asked_with(&known));
            assert_eq!((again.status().as_u16(), again.body().len()), (304, 0), "{known}");
        }
        assert_eq!(document.answer(&Method::GET, &asked_with("\"x\"")).status(), 200);
    }

    #[test]
    fn other_keys_have_another_tag() {
        let tag = |text: &str| {
            let document = JwksDocument::new(text.into(), Duration::from_mins(5));
            document.answer(&Method::GET, &HeaderMap::new()).headers()["etag"].clone()
        };
        assert_ne!(tag("{\"keys\":[]}"), tag("{\"keys\":[{}]}"));
    }

    #[test]
    fn head_has_no_body_and_post_is_not_allowed() {
        let document = JwksDocument::new("{\"keys\":[]}".into(), Duration::from_mins(5));
        let head = document.answer(&Method::HEAD, &HeaderMap::new());
        assert_eq!((head.body().len(), &head.headers()["content-length"]), (0, &http::HeaderValue::from(11)));
        let post = document.answer(&Method::POST, &HeaderMap::new());
        assert_eq!(
            (post.status().as_u16(), &post.headers()["allow"]),
            (405, &http::HeaderValue::from_static("GET, HEAD"))
        );
    }
}
