//! A history: what every request and every change of a session met, in the order it was noted down, with the faults
//! that were made meanwhile. `check` reads it afterwards and says what must never have happened.
//!
//! All times are of one clock, that of the process which asks: a request began before its first byte was sent, and a
//! change was acknowledged after its last byte had arrived. So the checker never accuses without cause.

mod check;
mod rules;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

pub use check::{Bounds, Report, Rule, Violation, check, check_part, cookie_change};

/// Time since the history began.
pub type Moment = Duration;
/// The place of a session in [`Book::sessions`].
pub type SessionNumber = usize;

/// What a request asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Route {
    /// Requires nothing.
    Public,
    /// Takes a session if there is one.
    Optional,
    /// Requires a session; a browser is sent to the login page.
    Page,
    /// Requires a session.
    Session,
    /// Requires a session with a platform.
    Platform,
}

impl Route {
    /// Whether it lets nobody through without a session.
    #[must_use]
    pub fn is_guarded(self) -> bool {
        matches!(self, Self::Page | Self::Session | Self::Platform)
    }
}

/// What the application was told about identity, after it verified the signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Authn {
    /// A valid session.
    Session,
    /// Checked: nobody.
    None,
    /// The route does not ask.
    Unchecked,
    /// The stores could not say.
    Undetermined,
}

/// What reached the application.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Seen {
    /// A context whose signatures are right. Ids are as the fixture numbers them.
    Context {
        /// What is said about identity.
        authn: Authn,
        /// The id of the session.
        session: Option<String>,
        /// The user's id.
        user: Option<String>,
        /// The platform's id.
        platform: Option<String>,
    },
    /// Something that the application does not believe, and why.
    Unbelievable(String),
}

/// What happened to the browser's session cookie.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CookieChange {
    /// It was taken away.
    Cleared,
    /// It was given another value.
    Set,
}

/// What came back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Whether it says when to try again.
    pub retry_after: bool,
    /// Where it sends the browser.
    pub location: Option<String>,
    /// What it does to the session cookie.
    pub cookie: Option<CookieChange>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    /// Before it was sent.
    pub begin: Moment,
    /// After the answer had arrived, or the connection had broken.
    pub end: Moment,
    /// The proxy that was asked.
    pub proxy: usize,
    /// What it asked for.
    pub route: Route,
    /// Whose cookie it carried.
    pub session: Option<SessionNumber>,
    /// What came back; `None` when nothing did.
    pub answer: Option<Answer>,
    /// What reached the application; `None` when nothing did.
    pub seen: Option<Seen>,
}

/// A session that a login began.
#[derive(Clone, Debug)]
pub struct Session {
    /// Its id, which is the hash of the token in the cookie.
    pub id: String,
    /// Whose it is.
    pub user: String,
}

/// A change of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A session begins, with this platform. Without a number when no cookie came back.
    Login(Option<SessionNumber>, String),
    /// Another platform is chosen.
    Switch(SessionNumber, String),
    /// The session ends.
    End(SessionNumber),
    /// All sessions of this session's user end.
    EndAll(SessionNumber),
}

/// What was answered to a change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was made (2xx).
    Done,
    /// It was made in the store and will be durable later (202).
    Accepted,
    /// It was refused; whether it was made all the same is unknown.
    Refused(Answer),
    /// Nothing came back.
    Silence,
}

/// One change of a session.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Before it was asked for.
    pub begin: Moment,
    /// After the answer had arrived.
    pub end: Moment,
    /// The proxy that was asked.
    pub proxy: usize,
    /// What was asked for.
    pub deed: Deed,
    /// What was answered.
    pub outcome: Outcome,
}

/// What a fault takes away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The store, or the way to it.
    Redis,
    /// The store with all that it held.
    RedisMemory,
    /// The directory, or the way to it.
    Postgres,
    /// The proxy's own process.
    Process,
}

/// A fault, from before it was made until after it was mended.
#[derive(Clone, Debug)]
pub struct Outage {
    /// Before it was made.
    pub begin: Moment,
    /// After it was mended; `None` while it lasts.
    pub end: Option<Moment>,
    /// What it takes away.
    pub part: Part,
    /// From which proxy; `None`: from all.
    pub proxy: Option<usize>,
}

/// A row of the failure table (DESIGN section 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Row {
    /// Redis and Postgres are up.
    Whole,
    /// Redis is away, Postgres is up.
    NoRedis,
    /// The same Redis is up, Postgres is away.
    NoPostgres,
    /// Both are away.
    Nothing,
}

/// A time in which a row of the table had settled, so that nothing but what it says may be answered.
#[derive(Clone, Copy, Debug)]
pub struct Phase {
    /// After it had settled.
    pub begin: Moment,
    /// Before the next fault was made or mended; `None` while it lasts.
    pub end: Option<Moment>,
    /// Which row.
    pub row: Row,
}

/// All that was noted down.
#[derive(Debug, Default)]
pub struct Book {
    /// Every request, in the order in which they ended.
    pub requests: Vec<Request>,
    /// Every change, in the order in which they ended.
    pub operations: Vec<Operation>,
    /// Every session that is known by its cookie.
    pub sessions: Vec<Session>,
    /// Every fault.
    pub outages: Vec<Outage>,
    /// Every settled time.
    pub phases: Vec<Phase>,
}

/// A history that many write at the same time.
#[derive(Debug)]
pub struct History {
    start: Instant,
    book: Mutex<Book>,
}

impl Default for History {
    fn default() -> Self {
        Self { start: Instant::now(), book: Mutex::default() }
    }
}

impl History {
    /// Now, in the time of this history.
    #[must_use]
    pub fn now(&self) -> Moment {
        self.start.elapsed()
    }

    /// The book itself.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes down a fault that is about to be made; answers its place for [`Self::mended`].
    pub fn outage(&self, part: Part, proxy: Option<usize>) -> usize {
        let mut book = self.book();
        book.outages.push(Outage { begin: self.now(), end: None, part, proxy });
        book.outages.len() - 1
    }

    /// Notes down that a fault was mended.
    pub fn mended(&self, outage: usize) {
        let mut book = self.book();
        book.outages[outage].end = Some(self.now());
    }

    /// Notes down that a row has settled; answers its place for [`Self::over`].
    pub fn settled(&self, row: Row) -> usize {
        let mut book = self.book();
        book.phases.push(Phase { begin: self.now(), end: None, row });
        book.phases.len() - 1
    }

    /// Notes down that a settled time is over.
    pub fn over(&self, phase: usize) {
        let mut book = self.book();
        book.phases[phase].end = Some(self.now());
    }
}

#[cfg(test)]
mod tests;
