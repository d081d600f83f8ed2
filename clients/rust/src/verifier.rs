//! The way of one request: message signature, token, values, and whether all of them agree.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use http::header::HOST;

use crate::{Keys, Verified, VerifyError, message, token};

/// A request as the application received it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The `Host`, or the `:authority` of HTTP/2.
    pub authority: &'a str,
    /// The path as it was sent, escapes untouched.
    pub path: &'a str,
    /// What follows the question mark.
    pub query: Option<&'a str>,
    /// All fields.
    pub headers: &'a HeaderMap,
}

impl<'a> Request<'a> {
    /// The parts of an [`http::Request`] that are signed.
    ///
    /// # Errors
    /// `NoAuthority` when it has neither an authority nor exactly one readable `Host`.
    pub fn of<B>(request: &'a http::Request<B>) -> Result<Self, VerifyError> {
        let host = || message::once(request.headers(), HOST.as_str()).map_err(|_| VerifyError::NoAuthority);
        let uri = request.uri();
        let authority = uri.authority().map_or_else(host, |authority| Ok(authority.as_str()))?;
        Ok(Self {
            method: request.method().as_str(),
            authority,
            path: uri.path(),
            query: uri.query(),
            headers: request.headers(),
        })
    }
}

/// What a request must carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Demand {
    /// Message signature and token, telling the same.
    #[default]
    Both,
    /// The message signature; a token is not looked at.
    MessageSignature,
    /// The token alone. Nothing binds it to this request, and the plain headers are not looked at.
    Token,
}

/// Knows which keys to trust and what this application is called.
#[derive(Clone, Debug)]
pub struct Verifier {
    pub(crate) keys: Keys,
    pub(crate) audience: String,
    pub(crate) issuer: Option<String>,
    pub(crate) prefix: String,
    leeway: u64,
    longest_life: u64,
    demand: Demand,
}

impl Verifier {
    /// A verifier for the application that the proxy's configuration calls `audience`. It demands both signatures,
    /// under the prefix `x-context-`, with 5 s of leeway, valid for at most 60 s.
    #[must_use]
    pub fn new(keys: Keys, audience: &str) -> Self {
        Self {
            keys,
            audience: audience.to_owned(),
            issuer: None,
            prefix: "x-context-".to_owned(),
            leeway: 5,
            longest_life: 60,
            demand: Demand::Both,
        }
    }

    /// Demands something else than both signatures.
    #[must_use]
    pub fn demanding(mut self, demand: Demand) -> Self {
        self.demand = demand;
        self
    }

    /// Accepts tokens of this issuer only.
    #[must_use]
    pub fn from_issuer(mut self, issuer: &str) -> Self {
        self.issuer = Some(issuer.to_owned());
        self
    }

    /// Reads headers under another prefix (lower case, with its dash).
    #[must_use]
    pub fn under_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// How far the clocks of proxy and application may differ.
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway.as_secs();
        self
    }

    /// The longest validity that is accepted, where the proxy was configured to more than a minute.
    #[must_use]
    pub fn with_longest_life(mut self, life: Duration) -> Self {
        self.longest_life = life.as_secs();
        self
    }

    /// Verifies a request as it arrived.
    ///
    /// # Errors
    /// The first cause for not believing it. None of its context may be used then.
    pub fn verify(&self, request: &Request<'_>, now: SystemTime) -> Result<Verified, VerifyError> {
        let now = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims = |now| {
            let claims = token::verify(self, message::once(request.headers, &self.name("jwt"))?, now)?;
            Verified::from_claims(&claims)
        };
        if self.demand == Demand::Token {
            return claims(now);
        }
        let nonce = message::verify(self, request, now)?;
        if message::once(request.headers, &self.name("request-id"))? != nonce {
            return Err(VerifyError::Contradiction("request-id"));
        }
        let verified = Verified::from_headers(self, request.headers)?;
        if self.demand == Demand::Both {
            verified.check_against(&claims(now)?)?;
        }
        Ok(verified)
    }

    pub(crate) fn check_time(&self, begin: u64, end: u64, now: u64) -> Result<(), VerifyError> {
        if begin > now.saturating_add(self.leeway) {
            return Err(VerifyError::NotYetValid);
        }
        if now >= end.saturating_add(self.leeway) {
            return Err(VerifyError::Expired);
        }
        if end.saturating_sub(begin) > self.longest_life { Err(VerifyError::TooLongLived) } else { Ok(()) }
    }

    pub(crate) fn name(&self, suffix: &str) -> String {
        format!("{}{suffix}", self.prefix)
    }

    /// Whether a name lies in the context namespace, in any spelling that a framework folds together.
    pub(crate) fn is_context(&self, name: &str) -> bool {
        let fold = |text: &str| -> String {
            text.chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
                .collect()
        };
        let (name, prefix) = (fold(name), fold(&self.prefix));
        name.starts_with(&prefix) || name == prefix.trim_end_matches('-')
    }
}
