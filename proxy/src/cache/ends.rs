//! Ends that this process accepted while the directory was away: the store holds them, and so does this list until the
//! directory knows. Should the store lose its memory first, nobody is served here all the same. And those that others
//! accepted, since the store listed them: an end of all sessions concerns some that no tombstone was set for. All are obeyed
//! as long as there is room, also when the directory knows: somebody may have asked it before. Asks nobody.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::clock::Timestamp;
use crate::context::{Session, SessionId, UserId};
use crate::store::UnconfirmedEnd;

/// The most ends that wait for the directory, and that are obeyed beside them, some 500 bytes each.
const MOST: usize = 16_384;

/// The ends that the directory does not know yet, or did not a while ago.
#[derive(Debug, Default)]
pub struct Ends {
    /// Looked at first, by everybody who has found a session.
    count: AtomicUsize,
    state: Mutex<State>,
    news: Notify,
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Those to bring to the directory, in the order in which they were accepted, each with the sessions that it is known
    /// to concern.
    accepted: Vec<(UnconfirmedEnd, Vec<SessionId>)>,
    /// Those that the store listed, whoever accepted them, and those that were brought to the directory.
    heard: HashMap<UnconfirmedEnd, Vec<SessionId>>,
    over: Over,
}

/// What both of them end.
#[derive(Debug, Default)]
struct Over {
    /// How many of them concern a session by its id.
    sessions: HashMap<SessionId, usize>,
    /// The moments at which all sessions of a user were ended.
    users: HashMap<UserId, Vec<Timestamp>>,
}

impl Ends {
    /// Remembers an end that the store has accepted. Whoever does so drops the copies of these sessions afterwards.
    pub fn accept(&self, end: UnconfirmedEnd, sessions: &[SessionId]) {
        let mut state = self.state.lock();
        if state.accepted.len() < MOST {
            state.over.add(&end, sessions);
            state.accepted.push((end, sessions.to_vec()));
            self.count.store(state.len(), Ordering::Release);
        }
        drop(state);
        self.news.notify_one();
    }

    /// The store lists these, and perhaps more. Answers those that are news here; whoever hears of them drops the copies
    /// that they concern afterwards.
    ///
    /// What it does not list any more is obeyed on: it may have lost its memory, and no session that was ended comes back.
    /// Forgotten is only what must make room, and what another framework may begin again under the same id.
    pub fn hear(&self, listed: &[UnconfirmedEnd], now: Timestamp) -> Vec<UnconfirmedEnd> {
        let mut state = self.state.lock();
        let is_news = |end: &&UnconfirmedEnd| !state.heard.contains_key(end) && !is_past(end, now);
        let news: Vec<_> = listed.iter().filter(is_news).cloned().collect();
        state.make_room(news.len(), listed, now);
        for end in &news {
            state.over.add(end, &[]);
            state.heard.insert(end.clone(), Vec::new());
        }
        self.count.store(state.len(), Ordering::Release);
        news
    }

    /// The directory knows of it now.
    pub fn confirmed(&self, end: &UnconfirmedEnd, now: Timestamp) {
        let mut state = self.state.lock();
        for place in (0..state.accepted.len()).rev() {
            if state.accepted[place].0 == *end {
                let (end, sessions) = state.accepted.remove(place);
                state.make_room(1, std::slice::from_ref(&end), now);
                if let Some(before) = state.heard.insert(end.clone(), sessions) {
                    state.over.remove(&end, &before);
                }
            }
        }
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
        let over = &self.state.lock().over;
        // Strictly before, as for a user's moment in the directory.
        over.sessions.contains_key(&session.id)
            || over.users.get(&session.user).is_some_and(|ends| ends.iter().any(|end| session.created < *end))
    }

    /// Returns when an end was accepted since this returned last. For one caller. Cancellation safe.
    pub async fn accepted(&self) {
        self.news.notified().await;
    }

    /// The store's list has changed.
    pub(super) fn tell(&self) {
        self.told.notify_one();
    }

    /// Returns when the store's list has changed since this returned last. For one caller. Cancellation safe.
    pub async fn told(&self) {
        self.told.notified().await;
    }
}

impl State {
    /// Forgets what need not be obeyed any more; where there is no room for so many, all but these.
    fn make_room(&mut self, more: usize, but: &[UnconfirmedEnd], now: Timestamp) {
        let Self { heard, over, .. } = self;
        let is_full = heard.len() + more > MOST;
        let but: HashSet<_> = if is_full { but.iter().collect() } else { HashSet::new() };
        heard.retain(|end, sessions| {
            let stays = !is_past(end, now) && (!is_full || but.contains(end));
            if !stays {
                over.remove(end, sessions);
            }
            stays
        });
    }

