//! Events on their way to tabs: one reader for all streams of all users in this process, which the store wakes. A tab
//! gets every event after the place where it came in, once and in order, or is told to look anew. Never decides who may
//! listen; knows nothing of HTTP.

mod streams;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

pub use streams::{Hold, Leash, Streams};

use crate::cache::Copies;
use crate::context::{SessionId, UserId};
use crate::store::{Backlog, Change, Event, EventId, Follower, Store, StoreError};

/// Events that may wait for one tab: more than are read at once. One that takes them more slowly is let go, and comes back for the rest.
const ROOM: usize = 1024;
/// Streams that are read in one round trip.
const BATCH: usize = 128;
/// How often it is looked whether changes may have been missed, and read again after a failure.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// How many tabs may listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Tabs of one session (16).
    pub per_session: usize,
    /// Tabs of one user (64).
    pub per_user: usize,
    /// Tabs in all (10,000).
    pub in_all: usize,
    /// How often a silent stream says that it lives (15 s).
    pub heartbeat: Duration,
    /// How long before its end a session is said to be about to expire (5 min).
    pub expiry_warning: Duration,
}

/// Why a tab cannot listen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotOpened {
    /// As many as may listen do.
    #[error("too many tabs listen")]
    TooMany,
    /// The store could not say what has happened since.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a tab is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Told {
    /// An event.
    Event(EventId, Event),
    /// Events may be missing: look anew.
    Anew(EventId),
}

/// All tabs of this process that listen.
pub struct Hub {
    store: Arc<dyn Store>,
    settings: Settings,
    tabs: Mutex<Tabs>,
    wake: Notify,
}

#[derive(Default)]
struct Tabs {
    of_user: HashMap<UserId, Listened>,
    /// Users whose streams are to be read.
    due: HashSet<UserId>,
    /// Whether everybody has to look anew.
    anew: bool,
    /// How many listen.
    count: usize,
    number: u64,
}

/// One user's stream.
struct Listened {
    /// How far it was read; `None` until the first tab has said where it stands.
    position: Option<EventId>,
    tabs: Vec<Tab>,
}

struct Tab {
    number: u64,
    session: SessionId,
    sender: mpsc::Sender<Told>,
}

/// A tab's end of its stream; it ends with this value.
pub struct Subscription {
    hub: Arc<Hub>,
    user: UserId,
    number: u64,
    receiver: mpsc::Receiver<Told>,
    /// What the tab was told last.
    position: EventId,
    /// What happened before it came in.
    waiting: std::vec::IntoIter<(EventId, Event)>,
    anew: bool,
}

impl Hub {
    /// Nobody listens yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, settings: Settings) -> Arc<Self> {
        Arc::new(Self { store, settings, tabs: Mutex::default(), wake: Notify::new() })
    }

    /// How many may listen, and how.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many tabs listen.
    #[must_use]
    pub fn count(&self) -> usize {
        self.tabs.lock().count
    }

    /// Lets a tab listen: to what happens from now on, or after what it was told last.
    ///
    /// # Errors
    /// When too many listen, or the store could not say what has happened since.
    pub async fn listen(
        self: &Arc<Self>,
        user: &UserId,
        session: &SessionId,
        last: Option<EventId>,
    ) -> Result<Subscription, NotOpened> {
        let (sender, receiver) = mpsc::channel(ROOM);
        // First listen, then read: what happens in between comes twice and is told once.
        let number = self.enter(user, session, sender).ok_or(NotOpened::TooMany)?;
        let mut subscription = Subscription {
            hub: Arc::clone(self),
            user: user.clone(),
            number,
            receiver,
            position: EventId::default(),
            waiting: Vec::new().into_iter(),
            anew: false,
        };
        let read = self.store.events(&[(user.clone(), last)]).await?;
        let Backlog { events, position, may_lack } =
            read.into_iter().next().ok_or(StoreError::Unavailable)?;
        self.seed(user, position);
        subscription.position = match last {
            Some(last) if !may_lack => last,
            _ => position,
        };
        // Who has to look anew sees what came of them.
        subscription.waiting = if may_lack { Vec::new() } else { events }.into_iter();
        subscription.anew = may_lack;
        Ok(subscription)
    }

    /// Something may have happened to a user. Quick, and never waits.
    pub fn mark(&self, user: &UserId) {
        let mut tabs = self.tabs.lock();
        if tabs.of_user.contains_key(user) {
            tabs.due.insert(user.clone());
            drop(tabs);
            self.wake.notify_one();
        }
    }

    /// Anything may have happened, without word of it.
    pub fn mark_all(&self) {
        self.tabs.lock().anew = true;
        self.wake.notify_one();
    }

    /// When another process last noted the use of a session, as far as the store knows.
    ///
    /// # Errors
    /// When the store could not say.
    pub async fn last_seen(
        &self,
        session: &SessionId,
    ) -> Result<Option<crate::clock::Timestamp>, StoreError> {
        self.store.session(session).await.map(|answer| answer.last_seen)
    }

    /// Reads for all tabs, for ever. `copies` say when changes may have been missed.
    pub async fn run(self: Arc<Self>, copies: Arc<Copies>) {
        let mut epoch = copies.epoch();
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(LOOK_AFTER) => {}
            }
            let now = copies.epoch();
            if now != epoch && now.is_open() {
                epoch = now;
                self.tabs.lock().anew = true;
            }
            self.read_due().await;
        }
    }

    async fn read_due(&self) {
        let (due, anew) = self.take_due();
        for some in due.chunks(BATCH) {
            let Ok(read) = self.store.events(some).await else {
                // Again, when the store answers.
                let mut tabs = self.tabs.lock();
                tabs.due.extend(some.iter().map(|(user, _)| user.clone()));
                tabs.anew |= anew;
                continue;
            };
            let mut tabs = self.tabs.lock();
            for ((user, _), backlog) in some.iter().zip(read) {
                tabs.tell(user, backlog, anew);
            }
        }
    }

    fn take_due(&self) -> (Vec<(UserId, Option<EventId>)>, bool) {
        let mut tabs = self.tabs.lock();
        let anew = std::mem::take(&mut tabs.anew);
        let due: Vec<UserId> =
            if anew { tabs.of_user.keys().cloned().collect() } else { tabs.due.iter().cloned().collect() };
        tabs.due.clear();
        let place = |user: UserId| {
            let position = tabs.of_user.get(&user)?.position?;
            Some((user, Some(position)))
        };
        (due.into_iter().filter_map(place).collect(), anew)
    }

    fn enter(&self, user: &UserId, session: &SessionId, sender: mpsc::Sender<Told>) -> Option<u64> {
        let mut tabs = self.tabs.lock();
        let listened = tabs.of_user.get(user).map_or(&[][..], |listened| &listened.tabs);
        let of_session = listened.iter().filter(|tab| tab.session == *session).count();
        let full = tabs.count >= self.settings.in_all
            || listened.len() >= self.settings.per_user
            || of_session >= self.settings.per_session;
        if full {
            return None;
        }
        tabs.count += 1;
        tabs.number += 1;
        let number = tabs.number;
        let listened =
            tabs.of_user.entry(user.clone()).or_insert_with(|| Listened { position: None, tabs: Vec::new() });
        listened.tabs.push(Tab { number, session: *session, sender });
        Some(number)
    }

    /// Says where the first tab of a user stands, and reads on from there.
    fn seed(&self, user: &UserId, position: EventId) {
        let mut tabs = self.tabs.lock();
        if let Some(listened) = tabs.of_user.get_mut(user).filter(|listened| listened.position.is_none()) {
            listened.position = Some(position);
            // What was told of before could not be read yet.
            tabs.due.insert(user.clone());
            drop(tabs);
            self.wake.notify_one();
        }
    }

    fn leave(&self, user: &UserId, number: u64) {
        let mut tabs = self.tabs.lock();
        let Some(listened) = tabs.of_user.get_mut(user) else { return };
        let before = listened.tabs.len();
        listened.tabs.retain(|tab| tab.number != number);
        let (left, gone) = (listened.tabs.len(), before - listened.tabs.len());
        if left == 0 {
            tabs.of_user.remove(user);
            tabs.due.remove(user);
        }
        tabs.count -= gone;
    }
}

