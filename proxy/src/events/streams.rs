//! Streams that are tied to a session: event streams of ours, WebSockets and server-sent events of applications. When a
//! session ends, its streams do. Who cannot find out whether it has ended lets them live, and asks again.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::context::{Resolution, Session, SessionId, UserId};

/// How often every session with an open stream is looked at: for ends that nobody tells of, by their time.
const LOOK_AFTER: Duration = Duration::from_secs(1);
/// How soon is asked again when the stores could not say.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Sessions that are asked about at once.
const AT_ONCE: usize = 64;

/// By which a stream is ended from elsewhere.
#[derive(Default)]
pub struct Leash {
    held: AtomicBool,
    ended: AtomicBool,
    pulled: Notify,
}

impl Leash {
    /// One that nobody has pulled.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Whether anything was ever tied by it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held.load(Ordering::Acquire)
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Returns when the session has ended. One at a time may wait. Cancellation safe.
    pub async fn pulled(&self) {
        while !self.is_pulled() {
            self.pulled.notified().await;
        }
    }

    fn pull(&self) {
        self.ended.store(true, Ordering::Release);
        // Kept for whoever waits later.
        self.pulled.notify_one();
    }
}

impl fmt::Debug for Leash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leash").field("pulled", &self.is_pulled()).finish_non_exhaustive()
    }
}

/// All open streams of this process that are tied to sessions.
#[derive(Default)]
pub struct Streams {
    open: Mutex<Open>,
    wake: Notify,
}

#[derive(Default)]
struct Open {
    of_session: HashMap<SessionId, Held>,
    doubted: HashSet<SessionId>,
    number: u64,
}

struct Held {
    /// Whose rights the session rests on.
    people: Vec<UserId>,
    leashes: Vec<(u64, Arc<Leash>)>,
}

/// One stream's place among them; given up with this value.
#[derive(Debug)]
pub struct Hold {
    streams: Arc<Streams>,
    session: SessionId,
    number: u64,
    leash: Arc<Leash>,
}

impl Hold {
    /// Whether the stream was ended because its session was.
    #[must_use]
    pub fn was_ended(&self) -> bool {
        self.leash.is_pulled()
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut open = self.streams.open.lock();
        let Some(held) = open.of_session.get_mut(&self.session) else { return };
        held.leashes.retain(|(number, _)| *number != self.number);
        if held.leashes.is_empty() {
            open.of_session.remove(&self.session);
            open.doubted.remove(&self.session);
        }
    }
}

impl Streams {
    /// None is open.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Ties a stream to a session. The session is looked at once more: it may have ended while the stream was opened.
    #[must_use]
    pub fn hold(self: &Arc<Self>, session: &Session, leash: &Arc<Leash>) -> Hold {
        leash.held.store(true, Ordering::Release);
        let mut open = self.open.lock();
        open.number += 1;
        let number = open.number;
        let held = open
            .of_session
            .entry(session.id)
            .or_insert_with(|| Held { people: session.people().cloned().collect(), leashes: Vec::new() });
        held.leashes.push((number, Arc::clone(leash)));
        open.doubted.insert(session.id);
        drop(open);
        self.wake.notify_one();
        Hold { streams: Arc::clone(self), session: session.id, number, leash: Arc::clone(leash) }
    }

    /// How many sessions have open streams.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.open.lock().of_session.len()
    }

    /// A session may have ended. Quick, and never waits.
    pub fn doubt(&self, session: &SessionId) {
        let mut open = self.open.lock();
        if open.of_session.contains_key(session) {
            open.doubted.insert(*session);
            drop(open);
            self.wake.notify_one();
        }
    }

    /// All sessions of a user may have.
    pub fn doubt_user(&self, user: &UserId) {
        self.doubt_where(|held| held.people.contains(user));
    }

    /// All sessions may have.
    pub fn doubt_all(&self) {
        self.doubt_where(|_| true);
    }

    fn doubt_where(&self, may: impl Fn(&Held) -> bool) {
        let mut open = self.open.lock();
        let doubted: Vec<SessionId> =
            open.of_session.iter().filter(|(_, held)| may(held)).map(|(id, _)| *id).collect();
        if !doubted.is_empty() {
            open.doubted.extend(doubted);
            drop(open);
            self.wake.notify_one();
        }
    }

    /// Ends the streams of sessions that have ended, for ever. `ask` says what a session comes to.
    pub async fn run<F: Future<Output = Resolution> + Send>(
        self: Arc<Self>,
        ask: impl Fn(SessionId) -> F + Send + Sync,
    ) {
        let mut next_look = Instant::now() + LOOK_AFTER;
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep_until(next_look) => {
                    next_look = Instant::now() + LOOK_AFTER;
                    self.doubt_all();
                }
            }
            let doubted = std::mem::take(&mut self.open.lock().doubted);
            let asked = doubted.into_iter().map(|id| {
                let answer = ask(id);
                async move { (id, answer.await) }
            });
            let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
            while let Some((id, resolution)) = answers.next().await {
                match resolution {
                    Resolution::Known(_) => {}
                    Resolution::Unknown(_) => self.end(&id),
                    Resolution::Undetermined(_) => {
                        self.open.lock().doubted.insert(id);
                        next_look = next_look.min(Instant::now() + ASK_AGAIN);
                    }
                }
            }
        }
    }

    fn end(&self, session: &SessionId) {
        let open = self.open.lock();
        for (_, leash) in open.of_session.get(session).iter().flat_map(|held| &held.leashes) {
            leash.pull();
        }
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("sessions", &self.sessions()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::reason::Reason;

    #[tokio::test]
    async fn streams_end_with_their_session_and_not_when_nobody_can_say() {
        let streams = Streams::new();
        let session = |id: SessionId, user: &str| Session {
            id,
            user: user.parse().unwrap(),
            platform: None,
            created: Timestamp::from_secs(1),
            authenticated: Timestamp::from_secs(1),
            expires: Timestamp::from_secs(2),
            predecessor: None,
            successor: None,
            actor: None,
            version: 1,
        };
        let (ended, lives, unsaid) =
            (SessionId::of_token(b"1"), SessionId::of_token(b"2"), SessionId::of_token(b"3"));
        let (one, two, three) = (Leash::new(), Leash::new(), Leash::new());
        let held = streams.hold(&session(ended, "ana"), &one);
        let _alive = streams.hold(&session(lives, "ana"), &two);
        let _unsaid = streams.hold(&session(unsaid, "ben"), &three);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        let task = tokio::spawn(Arc::clone(&streams).run(move |id| {
            log.lock().push(id);
            std::future::ready(if id == ended {
                Resolution::Unknown(Reason::SessionEnded)
            } else {
                Resolution::Undetermined(Reason::StoreTimeout)
            })
        }));
        one.pulled().await;
        assert!(held.was_ended() && !two.is_pulled() && !three.is_pulled());
        let times = || asked.lock().iter().filter(|id| **id == unsaid).count();
        let before = times();
        while times() < before + 2 {
            tokio::task::yield_now().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(held);
        assert_eq!(streams.sessions(), 2);
        task.abort();
    }
}
