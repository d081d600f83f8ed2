//! The commands that speak the admin API: sessions, users, platforms, invalidation, status, the audit log. Each is one
//! request and one way to show its answer.

pub(super) mod client;
mod commands;
mod table;

use std::io::Write;

use anyhow::Context as _;
use http::Method;
use serde_json::{Value, json};

use self::client::{Client, segment};
pub(super) use self::commands::{
    Access, Audit, InvalidateCommand, Page, PlatformCommand, SessionCommand, UserCommand,
};
pub(super) use self::table::{headings_in_bold, is_coloured, plain, table};
use crate::clock::{Clock, SystemClock};

/// The most entries that are asked for at once.
const PAGE: u32 = 200;
/// What a table of sessions shows.
const SESSION: &[(&str, &str)] = &[
    ("SESSION", "id"),
    ("STATE", "state"),
    ("USER", "user"),
    ("PLATFORM", "platform"),
    ("CREATED", "created"),
    ("LAST SEEN", "last_seen"),
    ("EXPIRES", "expires"),
];
/// What a table of the audit log shows.
const LINE: &[(&str, &str)] = &[
    ("AT", "at"),
    ("EVENT", "event"),
    ("USER", "user"),
    ("SESSION", "session"),
    ("PLATFORM", "platform"),
    ("BY", "by"),
    ("FROM", "from"),
];

/// `countersign session ...`
pub(super) fn session(command: &SessionCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        SessionCommand::List { user, page, access } => {
            let path = match user {
                Some(user) => format!("/v1/users/{}/sessions", segment(user)),
                None => "/v1/sessions".to_owned(),
            };
            let all = pages(&access.client()?, &path, &[], "sessions", page)?;
            list(&all, SESSION, "no session is live", access, out)
        }
        SessionCommand::Show { id, access } => {
            let shown = access.client()?.get(&format!("/v1/sessions/{}", segment(id)))?;
            one(&shown, access, out)
        }
        SessionCommand::End { id, access } => {
            let ended =
                access.client()?.call(&Method::DELETE, &format!("/v1/sessions/{}", segment(id)), None)?;
            let said = if ended["was_over"] == true { "was over before" } else { "has ended" };
            say(&ended, &format!("session {} {said}", text(&ended["id"])), access, out)
        }
        SessionCommand::Create { user, platform, actor, access } => {
            let body = json!({ "user": user, "platform": platform, "actor": actor });
            let created = access.client()?.call(&Method::POST, "/v1/sessions", Some(&body))?;
            let cookie = &created["cookie"];
            let said = format!(
                "session {} of user {} has begun; whoever sends this cookie is in it:\n{}={}",
                text(&created["session"]["id"]),
                text(&created["session"]["user"]),
                text(&cookie["name"]),
                text(&cookie["value"]),
            );
            say(&created, &said, access, out)
        }
    }
}

/// `countersign user ...`
pub(super) fn user(command: &UserCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    let UserCommand::EndSessions { user, access } = command;
    let path = format!("/v1/users/{}/sessions", segment(user));
    let ended = access.client()?.call(&Method::DELETE, &path, None)?;
    say(&ended, &format!("all sessions of user {} have ended", plain(user)), access, out)
}

/// `countersign platform ...`
pub(super) fn platform(command: &PlatformCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    let PlatformCommand::Clear { platform, access } = command;
    let path = format!("/v1/platforms/{}/clear", segment(platform));
    let cleared = access.client()?.call(&Method::POST, &path, None)?;
    let said = match cleared["cleared"].as_u64() {
        Some(1) => "cleared from 1 session".to_owned(),
        count => format!("cleared from {} sessions", count.unwrap_or(0)),
    };
    say(&cleared, &format!("platform {} {said}", plain(platform)), access, out)
}

/// `countersign invalidate ...`
pub(super) fn invalidate(command: &InvalidateCommand, out: &mut dyn Write) -> anyhow::Result<()> {
    let (path, what, access) = match command {
        InvalidateCommand::User { user, access } => {
            (format!("/v1/users/{}/invalidate", segment(user)), format!("user {user}"), access)
        }
        InvalidateCommand::Platform { platform, access } => {
            let path = format!("/v1/platforms/{}/invalidate", segment(platform));
            (path, format!("platform {platform}"), access)
        }
        InvalidateCommand::Settings { user, platform, access } => {
            let path = format!("/v1/users/{}/settings/{}/invalidate", segment(user), segment(platform));
            (path, format!("settings of user {user} for platform {platform}"), access)
        }
        InvalidateCommand::Stats { user, platform, access } => {
            let path = format!("/v1/users/{}/stats/{}/invalidate", segment(user), segment(platform));
            (path, format!("statistics of user {user} for platform {platform}"), access)
        }
    };
    let done = access.client()?.call(&Method::POST, &path, None)?;
    say(&done, &format!("{}: will be read again", plain(&what)), access, out)
}

