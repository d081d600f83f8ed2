//! The crowd: browsers that ask without end, and people who log in, switch and log out. All of it is noted down.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::browser::{Browser, Wish};
use super::fleet::{Fleet, PLATFORMS, USERS, platform_of, user};
use crate::dice::Dice;
use crate::history::{Answer, Deed, History, Operation, Outcome, Request, Route, Session, SessionNumber};

/// How many sessions that have ended are tried again and again; the oldest is forgotten first.
const REMEMBERED: usize = 32;
/// How long nothing is asked where nothing answers.
const AWAY: Duration = Duration::from_millis(300);
/// Sessions that one user has at the same time.
const SESSIONS_OF_ONE: usize = 2;

/// How much is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Connections that send requests.
    pub connections: usize,
    /// People who change sessions.
    pub people: usize,
    /// The longest pause of a connection after an answer.
    pub pause: Duration,
    /// The longest pause of a person after a change.
    pub rest: Duration,
    /// Whoever throws the same dice asks the same.
    pub seed: u64,
}

impl Default for Pace {
    /// 64 connections and four people.
    fn default() -> Self {
        Self {
            connections: 64,
            people: 4,
            pause: Duration::from_millis(400),
            rest: Duration::from_millis(100),
            seed: 1,
        }
    }
}

/// A cookie, and the session that it is known as.
#[derive(Clone, Debug)]
struct Held {
    number: SessionNumber,
    token: Arc<str>,
}

/// Where one session after another lives.
#[derive(Default)]
struct Slot {
    held: Mutex<Option<Held>>,
    changing: tokio::sync::Mutex<()>,
}

struct Shared {
    fleet: Arc<Fleet>,
    history: Arc<History>,
    slots: Vec<Slot>,
    ended: Mutex<VecDeque<Held>>,
    over: AtomicBool,
    pace: Pace,
}

/// A crowd under way.
pub struct Crowd {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Crowd {
    /// Logs everybody in, and lets them loose.
    pub async fn start(fleet: &Arc<Fleet>, history: &Arc<History>, pace: Pace) -> Self {
        let shared = Arc::new(Shared {
            fleet: fleet.clone(),
            history: history.clone(),
            slots: (0..USERS * SESSIONS_OF_ONE).map(|_| Slot::default()).collect(),
            ended: Mutex::default(),
            over: AtomicBool::new(false),
            pace,
        });
        let mut tasks = JoinSet::new();
        let mut first = Person::new(&shared, u64::MAX);
        for slot in 0..shared.slots.len() {
            first.act(slot).await;
        }
        for person in 0..pace.people {
            tasks.spawn(Person::new(&shared, person as u64).live());
        }
        for connection in 0..pace.connections {
            tasks.spawn(shared.clone().ask_on(connection));
        }
        Self { shared, tasks }
    }

