//! The public keys as served: static content with an entity tag and a lifetime, without any store behind it
//! (THREATS G9).

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::own_answer;
use crate::signing::jwks::Jwks;

/// Answers GET and HEAD: 304 to who has the keys already, 405 to other methods.
#[must_use]
pub fn answer(jwks: &Jwks, method: &Method, headers: &HeaderMap) -> Response<Bytes> {
    if *method != Method::GET && *method != Method::HEAD {
        let mut refusal =
            own_answer(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "text/plain", Bytes::new());
        refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    let known = headers.get_all(IF_NONE_MATCH).iter().any(|tags| jwks.is_known_by(tags.as_bytes()));
    let status = if known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = own_answer(status, "jwks", Jwks::CONTENT_TYPE, jwks.body().clone());
    if known || *method == Method::HEAD {
        response.body_mut().clear();
    }
    let fields = response.headers_mut();
    for (name, value) in [(CACHE_CONTROL, jwks.cache_control()), (ETAG, jwks.etag())] {
        // Base64 and digits; never refused.
        if let Ok(value) = HeaderValue::from_str(value) {
            fields.insert(name, value);
        }
    }
    // Public keys are for everybody, also for a verifier that runs in a browser.
    fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, Method};

    use super::answer;
    use crate::signing::jwks::Jwks;
    use crate::signing::keyring::Keyring;

    fn jwks() -> Jwks {
        Jwks::new(&[&Keyring::new(&[], &[]).unwrap()], Duration::from_mins(5))
    }

    #[test]
    fn who_has_the_current_keys_is_told_so() {
        let jwks = jwks();
        let first = answer(&jwks, &Method::GET, &HeaderMap::new());
        assert_eq!((first.status().as_u16(), first.body().as_ref()), (200, &b"{\"keys\":[]}"[..]));
        assert_eq!(first.headers()["cache-control"], "public, max-age=300");
        assert_eq!(first.headers()["content-type"], "application/jwk-set+json");
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".into()] {
            let asked = HeaderMap::from_iter([(http::header::IF_NONE_MATCH, known.parse().unwrap())]);
            let again = answer(&jwks, &Method::GET, &asked);
            assert_eq!((again.status().as_u16(), again.body().len()), (304, 0), "{known}");
        }
    }

    #[test]
    fn head_has_no_body_and_post_is_not_allowed() {
        let head = answer(&jwks(), &Method::HEAD, &HeaderMap::new());
        assert_eq!((head.body().len(), &head.headers()["content-length"]), (0, &http::HeaderValue::from(11)));
        let post = answer(&jwks(), &Method::POST, &HeaderMap::new());
        assert_eq!(
            (post.status().as_u16(), &post.headers()["allow"]),
            (405, &http::HeaderValue::from_static("GET, HEAD"))
        );
    }
}
