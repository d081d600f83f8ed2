//! The part of the contract about what is ours about sessions of other frameworks.

use std::time::Duration;

use super::{NOW, after, id};
use crate::clock::{Clock, SystemClock};
use crate::context::{ForeignRecord, PlatformId, SessionId};
use crate::directory::{AuditEntry, AuditPage, Changed, Directory, Place, PutForeign};

fn seen(key: &str) -> ForeignRecord {
    ForeignRecord {
        id: SessionId::of_token(key.as_bytes()),
        user: Some(id("ana")),
        seen: after(10),
        platform: None,
        ended: None,
        kept_until: after(1000),
        version: 0,
    }
}

async fn put(directory: &dyn Directory, record: &ForeignRecord, how: PutForeign) -> ForeignRecord {
    let line = AuditEntry {
        at: NOW,
        event: "foreign_changed",
        user: record.user.clone(),
        session: Some(record.id),
        platform: None,
        by: "user".into(),
        from: None,
        request_id: None,
    };
    let mut stand = directory.put_foreign(std::slice::from_ref(record), how, Some(&line)).await.unwrap();
    assert_eq!(stand.len(), 1);
    stand.remove(0)
}

async fn kept(directory: &dyn Directory, id: SessionId) -> Option<ForeignRecord> {
    directory.foreign_records(&[id]).await.unwrap().pop()
}

/// What was changed since the place, and how many lines tell of it.
async fn told(directory: &dyn Directory, since: Place, about: SessionId) -> (usize, usize) {
    let page = directory.changes_after(since, 100).await.unwrap();
    let changes = page.changed.iter().filter(|one| **one == Changed::ForeignSession(about)).count();
    let page = AuditPage { user: None, since: None, after: None, limit: 500 };
    let lines = directory.audit_log(&page).await.unwrap();
    let lines = lines.iter().filter(|line| line.event == "foreign_changed" && line.session == Some(about));
    (changes, lines.count())
}

pub(super) async fn what_is_ours_about_a_foreign_session_is_put_together(directory: &dyn Directory) {
    let first = seen("one");
    assert_eq!(kept(directory, first.id).await, None);
    assert_eq!(directory.foreign_records(&[]).await.unwrap(), []);
    let begin = directory.changes_after(Place::default(), 1000).await.unwrap().horizon;
    let stands = put(directory, &ForeignRecord { user: None, ..first.clone() }, PutForeign::Note).await;
    assert_eq!((stands.version, stands.user), (1, None));
    // That it was seen is told to nobody; earlier, and kept longer, counts.
    let again = ForeignRecord { seen: after(5), kept_until: after(900), ..first.clone() };
    let stands = put(directory, &again, PutForeign::Note).await;
    assert_eq!(stands, ForeignRecord { seen: after(5), version: 1, ..first.clone() });
    assert_eq!(told(directory, begin, first.id).await, (0, 1), "the first line says that it is there");

    let chosen: PlatformId = id("p1");
    let choice = ForeignRecord { platform: Some(Some(chosen.clone())), seen: after(20), ..first.clone() };
    let stands = put(directory, &choice, PutForeign::Change).await;
    assert_eq!((stands.platform, stands.version, stands.seen), (Some(Some(chosen)), 2, after(5)));
    let stale = ForeignRecord { platform: Some(Some(id("p2"))), ..first.clone() };
    assert_eq!(put(directory, &stale, PutForeign::Note).await.version, 2, "what stands there stays");
    let default = ForeignRecord { platform: Some(None), ..first.clone() };
    assert_eq!(put(directory, &default, PutForeign::Change).await.platform, Some(None));

    let end = ForeignRecord { ended: Some(after(30)), kept_until: after(2000), ..first.clone() };
    let stands = put(directory, &end, PutForeign::Change).await;
    assert_eq!((stands.ended, stands.platform, stands.version), (Some(after(30)), Some(None), 4));
    let later = ForeignRecord { ended: Some(after(40)), ..first.clone() };
    assert_eq!(put(directory, &later, PutForeign::Change).await.ended, Some(after(30)), "once");
    assert_eq!(kept(directory, first.id).await.unwrap().version, 4);
    assert_eq!(told(directory, begin, first.id).await, (3, 4));
}

pub(super) async fn what_need_not_be_kept_is_purged_and_its_changes_are_listed_longer(
    directory: &dyn Directory,
) {
    let many: Vec<_> = (0..3).map(|n| seen(&format!("many {n}"))).collect();
    let stand = directory.put_foreign(&many, PutForeign::Note, None).await.unwrap();
    assert_eq!(stand.len(), 3);
    let ended = ForeignRecord { ended: Some(NOW), ..seen("kept longer") };
    put(directory, &ForeignRecord { kept_until: after(9000), ..ended.clone() }, PutForeign::Change).await;
    assert_eq!(directory.purge_foreign(after(1000), 100).await.unwrap(), 0);
    let batches =
        [directory.purge_foreign(after(3000), 2).await, directory.purge_foreign(after(3000), 100).await];
    assert_eq!(batches[0], Ok(2));
    assert!(batches[1].unwrap() >= 1);
    assert!(kept(directory, ended.id).await.is_some());
    assert_eq!(kept(directory, many[0].id).await, None);
    // Written with the clock of the database, of today.
    let later = SystemClock.now().plus(Duration::from_hours(20 * 24));
    let before = told(directory, Place::default(), ended.id).await.0;
    while directory.purge_changes(later, 100).await.unwrap() > 0 {}
    assert_eq!(told(directory, Place::default(), ended.id).await.0, before, "20 days are not long enough");
}
