//! When a foreign session ends: what Redis says, and what the session itself says. The earlier of the two counts. Nothing
//! here makes a session last longer than its framework would.

use std::time::Duration;

use super::Refusal;
use super::locate::{self, Path, Unusable};
use super::value::Decoded;
use crate::clock::Timestamp;

/// Which field of a session says when it ends.
#[derive(Clone, Debug)]
pub enum Rule {
    /// None: the lifetime of the key is the truth. Express leaves an old `cookie.expires` behind on every request.
    Lifetime,
    /// None, but for a key that Redis would keep for ever: then the moment at this path, if there is one. What stands
    /// there is old once the session was renewed, so it counts for nothing else.
    Endless(Path),
    /// The moment at this path, if there is one.
    Moment(Path),
    /// The moment at this path, which has to be there.
    NeedsMoment(Path),
    /// The moment that the envelope around the session names, if it does.
    Envelope,
    /// So long after its last use, in seconds; a negative span never ends. Spring keeps the hash five minutes longer.
    Idle {
        /// The last use.
        last: Path,
        /// The span.
        span: Path,
    },
}

/// When a session ends.
#[derive(Clone, Debug)]
pub struct Expiry {
    /// Which field says so.
    pub rule: Rule,
    /// Accept a session that Redis would keep for ever, and that says nothing itself.
    pub endless: bool,
}

/// The end of a session that is accepted although it has none: the last second of the year 9999.
const NEVER: Timestamp = Timestamp::from_secs(253_402_300_799);

impl Expiry {
    /// The end of `session`, whose key ends at `key`.
    ///
    /// # Errors
    /// There is no end, or what says so cannot be used.
    pub fn end(&self, session: &Decoded, key: Option<Timestamp>) -> Result<Timestamp, Refusal> {
        let own = match &self.rule {
            Rule::Endless(path) if key.is_none() => moment(session, path)?,
            Rule::Lifetime | Rule::Endless(_) => None,
            Rule::Moment(path) => moment(session, path)?,
            Rule::NeedsMoment(path) => Some(moment(session, path)?.ok_or(Refusal::Unusable)?),
            Rule::Envelope => session.ends,
            Rule::Idle { last, span } => {
                let last = moment(session, last)?.ok_or(Refusal::Unusable)?;
                let span = locate::whole(session, span)?.ok_or(Refusal::Unusable)?;
                u64::try_from(span).ok().map(|seconds| last.plus(Duration::from_secs(seconds)))
            }
        };
        match (key, own) {
            (Some(key), own) => Ok(key.min(own.unwrap_or(NEVER))),
            (None, own) if self.endless => Ok(own.unwrap_or(NEVER).min(NEVER)),
            (None, _) => Err(Refusal::Endless),
        }
    }
}

fn moment(session: &Decoded, path: &Path) -> Result<Option<Timestamp>, Refusal> {
    Ok(locate::moment(session, std::slice::from_ref(path))?)
}

impl From<Unusable> for Refusal {
    fn from(unusable: Unusable) -> Self {
        match unusable {
            Unusable::NotOne => Self::Unusable,
            Unusable::Unreadable(error) => Self::Unreadable(error),
        }
    }
}