    fn len(&self) -> usize {
        self.accepted.len() + self.heard.len()
    }
}

/// Whether another framework may begin the session again.
fn is_past(end: &UnconfirmedEnd, now: Timestamp) -> bool {
    end.foreign_until.is_some_and(|until| until <= now)
}

impl Over {
    fn add(&mut self, end: &UnconfirmedEnd, concerned: &[SessionId]) {
        for id in concerned.iter().chain(&end.session) {
            *self.sessions.entry(*id).or_default() += 1;
        }
        if end.session.is_none() {
            self.users.entry(end.user.clone()).or_default().push(end.at);
        }
    }

    /// Takes back what [`Self::add`] did for the same.
    fn remove(&mut self, end: &UnconfirmedEnd, concerned: &[SessionId]) {
        for id in concerned.iter().chain(&end.session) {
            if let Entry::Occupied(mut count) = self.sessions.entry(*id) {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        if end.session.is_none()
            && let Entry::Occupied(mut moments) = self.users.entry(end.user.clone())
        {
            if let Some(place) = moments.get().iter().position(|moment| *moment == end.at) {
                moments.get_mut().swap_remove(place);
            }
            if moments.get().is_empty() {
                moments.remove();
            }
        }
    }
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
    fn an_end_waits_until_the_directory_knows_and_is_obeyed_on() {
        let (ends, session) = (Ends::default(), session("ana"));
        assert!(!ends.cover(&session));
        let later = session.created.plus(Duration::from_millis(1));
        let (one, all) = (end(Some(&session), &session.user, later), end(None, &session.user, later));
        ends.accept(one.clone(), &[session.id]);
        ends.accept(all.clone(), &[session.id]);
        assert!(ends.cover(&session));
        ends.confirmed(&one, later);
        assert_eq!(ends.some(9), std::slice::from_ref(&all));
        ends.confirmed(&all, later);
        assert!(ends.some(9).is_empty());
        assert!(ends.cover(&session), "somebody may have asked the directory before");
    }

    #[test]
    fn what_others_accepted_is_obeyed_from_when_it_is_listed() {
        let (ends, session) = (Ends::default(), session("ana"));
        let all = end(None, &session.user, session.created.plus(Duration::from_millis(1)));
        let hear = |listed: &[UnconfirmedEnd]| ends.hear(listed, session.created);
        assert_eq!(hear(std::slice::from_ref(&all)), std::slice::from_ref(&all));
        assert!(hear(std::slice::from_ref(&all)).is_empty(), "no news");
        assert!(ends.cover(&session) && ends.some(9).is_empty(), "others bring it to the directory");
        hear(&[]);
        assert!(ends.cover(&session), "the store lost its memory");
    }

    #[test]
    fn another_framework_may_begin_a_session_again_when_its_end_need_not_be_kept() {
        let (ends, session) = (Ends::default(), session("ana"));
        let mut foreign = end(Some(&session), &session.user, session.created);
        foreign.foreign_until = Some(session.expires);
        ends.hear(std::slice::from_ref(&foreign), session.created);
        ends.hear(&[], session.created);
        assert!(ends.cover(&session));
        for _ in 0..2 {
            assert!(ends.hear(std::slice::from_ref(&foreign), session.expires).is_empty());
            assert!(!ends.cover(&session));
        }
    }

    #[test]
    fn the_room_is_bounded_and_what_is_listed_stays() {
        let (ends, session) = (Ends::default(), session("ana"));
        let at = |n: u64| end(None, &session.user, session.created.plus(Duration::from_millis(n)));
        let count = u64::try_from(MOST).unwrap();
        let (last, all): (_, Vec<_>) = (at(count), (0..count).map(at).collect());
        let own = end(Some(&session), &session.user, session.created);
        ends.accept(own.clone(), &[session.id]);
        ends.confirmed(&own, session.created);
        assert_eq!(ends.hear(&all, session.created).len(), MOST);
        assert_eq!(ends.hear(&[all[7].clone(), last.clone()], session.created), std::slice::from_ref(&last));
        let over = &ends.state.lock().over;
        assert_eq!(over.users[&session.user], [all[7].at, last.at], "nothing else is left");
        assert!(over.sessions.is_empty());
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
