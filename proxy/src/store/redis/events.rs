//! The events of users as Redis streams, one for each user, capped and for an hour.

use redis::{Pipeline, Value};

use super::replies::{bytes_of, exactly};
use super::{RedisStore, StoreError, millis};
use crate::clock::Timestamp;
use crate::context::UserId;
use crate::store::events::{self, Backlog, Event, EventId, KEPT_FOR, MOST_KEPT, MOST_READ};

/// Replies for one user: length, first, last, time, and what was asked for.
const REPLIES: usize = 5;

impl RedisStore {
    pub(super) async fn append(&self, told: &[(UserId, Event)]) -> Result<(), StoreError> {
        let mut commands = Pipeline::new();
        for (user, event) in told {
            let key = self.keys.events(user);
            commands.cmd("XADD").arg(&key).arg("MAXLEN").arg(MOST_KEPT).arg("*");
            commands.arg("e").arg(events::encode(event));
            commands.cmd("PEXPIRE").arg(&key).arg(millis(KEPT_FOR));
        }
        self.connection.ask_all(&commands).await.map(drop)
    }

    pub(super) async fn backlogs(
        &self,
        wanted: &[(UserId, Option<EventId>)],
    ) -> Result<Vec<Backlog>, StoreError> {
        let mut commands = Pipeline::new();
        for (user, after) in wanted {
            let key = self.keys.events(user);
            commands.cmd("XLEN").arg(&key);
            commands.cmd("XRANGE").arg(&key).arg("-").arg("+").arg("COUNT").arg(1);
            commands.cmd("XREVRANGE").arg(&key).arg("+").arg("-").arg("COUNT").arg(1);
            commands.cmd("TIME");
            let from = after.map_or("+".to_owned(), |after| format!("({after}"));
            commands.cmd("XRANGE").arg(&key).arg(from).arg("+").arg("COUNT").arg(MOST_READ);
        }
        let values = self.connection.ask_all(&commands).await?;
        let (replies, rest) = values.as_chunks::<REPLIES>();
        if replies.len() != wanted.len() || !rest.is_empty() {
            return Err(StoreError::Unavailable);
        }
        wanted.iter().zip(replies).map(|((_, after), replies)| backlog(replies, *after)).collect()
    }
}

fn backlog(replies: &[Value; REPLIES], after: Option<EventId>) -> Result<Backlog, StoreError> {
    let [length, first, last, time, wanted] = replies;
    let Value::Int(length) = length else { return Err(StoreError::Unavailable) };
    let edge = |value| Ok::<_, StoreError>(entries(value)?.first().map(|(id, _)| *id));
    let (first, last) = (edge(first)?, edge(last)?);
    let events = match after {
        // One that this version does not know is passed over.
        Some(_) => entries(wanted)?.into_iter().filter_map(|(id, event)| Some((id, event?))).collect(),
        None => Vec::new(),
    };
    let kept = usize::try_from(*length).unwrap_or(0);
    Ok(Backlog::of(events, after, first, kept, last, time_of(time)?))
}

fn entries(value: &Value) -> Result<Vec<(EventId, Option<Event>)>, StoreError> {
    let Value::Array(entries) = value else { return Err(StoreError::Unavailable) };
    entries.iter().map(|entry| entry_of(entry).ok_or(StoreError::Unavailable)).collect()
}

fn entry_of(entry: &Value) -> Option<(EventId, Option<Event>)> {
    let Value::Array(parts) = entry else { return None };
    let [id, Value::Array(fields)] = parts.as_slice() else { return None };
    let id = std::str::from_utf8(bytes_of(id)?).ok()?.parse().ok()?;
    let event = match fields.as_slice() {
        [_, value] => bytes_of(value).and_then(events::decode),
        _ => None,
    };
    Some((id, event))
}

fn time_of(value: &Value) -> Result<Timestamp, StoreError> {
    let Value::Array(parts) = value else { return Err(StoreError::Unavailable) };
    let [seconds, micros] = exactly(parts.clone())?;
    let number = |value: &Value| std::str::from_utf8(bytes_of(value)?).ok()?.parse::<u64>().ok();
    match (number(&seconds), number(&micros)) {
        (Some(seconds), Some(micros)) => {
            Ok(Timestamp::from_millis(seconds.saturating_mul(1000).saturating_add(micros / 1000)))
        }
        _ => Err(StoreError::Unavailable),
    }
}
