//! What is the same for every request with one context to one upstream, made once: header values, the token, and the
//! beginning of the signature. Kept in a cache bounded in bytes; used only for exactly the context and the keys that it
//! was made of, and never longer than its token may be reused.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::jwt::{Digests, Statement};
use super::message::{self, Begun};
use crate::clock::Timestamp;
use crate::context::{Context, Platform, Session, User};
use crate::headers::lines::{Fields, Lines};
use crate::headers::render::{self, ContextHeaders};
use crate::reason::Reason;

/// Room in a header map for what is added to the headers of one context: those of the request and the client's own.
const ROOM: usize = 32;
/// What a context usually takes here (measured: 2.2 KiB with a token).
const USUAL_BYTES: usize = 2048;
/// What the cache adds to an entry, and the allocator to its four allocations.
const BOOKKEEPING: usize = 83 + 4 * 16;

/// Prepared contexts of all upstreams under one configuration; dropped with it.
pub struct Shelf {
    cache: Cache<Place, Arc<Prepared>, Bytewise>,
}

/// Where a prepared context is looked up: one number, so that little memory is looked at. Two contexts that meet are made
/// anew in turn; [`Prepared::serves`] compares what they are made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Place(u64);

/// The headers of one context for one upstream.
pub(super) struct Prepared {
    made_of: Option<Identity>,
    digests: Digests,
    keys: Positions,
    made: Timestamp,
    serves_until: Timestamp,
    /// Names without values, shared by all contexts that send the same ones.
    sheet: Arc<Sheet>,
    /// The headers as the lines of HTTP/1.1.
    lines: Bytes,
    /// The values, in the order of the names; slices of the lines.
    values: Box<[HeaderValue]>,
    /// Names and values, for the budget.
    pub(super) size: usize,
    /// The beginning of the message signature, if one is sent.
    pub(super) begun: Option<Begun>,
}

/// Which keys of the keyrings signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Positions {
    pub(super) message: Option<usize>,
    pub(super) token: Option<usize>,
}

/// Everything that headers and claims are made of. Contexts from a cache are the same allocations, which `Arc` sees
/// before it compares what is in them.
#[derive(PartialEq, Eq)]
struct Identity {
    session: Arc<Session>,
    user: Arc<User>,
    platform: Option<Arc<Platform>>,
}

impl Shelf {
    /// Room for prepared contexts of `bytes` together.
    #[must_use]
    pub fn new(bytes: u64) -> Self {
        let usual = usize::try_from(bytes).unwrap_or(usize::MAX) / USUAL_BYTES;
        Self { cache: Cache::with_weighter(usual.max(16), bytes, Bytewise) }
    }

    /// Drops what may not be used any more; once in a while, to give the memory back.
    pub fn sweep(&self, now: Timestamp) {
        self.cache.retain(|_, prepared| now < prepared.serves_until);
    }

    /// How many bytes are kept.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.cache.weight()
    }

    pub(super) fn find(
        &self,
        place: Place,
        identity: (Option<&Context>, Digests),
        keys: Positions,
        now: Timestamp,
    ) -> Option<Arc<Prepared>> {
        self.cache.get(&place).filter(|prepared| prepared.serves(identity, keys, now))
    }

    pub(super) fn keep(&self, place: Place, prepared: Arc<Prepared>) {
        self.cache.insert(place, prepared);
    }
}

impl fmt::Debug for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl Place {
    pub(super) fn new(upstream: u64, statement: &Statement<'_>) -> Self {
        let Statement { authn, identity, digests } = statement;
        let platform = identity.and_then(|context| context.platform.as_ref());
        let mut place = mixed(mixed(BASIS, upstream), *authn as u64);
        if let Some(context) = identity {
            // A quarter of it: it is a hash already, of a token that we made or a framework drew.
            let (quarters, _) = context.session.id.as_bytes().as_chunks::<8>();
            place = mixed(place, u64::from_ne_bytes(quarters[0]));
        }
        let platform = platform.map(|platform| platform.id.as_str().as_bytes());
        let digests =
            [&digests.settings, &digests.stats].map(|digest| digest.as_ref().map(<[u8; 32]>::as_slice));
        let bytes = platform.into_iter().chain(digests.into_iter().flatten()).flatten();
        Self(bytes.fold(place, |place, byte| mixed(place, u64::from(*byte))))
    }
}

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a, a number at a time.
const fn mixed(place: u64, number: u64) -> u64 {
    (place ^ number).wrapping_mul(0x0000_0100_0000_01b3)
}