impl Tabs {
    fn tell(&mut self, user: &UserId, backlog: Backlog, anew: bool) {
        let Some(listened) = self.of_user.get_mut(user) else { return };
        listened.position = Some(backlog.position);
        let mut told: Vec<Told> =
            backlog.events.into_iter().map(|(id, event)| Told::Event(id, event)).collect();
        if anew || backlog.may_lack {
            told.push(Told::Anew(backlog.position));
        }
        let mut gone = 0;
        listened.tabs.retain(|tab| {
            // Dropping the sender ends the stream of a tab that does not keep up; it comes back with its last id.
            let keeps_up = told.iter().all(|told| tab.sender.try_send(told.clone()).is_ok());
            gone += usize::from(!keeps_up);
            keeps_up
        });
        self.count -= gone;
    }
}

impl Subscription {
    /// Where the tab stands: what it comes back with, if it is cut off now.
    #[must_use]
    pub const fn position(&self) -> EventId {
        self.position
    }

    /// Waits for what is to be told next; `None` when the tab did not keep up and has to come back. Cancellation safe.
    pub async fn next(&mut self) -> Option<Told> {
        if std::mem::take(&mut self.anew) {
            return Some(Told::Anew(self.position));
        }
        if let Some((id, event)) = self.waiting.next() {
            self.position = id;
            return Some(Told::Event(id, event));
        }
        loop {
            match self.receiver.recv().await? {
                Told::Event(id, event) if id > self.position => {
                    self.position = id;
                    return Some(Told::Event(id, event));
                }
                // Told already.
                Told::Event(..) => {}
                Told::Anew(id) => {
                    self.position = self.position.max(id);
                    return Some(Told::Anew(self.position));
                }
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.leave(&self.user, self.number);
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("tabs", &self.count()).finish_non_exhaustive()
    }
}

/// Carries word of changes to tabs and to streams that are tied to sessions.
#[derive(Debug)]
pub struct Listener {
    hub: Arc<Hub>,
    streams: Arc<Streams>,
}

impl Listener {
    /// One that tells both.
    #[must_use]
    pub fn new(hub: Arc<Hub>, streams: Arc<Streams>) -> Arc<Self> {
        Arc::new(Self { hub, streams })
    }
}

impl Follower for Listener {
    fn changed(&self, change: &Change) {
        match change {
            Change::Events(user) => self.hub.mark(user),
            Change::Session(id) => self.streams.doubt(id),
            Change::Entity(crate::store::EntityKey::User(id)) => self.streams.doubt_user(id),
            Change::Entity(_) | Change::Ends => {}
            Change::Everything => {
                self.hub.mark_all();
                self.streams.doubt_all();
            }
        }
    }
}

#[cfg(test)]
mod tests;
