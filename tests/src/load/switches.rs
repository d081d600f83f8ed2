//! Many users who switch platforms at random, in several tabs and at any proxy, while their pages go on asking. Every
//! request and every switch is noted down; besides what the history's rules say, the versions that the proxies answered
//! must add up: one order of switches for each session, none lost and none made twice.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::task::JoinSet;

use super::browser::{Browser, Reply, Wish};
use super::fleet::{Fleet, PLATFORMS, platform_of, user};
use crate::dice::Dice;
use crate::history::{
    Bounds, Deed, History, Moment, Operation, Outcome, Report, Request, Route, Session, SessionNumber, check,
};

/// Tabs that log in at the same time, before anything is counted.
const LOGINS_AT_ONCE: usize = 16;
/// Longer than any proxy may go on with what it knew before a switch.
const SETTLED: Duration = Duration::from_millis(300);

/// How many switch, and how much.
#[derive(Clone, Copy, Debug)]
pub struct Switching {
    /// Users, each with one session; at most as many as the fleet has.
    pub users: usize,
    /// Connections; each is a tab of one user after another, so that two are one user's now and then.
    pub tabs: usize,
    /// For how long.
    pub lasts: Duration,
    /// The longest pause of a tab after an answer.
    pub pause: Duration,
    /// Whoever throws the same dice asks the same.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug)]
pub struct Tally {
    /// What the rules of the history say.
    pub report: Report,
    /// Requests whose context the application saw.
    pub requests: usize,
    /// Switches that were acknowledged.
    pub switches: usize,
    /// Switches of one session that were under way at the same time.
    pub overlapping: usize,
    /// Switches of which nobody can say whether they were made.
    pub unsure: usize,
    /// Lines of switches in the audit log: one for each that was acknowledged, and for those of the unsure ones that were
    /// made.
    pub written: usize,
    /// What does not add up, in words.
    pub lost: Vec<String>,
}

impl Tally {
    /// Whether nothing at all was wrong.
    #[must_use]
    pub fn is_spotless(&self) -> bool {
        self.report.violations.is_empty() && self.lost.is_empty()
    }
}

/// One user's session.
struct Person {
    number: SessionNumber,
    user: usize,
    token: String,
    forgery: String,
    made: Mutex<Vec<Made>>,
    unsure: AtomicUsize,
}

/// A switch that was acknowledged.
#[derive(Clone, Debug)]
struct Made {
    begin: Moment,
    end: Moment,
    version: u64,
    platform: String,
}

struct Shared {
    fleet: Arc<Fleet>,
    history: History,
    people: Vec<Person>,
    wanted: Switching,
    over: AtomicBool,
}

/// Logs everybody in, lets them switch, and judges.
///
/// # Panics
/// When somebody cannot log in although everything is whole.
pub async fn switch_at_random(fleet: &Arc<Fleet>, wanted: Switching) -> Tally {
    let history = History::default();
    let people = log_everybody_in(fleet, &history, wanted.users).await;
    let over = AtomicBool::new(false);
    let shared = Arc::new(Shared { fleet: fleet.clone(), history, people, wanted, over });
    let mut tabs = JoinSet::new();
    for tab in 0..wanted.tabs {
        tabs.spawn(shared.clone().be_a_tab(tab));
    }
    tokio::time::sleep(wanted.lasts).await;
    shared.over.store(true, Ordering::Relaxed);
    while let Some(done) = tabs.join_next().await {
        done.expect("no tab panics");
    }
    tokio::time::sleep(SETTLED).await;
    shared.judge().await
}

async fn log_everybody_in(fleet: &Arc<Fleet>, history: &History, users: usize) -> Vec<Person> {
    let mut people = Vec::with_capacity(users);
    let mut entering = JoinSet::new();
    let mut next = 0;
    while people.len() < users {
        while next < users && entering.len() < LOGINS_AT_ONCE {
            entering.spawn(log_in(fleet.clone(), next));
            next += 1;
        }
        let Some(entered) = entering.join_next().await else { break };
        let (user_number, token, forgery) = entered.expect("everybody gets in");
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(token.as_bytes()));
        let (begin, end) = (Moment::ZERO, history.now());
        let mut book = history.book();
        book.sessions.push(Session { id, user: user(user_number) });
        let number = book.sessions.len() - 1;
        let deed = Deed::Login(Some(number), platform_of(user_number, 0));
        book.operations.push(Operation { begin, end, proxy: 0, deed, outcome: Outcome::Done });
        drop(book);
        let (made, unsure) = (Mutex::default(), AtomicUsize::new(0));
        people.push(Person { number, user: user_number, token, forgery, made, unsure });
    }
    people
}