impl Prepared {
    /// Packs `headers` for requests from `now` until `serves_until`.
    pub(super) fn new(
        headers: &ContextHeaders,
        sheet: Arc<Sheet>,
        begun: Option<Begun>,
        (identity, digests): (Option<&Context>, Digests),
        keys: Positions,
        life: (Timestamp, Timestamp),
    ) -> Result<Self, Reason> {
        let (lines, values) = packed(headers)?;
        Ok(Self {
            made_of: identity.map(|context| Identity {
                session: Arc::clone(&context.session),
                user: Arc::clone(&context.user),
                platform: context.platform.clone(),
            }),
            digests,
            keys,
            made: life.0,
            serves_until: life.1,
            sheet,
            lines,
            values,
            size: render::size(headers.iter().map(|(name, value)| (name, value))),
            begun,
        })
    }

    /// Whether this is for `identity` under `keys` at `now`. Invariant: everything that a header or a claim is made of
    /// is compared here, so two different contexts never share one.
    fn serves(
        &self,
        (identity, digests): (Option<&Context>, Digests),
        keys: Positions,
        now: Timestamp,
    ) -> bool {
        let same = match (&self.made_of, identity) {
            (None, None) => true,
            (Some(made_of), Some(context)) => {
                made_of.session == context.session
                    && made_of.user == context.user
                    && made_of.platform == context.platform
            }
            _ => false,
        };
        // A clock that was set back must not be given tokens from its future (THREATS G10).
        same && self.digests == digests && self.keys == keys && self.made <= now && now < self.serves_until
    }

    /// `host`, the headers, and behind them the `rest` that the request adds: its own context headers, the signature, and
    /// what is sent beside them. With room for more. The names' map is copied and filled by position: where `rest` is
    /// the usual one, nothing is hashed.
    pub(super) fn headers(&self, host: HeaderValue, rest: Fields) -> HeaderMap {
        let is_usual = rest.iter().map(|(name, _)| name).eq(&*self.sheet.rest);
        let mut headers = HeaderMap::clone(if is_usual { &self.sheet.whole } else { &self.sheet.context });
        let mut places = headers.values_mut();
        if let Some(place) = places.next() {
            *place = host;
        }
        for (value, place) in self.values.iter().zip(places.by_ref()) {
            place.clone_from(value);
        }
        if is_usual {
            for ((_, value), place) in rest.into_iter().zip(places) {
                *place = value;
            }
        } else {
            headers.extend(rest);
        }
        headers
    }

    /// How a signature lists the headers.
    pub(super) fn covered(&self) -> &[u8] {
        &self.sheet.covered
    }

    /// The headers as the lines of HTTP/1.1, without those that only one request has.
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }

    fn weight(&self) -> usize {
        let begun = self.begun.as_ref().map_or(0, Begun::weight);
        size_of::<Self>()
            + self.values.len() * size_of::<HeaderValue>()
            + self.lines.len()
            + begun
            + BOOKKEEPING
    }
}

/// What contexts share that have headers of the same names: maps of the names without values, `Host` first (RFC 9112,
/// section 3.2), with room for more, and how a signature lists them.
pub(super) struct Sheet {
    /// The names that a context has.
    context: HeaderMap,
    /// The names that nearly every request adds.
    rest: Box<[HeaderName]>,
    /// Both.
    whole: HeaderMap,
    covered: Box<[u8]>,
}

impl Sheet {
    /// A sheet for the headers of a context, and of requests that add `rest`.
    pub(super) fn new<'a>(
        context: impl Iterator<Item = &'a HeaderName> + Clone,
        rest: impl Iterator<Item = HeaderName>,
    ) -> Self {
        let empty = HeaderValue::from_static("");
        let mut names = HeaderMap::with_capacity(ROOM);
        names.append(HOST, empty.clone());
        let covered = message::covered(context.clone());
        for name in context {
            names.append(name, empty.clone());
        }
        names.reserve(ROOM);
        let rest: Box<[HeaderName]> = rest.collect();
        let mut whole = names.clone();
        for name in &rest {
            whole.append(name, empty.clone());
        }
        Self { context: names, rest, whole, covered }
    }
}

/// The headers as lines, and their values as slices of them.
fn packed(headers: &ContextHeaders) -> Result<(Bytes, Box<[HeaderValue]>), Reason> {
    let mut lines = Lines::apart(USUAL_BYTES);
    for (name, value) in headers {
        lines.put(name, value);
    }
    let (bytes, fields) = lines.into_slices()?;
    Ok((bytes, fields.into_iter().map(|(_, value)| value).collect()))
}

/// Weighs a prepared context with everything it holds.
#[derive(Clone)]
struct Bytewise;

impl Weighter<Place, Arc<Prepared>> for Bytewise {
    fn weight(&self, _: &Place, prepared: &Arc<Prepared>) -> u64 {
        prepared.weight() as u64
    }
}
