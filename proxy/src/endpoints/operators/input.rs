//! What operators send, parsed once: the resource in the path, the parameters of the query, a JSON body, the cursor of a
//! page. Bounded work, and no byte of it is echoed.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use super::problem::{Fault, Problem};
use crate::clock::Timestamp;
use crate::context::{PlatformId, SessionId, UserId};
use crate::lifecycle::operators::Stale;

/// Entries of a page, when nobody says.
const USUAL_LIMIT: u32 = 50;
/// The most entries of a page.
pub(super) const LARGEST_LIMIT: u32 = 200;

/// What a path below `/v1/` names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Resource {
    /// `status`
    Status,
    /// `overview`
    Overview,
    /// `config`
    Config,
    /// `sessions`
    Sessions,
    /// `sessions/{id or its beginning}`
    Session(String),
    /// `users/{id}/sessions`
    UserSessions(UserId),
    /// `platforms/{id}/clear`
    ClearPlatform(PlatformId),
    /// `.../invalidate`
    Invalidate(Stale),
    /// `audit`
    Audit,
    /// `explain`
    Explain,
    /// `test-session`
    TestSession,
    /// `openapi.json`
    Description,
}

impl Resource {
    /// Reads what follows `/v1/`.
    pub(super) fn parse(path: &str) -> Result<Self, Problem> {
        let segments: Option<Vec<String>> = path.split('/').map(decoded).collect();
        let segments = segments.ok_or(Fault::InvalidParameter)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        Ok(match segments.as_slice() {
            ["status"] => Self::Status,
            ["overview"] => Self::Overview,
            ["config"] => Self::Config,
            ["sessions"] => Self::Sessions,
            ["sessions", id] => Self::Session((*id).to_owned()),
            ["users", user, "sessions"] => Self::UserSessions(id(user)?),
            ["users", user, "invalidate"] => Self::Invalidate(Stale::User(id(user)?)),
            ["users", user, "settings", platform, "invalidate"] => {
                Self::Invalidate(Stale::Settings(id(user)?, id(platform)?))
            }
            ["users", user, "stats", platform, "invalidate"] => {
                Self::Invalidate(Stale::Stats(id(user)?, id(platform)?))
            }
            ["platforms", platform, "clear"] => Self::ClearPlatform(id(platform)?),
            ["platforms", platform, "invalidate"] => Self::Invalidate(Stale::Platform(id(platform)?)),
            ["audit"] => Self::Audit,
            ["explain"] => Self::Explain,
            ["test-session"] => Self::TestSession,
            ["openapi.json"] => Self::Description,
            _ => return Err(Fault::NotThere.into()),
        })
    }

    /// The methods that are served there, as `Allow` lists them.
    pub(super) const fn methods(&self) -> &'static str {
        match self {
            Self::Status | Self::Overview | Self::Config | Self::Audit | Self::Description => "GET, HEAD",
            Self::Sessions => "GET, HEAD, POST",
            Self::Session(_) | Self::UserSessions(_) => "GET, HEAD, DELETE",
            Self::ClearPlatform(_) | Self::Invalidate(_) | Self::Explain | Self::TestSession => "POST",
        }
    }

    /// Whether `method` is served there.
    pub(super) fn serves(&self, method: &Method) -> bool {
        self.methods().split(", ").any(|served| served == method.as_str())
    }
}

fn decoded(segment: &str) -> Option<String> {
    percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

fn id<T: std::str::FromStr>(text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|_| Fault::InvalidParameter.because("an id has 1 to 128 bytes without control characters"))
}

/// The parameters of a query. Whatever is not asked for is refused: a misspelled filter must not list everything.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Parameters {
    pub(super) user: Option<UserId>,
    pub(super) since: Option<Timestamp>,
    pub(super) cursor: Option<String>,
    pub(super) limit: Option<u32>,
}

impl Parameters {
    /// Reads a query, of which only the parameters in `known` may occur, each once.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        let mut parameters = Self::default();
        let mut seen = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&&*name) || seen.contains(&name) {
                return Err(Fault::InvalidParameter.because("a parameter is unknown here, or given twice"));
            }
            match &*name {
                "user" => parameters.user = Some(id(&value)?),
                "since" => parameters.since = Some(moment(&value)?),
                "cursor" => parameters.cursor = Some(value.into_owned()),
                _ => parameters.limit = Some(limit(&value)?),
            }
            seen.push(name);
        }
        Ok(parameters)
    }

    /// How many entries a page has.
    pub(super) fn page(&self) -> u32 {
        self.limit.unwrap_or(USUAL_LIMIT)
    }

    /// Where the page begins: a moment and whatever tells apart what happened at it.
    pub(super) fn after<T: std::str::FromStr>(&self) -> Result<Option<(Timestamp, T)>, Problem> {
        let Some(cursor) = &self.cursor else { return Ok(None) };
        let read = || {
            let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
            let (at, rest) = text.split_once('.')?;
            Some((Timestamp::from_millis(at.parse().ok()?), rest.parse().ok()?))
        };
        let problem = Fault::InvalidParameter.because("`cursor` is not one that a page before has given");
        read().map(Some).ok_or(problem)
    }
}