async fn log_in(fleet: Arc<Fleet>, number: usize) -> (usize, String, String) {
    let seat = &fleet.seats[number % fleet.seats.len()];
    let mut browser = Browser::new(seat.address);
    let directive = format!("create;user=\"{}\"", user(number));
    let request = fleet.number();
    let login =
        Wish { path: "/auth/do", number: request, token: None, directive: Some(&directive), forgery: None };
    let token = browser.ask(&login).await.and_then(|reply| reply.token).expect("a login is answered");
    let _ = seat.app.take(request);
    let path = "/.countersign/session";
    let ask = Wish { path, number: fleet.number(), token: Some(&token), directive: None, forgery: None };
    let state = browser.ask(&ask).await.map(|reply| json(&reply)).unwrap_or_default();
    let forgery = state["csrf_token"].as_str().expect("a session has a token").to_owned();
    (number, token, forgery)
}

fn json(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap_or_default()
}

impl Shared {
    async fn be_a_tab(self: Arc<Self>, tab: usize) {
        let mut dice = Dice::seeded(self.wanted.seed ^ (tab as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut browsers: Vec<_> = self.fleet.seats.iter().map(|seat| Browser::new(seat.address)).collect();
        while !self.over.load(Ordering::Relaxed) {
            let person = &self.people[dice.below(self.people.len())];
            let proxy = dice.below(browsers.len());
            if dice.chance(40) {
                let platform = platform_of(person.user, dice.below(PLATFORMS));
                self.switch(&mut browsers[proxy], proxy, person, platform).await;
                // The page that follows, at the proxy that answered and perhaps at another one.
                self.request(&mut browsers[proxy], proxy, person).await;
            }
            let other = dice.below(browsers.len());
            self.request(&mut browsers[other], other, person).await;
            tokio::time::sleep(dice.between(Duration::ZERO, self.wanted.pause)).await;
        }
    }

    async fn switch(&self, browser: &mut Browser, proxy: usize, person: &Person, platform: String) {
        let path = format!("/.countersign/platforms/{platform}/switch");
        let (token, forgery) = (Some(person.token.as_str()), Some(person.forgery.as_str()));
        let wish = Wish { path: &path, number: self.fleet.number(), token, directive: None, forgery };
        let begin = self.history.now();
        let reply = browser.ask(&wish).await;
        let end = self.history.now();
        let outcome = match &reply {
            Some(reply) if reply.answer.status == 200 => Outcome::Done,
            // Others changed the session again and again: this switch was not made, and was told so.
            Some(reply) if reply.answer.status == 409 => return,
            Some(reply) => Outcome::Refused(reply.answer.clone()),
            None => Outcome::Silence,
        };
        if let (Outcome::Done, Some(reply)) = (&outcome, &reply) {
            let version = json(reply)["version"].as_u64().unwrap_or_default();
            let made = Made { begin, end, version, platform: platform.clone() };
            person.made.lock().unwrap_or_else(PoisonError::into_inner).push(made);
        } else {
            person.unsure.fetch_add(1, Ordering::Relaxed);
        }
        let deed = Deed::Switch(person.number, platform);
        self.history.book().operations.push(Operation { begin, end, proxy, deed, outcome });
    }

    /// Asks for a page that needs a platform; answers the platform that the application was told of.
    async fn request(&self, browser: &mut Browser, proxy: usize, person: &Person) -> Option<String> {
        let seat = &self.fleet.seats[proxy];
        let (number, token) = (self.fleet.number(), Some(person.token.as_str()));
        let wish = Wish { path: "/platform/", number, token, directive: None, forgery: None };
        let begin = self.history.now();
        let answer = browser.ask(&wish).await.map(|reply| reply.answer);
        let end = self.history.now();
        let seen = seat.app.take(number);
        let platform = match &seen {
            Some(crate::history::Seen::Context { platform, .. }) => platform.clone(),
            _ => None,
        };
        let (route, session) = (Route::Platform, Some(person.number));
        self.history.book().requests.push(Request { begin, end, proxy, route, session, answer, seen });
        platform
    }

    async fn judge(&self) -> Tally {
        let mut tally = Tally {
            report: Report::default(),
            requests: 0,
            switches: 0,
            overlapping: 0,
            unsure: 0,
            written: 0,
            lost: Vec::new(),
        };
        let mut browsers: Vec<_> = self.fleet.seats.iter().map(|seat| Browser::new(seat.address)).collect();
        for person in &self.people {
            let mut made = person.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
            made.sort_by_key(|made| made.version);
            tally.switches += made.len();
            tally.unsure += person.unsure.load(Ordering::Relaxed);
            is_one_order(person, &made, &mut tally);
            self.is_what_stands(&mut browsers, person, &made, &mut tally).await;
        }
        self.keep_to_the_rules(&mut tally);
        self.is_written_down(&mut tally).await;
        tally
    }

    fn keep_to_the_rules(&self, tally: &mut Tally) {
        let book = self.history.book();
        tally.requests = book.requests.iter().filter(|request| request.seen.is_some()).count();
        tally.report = check(&book, &Bounds::default());
    }

    /// Whether every proxy serves the platform of the last switch.
    async fn is_what_stands(
        &self,
        browsers: &mut [Browser],
        person: &Person,
        made: &[Made],
        tally: &mut Tally,
    ) {
        if person.unsure.load(Ordering::Relaxed) > 0 {
            return;
        }
        let expected = made.last().map_or_else(|| platform_of(person.user, 0), |last| last.platform.clone());
        for (proxy, browser) in browsers.iter_mut().enumerate() {
            let served = self.request(browser, proxy, person).await;
            if served.as_deref() != Some(expected.as_str()) {
                let user = user(person.user);
                tally.lost.push(format!(
                    "{user}: proxy {proxy} serves {served:?}, the last switch was to {expected}"
                ));
            }
        }
    }

    /// Whether the audit log tells the same story: as many lines as the session has versions behind the first one, and at
    /// the place of each acknowledged switch its platform.
    async fn is_written_down(&self, tally: &mut Tally) {
        let told = "SELECT s.id, s.version, string_agg(a.platform_id, ' ' ORDER BY a.id) FROM sessions s \
             LEFT JOIN audit a ON a.session_id = s.id AND a.event = 'platform_switched' GROUP BY s.id, s.version";
        let told = self.fleet.query(told).await;
        let told: HashMap<&str, (usize, Vec<&str>)> = told.lines().filter_map(story).collect();
        for person in &self.people {
            let id = URL_SAFE_NO_PAD.encode(Sha256::digest(person.token.as_bytes()));
            let Some((version, lines)) = told.get(id.as_str()) else {
                tally.lost.push(format!("{}: the directory has no such session", user(person.user)));
                continue;
            };
            tally.written += lines.len();
            if lines.len() + 1 != *version {
                tally.lost.push(format!("{}: version {version}, {} lines", user(person.user), lines.len()));
            }
            for made in person.made.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                let place = usize::try_from(made.version).unwrap_or_default().checked_sub(2);
                if place.and_then(|place| lines.get(place)) != Some(&made.platform.as_str()) {
                    tally.lost.push(format!("{}: {made:?} is not in the log", user(person.user)));
                }
            }
        }
    }
}

/// A session, its version, and the platforms of its lines.
fn story(row: &str) -> Option<(&str, (usize, Vec<&str>))> {
    let mut columns = row.split('|');
    let (id, version) = (columns.next()?, columns.next()?.parse().ok()?);
    Some((id, (version, columns.next()?.split_whitespace().collect())))
}

/// Whether the versions, sorted, are one order that agrees with the times, without a gap.
fn is_one_order(person: &Person, made: &[Made], tally: &mut Tally) {
    let user = user(person.user);
    let versions: BTreeSet<u64> = made.iter().map(|made| made.version).collect();
    if versions.len() != made.len() {
        tally.lost.push(format!("{user}: two switches came to the same version"));
    }
    let unsure = person.unsure.load(Ordering::Relaxed) as u64;
    let last = made.last().map_or(1, |made| made.version);
    if last < 1 + made.len() as u64 || last > 1 + made.len() as u64 + unsure {
        tally
            .lost
            .push(format!("{user}: {} switches and {unsure} unsure ones, but version {last}", made.len()));
    }
    for pair in made.windows(2) {
        if pair[1].end < pair[0].begin {
            tally.lost.push(format!("{user}: {:?} took the place of a later one, {:?}", pair[1], pair[0]));
        }
        tally.overlapping += usize::from(pair[1].begin < pair[0].end);
    }
}
