//! What every directory must do, whatever it is made of; each backend's tests run this suite against the real thing.
//! It expects an empty directory.

mod audit;
mod foreign;
mod ledger;

use std::time::Duration;

use serde_json::json;

pub(super) use audit::without_its_line_no_change_is_made;

use super::{AuditEntry, Change, Changed, Directory, DirectoryError, Pair, Place, Replaced, SessionRow};
use crate::clock::Timestamp;
use crate::context::{Platform, PlatformId, SealedCredential, Session, SessionId, User, UserId};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn after(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn id<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

/// A user whose name tries what both kinds of directory can hold.
pub(super) fn user(name: &str) -> User {
    User {
        id: id(name),
        name: "Zoë \u{1F984} \"O'Neil\"\r\nX-Forged: 1; DROP TABLE users; -- أحمد".into(),
        roles: vec!["admin".to_owned(), "re\"view,er}".to_owned(), String::new()],
        active: true,
        sessions_valid_after: None,
        passwords: Box::default(),
    }
}

fn platform(name: &str, owner: &str) -> Platform {
    Platform {
        id: id(name),
        user: id(owner),
        kind: "pixelfed".into(),
        name: format!("写真 {name}").into(),
        url: "https://pixelfed.example.invalid/?a='b'".into(),
        active: true,
        default: false,
        credential: Some(SealedCredential::from_text("cs1.k1.AAAA".to_owned())),
    }
}

/// A session that began at a fixed moment.
pub(super) fn session(token: &str, owner: &str) -> Session {
    Session {
        id: SessionId::of_token(token.as_bytes()),
        user: id(owner),
        platform: Some(id("p'1")),
        created: NOW,
        authenticated: NOW,
        expires: after(3600),
        predecessor: None,
        successor: None,
        actor: Some(id("support")),
        version: 1,
    }
}

/// Runs the whole suite.
pub(super) async fn keeps_the_contract(directory: &dyn Directory) {
    empty_lists_are_no_work(directory).await;
    people_and_platforms_are_kept_as_written(directory).await;
    platforms_come_default_first_then_by_name(directory).await;
    settings_are_written_whole(directory).await;
    settings_are_replaced_only_over_what_was_read(directory).await;
    stats_are_computed_for_the_owner_alone(directory).await;
    sessions_are_kept_as_written(directory).await;
    a_login_ends_the_session_it_replaces(directory).await;
    only_a_live_session_at_the_right_version_changes_platform(directory).await;
    rotation_with_grace_leaves_both_and_without_leaves_one(directory).await;
    of_many_rotations_exactly_one_wins(directory).await;
    ending_one_of_two_joined_sessions_ends_both(directory).await;
    ending_everywhere_ends_what_began_up_to_now(directory).await;
    activity_never_moves_backwards(directory).await;
    what_changed_is_written_down_in_order(directory).await;
    purging_takes_what_is_over_in_batches(directory).await;
    the_audit_log_takes_every_line(directory).await;
    assert!(!directory.ping().await.unwrap().is_empty());
    ledger::lists_come_in_pages_newest_first(directory).await;
    ledger::sessions_are_found_by_the_beginning_of_their_id(directory).await;
    ledger::a_platform_is_cleared_from_every_session_that_chose_it(directory).await;
    ledger::the_audit_log_is_read_in_pages_and_purged_by_age(directory).await;
    audit::every_change_has_its_line_and_what_changes_nothing_has_none(directory).await;
    audit::an_end_among_many_switches_holds(directory).await;
    foreign::what_is_ours_about_a_foreign_session_is_put_together(directory).await;
    foreign::what_need_not_be_kept_is_purged_and_its_changes_are_listed_longer(directory).await;
}

/// The part that holds for queries of the operator's own: what is read, whoever wrote it.
pub(super) async fn reads_as_written(directory: &dyn Directory) {
    empty_lists_are_no_work(directory).await;
    people_and_platforms_are_kept_as_written(directory).await;
    platforms_come_default_first_then_by_name(directory).await;
    stats_are_computed_for_the_owner_alone(directory).await;
}

async fn row(directory: &dyn Directory, session: &Session) -> SessionRow {
    let mut rows = directory.sessions(&[session.id]).await.unwrap();
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

async fn begin(directory: &dyn Directory, token: &str, owner: &str) -> Session {
    let session = session(token, owner);
    directory.create_session(&session, None, NOW, None).await.unwrap();
    session
}

async fn empty_lists_are_no_work(directory: &dyn Directory) {
    assert_eq!(directory.sessions(&[]).await.unwrap(), []);
    assert_eq!(directory.users(&[]).await.unwrap(), []);
    assert_eq!(directory.platforms(&[]).await.unwrap(), []);
    assert_eq!(directory.user_platforms(&[]).await.unwrap(), []);
    assert_eq!(directory.settings_of(&[]).await.unwrap(), []);
    assert_eq!(directory.stats_of(&[]).await.unwrap(), []);
    directory.end_sessions(&[], NOW, None).await.unwrap();
    directory.note_activity(&[]).await.unwrap();
}

async fn people_and_platforms_are_kept_as_written(directory: &dyn Directory) {
    let (ana, mut ben) = (user("ana"), user("b'e\"n\\ ☃:%"));
    ben.roles.clear();
    ben.active = false;
    ben.sessions_valid_after = Some(after(1));
    for user in [&ana, &ben] {
        directory.put_user(&user.clone()).await.unwrap();
    }
    assert_eq!(directory.users(&[id("nobody"), ana.id.clone()]).await.unwrap(), std::slice::from_ref(&ana));
    assert_eq!(directory.users(std::slice::from_ref(&ben.id)).await.unwrap(), [ben.clone()]);
    ben.name = "Ben".into();
    ben.active = true;
    directory.put_user(&ben).await.unwrap();
    assert_eq!(directory.users(std::slice::from_ref(&ben.id)).await.unwrap(), [ben.clone()]);

    let mut one = platform("p'1", "ana");
    directory.put_platform(&one).await.unwrap();
    one.active = false;
    one.credential = None;
    directory.put_platform(&one).await.unwrap();
    assert_eq!(directory.platforms(&[one.id.clone(), id("none")]).await.unwrap(), [one]);
    let orphan = platform("p9", "nobody");
    assert_eq!(directory.put_platform(&orphan).await, Err(DirectoryError::Unreadable));
}

async fn platforms_come_default_first_then_by_name(directory: &dyn Directory) {
    let owner: UserId = id("owner");
    directory.put_user(&user("owner")).await.unwrap();
    for (name, active, default) in
        [("b", true, true), ("a", true, false), ("c", true, true), ("d", false, false)]
    {
        let platform = Platform { active, default, ..platform(&format!("list-{name}"), "owner") };
        directory.put_platform(&platform).await.unwrap();
    }
    let found = directory.user_platforms(&[owner, id("ana"), id("nobody")]).await.unwrap();
    let names: Vec<_> = found.iter().map(|platform| (platform.id.as_str(), platform.default)).collect();
    assert_eq!(names, [("list-c", true), ("list-a", false), ("list-b", false)]);
}

async fn settings_are_written_whole(directory: &dyn Directory) {
    let pair = |user: &str, platform: &str| -> Pair { (id(user), id(platform)) };
    let own = pair("owner", "list-a");
    assert_eq!(directory.settings_of(std::slice::from_ref(&own)).await.unwrap(), []);
    for settings in [json!({"posts": 50, "nested": [null, "é\r\n'"]}), json!({"delay": 1.5}), json!(null)] {
        directory.put_settings(&own.0, &own.1, &settings).await.unwrap();
        let found = directory.settings_of(std::slice::from_ref(&own)).await.unwrap();
        assert_eq!(found, [(own.clone(), settings)]);
    }
    let others = pair("owner", "list-c");
    directory.put_settings(&others.0, &others.1, &json!([1])).await.unwrap();
    let wanted = [others.clone(), pair("owner", "list-b"), pair("ana", "list-a"), own.clone()];
    let mut found = directory.settings_of(&wanted).await.unwrap();
    found.sort_by(|one, two| one.0.cmp(&two.0));
    assert_eq!(found, [(own, json!(null)), (others, json!([1]))], "many at once, and nobody else's");
}

async fn settings_are_replaced_only_over_what_was_read(directory: &dyn Directory) {
    let (owner, platform): (UserId, PlatformId) = (id("owner"), id("list-b"));
    let replace = async |before: Option<&serde_json::Value>, after: &serde_json::Value| {
        directory.replace_settings(&owner, &platform, before, after, None).await.unwrap()
    };
    let (one, two) = (json!({"b": [1.5, null], "a": "é'"}), json!({"a": 2}));
    assert_eq!(replace(Some(&two), &one).await, Change::Conflict, "nothing was there");
    assert_eq!(replace(None, &one).await, Change::Done(()));
    assert_eq!(replace(None, &two).await, Change::Conflict);
    assert_eq!(replace(Some(&two), &two).await, Change::Conflict);
    assert_eq!(replace(Some(&one), &two).await, Change::Done(()));
    let stands = directory.settings_of(&[(owner.clone(), platform.clone())]).await.unwrap();
    assert_eq!(stands, [((owner.clone(), platform.clone()), two.clone())]);
    let nowhere = directory.replace_settings(&owner, &id("none"), None, &one, None).await.unwrap();
    assert_eq!(nowhere, Change::Gone);
}

async fn stats_are_computed_for_the_owner_alone(directory: &dyn Directory) {
    let pairs: [Pair; 3] =
        [(id("owner"), id("list-c")), (id("ana"), id("list-c")), (id("ana"), id("stats'1"))];
    directory.put_platform(&platform("stats'1", "ana")).await.unwrap();
    let session = Session { platform: Some(id("list-c")), ..session("stats", "owner") };
    directory.create_session(&session, None, NOW, None).await.unwrap();
    let mut found = directory.stats_of(&pairs).await.unwrap();
    found.sort_by(|one, two| one.0.cmp(&two.0));
    let stats = |sessions| json!({"sessions": sessions, "switches": 0, "last_used": null});
    assert_eq!(found, [(pairs[2].clone(), stats(0)), (pairs[0].clone(), stats(1))]);
}

async fn sessions_are_kept_as_written(directory: &dyn Directory) {
    let mut full = session("full", "ana");
    full.predecessor = Some(Box::new(SessionId::of_token(b"old")));
    full.successor = Some(Box::new(SessionId::of_token(b"new")));
    full.version = 7;
    let bare = Session { platform: None, actor: None, ..session("bare", "b'e\"n\\ ☃:%") };
    directory.create_session(&full, None, NOW, None).await.unwrap();
    directory.create_session(&bare, None, NOW, None).await.unwrap();
    let mut rows = directory.sessions(&[bare.id, SessionId::of_token(b"none"), full.id]).await.unwrap();
    rows.sort_by_key(|row| row.session.version);
    let live = |session: &Session| SessionRow { session: session.clone(), ended: None, last_seen: None };
    assert_eq!(rows, [live(&bare), live(&full)]);
    let again = directory.create_session(&full, None, NOW, None).await;
    assert_eq!(again, Err(DirectoryError::Unreadable), "an id is used once");
    let nobody = directory.create_session(&session("nobody's", "nobody"), None, NOW, None).await;
    assert_eq!(nobody, Err(DirectoryError::Unreadable), "there is no such user");
}

fn replacing(old: &Session) -> Replaced<'static> {
    Replaced { id: old.id, line: None }
}

async fn a_login_ends_the_session_it_replaces(directory: &dyn Directory) {
    let old = begin(directory, "before login", "ana").await;
    let new = session("after login", "ana");
    directory.create_session(&new, Some(replacing(&old)), after(5), None).await.unwrap();
    assert_eq!(row(directory, &old).await.ended, Some(after(5)));
    assert_eq!(row(directory, &new).await.ended, None);
    // One transaction: when the new one cannot be written, the old one stays.
    assert!(directory.create_session(&new, Some(replacing(&new)), after(6), None).await.is_err());
    assert_eq!(row(directory, &new).await.ended, None);
}

async fn only_a_live_session_at_the_right_version_changes_platform(directory: &dyn Directory) {
    let session = begin(directory, "switch", "ana").await;
    let target: PlatformId = id("list-a");
    let Change::Done(changed) =
        directory.set_platform(&session.id, 1, Some(&target), after(1), None).await.unwrap()
    else {
        panic!("it was live and at version 1");
    };
    assert_eq!(changed, Session { platform: Some(target), version: 2, ..session.clone() });
    assert_eq!(row(directory, &session).await.session, changed);
    assert_eq!(directory.set_platform(&session.id, 1, None, after(1), None).await.unwrap(), Change::Conflict);
    assert!(matches!(
        directory.set_platform(&session.id, 2, None, after(1), None).await.unwrap(),
        Change::Done(_)
    ));
    assert_eq!(
        directory.set_platform(&session.id, 3, None, after(3600), None).await.unwrap(),
        Change::Gone,
        "expired"
    );
    directory.end_sessions(&[session.id], after(2), None).await.unwrap();
    assert_eq!(
        directory.set_platform(&session.id, 3, None, after(2), None).await.unwrap(),
        Change::Gone,
        "ended"
    );
    let none = SessionId::of_token(b"none");
    assert_eq!(directory.set_platform(&none, 1, None, NOW, None).await.unwrap(), Change::Gone, "never there");
}

async fn rotation_with_grace_leaves_both_and_without_leaves_one(directory: &dyn Directory) {
    let first = begin(directory, "r1", "ana").await;
    let second = Session { predecessor: Some(Box::new(first.id)), ..session("r2", "ana") };
    let graceful =
        directory.rotate_session(&first.id, 1, &second, Some(after(30)), after(1), None).await.unwrap();
    assert_eq!(graceful, Change::Done(()));
    let old = row(directory, &first).await;
    assert_eq!((old.ended, old.session.expires), (None, after(30)));
    assert_eq!((old.session.successor, old.session.version), (Some(Box::new(second.id)), 2));

    let third = Session { predecessor: Some(Box::new(second.id)), ..session("r3", "ana") };
    assert_eq!(
        directory.rotate_session(&second.id, 9, &third, None, after(2), None).await.unwrap(),
        Change::Conflict
    );
    assert_eq!(directory.sessions(&[third.id]).await.unwrap(), []);
    assert_eq!(
        directory.rotate_session(&second.id, 1, &third, None, after(2), None).await.unwrap(),
        Change::Done(())
    );
    assert_eq!(row(directory, &second).await.ended, Some(after(2)));
    assert_eq!(
        row(directory, &first).await.ended,
        Some(after(2)),
        "nothing from before the change stays valid"
    );
    assert_eq!(row(directory, &third).await.ended, None);
    let late =
        directory.rotate_session(&second.id, 2, &session("r4", "ana"), None, after(3), None).await.unwrap();
    assert_eq!(late, Change::Gone);

    // A grace never makes a session longer.
    let long = session("r5", "ana");
    directory.rotate_session(&third.id, 1, &long, Some(after(99_999)), after(3), None).await.unwrap();
    assert_eq!(row(directory, &third).await.session.expires, third.expires);
}

async fn of_many_rotations_exactly_one_wins(directory: &dyn Directory) {
    let old = begin(directory, "contended", "ana").await;
    let successors: Vec<_> = (0..8).map(|n| session(&format!("successor {n}"), "ana")).collect();
    let rotations = successors
        .iter()
        .map(|successor| directory.rotate_session(&old.id, 1, successor, Some(after(30)), after(1), None));
    let outcomes = futures_util::future::join_all(rotations).await;
    let won = outcomes.iter().filter(|outcome| **outcome == Ok(Change::Done(()))).count();
    let lost = outcomes.iter().filter(|outcome| **outcome == Ok(Change::Conflict)).count();
    assert_eq!((won, lost), (1, 7), "{outcomes:?}");
    let ids: Vec<_> = successors.iter().map(|successor| successor.id).collect();
    let written = directory.sessions(&ids).await.unwrap();
    assert_eq!(written.len(), 1);
    assert_eq!(row(directory, &old).await.session.successor.as_deref(), Some(&written[0].session.id));
}

async fn ending_one_of_two_joined_sessions_ends_both(directory: &dyn Directory) {
    for end_old in [true, false] {
        let old = begin(directory, &format!("joined {end_old}"), "ana").await;
        let new = Session {
            predecessor: Some(Box::new(old.id)),
            ..session(&format!("joined too {end_old}"), "ana")
        };
        directory.rotate_session(&old.id, 1, &new, Some(after(30)), after(1), None).await.unwrap();
        let ended = if end_old { old.id } else { new.id };
        directory.end_sessions(&[ended, SessionId::of_token(b"none")], after(2), None).await.unwrap();
        directory.end_sessions(&[ended], after(9), None).await.unwrap();
        for session in [&old, &new] {
            assert_eq!(row(directory, session).await.ended, Some(after(2)), "ended once, and not again");
        }
    }
}

async fn ending_everywhere_ends_what_began_up_to_now(directory: &dyn Directory) {
    directory.put_user(&user("everywhere")).await.unwrap();
    let early = begin(directory, "early", "everywhere").await;
    let late = Session { created: after(11), ..session("late", "everywhere") };
    directory.create_session(&late, None, NOW, None).await.unwrap();
    let other = begin(directory, "other", "ana").await;
    let listed = directory.sessions_of(&early.user, after(10)).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.session.id).collect::<Vec<_>>(), [late.id, early.id]);

    let user = directory.end_user_sessions(&early.user, after(10), None).await.unwrap().unwrap();
    assert_eq!(user.sessions_valid_after, Some(after(10)));
    assert_eq!(directory.users(std::slice::from_ref(&user.id)).await.unwrap(), std::slice::from_ref(&user));
    assert_eq!(row(directory, &early).await.ended, Some(after(10)));
    assert_eq!((row(directory, &late).await.ended, row(directory, &other).await.ended), (None, None));
    let again = directory.end_user_sessions(&user.id, after(5), None).await.unwrap();
    assert_eq!(again, Some(user.clone()), "the moment never moves backwards");
    assert_eq!(directory.end_user_sessions(&id("nobody"), NOW, None).await.unwrap(), None);
    let listed = directory.sessions_of(&user.id, after(12)).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.session.id).collect::<Vec<_>>(), [late.id]);
    assert_eq!(
        directory.sessions_of(&user.id, late.expires).await.unwrap(),
        [],
        "expired sessions are not listed"
    );
}

