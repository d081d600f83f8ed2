//! The seam for session formats: how a request's claim to a session is read. Nothing outside may assume the native
//! token; formats of other frameworks are described in `formats`.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use super::cookie::{self, Presented};
use super::token::{SessionToken, TokenKeys};
use crate::context::SessionId;
use crate::formats::table::Query;
use crate::formats::{Claimed, Format, Refusal};
use crate::reason::Reason;
use crate::secret::Secret;

/// What a request claims about its session, before any store was asked.
#[derive(Clone, Debug)]
pub enum Claim {
    /// There is no session cookie, or it cannot be one; the reason says which.
    Nobody(Reason),
    /// A well-formed claim to this session.
    Session(SessionId),
    /// Claims of which some are to sessions of other frameworks, in the order in which they are believed.
    Candidates(Arc<[Candidate]>),
}

/// One of several claims.
#[derive(Clone, Debug)]
pub enum Candidate {
    /// To a session of ours.
    Native(SessionId),
    /// To a session of another framework, and how that is read.
    Foreign(Arc<Format>, Claimed),
}

/// What is left of another framework's session when it was ended through us.
#[derive(Clone, Debug)]
pub struct Remains {
    /// Where it lies, where it may be deleted.
    pub records: Vec<Record>,
    /// The names of its cookies, in the browser.
    pub cookies: Vec<String>,
}

/// Where a session of another framework lies.
#[derive(Clone, Debug)]
pub enum Record {
    /// Under this key of the store.
    Store(Secret),
    /// In the table of this query, under this key.
    Table(Arc<Query>, Secret),
}

impl Record {
    fn all(format: &Format, claimed: &Claimed) -> Vec<Self> {
        let mut records = Vec::new();
        if let (Some(table), Some(row)) = (&format.table, &claimed.row) {
            records.push(Self::Table(Arc::clone(&table.query), row.clone()));
        }
        // Last: an application that loses it looks for the row.
        if format.is_in_store() {
            records.push(Self::Store(claimed.key.clone()));
        }
        records
    }
}

impl Claim {
    /// The sessions of other frameworks that are claimed.
    pub fn foreign(&self) -> impl Iterator<Item = ForeignClaim<'_>> {
        let candidates = match self {
            Self::Candidates(candidates) => &candidates[..],
            _ => &[],
        };
        candidates.iter().filter_map(|candidate| match candidate {
            Candidate::Foreign(format, claimed) => Some((&claimed.session, format.as_ref())),
            Candidate::Native(_) => None,
        })
    }

    /// What would be left of this session; `None` when it is not one of another framework.
    #[must_use]
    pub fn remains(&self, id: &SessionId) -> Option<Remains> {
        let Self::Candidates(candidates) = self else { return None };
        candidates.iter().find_map(|candidate| match candidate {
            Candidate::Foreign(format, claimed) if claimed.session == *id => Some(Remains {
                records: if format.delete_on_logout { Record::all(format, claimed) } else { Vec::new() },
                cookies: [Some(format.cookie.clone()), format.signature_cookie()]
                    .into_iter()
                    .flatten()
                    .collect(),
            }),
            _ => None,
        })
    }
}

/// What one format makes of the cookies of a request.
#[derive(Debug)]
pub struct Reading {
    /// The name of its cookie.
    pub cookie: String,
    /// The format; `None` is our own.
    pub format: Option<Arc<Format>>,
    /// The claim, or why there is none.
    pub claim: Result<Candidate, Why>,
}

/// Why a format sees no claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// There is no such cookie, there are several, or it is not one of ours.
    Cookie(Reason),
    /// It is not one of the framework's.
    Refused(Refusal),
}

/// Another framework's session that a request claims, with the names of its cookies.
pub type ForeignClaim<'a> = (&'a SessionId, &'a Format);

impl Why {
    const fn reason(self) -> Reason {
        match self {
            Self::Cookie(reason) => reason,
            Self::Refused(Refusal::Unsigned | Refusal::Forged) => Reason::ForgedToken,
            Self::Refused(_) => Reason::MalformedCookie,
        }
    }
}

/// How sessions are claimed.
#[derive(Clone, Debug)]
pub enum Profile {
    /// Our own tokens.
    Native {
        /// Name of the cookie.
        cookie: String,
        /// Token keys.
        keys: TokenKeys,
    },
    /// Several formats, in the order in which they are tried.
    Several(Vec<Source>),
}

