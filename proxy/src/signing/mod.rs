//! How an upstream can believe us: RFC 9421 message signatures and JWTs over the context. Pure but for key parsing
//! and randomness. One [`Signer`] per upstream; nothing is ever forwarded unsigned.

pub mod jwks;
mod jwt;
pub mod keyring;
mod message;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::headers::names::{ContextHeader, Names};
use crate::headers::render::{ContextHeaders, RenderInput, within_budget};
use crate::reason::Reason;
use keyring::{KeyError, Keyring};

/// Algorithms of message signatures (RFC 9421, section 3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MessageAlgorithm {
    /// `hmac-sha256`: a quarter of a microsecond, with a key per upstream.
    #[default]
    HmacSha256,
    /// `ed25519`: 9 to 24 microseconds, verified with a public key.
    Ed25519,
}

/// What one upstream is sent, and made with what.
#[derive(Clone, Debug)]
pub struct SignerSettings {
    /// The upstream's name: audience of its tokens, info of its derived keys.
    pub upstream: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    /// The context header names in force.
    pub names: Arc<Names>,
    /// Keys for message signatures. Never those of tokens: what is signed for one purpose must not pass for another.
    pub message_keys: Arc<Keyring>,
    /// Keys for tokens.
    pub token_keys: Arc<Keyring>,
    /// The message signature to send; `None` sends none.
    pub message_signature: Option<MessageAlgorithm>,
    /// Whether a token is sent.
    pub jwt: bool,
    /// How long a message signature is valid ([`MESSAGE_LIFETIME`]).
    pub message_lifetime: Duration,
    /// How long a token is valid ([`JWT_LIFETIME`]).
    pub jwt_lifetime: Duration,
    /// How many tokens are kept for reuse ([`JWT_CACHE`]).
    pub jwt_cache: usize,
    /// Largest sum of names and values of context headers and signatures, in bytes.
    pub budget: usize,
}

/// Default life of a message signature (DESIGN section 8).
pub const MESSAGE_LIFETIME: Duration = Duration::from_secs(30);
/// Default life of a token (DESIGN section 8).
pub const JWT_LIFETIME: Duration = Duration::from_mins(1);
/// Default number of tokens kept per upstream; a token and what it was made of take about 1.5 KiB.
pub const JWT_CACHE: usize = 16_384;

/// A request as the upstream will receive it, after every rewriting.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The `Host` or `:authority`, as sent; signed in lower case. Send it without the scheme's default port:
    /// verifiers leave that out (RFC 9421, section 2.2.3).
    pub authority: &'a str,
    /// The path, as sent, escapes untouched.
    pub path: &'a str,
    /// What follows the question mark; `None` when there is none.
    pub query: Option<&'a str>,
}

/// Signs the context for one upstream.
pub struct Signer {
    names: Arc<Names>,
    message_keys: Arc<Keyring>,
    token_keys: Arc<Keyring>,
    message: Option<message::MessageSigner>,
    tokens: Option<jwt::TokenMaker>,
    budget: usize,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").finish_non_exhaustive()
    }
}

impl Signer {
    /// A signer for one upstream.
    ///
    /// # Errors
    /// When a key that is needed is missing, or neither signature is asked for.
    pub fn new(settings: &SignerSettings) -> Result<Self, KeyError> {
        let upstream = settings.upstream.as_str();
        if settings.message_signature.is_none() && !settings.jwt {
            return Err(KeyError::Unsigned(upstream.to_owned()));
        }
        let missing = |wanted| KeyError::Missing { upstream: upstream.to_owned(), wanted };
        let message = match settings.message_signature {
            None => None,
            Some(algorithm) => {
                let (keys, lifetime) = (&settings.message_keys, settings.message_lifetime);
                let signer = message::MessageSigner::new(keys, algorithm, upstream, lifetime);
                Some(signer.ok_or(missing(match algorithm {
                    MessageAlgorithm::HmacSha256 => "an `hmac-sha256` message signature",
                    MessageAlgorithm::Ed25519 => "an `ed25519` message signature",
                }))?)
            }
        };
        let (lifetime, cached) = (settings.jwt_lifetime, settings.jwt_cache);
        let tokens = if settings.jwt {
            let keys = &settings.token_keys;
            let maker = jwt::TokenMaker::new(keys, &settings.issuer, upstream, lifetime, cached);
            Some(maker.ok_or(missing("a token"))?)
        } else {
            None
        };
        Ok(Self {
            names: settings.names.clone(),
            message_keys: settings.message_keys.clone(),
            token_keys: settings.token_keys.clone(),
            message,
            tokens,
            budget: settings.budget,
        })
    }

    /// Adds the token and the message signature to the rendered context headers. `outgoing` is the request as it
    /// will be sent; nothing that is covered may change afterwards. Can be repeated for each attempt, from freshly
    /// rendered headers.
    ///
    /// # Errors
    /// `CannotSign` when no key may sign, the session has ended or the request cannot be written down;
    /// `ContextTooLarge` over the byte budget. The request must not be forwarded then.
    pub fn sign(
        &self,
        outgoing: &Outgoing<'_>,
        context_headers: &mut ContextHeaders,
        input: &RenderInput<'_>,
        now: Timestamp,
    ) -> Result<(), Reason> {
        let identity = input.identity();
        if identity.is_some_and(|context| context.session.expires <= now) {
            return Err(Reason::CannotSign);
        }
        if let Some(tokens) = &self.tokens {
            let digests = jwt::Digests::of(context_headers, &self.names);
            let statement = jwt::Statement { authn: input.authn, identity, digests: digests.as_deref() };
            let token = tokens.token(&self.token_keys, statement, now)?;
            context_headers.push((self.names.of(ContextHeader::Jwt).clone(), token));
        }
        if let Some(message) = &self.message {
            let signature =
                message.sign(&self.message_keys, outgoing, context_headers, input.request_id, now)?;
            context_headers.extend(signature);
        }
        within_budget(context_headers, self.budget)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
