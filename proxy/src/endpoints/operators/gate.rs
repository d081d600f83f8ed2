//! Who may use the admin API: whoever holds the token, and no web page of another site. Pure; it decides before anything
//! is read or asked.

use std::net::Ipv4Addr;

use http::{HeaderMap, HeaderValue, header};

use super::problem::Fault;
use super::{OperatorRequest, OperatorState};
use crate::policy::host::Authority;
use crate::secret::Secret;

/// Whether the request asks for an address or for localhost. A web page that had its name pointed at this machine asks
/// for that name (DNS rebinding, THREATS O2).
pub(super) fn names_this_machine(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| Authority::parse(host.as_bytes()).ok());
    host.is_some_and(|host| {
        let name = host.host();
        name == "localhost" || name.starts_with('[') || name.parse::<Ipv4Addr>().is_ok()
    })
}

/// Whether the admin API is open to this request.
///
/// # Errors
/// Why it is not. Without a token in the configuration it is open to nobody: on one machine there may be many people.
pub(super) fn check(headers: &HeaderMap, token: Option<&Secret>) -> Result<(), Fault> {
    let Some(token) = token else { return Err(Fault::ApiOff) };
    if !is_from_here(headers) {
        return Err(Fault::ForeignOrigin);
    }
    if holds(headers, token) { Ok(()) } else { Err(Fault::TokenNeeded) }
}

/// Whether this very request may be answered: with the token, or, for the little that the page does, with its cookie.
///
/// # Errors
/// As [`check`].
pub(super) fn admit(request: &OperatorRequest<'_>, state: &OperatorState<'_>) -> Result<(), Fault> {
    match check(request.headers, state.token) {
        Err(Fault::TokenNeeded) if state.console.opens(request, state.token, state.now) => Ok(()),
        outcome => outcome,
    }
}

/// Whether the request certainly comes from a page of this very listener: browsers name the origin of everything that
/// changes something. What a cookie opens must show that; what carries the token need not.
pub(super) fn is_from_own_page(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) && is_from_here(headers)
}

/// Whether the request carries the token, once; compared in constant time (THREATS C7).
fn holds(headers: &HeaderMap, token: &Secret) -> bool {
    let mut given = headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
    let (Some(value), None) = (given.next(), given.next()) else { return false };
    let Some((scheme, value)) = value.split_at_checked(b"Bearer ".len()) else { return false };
    scheme.eq_ignore_ascii_case(b"Bearer ") && token.matches(value)
}

/// No browser, or a page of this very listener. Reads are held to the same: no page of another site has any business
/// here.
fn is_from_here(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
    let own_site = site.is_none_or(|site| site == b"same-origin" || site == b"none");
    own_site && names_no_other_origin(headers)
}

/// Whether the request names no origin but this listener's. No program does; whatever a page of another site asks for is
/// not for it, also where no token is needed (THREATS O2).
pub(super) fn names_no_other_origin(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(header::ORIGIN).iter().map(HeaderValue::as_bytes);
    match (origins.next(), origins.next()) {
        (None, _) => true,
        (Some(origin), None) => headers.get(header::HOST).is_some_and(|host| {
            origin.strip_prefix(b"http://").is_some_and(|name| name.eq_ignore_ascii_case(host.as_bytes()))
        }),
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(fields: &[(&'static str, &'static str)]) -> Result<(), Fault> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:9901"));
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check(&headers, Some(&Secret::from("operator-0123456")))
    }

    #[test]
    fn only_whoever_holds_the_token_gets_in() {
        for (value, outcome) in [
            ("Bearer operator-0123456", Ok(())),
            ("bearer operator-0123456", Ok(())),
            ("Bearer operator-012345", Err(Fault::TokenNeeded)),
            ("Bearer  operator-0123456", Err(Fault::TokenNeeded)),
            ("Basic operator-0123456", Err(Fault::TokenNeeded)),
            ("operator-0123456", Err(Fault::TokenNeeded)),
            ("Bearer ", Err(Fault::TokenNeeded)),
            ("", Err(Fault::TokenNeeded)),
        ] {
            assert_eq!(asked(&[("authorization", value)]), outcome, "{value}");
        }
        assert_eq!(asked(&[]), Err(Fault::TokenNeeded));
        let twice = ("authorization", "Bearer operator-0123456");
        assert_eq!(asked(&[twice, twice]), Err(Fault::TokenNeeded));
        assert_eq!(check(&HeaderMap::new(), None), Err(Fault::ApiOff));
    }

    #[test]
    fn no_page_of_another_site_gets_in_even_with_the_token() {
        let token = ("authorization", "Bearer operator-0123456");
        for (field, may) in [
            (("origin", "http://127.0.0.1:9901"), true),
            (("origin", "http://127.0.0.1:8080"), false),
            (("origin", "https://127.0.0.1:9901"), false),
            (("origin", "http://evil.example"), false),
            (("origin", "null"), false),
            (("origin", ""), false),
            (("sec-fetch-site", "same-origin"), true),
            (("sec-fetch-site", "none"), true),
            (("sec-fetch-site", "same-site"), false),
            (("sec-fetch-site", "cross-site"), false),
        ] {
            let outcome = if may { Ok(()) } else { Err(Fault::ForeignOrigin) };
            assert_eq!(asked(&[token, field]), outcome, "{field:?}");
        }
    }
}