/// One of several formats.
#[derive(Clone, Debug)]
pub enum Source {
    /// Our own tokens.
    Native {
        /// Name of the cookie.
        cookie: String,
        /// Token keys.
        keys: TokenKeys,
    },
    /// Sessions of another framework.
    Foreign(Arc<Format>),
}

impl Profile {
    /// Reads the claim of a request. Pure: no I/O, no clock, nothing counted.
    pub fn claim(&self, headers: &HeaderMap) -> Claim {
        match self {
            Self::Native { cookie, keys } => match native(headers, cookie, keys) {
                Ok(id) => Claim::Session(id),
                Err(reason) => Claim::Nobody(reason),
            },
            Self::Several(sources) => several(headers, sources),
        }
    }

    /// The formats of other frameworks.
    pub fn foreign(&self) -> impl Iterator<Item = &Arc<Format>> {
        let sources = match self {
            Self::Several(sources) => sources.as_slice(),
            Self::Native { .. } => &[],
        };
        sources.iter().filter_map(|source| match source {
            Source::Foreign(format) => Some(format),
            Source::Native { .. } => None,
        })
    }

    /// Whether sessions of other frameworks are among them.
    #[must_use]
    pub fn reads_foreign(&self) -> bool {
        self.foreign().next().is_some()
    }

    /// What each format makes of the cookies, for a person who asks why. Requests go through [`Self::claim`].
    pub fn each(&self, headers: &HeaderMap) -> Vec<Reading> {
        let sources = match self {
            Self::Native { .. } => return Vec::new(),
            Self::Several(sources) => sources,
        };
        let reading = |source: &Source| match source {
            Source::Native { cookie, keys } => Reading {
                cookie: cookie.clone(),
                format: None,
                claim: native(headers, cookie, keys).map(Candidate::Native).map_err(Why::Cookie),
            },
            Source::Foreign(format) => Reading {
                cookie: format.cookie.clone(),
                format: Some(Arc::clone(format)),
                claim: foreign(headers, format)
                    .map(|claimed| Candidate::Foreign(Arc::clone(format), claimed)),
            },
        };
        sources.iter().map(reading).collect()
    }

    /// Whether sessions of our own are read at all.
    pub fn reads_own(&self) -> bool {
        match self {
            Self::Native { .. } => true,
            Self::Several(sources) => sources.iter().any(|source| matches!(source, Source::Native { .. })),
        }
    }

    /// The `Cookie` field for the application: without our token, and with at most one cookie of each framework's
    /// session. Which one an application would take of two is not for it to choose: none is left of two that differ.
    pub fn forwarded(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let sources = match self {
            Self::Native { cookie, .. } => return cookie::without(headers, cookie),
            Self::Several(sources) => sources,
        };
        let takes_part = |own: &[u8], whole: &[u8], again| {
            own == cookie::ADMIN.as_bytes() || sources.iter().any(|source| source.meddles(own, whole, again))
        };
        match cookie::untouched(headers, takes_part) {
            // Nearly always: the application's own session, once.
            Some(field) => Some(field.clone()),
            None => picked(headers, sources),
        }
    }
}

impl Source {
    /// Whether a cookie of this name, `again` when it is not the first one of its name, may not simply be passed on as
    /// the `whole` of it stands.
    fn meddles(&self, own: &[u8], whole: &[u8], again: bool) -> bool {
        match self {
            Self::Native { cookie, .. } => own == cookie.as_bytes(),
            Self::Foreign(format) => {
                let is_one = |name: &str| {
                    (again && own == name.as_bytes())
                        || format.spelling.confuses(own, name)
                        || format.spelling.hides(whole, name)
                };
                is_one(&format.cookie) || format.signature_cookie().is_some_and(|name| is_one(&name))
            }
        }
    }
}

