//! The part of the contract that makes the audit log whole: a change and its line are there together, or neither is.

use serde_json::json;

use super::{after, id, platform, row, session, user};
use crate::context::{PlatformId, Session, UserId};
use crate::directory::{AuditEntry, AuditPage, Change, Directory, DirectoryError, Replaced};

fn line(event: &'static str, session: &Session) -> AuditEntry {
    AuditEntry {
        at: after(1),
        event,
        user: Some(session.user.clone()),
        session: Some(session.id),
        platform: session.platform.clone(),
        by: "user \u{e9}'\"\\".to_owned(),
        from: Some("2001:db8::7".to_owned()),
        request_id: Some("r7".to_owned()),
    }
}

/// A session of somebody who has one platform of their own.
async fn begin(directory: &dyn Directory, token: &str, owner: &str) -> Session {
    directory.put_user(&user(owner)).await.unwrap();
    directory.put_platform(&platform(&format!("{owner}-1"), owner)).await.unwrap();
    let session = Session { platform: None, actor: None, ..session(token, owner) };
    let written = line("session_started", &session);
    directory.create_session(&session, None, after(0), Some(&written)).await.unwrap();
    session
}

/// What the log says of a user, oldest first.
async fn told(directory: &dyn Directory, owner: &str) -> Vec<(String, Option<String>, Option<String>)> {
    let page = AuditPage { user: Some(id(owner)), since: None, after: None, limit: 100 };
    let mut lines = directory.audit_log(&page).await.unwrap();
    lines.reverse();
    let text = |platform: &PlatformId| platform.as_str().to_owned();
    lines
        .into_iter()
        .inspect(|line| assert_eq!((line.by.as_str(), line.at), ("user \u{e9}'\"\\", after(1))))
        .map(|line| (line.event, line.session.map(|id| id.to_string()), line.platform.as_ref().map(text)))
        .collect()
}

/// Makes every kind of change, and beside each one that comes too late: only what was done is told, once.
pub(super) async fn every_change_has_its_line_and_what_changes_nothing_has_none(directory: &dyn Directory) {
    let first = begin(directory, "told 1", "vera").await;
    let own: PlatformId = id("vera-1");
    let second = Session { platform: Some(own.clone()), ..session("told 2", "vera") };
    let (end, start) = (line("session_replaced", &first), line("session_started", &second));
    let replaced = Some(Replaced { id: first.id, line: Some(&end) });
    assert_eq!(directory.create_session(&second, replaced, after(1), Some(&start)).await, Ok(1));

    let switch = line("platform_switched", &second);
    for (version, is_done) in [(1, true), (1, false)] {
        let outcome = directory.set_platform(&second.id, version, Some(&own), after(1), Some(&switch)).await;
        assert_eq!(matches!(outcome, Ok(Change::Done(_))), is_done);
    }
    let figures = directory.stats_of(&[(second.user.clone(), own.clone())]).await.unwrap().remove(0).1;
    assert_eq!(figures["switches"], 1, "from the log, at once");
    assert_eq!(figures["last_used"], after(1).as_millis());

    let third = Session {
        predecessor: Some(Box::new(second.id)),
        platform: Some(own.clone()),
        ..session("told 3", "vera")
    };
    let rotation = line("session_rotated", &third);
    for version in [2, 2] {
        let grace = Some(after(30));
        let _ = directory.rotate_session(&second.id, version, &third, grace, after(1), Some(&rotation)).await;
    }
    let settings = line("settings_changed", &third);
    for before in [None, Some(json!(2))] {
        let after = json!(1);
        let user = &third.user;
        let _ = directory.replace_settings(user, &own, before.as_ref(), &after, Some(&settings)).await;
    }
    let clearing = AuditEntry {
        user: None,
        session: None,
        platform: Some(own.clone()),
        ..line("platform_cleared", &third)
    };
    for limit in [10, 10] {
        directory.clear_platform(&own, limit, after(1), Some(&clearing)).await.unwrap();
    }
    let over = line("session_ended", &third);
    for ended in [2, 0] {
        assert_eq!(directory.end_sessions(&[third.id], after(1), Some(&over)).await, Ok(ended));
    }
    let everywhere = AuditEntry { session: None, platform: None, ..line("sessions_ended", &third) };
    for moment in [2, 2, 1] {
        directory.end_user_sessions(&third.user, after(moment), Some(&everywhere)).await.unwrap();
    }
    let nobody = AuditEntry { user: Some(id("nobody told")), ..everywhere.clone() };
    directory.end_user_sessions(&id("nobody told"), after(1), Some(&nobody)).await.unwrap();

    let expected = |event: &str, session: &Session, platform: Option<&str>| {
        (event.to_owned(), Some(session.id.to_string()), platform.map(str::to_owned))
    };
    let mut lines = told(directory, "vera").await;
    let cleared = lines.iter().filter(|line| line.0 == "platform_cleared").count();
    assert_eq!(cleared, 2, "both of a rotation in its grace: {lines:?}");
    lines.retain(|line| line.0 != "platform_cleared");
    assert_eq!(
        lines,
        [
            expected("session_started", &first, None),
            expected("session_replaced", &first, None),
            expected("session_started", &second, Some("vera-1")),
            expected("platform_switched", &second, Some("vera-1")),
            expected("session_rotated", &third, Some("vera-1")),
            expected("settings_changed", &third, Some("vera-1")),
            expected("session_ended", &third, Some("vera-1")),
            ("sessions_ended".to_owned(), None, None),
        ]
    );
    assert_eq!(told(directory, "nobody told").await, []);
}

