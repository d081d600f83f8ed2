//! The events of users in the memory of this process: the same ids, the same caps, without a server.

use std::collections::VecDeque;

use parking_lot::Mutex;
use quick_cache::unsync::Cache;

use crate::clock::Timestamp;
use crate::context::UserId;
use crate::store::events::{Backlog, Event, EventId, KEPT_FOR, MOST_KEPT};

/// Users whose events are kept; the rest look anew.
const USERS: usize = 16_384;

/// The streams of all users.
pub(super) struct Streams(Mutex<Cache<UserId, VecDeque<(EventId, Event)>>>);

impl Streams {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Cache::new(USERS)))
    }

    pub(super) fn append(&self, user: &UserId, event: &Event, now: Timestamp) {
        let mut streams = self.0.lock();
        let mut stream = streams.remove(user).map(|(_, stream)| stream).unwrap_or_default();
        if ended(&stream, now) {
            stream.clear();
        }
        let last = stream.back().map(|(id, _)| *id).unwrap_or_default();
        stream.push_back((last.next(now), event.clone()));
        while stream.len() > MOST_KEPT {
            stream.pop_front();
        }
        streams.insert(user.clone(), stream);
    }

    pub(super) fn backlog(&self, user: &UserId, after: Option<EventId>, now: Timestamp) -> Backlog {
        let streams = self.0.lock();
        let none = VecDeque::new();
        let stream = streams.get(user).filter(|stream| !ended(stream, now)).unwrap_or(&none);
        let id = |entry: Option<&(EventId, Event)>| entry.map(|(id, _)| *id);
        let events = match after {
            Some(after) => stream.iter().filter(|(id, _)| *id > after).cloned().collect(),
            None => Vec::new(),
        };
        Backlog::of(events, after, id(stream.front()), stream.len(), id(stream.back()), now)
    }
}

fn ended(stream: &VecDeque<(EventId, Event)>, now: Timestamp) -> bool {
    stream.back().is_some_and(|(id, _)| now.since(id.moment()) >= KEPT_FOR)
}