/// All cookies but ours, with at most one of each framework's session.
fn picked(headers: &HeaderMap, sources: &[Source]) -> Option<HeaderValue> {
    let mut singles = Vec::new();
    let mut gone = Vec::new();
    for source in sources {
        match source {
            Source::Native { cookie, .. } => gone.push((cookie.clone(), None)),
            Source::Foreign(format) => {
                for name in [Some(format.cookie.clone()), format.signature_cookie()].into_iter().flatten() {
                    match written(headers, format, &name) {
                        Ok(_) => singles.push((name, false)),
                        Err(_) => gone.push((name, Some(format))),
                    }
                }
            }
        }
    }
    cookie::without_named(headers, |own, whole| {
        let is_gone = own == cookie::ADMIN.as_bytes()
            || gone.iter().any(|(name, format)| {
                let is_read = |format: &Arc<Format>| {
                    format.spelling.confuses(own, name) || format.spelling.hides(whole, name)
                };
                own == name.as_bytes() || format.is_some_and(is_read)
            });
        let mut is_again = false;
        for (name, seen) in singles.iter_mut().filter(|(name, _)| own == name.as_bytes()) {
            is_again |= std::mem::replace(seen, true) && !name.is_empty();
        }
        is_gone || is_again
    })
}

fn native(headers: &HeaderMap, cookie: &str, keys: &TokenKeys) -> Result<SessionId, Reason> {
    match cookie::find(headers, cookie) {
        Presented::Nothing => Err(Reason::NoCookie),
        Presented::Conflicting => Err(Reason::ConflictingCookies),
        Presented::Excessive => Err(Reason::MalformedCookie),
        Presented::One(value) => SessionToken::parse(value, keys).map(|token| token.id()),
    }
}

/// All claims that are genuine. If there is none, the reason of the first cookie that there is.
fn several(headers: &HeaderMap, sources: &[Source]) -> Claim {
    let mut candidates = Vec::new();
    let mut reason = Reason::NoCookie;
    for source in sources {
        let candidate = match source {
            Source::Native { cookie, keys } => native(headers, cookie, keys).map(Candidate::Native),
            Source::Foreign(format) => {
                let claimed = foreign(headers, format).map_err(Why::reason);
                claimed.map(|claimed| Candidate::Foreign(Arc::clone(format), claimed))
            }
        };
        match candidate {
            Ok(candidate) => candidates.push(candidate),
            // Whatever another cookie says: the application may take either of the two.
            Err(Reason::ConflictingCookies) => return Claim::Nobody(Reason::ConflictingCookies),
            Err(why) if reason == Reason::NoCookie => reason = why,
            Err(_) => {}
        }
    }
    if candidates.is_empty() { Claim::Nobody(reason) } else { Claim::Candidates(candidates.into()) }
}

fn foreign(headers: &HeaderMap, format: &Format) -> Result<Claimed, Why> {
    let cookie = written(headers, format, &format.cookie).map_err(Why::Cookie)?;
    let cookie = cookie.ok_or(Why::Cookie(Reason::NoCookie))?;
    let signature = match format.signature_cookie() {
        Some(name) => written(headers, format, &name).map_err(Why::Cookie)?,
        None => None,
    };
    format.claim(cookie, signature).map_err(Why::Refused)
}

