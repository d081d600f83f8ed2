//! What a directory tells of changes that others make: a stream of news, with the moments when it begins and ends to be
//! complete. Payloads come from a channel that others can write to, so what cannot be read is passed over.

use std::fmt;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::context::{PlatformId, SessionId, UserId};

/// How many news wait for whoever reads them; beyond that the connection itself holds them back.
const ROOM: usize = 1024;

/// How much longer than others the changes of foreign sessions are listed: such a session lives for as long as its
/// application renews it, and what is ours about it for at least 31 days.
pub(super) const FOREIGN_KEPT: Duration = Duration::from_hours(31 * 24);

/// One record that changed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Changed {
    /// A user was written, changed or deleted.
    User(UserId),
    /// A platform was.
    Platform(PlatformId),
    /// Which platforms a user has, or which is the default.
    UserPlatforms(UserId),
    /// A user's settings for a platform.
    Settings(UserId, PlatformId),
    /// A session was changed or ended.
    Session(SessionId),
    /// A session that an application keeps in a table was.
    TableSession(SessionId),
    /// What is ours about a session of another framework was.
    ForeignSession(SessionId),
}

/// A place in the list of changes that a directory writes down. Its text form is for those who keep it for others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Place {
    /// The transaction, where the database numbers them; else 0.
    pub(super) transaction: i64,
    /// The number of the line.
    pub(super) line: i64,
}

/// A part of that list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// The changes, oldest first. What cannot be read is passed over, as it is when it is heard.
    pub changed: Vec<Changed>,
    /// Where the next part begins, if there is more.
    pub next: Option<Place>,
    /// Whatever was committed when this was asked lies before this place, and what is committed later does not. Before
    /// the place that was asked for, if the database was set back.
    pub horizon: Place,
}

impl Page {
    /// `lines` are the places and words found, of which `most` were asked for.
    pub(super) fn of(lines: &[(Place, String)], most: u32, horizon: Place) -> Self {
        let is_full = u32::try_from(lines.len()).is_ok_and(|found| found >= most);
        let next = lines.last().map(|(place, _)| *place).filter(|_| is_full);
        Self { changed: lines.iter().filter_map(|(_, what)| Changed::parse(what)).collect(), next, horizon }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.transaction, self.line)
    }
}

impl std::str::FromStr for Place {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (transaction, line) = text.split_once('/').unwrap_or((text, ""));
        Ok(Self { transaction: transaction.parse()?, line: line.parse()? })
    }
}

/// One piece of news.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// From now on every change is told, until `Lost`. What changed before was not.
    Listening,
    /// This has changed; what was read before may be old.
    Changed(Changed),
    /// Changes are not told any more.
    Lost,
}

/// The news of one directory, in order. Its task ends with it.
#[derive(Debug)]
pub struct Changes {
    receiver: mpsc::Receiver<News>,
    teller: JoinHandle<()>,
}

impl Changes {
    /// Starts `teller`, on the current tokio runtime.
    pub(super) fn told_by<F>(teller: impl FnOnce(mpsc::Sender<News>) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, receiver) = mpsc::channel(ROOM);
        Self { receiver, teller: tokio::spawn(teller(sender)) }
    }

    /// Waits for news and takes at most `most` of those that are there. Empty when there will be none any more, which
    /// is a fault of ours. Cancellation safe.
    pub async fn next(&mut self, most: usize) -> Vec<News> {
        let mut news = Vec::new();
        self.receiver.recv_many(&mut news, most).await;
        news
    }
}

impl Drop for Changes {
    fn drop(&mut self) {
        self.teller.abort();
    }
}

impl Changed {
    /// The foreign session that something of ours was written about.
    #[must_use]
    pub const fn foreign_session(&self) -> Option<SessionId> {
        match self {
            Self::ForeignSession(id) => Some(*id),
            _ => None,
        }
    }

    /// What the triggers would have written.
    pub(super) fn payload(&self) -> String {
        let part = |id: &str| id.replace('%', "%25").replace(':', "%3A");
        match self {
            Self::User(id) | Self::UserPlatforms(id) => format!("{self}:{id}"),
            Self::Platform(id) => format!("{self}:{id}"),
            Self::Settings(user, platform) => {
                format!("{self}:{}:{}", part(user.as_str()), part(platform.as_str()))
            }
            Self::Session(id) | Self::TableSession(id) | Self::ForeignSession(id) => format!("{self}:{id}"),
        }
    }

    /// Reads a payload (`migrations/postgres/0002_notify.up.sql`): `user:<id>`, `platform:<id>`, `user_platforms:<user>`,
    /// `settings:<user>:<platform>` with `%` and `:` in ids percent-encoded, `session:<id>`, `foreign_session:<id>`; and of
    /// existing schemas (`migrations/existing/tell.sql`) `table_session:<id>`.
    pub(super) fn parse(payload: &str) -> Option<Self> {
        let (kind, id) = payload.split_once(':')?;
        match kind {
            "user" => id.parse().ok().map(Self::User),
            "platform" => id.parse().ok().map(Self::Platform),
            "user_platforms" => id.parse().ok().map(Self::UserPlatforms),
            "session" => id.parse().ok().map(Self::Session),
            "table_session" => id.parse().ok().map(Self::TableSession),
            "foreign_session" => id.parse().ok().map(Self::ForeignSession),
            "settings" => {
                let (user, platform) = id.split_once(':')?;
                let decoded = |text| percent_decode_str(text).decode_utf8().ok();
                Some(Self::Settings(decoded(user)?.parse().ok()?, decoded(platform)?.parse().ok()?))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Changed {
    /// The kind alone, for metrics and logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::User(_) => "user",
            Self::Platform(_) => "platform",
            Self::UserPlatforms(_) => "user_platforms",
            Self::Settings(..) => "settings",
            Self::Session(_) => "session",
            Self::TableSession(_) => "table_session",
            Self::ForeignSession(_) => "foreign_session",
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn payloads_are_read_as_the_triggers_write_them() {
        let user = |id: &str| id.parse::<UserId>().unwrap();
        let platform = |id: &str| id.parse::<PlatformId>().unwrap();
        let session = SessionId::of_token(b"x");
        for (payload, changed) in [
            ("user:a:na".to_owned(), Changed::User(user("a:na"))),
            ("platform:p%3A1".to_owned(), Changed::Platform(platform("p%3A1"))),
            ("user_platforms:ana".to_owned(), Changed::UserPlatforms(user("ana"))),
            ("settings:a%3Ana:50%25".to_owned(), Changed::Settings(user("a:na"), platform("50%"))),
            (format!("session:{session}"), Changed::Session(session)),
            (format!("table_session:{session}"), Changed::TableSession(session)),
            (format!("foreign_session:{session}"), Changed::ForeignSession(session)),
        ] {
            assert_eq!(Changed::parse(&payload), Some(changed.clone()), "{payload}");
            assert_eq!(changed.payload(), payload);
        }
        for foreign in ["", "user", "user:", "session:short", "settings:a", "settings:%FF:b", "else:1"] {
            assert_eq!(Changed::parse(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in ".{0,200}") {
            let _ = Changed::parse(&payload);
        }
    }
}