    /// Lets all that is under way come to its end.
    pub async fn stop(mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
        while let Some(done) = self.tasks.join_next().await {
            done.expect("nobody in the crowd panics");
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn held(&self, slot: usize) -> Option<Held> {
        self.slots[slot].held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn hold(&self, slot: usize, held: Option<Held>) {
        *self.slots[slot].held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// One connection of the crowd.
    async fn ask_on(self: Arc<Self>, connection: usize) {
        let mut dice = Dice::seeded(self.pace.seed ^ (connection as u64 + 1).wrapping_mul(0x1234_5678_9abc));
        let proxy = connection % self.fleet.seats.len();
        let mut browser = Browser::new(self.fleet.seats[proxy].address);
        while !self.is_over() {
            let held = self.choose(&mut dice);
            let route = any_route(&mut dice);
            self.request(&mut browser, proxy, route, held.as_ref()).await;
            tokio::time::sleep(dice.between(Duration::ZERO, self.pace.pause)).await;
        }
    }

    /// Whose cookie to send: mostly of a session that lives, often of one that has ended, sometimes nobody's.
    fn choose(&self, dice: &mut Dice) -> Option<Held> {
        let kind = dice.below(100);
        if kind < 30 {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that ended last more often than others.
            let most = ended.len().min(if dice.chance(50) { 4 } else { REMEMBERED });
            return (most > 0).then(|| ended[dice.below(most)].clone());
        }
        if kind < 35 { None } else { self.held(dice.below(self.slots.len())) }
    }

    /// Sends a request and notes it down.
    async fn request(&self, browser: &mut Browser, proxy: usize, route: Route, held: Option<&Held>) {
        let seat = &self.fleet.seats[proxy];
        let number = self.fleet.number();
        let path = path_of(route);
        let wish = Wish { path, number, token: held.map(|held| held.token.as_ref()), directive: None };
        let begin = self.history.now();
        let answer = browser.ask(&wish).await.map(|(answer, _)| answer);
        let end = self.history.now();
        let seen = seat.app.take(number);
        let session = held.map(|held| held.number);
        let silent = answer.is_none();
        let request = Request { begin, end, proxy, route, session, answer, seen };
        self.history.book().requests.push(request);
        if silent {
            // A proxy that is away refuses at once.
            tokio::time::sleep(AWAY).await;
        }
    }

    /// Tries a session that has just ended at every proxy, at once and again when the bounds have passed.
    async fn try_again(self: Arc<Self>, held: Held) {
        for pause in [0, 50, 51, 200, 750] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            for proxy in 0..self.fleet.seats.len() {
                let mut browser = Browser::new(self.fleet.seats[proxy].address);
                self.request(&mut browser, proxy, Route::Session, Some(&held)).await;
            }
        }
    }
}

/// Somebody who changes sessions, at any proxy.
struct Person {
    shared: Arc<Shared>,
    browsers: Vec<Browser>,
    dice: Dice,
    tries: JoinSet<()>,
}

impl Person {
    fn new(shared: &Arc<Shared>, number: u64) -> Self {
        let browsers = shared.fleet.seats.iter().map(|seat| Browser::new(seat.address)).collect();
        let dice = Dice::seeded(shared.pace.seed.wrapping_mul(31) ^ number);
        Self { shared: shared.clone(), browsers, dice, tries: JoinSet::new() }
    }

    async fn live(mut self) {
        while !self.shared.is_over() {
            let slot = self.dice.below(self.shared.slots.len());
            self.act(slot).await;
            while self.tries.try_join_next().is_some() {}
            tokio::time::sleep(self.dice.between(Duration::ZERO, self.shared.pace.rest)).await;
        }
        while self.tries.join_next().await.is_some() {}
    }

    /// One change in a slot that nobody else is changing.
    async fn act(&mut self, slot: usize) {
        let shared = self.shared.clone();
        let Ok(_alone) = shared.slots[slot].changing.try_lock() else { return };
        let proxy = self.dice.below(self.browsers.len());
        let owner = slot / SESSIONS_OF_ONE;
        let platform = platform_of(owner, self.dice.below(PLATFORMS));
        match shared.held(slot) {
            None => self.log_in(slot, owner, proxy, platform).await,
            Some(held) if self.dice.chance(55) => self.switch(slot, held, proxy, platform).await,
            Some(held) => {
                let all = self.dice.chance(12);
                self.end(slot, held, proxy, all).await;
            }
        }
    }

    async fn log_in(&mut self, slot: usize, owner: usize, proxy: usize, platform: String) {
        let directive = format!("create;user=\"{}\";platform=\"{platform}\"", user(owner));
        let (begin, answer, end) = self.ask(proxy, None, &directive).await;
        let token = answer.as_ref().and_then(|(_, token)| token.clone());
        let outcome = outcome(answer.map(|(answer, _)| answer));
        let mut book = self.shared.history.book();
        let number = token.as_ref().map(|token| {
            let id = URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()));
            book.sessions.push(Session { id, user: user(owner) });
            book.sessions.len() - 1
        });
        book.operations.push(Operation { begin, end, proxy, deed: Deed::Login(number, platform), outcome });
        drop(book);
        if let (Some(number), Some(token)) = (number, token) {
            self.shared.hold(slot, Some(Held { number, token: token.into() }));
        }
    }

    async fn switch(&mut self, slot: usize, held: Held, proxy: usize, platform: String) {
        let directive = format!("platform;id=\"{platform}\"");
        let (begin, answer, end) = self.ask(proxy, Some(&held), &directive).await;
        let outcome = outcome(answer.map(|(answer, _)| answer));
        // Somebody ended all sessions of this user.
        let is_over = matches!(&outcome, Outcome::Refused(answer) if answer.status == 502);
        let deed = Deed::Switch(held.number, platform);
        self.shared.history.book().operations.push(Operation { begin, end, proxy, deed, outcome });
        if is_over {
            self.shared.hold(slot, None);
            self.forget(held);
        }
    }

    async fn end(&mut self, slot: usize, held: Held, proxy: usize, all: bool) {
        let (begin, answer, end) = self.ask(proxy, Some(&held), if all { "end-all" } else { "end" }).await;
        let outcome = outcome(answer.map(|(answer, _)| answer));
        let acknowledged = matches!(outcome, Outcome::Done | Outcome::Accepted);
        let is_over = matches!(&outcome, Outcome::Refused(answer) if answer.status == 502);
        let deed = if all { Deed::EndAll(held.number) } else { Deed::End(held.number) };
        self.shared.history.book().operations.push(Operation { begin, end, proxy, deed, outcome });
        if acknowledged || is_over {
            self.shared.hold(slot, None);
            self.forget(held.clone());
        }
        if acknowledged && !self.shared.is_over() {
            self.tries.spawn(self.shared.clone().try_again(held));
        }
    }

    fn forget(&self, held: Held) {
        let mut ended = self.shared.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.push_front(held);
        ended.truncate(REMEMBERED);
    }

    async fn ask(
        &mut self,
        proxy: usize,
        held: Option<&Held>,
        directive: &str,
    ) -> (Duration, Option<(Answer, Option<String>)>, Duration) {
        let (number, token) = (self.shared.fleet.number(), held.map(|held| held.token.as_ref()));
        let begin = self.shared.history.now();
        let wish = Wish { path: "/auth/do", number, token, directive: Some(directive) };
        let answer = self.browsers[proxy].ask(&wish).await;
        let end = self.shared.history.now();
        let _ = self.shared.fleet.seats[proxy].app.take(number);
        (begin, answer, end)
    }
}

fn outcome(answer: Option<Answer>) -> Outcome {
    match answer {
        None => Outcome::Silence,
        Some(answer) => match answer.status {
            202 => Outcome::Accepted,
            200..300 => Outcome::Done,
            _ => Outcome::Refused(answer),
        },
    }
}

fn any_route(dice: &mut Dice) -> Route {
    match dice.below(20) {
        0..8 => Route::Platform,
        8..13 => Route::Session,
        13 | 14 => Route::Page,
        15..18 => Route::Optional,
        _ => Route::Public,
    }
}

const fn path_of(route: Route) -> &'static str {
    match route {
        Route::Public => "/public/",
        Route::Optional => "/optional/",
        Route::Page => "/page/",
        Route::Session => "/session/",
        Route::Platform => "/platform/",
    }
}