/// `countersign status`
pub(super) fn status(access: &Access, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut status = access.client()?.get("/v1/status")?;
    if access.json {
        return json_text(&status, out);
    }
    let configuration = &mut status["configuration"];
    let error = configuration["error"].take();
    let generation = text(&configuration["generation"]);
    one(&status, access, out)?;
    if let Some(error) = error.as_str() {
        writeln!(out, "\nThe newest configuration was refused; number {generation} stays in force:")?;
        for line in error.lines() {
            writeln!(out, "  {}", plain(line))?;
        }
    }
    Ok(())
}

/// `countersign audit`
pub(super) fn audit(audit: &Audit, out: &mut dyn Write) -> anyhow::Result<()> {
    let since = audit.since.as_deref().map(moment).transpose()?;
    let filters: Vec<(&str, &str)> = [("user", audit.user.as_deref()), ("since", since.as_deref())]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect();
    let lines = pages(&audit.access.client()?, "/v1/audit", &filters, "audit", &audit.page)?;
    list(&lines, LINE, "nothing is in the log", &audit.access, out)
}

/// A moment, or how long ago it was, as RFC 3339 writes it.
fn moment(written: &str) -> anyhow::Result<String> {
    if let Ok(span) = humantime::parse_duration(written) {
        return Ok(SystemClock.now().minus(span).to_string());
    }
    humantime::parse_rfc3339_weak(written)
        .map(|time| humantime::format_rfc3339_millis(time).to_string())
        .ok()
        .context("`--since` is a length of time (`2h`, `3days`) or a moment (`2026-11-21T06:00:00Z`)")
}

/// As many entries as were asked for, page by page.
fn pages(
    client: &Client,
    path: &str,
    filters: &[(&str, &str)],
    list: &str,
    page: &Page,
) -> anyhow::Result<Vec<Value>> {
    let wanted = if page.all { usize::MAX } else { page.limit as usize };
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    while all.len() < wanted {
        let limit = PAGE.min(u32::try_from(wanted - all.len()).unwrap_or(PAGE)).to_string();
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(filters).append_pair("limit", &limit);
        if let Some(cursor) = &cursor {
            query.append_pair("cursor", cursor);
        }
        let mut answer = client.get(&format!("{path}?{}", query.finish()))?;
        if let Some(entries) = answer[list].as_array_mut() {
            all.append(entries);
        }
        match answer["next"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    Ok(all)
}

/// Shows a list: JSON, or a table.
fn list(
    entries: &[Value],
    columns: &[(&str, &str)],
    nothing: &str,
    access: &Access,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if access.json {
        return json_text(&Value::from(entries), out);
    }
    if entries.is_empty() {
        return Ok(writeln!(out, "{nothing}")?);
    }
    let rows = entries.iter().map(|entry| columns.iter().map(|(_, name)| text(&entry[*name])).collect());
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    Ok(writeln!(out, "{}", headings_in_bold(&table(&headings, rows)))?)
}

/// Shows one object: JSON, or its members line by line.
pub(super) fn one(object: &Value, access: &Access, out: &mut dyn Write) -> anyhow::Result<()> {
    if access.json {
        return json_text(object, out);
    }
    let mut rows = Vec::new();
    members("", object, &mut rows);
    Ok(writeln!(out, "{}", table(&[], rows.into_iter()))?)
}

fn members(prefix: &str, object: &Value, rows: &mut Vec<Vec<String>>) {
    for (name, value) in object.as_object().into_iter().flatten() {
        let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
        if value.is_object() {
            members(&name, value, rows);
        } else if !value.is_null() {
            rows.push(vec![plain(&name), text(value)]);
        }
    }
}

/// Says what was done, or shows the answer as JSON.
fn say(answer: &Value, said: &str, access: &Access, out: &mut dyn Write) -> anyhow::Result<()> {
    if access.json { json_text(answer, out) } else { Ok(writeln!(out, "{said}")?) }
}

/// JSON for programs.
pub(super) fn json_text(value: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    Ok(writeln!(out, "{}", serde_json::to_string_pretty(value)?)?)
}

/// A value for a person; `-` for what is not there.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => plain(text),
        Value::Array(values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        other => plain(&other.to_string()),
    }
}
