//! Lines of the audit log in Postgres. They travel as one JSON parameter, so that a statement that changes something
//! writes them itself: one transaction and one round trip.

use serde_json::{Value, json};

use crate::directory::AuditEntry;
use crate::directory::rows::column;

/// Appends the lines of a parameter (`$1`) to the audit log, where the condition holds.
macro_rules! write_lines {
    ($parameter:literal, $condition:literal) => {
        concat!(
            "INSERT INTO audit (at, event, user_id, session_id, platform_id, done_by, address, request_id) ",
            "SELECT at, event, user_id, session_id, platform_id, done_by, address, request_id ",
            "FROM jsonb_populate_recordset(NULL::audit, ",
            $parameter,
            ") WHERE ",
            $condition
        )
    };
}

pub(super) use write_lines;

/// The parameter: an array of records, each named as the columns are.
pub(super) fn lines<'a>(entries: impl IntoIterator<Item = &'a AuditEntry>) -> Value {
    let record = |entry: &AuditEntry| {
        json!({
            "at": column(entry.at),
            "event": entry.event,
            "user_id": entry.user,
            "session_id": entry.session.map(|id| id.to_string()),
            "platform_id": entry.platform,
            "done_by": entry.by,
            "address": entry.from,
            "request_id": entry.request_id,
        })
    };
    entries.into_iter().map(record).collect()
}