async fn activity_never_moves_backwards(directory: &dyn Directory) {
    let (one, two) = (begin(directory, "seen 1", "ana").await, begin(directory, "seen 2", "ana").await);
    let none = SessionId::of_token(b"none");
    let seen =
        [(one.id, after(3)), (two.id, after(1)), (none, after(1)), (one.id, after(5)), (one.id, after(4))];
    directory.note_activity(&seen).await.unwrap();
    directory.note_activity(&[(one.id, after(2)), (two.id, after(2))]).await.unwrap();
    assert_eq!(row(directory, &one).await.last_seen, Some(after(5)));
    assert_eq!(row(directory, &two).await.last_seen, Some(after(2)));
    assert_eq!(row(directory, &one).await.session.version, 1, "being seen is no change");
    let many: Vec<_> = (0..1200_u32).map(|n| (SessionId::of_token(&n.to_be_bytes()), after(1))).collect();
    directory.note_activity(&many).await.unwrap();
}

async fn what_changed_is_written_down_in_order(directory: &dyn Directory) {
    let begin = directory.changes_after(Place::default(), 10_000).await.unwrap().horizon;
    assert_eq!(directory.changes_after(begin, 10).await.unwrap().changed, []);
    let (one, two) = (session("log 1", "ana"), session("log 2", "ana"));
    for session in [&one, &two] {
        directory.create_session(session, None, NOW, None).await.unwrap();
    }
    directory.note_activity(&[(one.id, after(1))]).await.unwrap();
    directory.end_sessions(&[one.id], after(2), None).await.unwrap();
    directory.put_settings(&id("owner"), &id("list-b"), &json!({"a:%": 1})).await.unwrap();
    directory.put_user(&User { name: "Logged".into(), ..user("owner") }).await.unwrap();
    directory.put_user(&User { name: "Logged".into(), ..user("owner") }).await.unwrap();
    directory.set_platform(&two.id, 1, None, after(2), None).await.unwrap();
    let wanted = [
        Changed::Session(one.id),
        Changed::Settings(id("owner"), id("list-b")),
        Changed::User(id("owner")),
        Changed::Session(two.id),
    ];
    let all = directory.changes_after(begin, 100).await.unwrap();
    let mut told = all.changed.clone();
    told.dedup();
    assert_eq!((told.as_slice(), all.next), (wanted.as_slice(), None));
    let (mut place, mut paged) = (begin, Vec::new());
    loop {
        let page = directory.changes_after(place, 2).await.unwrap();
        paged.extend(page.changed);
        let Some(next) = page.next else { break };
        place = next;
    }
    assert_eq!(paged, all.changed, "the same in parts");
    assert!(all.horizon > begin);
    assert_eq!(directory.changes_after(all.horizon, 10).await.unwrap().changed, []);
    assert_eq!(all.horizon.to_string().parse(), Ok(all.horizon));
    assert!(directory.purge_changes(Timestamp::from_secs(4_000_000_000), 3).await.unwrap() == 3);
}