/// The cursor of the page behind this entry.
pub(super) fn cursor(at: Timestamp, rest: impl std::fmt::Display) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}.{rest}", at.as_millis()))
}

fn limit(text: &str) -> Result<u32, Problem> {
    let number = text.parse().ok().filter(|number| (1..=LARGEST_LIMIT).contains(number));
    number.ok_or(Fault::InvalidParameter.because("`limit` is a number from 1 to 200"))
}

fn moment(text: &str) -> Result<Timestamp, Problem> {
    let time = humantime::parse_rfc3339_weak(text).ok();
    let since_epoch = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    let millis = since_epoch.and_then(|span| u64::try_from(span.as_millis()).ok());
    let problem = Fault::InvalidParameter.because("`since` is a moment as RFC 3339 writes it, in UTC");
    millis.map(Timestamp::from_millis).ok_or(problem)
}

/// Whether a request says that its body is anything but JSON. A form of another site can send neither this type nor any
/// body of it without asking first (THREATS O2), so this holds where no body is looked at as well.
pub(super) fn is_of_another_type(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_TYPE).iter().map(HeaderValue::as_bytes).any(|kind| {
        let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        !kind.eq_ignore_ascii_case(b"application/json")
    })
}

/// The body as JSON of a documented form.
pub(super) fn body<T: DeserializeOwned>(headers: &HeaderMap, body: &Bytes) -> Result<T, Problem> {
    if !headers.contains_key(header::CONTENT_TYPE) || is_of_another_type(headers) {
        return Err(Fault::NotJson.into());
    }
    match serde_json::from_slice(body) {
        Ok(value) => Ok(value),
        // serde's own text is left out: it quotes what was sent.
        Err(error) if error.is_data() => Err(Fault::InvalidBody.into()),
        Err(_) => Err(Fault::MalformedJson.into()),
    }
}

/// A session's id or the beginning of one is a text; anything longer is neither.
pub(super) fn is_plausible(id: &str) -> bool {
    id.len() <= SessionId::of_token(b"").to_string().len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_name_resources_and_ids_may_hold_anything() {
        let user = |text: &str| text.parse::<UserId>().unwrap();
        for (path, resource) in [
            ("status", Some(Resource::Status)),
            ("sessions", Some(Resource::Sessions)),
            ("sessions/abc", Some(Resource::Session("abc".to_owned()))),
            ("users/a%2Fb/sessions", Some(Resource::UserSessions(user("a/b")))),
            ("users/a%25b/invalidate", Some(Resource::Invalidate(Stale::User(user("a%b"))))),
            (
                "users/1/settings/2/invalidate",
                Some(Resource::Invalidate(Stale::Settings(user("1"), "2".parse().unwrap()))),
            ),
            ("platforms/7/clear", Some(Resource::ClearPlatform("7".parse().unwrap()))),
            ("users//sessions", None),
            ("users/%00/sessions", None),
            ("users/%FF/sessions", None),
            ("users/1/sessions/", None),
            ("", None),
            ("sessions/a/b", None),
        ] {
            assert_eq!(Resource::parse(path).ok(), resource, "{path}");
        }
    }

    #[test]
    fn a_query_is_read_strictly() {
        let known = ["user", "since", "cursor", "limit"];
        let read = |query| Parameters::parse(Some(query), &known);
        let full = read("user=a%20b&limit=7&since=2026-11-21T06:00:00Z").unwrap();
        assert_eq!(full.user, Some("a b".parse().unwrap()));
        assert_eq!((full.page(), full.since), (7, Some(Timestamp::from_secs(1_795_240_800))));
        for bad in ["limit=0", "limit=201", "limit=x", "limit=1&limit=2", "usr=1", "user=", "since=yesterday"]
        {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert!(Parameters::parse(Some("user=1"), &["limit"]).is_err());
        assert!(Parameters::parse(None, &[]).is_ok());
    }

    #[test]
    fn a_cursor_leads_back_and_a_foreign_one_is_refused() {
        let id = SessionId::of_token(b"x");
        let at = Timestamp::from_millis(1_795_241_600_123);
        let given = Parameters { cursor: Some(cursor(at, id)), ..Parameters::default() };
        assert_eq!(given.after::<SessionId>(), Ok(Some((at, id))));
        for foreign in ["", "!", "MTIz", "LjE", "MS4"] {
            let given = Parameters { cursor: Some(foreign.to_owned()), ..Parameters::default() };
            assert!(given.after::<u64>().is_err(), "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_panics(path in ".{0,80}", query in ".{0,80}", sent in ".{0,80}") {
            let _ = Resource::parse(&path);
            let read = Parameters::parse(Some(&query), &["user", "since", "cursor", "limit"]);
            if let Ok(read) = read {
                let _ = read.after::<u64>();
            }
            let json = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
            let _ = body::<serde_json::Value>(&json, &Bytes::from(sent.into_bytes()));
        }
    }
}
