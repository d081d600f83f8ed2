//! How an upstream can believe us: RFC 9421 message signatures and JWTs over the context. Pure but for key parsing
//! and randomness. One [`Signer`] per upstream; nothing is ever forwarded unsigned.

pub mod jwks;
mod jwt;
pub mod keyring;
mod message;
mod prepared;
pub mod rotation;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use crate::clock::Timestamp;
use crate::context::Authn;
use crate::headers::forwarded::{self, ClientOrigin};
use crate::headers::lines::Lines;
use crate::headers::names::{ContextHeader, Names, SIGNATURE, SIGNATURE_INPUT};
use crate::headers::render::{self, ContextHeaders, RenderInput};
use crate::reason::Reason;
use jwt::{Digests, Statement};
use keyring::{KeyError, Keyring};
use message::Message;
pub use prepared::Shelf;
use prepared::{Place, Positions, Prepared, Sheet};

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
    /// Where prepared contexts are kept for reuse.
    pub shelf: Arc<Shelf>,
    /// Tells this upstream from the others on the same shelf.
    pub number: u64,
    /// Largest sum of names and values of context headers and signatures, in bytes.
    pub budget: usize,
}

/// Default life of a message signature (DESIGN section 8).
pub const MESSAGE_LIFETIME: Duration = Duration::from_secs(30);
/// Default life of a token (DESIGN section 8).
pub const JWT_LIFETIME: Duration = Duration::from_mins(1);
/// Default size of the shelf of prepared contexts: some 110,000 of them. What does not fit is signed anew.
pub const SHELF_BYTES: u64 = 256 * 1024 * 1024;
/// What a request usually adds to its context, in bytes.
const USUAL_BYTES: usize = 2048;
/// The longest that a context without a token stays prepared.
const LONGEST: Duration = Duration::from_mins(5);

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
    shelf: Arc<Shelf>,
    number: u64,
    /// Maps of names by which names there are; as many as there are kinds of contexts.
    sheets: Mutex<HashMap<Vec<HeaderName>, Arc<Sheet>>>,
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
        let tokens = if settings.jwt {
            let (keys, lifetime) = (&settings.token_keys, settings.jwt_lifetime);
            let maker = jwt::TokenMaker::new(keys, &settings.issuer, upstream, lifetime);
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
            shelf: Arc::clone(&settings.shelf),
            number: settings.number,
            sheets: Mutex::default(),
        })
    }

    /// Writes all headers of ours for one request behind `head`: `Host`, context, token and message signature, and beside
    /// them, not signed, where it came `from`. `outgoing` is the request as it will be sent; nothing that is covered may
    /// change afterwards. Can be repeated for each attempt.
    ///
    /// # Errors
    /// `CannotSign` when no key may sign, the session has ended, a session is claimed and no context given, or the
    /// request cannot be written down; `ContextTooLarge` over the byte budget. The request must not be forwarded then.
    pub fn lines(
        &self,
        head: Vec<u8>,
        outgoing: &Outgoing<'_>,
        input: &RenderInput<'_>,
        from: Option<&ClientOrigin>,
        now: Timestamp,
    ) -> Result<Lines, Reason> {
        let request = self.request(outgoing, input, now)?;
        let mut lines = Lines::behind(head);
        lines.write(&HOST, |value| value.extend_from_slice(outgoing.authority.as_bytes()))?;
        lines.take_over(request.prepared.lines());
        self.complete(&request, from, &mut lines)?;
        Ok(lines)
    }

    /// The same as a map, with room for more.
    ///
    /// # Errors
    /// As [`Self::lines`].
    pub fn map(
        &self,
        outgoing: &Outgoing<'_>,
        input: &RenderInput<'_>,
        from: Option<&ClientOrigin>,
        now: Timestamp,
    ) -> Result<HeaderMap, Reason> {
        let request = self.request(outgoing, input, now)?;
        let host = HeaderValue::from_str(outgoing.authority).map_err(|_| Reason::CannotSign)?;
        let mut lines = Lines::apart(USUAL_BYTES);
        self.complete(&request, from, &mut lines)?;
        let (_, rest) = lines.into_slices()?;
        Ok(request.prepared.headers(host, rest))
    }

    fn request<'a>(
        &self,
        outgoing: &'a Outgoing<'a>,
        input: &RenderInput<'a>,
        now: Timestamp,
    ) -> Result<OneRequest<'a>, Reason> {
        let own = render::of_request(&self.names, input)?;
        let digests = Digests::of(&own, &self.names);
        let statement = Statement { authn: input.authn, identity: input.identity(), digests };
        let prepared = self.prepared(statement, now)?;
        Ok(OneRequest { prepared, outgoing, own, id: input.request_id, now })
    }

    /// What is the same for every request with this context, kept or made now.
    fn prepared(&self, statement: Statement<'_>, now: Timestamp) -> Result<Arc<Prepared>, Reason> {
        let Statement { authn, identity, digests } = statement;
        if identity.is_some_and(|context| context.session.expires <= now) {
            return Err(Reason::CannotSign);
        }
        if authn == Authn::Session && identity.is_none() {
            return Err(Reason::CannotSign);
        }
        let keys = Positions {
            message: self.message.as_ref().map(|signer| signer.key_at(now)).transpose()?,
            token: self.tokens.as_ref().map(|tokens| tokens.key_at(now)).transpose()?,
        };
        let place = Place::new(self.number, &statement);
        if let Some(prepared) = self.shelf.find(place, (identity, digests), keys, now) {
            return Ok(prepared);
        }
        let token = match (&self.tokens, keys.token) {
            (Some(tokens), Some(key)) => Some(tokens.make(&self.token_keys, key, statement, now)?),
            _ => None,
        };
        let prepared = Arc::new(self.prepare(statement, keys, token, now)?);
        self.shelf.keep(place, Arc::clone(&prepared));
        Ok(prepared)
    }

    fn prepare(
        &self,
        Statement { authn, identity, digests }: Statement<'_>,
        keys: Positions,
        token: Option<jwt::Token>,
        now: Timestamp,
    ) -> Result<Prepared, Reason> {
        let mut headers = render::of_context(&self.names, authn, identity)?;
        let mut until = now.plus(LONGEST);
        if let Some(token) = token {
            headers.push((self.names.of(ContextHeader::Jwt).clone(), token.value));
            until = token.reuse_until;
        }
        let begun = match (&self.message, keys.message) {
            (Some(signer), Some(key)) => Some(signer.begin(key, &headers)),
            _ => None,
        };
        let sheet = self.sheet(&headers);
        Prepared::new(&headers, sheet, begun, (identity, digests), keys, (now, until))
    }

    fn sheet(&self, headers: &ContextHeaders) -> Arc<Sheet> {
        let names = headers.iter().map(|(name, _)| name.clone()).collect();
        let mut sheets = self.sheets.lock();
        let new = |names: &Vec<HeaderName>| {
            let request_id = std::iter::once(self.names.of(ContextHeader::RequestId).clone());
            let signature = self.message.iter().flat_map(|_| [SIGNATURE_INPUT, SIGNATURE]);
            Arc::new(Sheet::new(names.iter(), request_id.chain(signature).chain(forwarded::REBUILT)))
        };
        Arc::clone(sheets.entry(names).or_insert_with_key(new))
    }

    /// Writes what only this request has, its signature, and where it came from.
    fn complete(
        &self,
        request: &OneRequest<'_>,
        from: Option<&ClientOrigin>,
        lines: &mut Lines,
    ) -> Result<(), Reason> {
        let OneRequest { prepared, outgoing, own, id, now } = request;
        let before = lines.size();
        for (name, value) in own {
            lines.put(name, value);
        }
        if let (Some(signer), Some(begun)) = (&self.message, &prepared.begun) {
            let message = Message { outgoing, headers: own, request_id: id, now: *now };
            signer.sign(begun, prepared.covered(), &self.message_keys, &message, lines)?;
        }
        if prepared.size + lines.size() - before > self.budget {
            return Err(Reason::ContextTooLarge);
        }
        from.map_or(Ok(()), |origin| forwarded::rebuild(origin, lines))
    }
}

/// A request whose context is prepared.
struct OneRequest<'a> {
    prepared: Arc<Prepared>,
    outgoing: &'a Outgoing<'a>,
    /// Context headers that only it has.
    own: ContextHeaders,
    id: &'a str,
    now: Timestamp,
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
