//! Ends that this process accepted while the directory was away: the store holds them, and so does this list until the
//! directory knows. Should the store lose its memory first, nobody is served here all the same. And those that others
//! accepted, as long as the store lists them: an end of all sessions concerns some that no tombstone was set for. Bounded; asks nobody.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::context::{Session, SessionId, UserId};
use crate::store::UnconfirmedEnd;

/// The most ends that are remembered, some 500 bytes each.
const MOST: usize = 16_384;

/// The ends that the directory does not know yet.
#[derive(Debug, Default)]
pub struct Ends {
    /// Looked at first, by everybody who has found a session.
    count: AtomicUsize,
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// In the order in which they were accepted, each with the sessions that it is known to concern.
    accepted: Vec<(UnconfirmedEnd, Vec<SessionId>)>,
    /// Those that the store listed last, whoever accepted them.
    heard: Vec<UnconfirmedEnd>,
    /// How many of them concern a session by its id.
    sessions: HashMap<SessionId, usize>,
}

impl Ends {
    /// Remembers an end that the store has accepted. Whoever does so drops the copies of these sessions afterwards.
    pub fn accept(&self, end: UnconfirmedEnd, sessions: &[SessionId]) {
        let mut state = self.state.lock();
        if state.accepted.len() < MOST {
            for id in sessions {
                *state.sessions.entry(*id).or_default() += 1;
            }
            state.accepted.push((end, sessions.to_vec()));
            self.count.store(state.len(), Ordering::Release);
        }
        drop(state);
        self.news.notify_one();
    }

    /// The store lists these, and no others. Answers those that are news here; whoever hears of them drops the copies
    /// that they concern afterwards.
    pub fn hear(&self, listed: &[UnconfirmedEnd]) -> Vec<UnconfirmedEnd> {
        let mut state = self.state.lock();
        if state.heard == listed {
            // Nearly always, and who resolves a session waits for this lock.
            return Vec::new();
        }
        let news = listed.iter().filter(|end| !state.heard.contains(end)).cloned().collect();
        state.heard = listed.to_vec();
        self.count.store(state.len(), Ordering::Release);
        news
    }

    /// The directory knows of it now.
    pub fn confirmed(&self, end: &UnconfirmedEnd) {
        let mut state = self.state.lock();
        let State { accepted, heard, sessions } = &mut *state;
        heard.retain(|other| other != end);
        accepted.retain(|(own, concerned)| {
            let stays = own != end;
            for id in concerned.iter().filter(|_| !stays) {
                if let Some(count) = sessions.get_mut(id) {
                    *count -= 1;
                }
            }
            stays
        });
        sessions.retain(|_, count| *count > 0);
        self.count.store(state.len(), Ordering::Release);
    }

    /// Some of them, those that were accepted first.
    pub fn some(&self, most: usize) -> Vec<UnconfirmedEnd> {
        self.state.lock().accepted.iter().take(most).map(|(end, _)| end.clone()).collect()
    }

    /// Whether this session was ended, whatever the directory says of it.
    pub fn cover(&self, session: &Session) -> bool {
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let state = self.state.lock();
        let mut all = state.accepted.iter().map(|(end, _)| end).chain(&state.heard);
        state.sessions.contains_key(&session.id)
            || all.any(|end| end.session == Some(session.id) || ends_all(end, &session.user, session.created))
    }

    /// Returns when an end was accepted since this returned last. For one caller. Cancellation safe.
    pub async fn accepted(&self) {
        self.news.notified().await;
    }
}

impl State {
    fn len(&self) -> usize {
        self.accepted.len() + self.heard.len()
    }
}

/// Strictly before, as for a user's moment in the directory.
fn ends_all(end: &UnconfirmedEnd, user: &UserId, created: Timestamp) -> bool {
    end.session.is_none() && end.user == *user && created < end.at
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn session(user: &str) -> Session {
        let created = Timestamp::from_secs(1_800_000_000);
        Session {
            id: SessionId::of_token(user.as_bytes()),
            user: user.parse().unwrap(),
            platform: None,
            created,
            authenticated: created,
            expires: created.plus(Duration::from_hours(1)),
            predecessor: None,
            successor: None,
            actor: None,
            version: 1,
        }
    }

    fn end(session: Option<&Session>, user: &UserId, at: Timestamp) -> UnconfirmedEnd {
        let session = session.map(|session| session.id);
        UnconfirmedEnd {
            session,
            user: user.clone(),
            at,
            by: "user".to_owned(),
            from: None,
            request_id: None,
            foreign_until: None,
        }
    }

    #[test]
    fn a_session_is_over_until_the_directory_knows_of_each_end() {
        let (ends, session) = (Ends::default(), session("ana"));
        assert!(!ends.cover(&session));
        let later = session.created.plus(Duration::from_millis(1));
        let (one, all) = (end(Some(&session), &session.user, later), end(None, &session.user, later));
        ends.accept(one.clone(), &[session.id]);
        ends.accept(all.clone(), &[session.id]);
        assert!(ends.cover(&session));
        ends.confirmed(&one);
        assert!(ends.cover(&session));
        assert_eq!(ends.some(9), std::slice::from_ref(&all));
        ends.confirmed(&all);
        assert!(!ends.cover(&session) && ends.some(9).is_empty());
    }

    #[test]
    fn what_others_accepted_is_obeyed_as_long_as_it_is_listed() {
        let (ends, session) = (Ends::default(), session("ana"));
        let all = end(None, &session.user, session.created.plus(Duration::from_millis(1)));
        assert_eq!(ends.hear(std::slice::from_ref(&all)), std::slice::from_ref(&all));
        assert!(ends.hear(std::slice::from_ref(&all)).is_empty(), "no news");
        assert!(ends.cover(&session) && ends.some(9).is_empty(), "others bring it to the directory");
        ends.confirmed(&all);
        assert!(!ends.cover(&session));
        ends.hear(&[end(Some(&session), &session.user, session.created)]);
        assert!(ends.cover(&session));
        ends.hear(&[]);
        assert!(!ends.cover(&session));
    }

    #[test]
    fn all_of_a_user_are_those_that_began_before() {
        let (ends, session) = (Ends::default(), session("ana"));
        ends.accept(end(None, &"ben".parse().unwrap(), session.created.plus(Duration::from_secs(1))), &[]);
        assert!(!ends.cover(&session), "somebody else's");
        ends.accept(end(None, &session.user, session.created), &[]);
        assert!(!ends.cover(&session), "it began in the same moment");
        ends.accept(end(None, &session.user, session.created.plus(Duration::from_millis(1))), &[]);
        assert!(ends.cover(&session));
    }
}
