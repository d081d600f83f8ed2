//! What tabs are told: events of one user, in order, under ids that a tab can come back with. Kept for an hour and at
//! most so many, so that whoever was away longer is told to look anew. Plain data; the stores keep it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record;
use crate::clock::Timestamp;
use crate::context::{PlatformId, Session, SessionId};

/// How long a user's events are kept after the last one (DESIGN section 4).
pub const KEPT_FOR: Duration = Duration::from_hours(1);
/// How many events of a user are kept: more than a person causes in an hour.
pub const MOST_KEPT: usize = 256;
/// How many are read at once: all of them.
pub(super) const MOST_READ: usize = MOST_KEPT;

/// Where an event stands among the events of its user; later ones are larger. As Redis numbers the entries of a stream:
/// milliseconds, and a count within them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct EventId {
    millis: u64,
    count: u64,
}

impl EventId {
    /// A place before whatever happens from `moment` on.
    #[must_use]
    pub const fn before(moment: Timestamp) -> Self {
        Self { millis: moment.as_millis().saturating_sub(1), count: 0 }
    }

    /// The next one at `now`: never the same, never smaller.
    #[must_use]
    pub fn next(self, now: Timestamp) -> Self {
        let now = Self { millis: now.as_millis(), count: 1 };
        if now > self { now } else { Self { millis: self.millis, count: self.count.saturating_add(1) } }
    }

    /// When it happened, by the store's clock.
    #[must_use]
    pub const fn moment(self) -> Timestamp {
        Timestamp::from_millis(self.millis)
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.millis, self.count)
    }
}

/// No id of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("an event id is two numbers with `-` between them")]
pub struct NoEventId;

impl FromStr for EventId {
    type Err = NoEventId;

    fn from_str(text: &str) -> Result<Self, NoEventId> {
        let number = |text: &str| match text.as_bytes() {
            [b'0'..=b'9', ..] if text.len() <= 20 => text.parse().map_err(|_| NoEventId),
            _ => Err(NoEventId),
        };
        let (millis, count) = text.split_once('-').ok_or(NoEventId)?;
        Ok(Self { millis: number(millis)?, count: number(count)? })
    }
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// A session works with another platform, or with none.
    PlatformSwitched {
        /// Which session.
        session: SessionId,
        /// The one that it took the place of: tabs that were opened then still have that token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        predecessor: Option<SessionId>,
        /// The platform in force.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        platform: Option<PlatformId>,
    },
    /// Settings for a platform were written.
    SettingsChanged {
        /// Which platform.
        platform: PlatformId,
    },
    /// A session is over.
    SessionEnded {
        /// Which session.
        session: SessionId,
    },
    /// All sessions that began before are over.
    SessionsEnded,
}

impl Event {
    /// The event of a switch that `session` has just made.
    #[must_use]
    pub fn platform_switched(session: &Session) -> Self {
        Self::PlatformSwitched {
            session: session.id,
            predecessor: session.predecessor.as_deref().copied(),
            platform: session.platform.clone(),
        }
    }

    /// The word in streams, and in what browsers are sent.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::PlatformSwitched { .. } => "platform_switched",
            Self::SettingsChanged { .. } => "settings_changed",
            Self::SessionEnded { .. } => "session_ended",
            Self::SessionsEnded => "sessions_ended",
        }
    }
}

/// Events of one user after a place, and what stands around them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backlog {
    /// The events after the place that was asked for, in order.
    pub events: Vec<(EventId, Event)>,
    /// The last place: whoever has seen these has seen everything up to here.
    pub position: EventId,
    /// Whether events between the place that was asked for and the first of these may be missing.
    pub may_lack: bool,
}

impl Backlog {
    /// Puts a backlog together from what lies in a store. `first` is the oldest event that is kept, `kept` how many are.
    pub(super) fn of(
        events: Vec<(EventId, Event)>,
        after: Option<EventId>,
        first: Option<EventId>,
        kept: usize,
        last: Option<EventId>,
        now: Timestamp,
    ) -> Self {
        let end = last.unwrap_or(EventId::before(now));
        let Some(after) = after else { return Self { events, position: end, may_lack: false } };
        let trimmed = kept >= MOST_KEPT && first.is_some_and(|first| first > after);
        // Within an hour of the place the stream cannot have ended and begun anew.
        let ended = now.since(after.moment()) >= KEPT_FOR && first.is_none_or(|first| first > after);
        // A place that was not reached yet is none of ours, or from a store that was replaced.
        let foreign = after > end.max(EventId { millis: now.as_millis(), count: u64::MAX });
        let position = if foreign { end } else { end.max(after) };
        Self { events, position, may_lack: trimmed || ended || foreign }
    }
}

/// The record of an event.
pub(super) fn encode(event: &Event) -> Vec<u8> {
    record::encode_versioned(event)
}

/// Reads the record of an event; `None` for one that this version does not know.
pub(super) fn decode(bytes: &[u8]) -> Option<Event> {
    record::decode_versioned(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written_and_grow() {
        let first: EventId = "1700000000000-0".parse().unwrap();
        assert_eq!(first.to_string(), "1700000000000-0");
        let same_moment = first.next(first.moment());
        let set_back = same_moment.next(Timestamp::from_millis(5));
        assert!(first < same_moment && same_moment < set_back);
        for foreign in ["", "-", "1", "1-", "-1", "+1-1", "1-1-1", "1-x", "999999999999999999999-1", "1 -1"] {
            assert_eq!(foreign.parse::<EventId>(), Err(NoEventId), "{foreign}");
        }
    }

    #[test]
    fn events_are_read_as_they_are_written() {
        let (session, platform) = (SessionId::of_token(b"x"), "7".parse::<PlatformId>().unwrap());
        for event in [
            Event::PlatformSwitched { session, predecessor: Some(session), platform: Some(platform.clone()) },
            Event::PlatformSwitched { session, predecessor: None, platform: None },
            Event::SettingsChanged { platform },
            Event::SessionEnded { session },
            Event::SessionsEnded,
        ] {
            assert_eq!(decode(&encode(&event)), Some(event));
        }
        assert_eq!(decode(br#"{"v":1,"kind":"not_yet_invented"}"#), None);
        assert_eq!(decode(br#"{"v":2,"kind":"sessions_ended"}"#), None);
    }

    #[test]
    fn what_may_be_missing_is_told() {
        let id = |millis| EventId { millis, count: 0 };
        let now = Timestamp::from_secs(10_000);
        let hour_ago = id(now.as_millis() - 3_600_000);
        let recent = id(now.as_millis() - 1_000);
        let may_lack =
            |after, first, kept| Backlog::of(Vec::new(), Some(after), first, kept, first, now).may_lack;
        assert!(!may_lack(recent, None, 0), "nothing has happened");
        assert!(!may_lack(recent, Some(id(9_999_500)), 3), "the first that ever happened");
        assert!(may_lack(recent, Some(id(9_999_500)), MOST_KEPT), "older ones were dropped");
        assert!(!may_lack(recent, Some(hour_ago), MOST_KEPT));
        assert!(may_lack(hour_ago, None, 0), "the stream may have ended");
        assert!(may_lack(hour_ago, Some(recent), 1));
        assert!(!may_lack(hour_ago, Some(hour_ago), 1), "it is still there");
        assert!(may_lack(id(now.as_millis() + 5_000), Some(recent), 1), "from the future");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,50}") {
            let _ = decode(&bytes);
            let _ = text.parse::<EventId>();
        }
    }
}
