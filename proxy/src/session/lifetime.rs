//! When a session is over. Judged wherever a session is about to be believed; pure, the time is passed in.

use super::Settings;
use crate::clock::Timestamp;
use crate::context::{Session, User};
use crate::reason::Reason;

/// Whether the session stands at `now`, judged by itself, its last use and its user.
///
/// # Errors
/// The reason why it is over.
pub fn check(
    session: &Session,
    last_seen: Timestamp,
    user: &User,
    settings: &Settings,
    now: Timestamp,
) -> Result<(), Reason> {
    check_end(session, settings, now)?;
    check_user(session, user)?;
    check_use(session, last_seen, settings, now)
}

/// Whether the absolute end still lies ahead.
///
/// # Errors
/// `SessionExpired`.
pub fn check_end(session: &Session, settings: &Settings, now: Timestamp) -> Result<(), Reason> {
    if now >= absolute_end(session, settings) { Err(Reason::SessionExpired) } else { Ok(()) }
}

/// Whether the user is active and did not end all sessions after this one began.
///
/// # Errors
/// `UserInactive` or `SessionSuperseded`.
pub fn check_user(session: &Session, user: &User) -> Result<(), Reason> {
    if !user.active {
        return Err(Reason::UserInactive);
    }
    // Strictly before: the login that follows a log-out everywhere may fall into the same millisecond.
    if user.sessions_valid_after.is_some_and(|moment| session.created < moment) {
        return Err(Reason::SessionSuperseded);
    }
    Ok(())
}

/// Whether `actor` may still act for the session's user in it: active, not logged out everywhere since it began, and with
/// a role for it. What an administrator does in somebody's name ends with what made them one.
///
/// # Errors
/// `ImpersonationOver`.
pub fn check_actor(session: &Session, actor: &User, settings: &Settings) -> Result<(), Reason> {
    let roles = &settings.allowances.impersonation_roles;
    let may = actor.roles.iter().any(|role| roles.contains(role));
    if may && check_user(session, actor).is_ok() { Ok(()) } else { Err(Reason::ImpersonationOver) }
}

/// Whether the session was used recently enough, as far as `last_seen` tells. Its beginning counts as a use.
///
/// # Errors
/// `SessionIdle`. Only whoever asked all that could know a later use may act on it.
pub fn check_use(
    session: &Session,
    last_seen: Timestamp,
    settings: &Settings,
    now: Timestamp,
) -> Result<(), Reason> {
    let idle = now.since(last_seen.max(session.created));
    if idle >= settings.idle_timeout { Err(Reason::SessionIdle) } else { Ok(()) }
}

/// The absolute end: what the record says, or what the settings say now, whichever comes first (THREATS S8).
pub fn absolute_end(session: &Session, settings: &Settings) -> Timestamp {
    session.expires.min(session.created.plus(settings.absolute_timeout))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::context::SessionId;

    const MINUTE: Duration = Duration::from_mins(1);
    const START: Timestamp = Timestamp::from_secs(1_000_000);

    fn settings() -> Settings {
        Settings {
            cookie: "session".to_owned(),
            secure: true,
            idle_timeout: 30 * MINUTE,
            absolute_timeout: 720 * MINUTE,
            touch_interval: MINUTE,
            rotation_grace: Duration::from_secs(10),
            allowances: crate::session::Allowances::default(),
        }
    }

    fn session() -> Session {
        Session {
            id: SessionId::of_token(b"a token"),
            user: "ana".parse().unwrap(),
            platform: None,
            created: START,
            authenticated: START,
            expires: START.plus(720 * MINUTE),
            predecessor: None,
            successor: None,
            actor: None,
            version: 1,
        }
    }

    fn user() -> User {
        User {
            id: "ana".parse().unwrap(),
            name: "Ana".into(),
            roles: Vec::new(),
            active: true,
            sessions_valid_after: None,
            passwords: Box::default(),
        }
    }

    fn judged(session: &Session, user: &User, last_seen: Timestamp, now: Timestamp) -> Result<(), Reason> {
        check(session, last_seen, user, &settings(), now)
    }

    #[test]
    fn a_session_is_idle_exactly_when_the_idle_timeout_has_passed() {
        let just_before = START.plus(30 * MINUTE).minus(Duration::from_millis(1));
        assert_eq!(judged(&session(), &user(), START, just_before), Ok(()));
        assert_eq!(judged(&session(), &user(), START, START.plus(30 * MINUTE)), Err(Reason::SessionIdle));
    }

    #[test]
    fn the_beginning_counts_as_a_use() {
        assert_eq!(judged(&session(), &user(), Timestamp::default(), START.plus(MINUTE)), Ok(()));
    }

    #[test]
    fn use_does_not_move_the_absolute_end() {
        let end = START.plus(720 * MINUTE);
        assert_eq!(judged(&session(), &user(), end, end), Err(Reason::SessionExpired));
        let before = end.minus(Duration::from_millis(1));
        assert_eq!(judged(&session(), &user(), before, before), Ok(()));
    }

    #[test]
    fn the_earlier_of_two_ends_counts() {
        let grace = Session { expires: START.plus(MINUTE), ..session() };
        assert_eq!(judged(&grace, &user(), START, START.plus(MINUTE)), Err(Reason::SessionExpired));
        let long = Session { expires: START.plus(10_000 * MINUTE), ..session() };
        let end = START.plus(720 * MINUTE);
        assert_eq!(judged(&long, &user(), end, end), Err(Reason::SessionExpired));
    }

    #[test]
    fn logging_out_everywhere_ends_what_began_strictly_before() {
        let after = |moment| User { sessions_valid_after: Some(moment), ..user() };
        let later = START.plus(Duration::from_millis(1));
        assert_eq!(judged(&session(), &after(later), START, START), Err(Reason::SessionSuperseded));
        assert_eq!(judged(&session(), &after(START), START, START), Ok(()));
    }

    #[test]
    fn what_an_actor_does_ends_with_their_role_activity_and_sessions() {
        let mut settings = settings();
        settings.allowances.impersonation_roles = vec!["admin".to_owned(), "support".to_owned()];
        let actor = User { roles: vec!["support".to_owned()], ..user() };
        let later = START.plus(Duration::from_millis(1));
        for (actor, expected) in [
            (actor.clone(), Ok(())),
            (User { sessions_valid_after: Some(START), ..actor.clone() }, Ok(())),
            (User { roles: vec!["viewer".to_owned()], ..actor.clone() }, Err(Reason::ImpersonationOver)),
            (User { active: false, ..actor.clone() }, Err(Reason::ImpersonationOver)),
            (User { sessions_valid_after: Some(later), ..actor }, Err(Reason::ImpersonationOver)),
        ] {
            assert_eq!(check_actor(&session(), &actor, &settings), expected, "{actor:?}");
        }
    }

    #[test]
    fn an_inactive_user_has_no_valid_session() {
        let inactive = User { active: false, ..user() };
        assert_eq!(judged(&session(), &inactive, START, START), Err(Reason::UserInactive));
    }
}