async fn purging_takes_what_is_over_in_batches(directory: &dyn Directory) {
    while directory.purge(after(1_000_000), 100).await.unwrap() > 0 {}
    for n in 0..7 {
        begin(directory, &format!("purge {n}"), "ana").await;
    }
    let ended = begin(directory, "purge ended", "ana").await;
    directory.end_sessions(&[ended.id], after(10), None).await.unwrap();
    assert_eq!(directory.purge(after(10), 100).await.unwrap(), 0);
    assert_eq!(directory.purge(after(11), 100).await.unwrap(), 1);
    assert_eq!(directory.sessions(&[ended.id]).await.unwrap(), []);
    let batches = [5, 5, 5].map(|limit| directory.purge(after(3601), limit));
    let mut purged = Vec::new();
    for batch in batches {
        purged.push(batch.await.unwrap());
    }
    assert_eq!(purged, [5, 2, 0]);
}

async fn the_audit_log_takes_every_line(directory: &dyn Directory) {
    let full = AuditEntry {
        at: NOW,
        event: "platform_switched",
        user: Some(id("someone who is gone")),
        session: Some(SessionId::of_token(b"x")),
        platform: Some(id("gone")),
        by: "upstream:captions".to_owned(),
        from: Some("2001:db8::1".to_owned()),
        request_id: Some("01J".to_owned()),
    };
    let bare = AuditEntry {
        user: None,
        session: None,
        platform: None,
        from: None,
        request_id: None,
        ..full.clone()
    };
    directory.audit(&full).await.unwrap();
    directory.audit(&bare).await.unwrap();
}
