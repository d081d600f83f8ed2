//! The part of the contract that operators use: lists in pages, ids by their beginning, clearing a platform, the log.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{NOW, after, id, platform, session, user};
use crate::context::{Session, SessionId, UserId};
use crate::directory::{AuditEntry, AuditPage, AuditRecord, Directory, SessionPage, SessionRow};

fn numbered(number: u64, owner: &str) -> Session {
    let mut one = session(&format!("ledger {number}"), owner);
    // Three of them at every moment: the order must not hang on the moment alone.
    one.created = after(number / 3);
    one
}

/// Lists every session and every user's own, whatever the size of the pages.
pub(super) async fn lists_come_in_pages_newest_first(directory: &dyn Directory) {
    for owner in ["lou", "max"] {
        directory.put_user(&user(owner)).await.unwrap();
    }
    let now = NOW.plus(Duration::from_secs(1000));
    for number in 0..40 {
        let owner = if number % 4 == 0 { "lou" } else { "max" };
        directory.create_session(&numbered(number, owner), None, NOW, None).await.unwrap();
    }
    let ended = numbered(5, "max").id;
    directory.end_sessions(&[ended], now, None).await.unwrap();
    for limit in [1, 3, 7, 1000] {
        for (who, count) in [(None, 39), (Some("lou"), 10), (Some("max"), 29), (Some("nobody"), 0)] {
            let rows = all_pages(directory, who, limit, now).await;
            let rows: Vec<&SessionRow> =
                rows.iter().filter(|row| ["lou", "max"].contains(&row.session.user.as_str())).collect();
            assert_eq!(rows.len(), count, "{who:?} in pages of {limit}");
            assert!(rows.iter().all(|row| row.session.id != ended));
            assert!(rows.is_sorted_by(|a, b| {
                let key = |row: &SessionRow| (row.session.created, row.session.id.to_string());
                key(a) > key(b)
            }));
        }
    }
    let over = SessionPage { user: Some(id("max")), after: None, limit: 10 };
    assert_eq!(directory.list_sessions(&over, after(4000)).await.unwrap(), []);
}

async fn all_pages(
    directory: &dyn Directory,
    user: Option<&str>,
    limit: u32,
    now: crate::clock::Timestamp,
) -> Vec<SessionRow> {
    let user: Option<UserId> = user.map(id);
    let mut page = SessionPage { user, after: None, limit };
    let mut all = Vec::new();
    loop {
        let rows = directory.list_sessions(&page, now).await.unwrap();
        assert!(rows.len() <= limit as usize);
        let Some(last) = rows.last() else { return all };
        page.after = Some((last.session.created, last.session.id));
        all.extend(rows);
    }
}

/// Finds sessions by the beginning of their id, and nothing by text that is none.
pub(super) async fn sessions_are_found_by_the_beginning_of_their_id(directory: &dyn Directory) {
    let known = numbered(1, "max");
    let text = known.id.to_string();
    for length in [8, 20, 43] {
        let rows = directory.sessions_like(&text[..length], 2).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.session.id).collect::<Vec<_>>(), [known.id], "{length}");
    }
    assert_eq!(directory.sessions_like("", 3).await.unwrap().len(), 3);
    for foreign in ["%", "_%", "'; --", "\u{e4}", "zzzzzzzz"] {
        assert_eq!(directory.sessions_like(foreign, 2).await.unwrap(), [], "{foreign}");
    }
}

/// Clears a platform from the sessions that chose it, in batches, and from no other.
pub(super) async fn a_platform_is_cleared_from_every_session_that_chose_it(directory: &dyn Directory) {
    directory.put_user(&user("nia")).await.unwrap();
    directory.put_platform(&platform("n1", "nia")).await.unwrap();
    let mut chosen = BTreeSet::new();
    for number in 0..7 {
        let mut one = session(&format!("cleared {number}"), "nia");
        one.platform = Some(id(if number < 5 { "n1" } else { "n2" }));
        directory.create_session(&one, None, NOW, None).await.unwrap();
        if number < 5 {
            chosen.insert(one.id);
        }
    }
    let ended = *chosen.first().unwrap();
    directory.end_sessions(&[ended], after(1), None).await.unwrap();
    chosen.remove(&ended);
    let mut cleared = BTreeSet::new();
    for count in [3, 1, 0] {
        let sessions = directory.clear_platform(&id("n1"), 3, after(2), None).await.unwrap();
        assert_eq!(sessions.len(), count);
        assert!(sessions.iter().all(|one| one.platform.is_none() && one.version == 2));
        cleared.extend(sessions.iter().map(|one| one.id));
    }
    assert_eq!(cleared, chosen);
    let rows = directory.sessions_of(&id("nia"), after(2)).await.unwrap();
    assert_eq!(rows.iter().filter(|row| row.session.platform == Some(id("n2"))).count(), 2);
}

/// Reads the audit log as it was written, in pages, and purges the oldest lines in batches.
pub(super) async fn the_audit_log_is_read_in_pages_and_purged_by_age(directory: &dyn Directory) {
    let line = |number: u64, user: &str| AuditEntry {
        at: after(number / 2),
        event: "platform_cleared",
        user: Some(id(user)),
        session: Some(SessionId::of_token(&number.to_be_bytes())),
        platform: Some(id("n1")),
        by: "admin".to_owned(),
        from: Some("192.0.2.7".to_owned()),
        request_id: Some(number.to_string()),
    };
    let entries: Vec<AuditEntry> =
        (0..25).map(|number| line(number, if number % 5 == 0 { "oda" } else { "pat" })).collect();
    for entry in &entries {
        directory.audit(entry).await.unwrap();
    }
    for (user, count) in [("oda", 5), ("pat", 20), ("nobody", 0)] {
        for limit in [1, 4, 100] {
            let lines = all_lines(directory, user, None, limit).await;
            assert_eq!(lines.len(), count, "{user} in pages of {limit}");
            assert!(lines.is_sorted_by(|a, b| (a.at, a.number) > (b.at, b.number)));
        }
    }
    let newest = all_lines(directory, "pat", None, 1).await.remove(0);
    let written = &entries[24];
    assert_eq!((newest.at, newest.session, &newest.by), (written.at, written.session, &written.by));
    assert_eq!((&newest.from, &newest.request_id), (&written.from, &written.request_id));
    assert_eq!(all_lines(directory, "pat", Some(after(12)), 3).await.len(), 1);
    let count = |lines: Vec<AuditRecord>| lines.len();
    let before = count(all_lines(directory, "pat", None, 100).await);
    let purged = directory.purge_audit(after(5), 3).await.unwrap();
    assert_eq!(purged, 3);
    while directory.purge_audit(after(5), 3).await.unwrap() == 3 {}
    assert_eq!(count(all_lines(directory, "pat", None, 100).await), before - 8);
    assert_eq!(directory.purge_audit(after(5), 3).await.unwrap(), 0);
}

async fn all_lines(
    directory: &dyn Directory,
    user: &str,
    since: Option<crate::clock::Timestamp>,
    limit: u32,
) -> Vec<AuditRecord> {
    let mut page = AuditPage { user: Some(id(user)), since, after: None, limit };
    let mut all = Vec::new();
    loop {
        let lines = directory.audit_log(&page).await.unwrap();
        assert!(lines.len() <= limit as usize);
        let Some(last) = lines.last() else { return all };
        page.after = Some((last.at, last.number));
        all.extend(lines);
    }
}