fn written<'a>(
    headers: &'a HeaderMap,
    format: &Format,
    name: &str,
) -> Result<Option<crate::formats::spelling::Written<'a>>, Reason> {
    cookie::find_written(headers, name, format.spelling)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::COOKIE;

    use super::*;
    use crate::formats::preset::{Kind, Options};
    use crate::keys::Key;

    fn keys() -> Vec<Key> {
        vec![Key { id: "k".to_owned(), secret: Secret::new(vec![7; 32]) }]
    }

    fn profile() -> Profile {
        Profile::Native { cookie: "sid".to_owned(), keys: keys().as_slice().into() }
    }

    fn claim(cookie: &str) -> Claim {
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(cookie).unwrap())]);
        profile().claim(&headers)
    }

    #[test]
    fn a_genuine_token_claims_its_session() {
        let token = SessionToken::mint(&keys());
        let claimed = claim(&format!("a=1; sid={}", token.expose()));
        assert!(matches!(claimed, Claim::Session(id) if id == token.id()));
    }

    #[test]
    fn what_is_passed_on_as_it_stands_is_what_would_have_been_picked() {
        let options = || Options { secrets: vec![Secret::new(b"secret".to_vec())], ..Options::default() };
        let foreign = |kind: Kind| Source::Foreign(Arc::new(kind.format(options()).unwrap()));
        let native = Source::Native { cookie: "sid".to_owned(), keys: keys().as_slice().into() };
        let kinds = [Kind::Express, Kind::Koa, Kind::Php, Kind::Aiohttp];
        let sources: Vec<_> = std::iter::once(native).chain(kinds.map(foreign)).collect();
        let profile = Profile::Several(sources.clone());
        let pieces = [
            "a=1",
            " a=1",
            "sid=x",
            "connect.sid=x",
            " connect.sid=x",
            "connect.sid=y",
            "connect%2Esid=x",
            "",
            " ",
            "=",
            "connect.sid",
            "AIOHTTP_SESSION=x",
            "a=1 AIOHTTP_SESSION=y",
        ];
        for number in 0..pieces.len().pow(3) {
            let of = |place: u32| pieces[number / pieces.len().pow(place) % pieces.len()];
            let together = [of(0), of(1), of(2)].join(";");
            let apart = [
                (COOKIE, HeaderValue::from_str(of(0)).unwrap()),
                (COOKIE, HeaderValue::from_str(of(1)).unwrap()),
            ];
            let one = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&together).unwrap())]);
            let two: HeaderMap = apart.into_iter().fold(HeaderMap::new(), |mut all, (name, value)| {
                all.append(name, value);
                all
            });
            for headers in [one, two] {
                assert_eq!(profile.forwarded(&headers), picked(&headers, &sources), "{headers:?}");
            }
        }
    }

    #[test]
    fn a_session_behind_white_space_in_another_cookie_is_a_second_one_where_it_is_read() {
        let profile = |kind: Kind| {
            let options = Options { secrets: vec![Secret::new(b"secret".to_vec())], ..Options::default() };
            Profile::Several(vec![Source::Foreign(Arc::new(kind.format(options).unwrap()))])
        };
        let id = "0123456789abcdef0123456789abcdef";
        for other in ["theme=dark AIOHTTP_SESSION=b", "x=\"1\"\tAIOHTTP_SESSION =b", "x AIOHTTP_SESSION=b"] {
            let cookie = format!("AIOHTTP_SESSION={id}; {other}; a=1");
            let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&cookie).unwrap())]);
            let claim = profile(Kind::Aiohttp).claim(&headers);
            assert!(matches!(claim, Claim::Nobody(Reason::ConflictingCookies)), "{cookie}: {claim:?}");
            assert_eq!(profile(Kind::Aiohttp).forwarded(&headers).unwrap(), "a=1", "{cookie}");
        }
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_static("a=1; countersign-admin=x"))]);
        assert_eq!(profile(Kind::Aiohttp).forwarded(&headers).unwrap(), "a=1");
        let kept = format!("AIOHTTP_SESSION={id}; theme=dark AIOHTTP_SESSIONS=b");
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_str(&kept).unwrap())]);
        assert!(matches!(profile(Kind::Aiohttp).claim(&headers), Claim::Candidates(_)));
        assert_eq!(profile(Kind::Aiohttp).forwarded(&headers).unwrap(), kept);
        let twice = HeaderMap::from_iter([(
            COOKIE,
            HeaderValue::from_static("PHPSESSID; PHPSESSID=0123456789abcdef0123456789"),
        )]);
        assert!(matches!(profile(Kind::Php).claim(&twice), Claim::Nobody(Reason::ConflictingCookies)));
    }

    #[test]
    fn every_other_cookie_is_nobody_with_a_reason_of_its_own() {
        let nobody = |cookie: &str| match claim(cookie) {
            Claim::Nobody(reason) => reason,
            other => panic!("{cookie}: {other:?}"),
        };
        assert!(matches!(profile().claim(&HeaderMap::new()), Claim::Nobody(Reason::NoCookie)));
        assert_eq!(nobody("sidd=1"), Reason::NoCookie);
        assert_eq!(nobody("sid="), Reason::MalformedCookie);
        assert_eq!(nobody("sid=.eJwlzjEOwjAM"), Reason::MalformedCookie);
        assert_eq!(nobody("sid=a; sid=b"), Reason::ConflictingCookies);
        let forged = "A".repeat(43);
        assert_eq!(nobody(&format!("sid={forged}")), Reason::ForgedToken);
    }
}
