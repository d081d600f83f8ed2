//! What a tab is sent about an event: JSON, as a server-sent event or as the text of a WebSocket message. Pure; which
//! events there are is known elsewhere.

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::context::{PlatformId, SessionId};
use crate::events::Told;
use crate::reason::Reason;
use crate::store::{Event, EventId};

/// How long a browser waits before it comes back, in milliseconds.
const RETRY_MILLIS: u32 = 2_000;

/// One message to a tab.
#[derive(Clone, PartialEq, Debug)]
pub struct Message {
    /// Where the tab stands after it; `None` for what is about this moment alone.
    pub id: Option<EventId>,
    /// The word in `event:` and `kind`.
    pub kind: &'static str,
    /// The rest.
    pub data: Value,
    /// Whether nothing follows.
    pub last: bool,
}

impl Message {
    /// The first message to a tab that comes in anew: from here on it is told everything, so that it asks for the state
    /// now.
    #[must_use]
    pub fn hello(at: EventId) -> Self {
        Self { id: Some(at), kind: "hello", data: json!({}), last: false }
    }

    /// The session is over, or somebody else's; `reason` is the word of a problem document.
    #[must_use]
    pub fn ended(reason: Reason) -> Self {
        let data = json!({ "this_session": true, "reason": reason.code() });
        Self { id: None, kind: "session_ended", data, last: true }
    }

    /// The session ends at `end` if it is not used.
    #[must_use]
    pub fn expiring(end: Timestamp, now: Timestamp) -> Self {
        let data = json!({ "ends_at": end.as_secs(), "seconds_left": end.since(now).as_secs() });
        Self { id: None, kind: "session_expiring", data, last: false }
    }

    /// What a tab of `session` is told, if it concerns it.
    #[must_use]
    pub fn of(told: &Told, session: &SessionId) -> Option<Self> {
        let (id, event) = match told {
            Told::Anew(id) => {
                return Some(Self { id: Some(*id), kind: "resync", data: json!({}), last: false });
            }
            Told::Event(id, event) => (*id, event),
        };
        let at = id.moment().as_secs();
        let data = match event {
            Event::PlatformSwitched { session: switched, predecessor, platform } => {
                // Another browser's choice is its own.
                let own = switched == session || predecessor.as_ref() == Some(session);
                own.then(|| json!({ "platform": platform.as_ref().map(PlatformId::as_str), "at": at }))?
            }
            Event::SettingsChanged { platform } => json!({ "platform": platform.as_str(), "at": at }),
            // One's own end is told when it is certain.
            Event::SessionEnded { session: ended } if ended == session => return None,
            Event::SessionEnded { .. } => json!({ "this_session": false, "at": at }),
            Event::SessionsEnded => json!({ "at": at }),
        };
        Some(Self { id: Some(id), kind: event.kind(), data, last: false })
    }

    /// As a server-sent event (HTML, section 9.2.5). One line of data: JSON holds no line breaks.
    #[must_use]
    pub fn to_sse(&self) -> String {
        let retry = if self.kind == "hello" { format!("retry: {RETRY_MILLIS}\n") } else { String::new() };
        let id = self.id.map(|id| format!("id: {id}\n")).unwrap_or_default();
        format!("{retry}{id}event: {}\ndata: {}\n\n", self.kind, self.data)
    }

    /// As the text of a WebSocket message: the same with `kind` and `id` in it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut document = self.data.clone();
        document["kind"] = self.kind.into();
        if let Some(id) = self.id {
            document["id"] = id.to_string().into();
        }
        document.to_string()
    }
}

/// A comment: what a silent stream of server-sent events says.
pub const HEARTBEAT: &str = ":\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tab_is_told_what_concerns_it_and_no_session_id() {
        let (mine, before, other) =
            (SessionId::of_token(b"1"), SessionId::of_token(b"0"), SessionId::of_token(b"2"));
        let id: EventId = "1700000000000-3".parse().unwrap();
        let kind = |event: Event, session| {
            let message = Message::of(&Told::Event(id, event), session)?;
            assert!(!message.to_sse().contains(&mine.to_string()));
            Some(message.kind)
        };
        let switched = |predecessor| Event::PlatformSwitched { session: mine, predecessor, platform: None };
        assert_eq!(kind(switched(None), &mine), Some("platform_switched"));
        assert_eq!(kind(switched(Some(before)), &before), Some("platform_switched"));
        assert_eq!(kind(switched(Some(before)), &other), None);
        assert_eq!(kind(Event::SessionEnded { session: other }, &mine), Some("session_ended"));
        assert_eq!(kind(Event::SessionEnded { session: mine }, &mine), None);
        assert_eq!(kind(Event::SessionsEnded, &mine), Some("sessions_ended"));
    }

    #[test]
    fn messages_are_written_as_browsers_read_them() {
        let id: EventId = "1700000000000-3".parse().unwrap();
        assert_eq!(
            Message::hello(id).to_sse(),
            "retry: 2000\nid: 1700000000000-3\nevent: hello\ndata: {}\n\n"
        );
        let platform = "7\"\n".replace('\n', "").parse().unwrap();
        let told = Told::Event(id, Event::SettingsChanged { platform });
        let message = Message::of(&told, &SessionId::of_token(b"1")).unwrap();
        assert_eq!(
            message.to_sse(),
            "id: 1700000000000-3\nevent: settings_changed\ndata: {\"at\":1700000000,\"platform\":\"7\\\"\"}\n\n"
        );
        assert_eq!(
            message.to_text(),
            r#"{"at":1700000000,"id":"1700000000000-3","kind":"settings_changed","platform":"7\""}"#
        );
        assert_eq!(Message::ended(Reason::SessionIdle).to_text().matches("session_idle").count(), 1);
    }
}