/// Takes the log away (`true`) and puts it back: no change is made meanwhile, and no line is missing afterwards.
pub(in crate::directory) async fn without_its_line_no_change_is_made(
    directory: &dyn Directory,
    away: impl AsyncFn(bool),
) {
    let one = begin(directory, "untold 1", "una").await;
    let (una, own): (UserId, PlatformId) = (id("una"), id("una-1"));
    let two = Session { predecessor: Some(Box::new(one.id)), ..session("untold 2", "una") };
    let any = line("never", &one);
    away(true).await;
    let refused = Err(DirectoryError::Unreadable);
    let replaced = Some(Replaced { id: one.id, line: Some(&any) });
    assert_eq!(directory.create_session(&two, replaced, after(1), Some(&any)).await.map(drop), refused);
    assert_eq!(directory.create_session(&two, None, after(1), Some(&any)).await.map(drop), refused);
    let rotated = directory.rotate_session(&one.id, 1, &two, None, after(1), Some(&any)).await;
    assert_eq!(rotated.map(drop), refused);
    let switched = directory.set_platform(&one.id, 1, Some(&own), after(1), Some(&any)).await;
    assert_eq!(switched.map(drop), refused);
    let written = directory.replace_settings(&una, &own, None, &json!(1), Some(&any)).await;
    assert_eq!(written.map(drop), refused);
    assert_eq!(directory.end_sessions(&[one.id], after(1), Some(&any)).await.map(drop), refused);
    assert_eq!(directory.end_user_sessions(&una, after(1), Some(&any)).await.map(drop), refused);
    away(false).await;
    assert_eq!(row(directory, &one).await.session, one);
    assert_eq!(row(directory, &one).await.ended, None);
    assert_eq!(directory.sessions(&[two.id]).await.unwrap(), []);
    assert_eq!(directory.settings_of(&[(una.clone(), own.clone())]).await.unwrap(), []);
    assert_eq!(directory.users(&[una]).await.unwrap()[0].sessions_valid_after, None);
    assert_eq!(told(directory, "una").await.len(), 1);

    let switch = line("platform_switched", &one);
    directory.set_platform(&one.id, 1, Some(&own), after(1), Some(&switch)).await.unwrap();
    away(true).await;
    let cleared = directory.clear_platform(&own, 10, after(1), Some(&any)).await;
    assert_eq!(cleared.map(drop), refused);
    away(false).await;
    assert_eq!(row(directory, &one).await.session.platform, Some(own));
    assert_eq!(told(directory, "una").await.len(), 2);
}

/// Many switches and one end at the same moment: the end holds, and as many lines are there as changes were made.
pub(super) async fn an_end_among_many_switches_holds(directory: &dyn Directory) {
    let session = begin(directory, "among", "wim").await;
    let own: PlatformId = id("wim-1");
    let (switch, end) = (line("platform_switched", &session), line("session_ended", &session));
    let switches = (0..12).map(async |turn| {
        let mut done = 0;
        for version in 1..4 {
            let choice = (turn % 2 == 0).then_some(&own);
            let outcome = directory.set_platform(&session.id, version, choice, after(1), Some(&switch)).await;
            done += usize::from(matches!(outcome.unwrap(), Change::Done(_)));
        }
        done
    });
    let ending = directory.end_sessions(std::slice::from_ref(&session.id), after(1), Some(&end));
    let (done, ended) = futures_util::join!(futures_util::future::join_all(switches), ending);
    assert_eq!(ended, Ok(1));
    assert_eq!(row(directory, &session).await.ended, Some(after(1)));
    let lines = told(directory, "wim").await;
    let count = |event: &str| lines.iter().filter(|line| line.0 == event).count();
    assert_eq!((count("platform_switched"), count("session_ended")), (done.iter().sum(), 1), "{lines:?}");
    let version = row(directory, &session).await.session.version;
    assert_eq!(version, 1 + count("platform_switched") as u64);
}
