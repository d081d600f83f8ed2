//! The checker: reads a history and says what must never have happened, whatever was cut, frozen or killed. It knows
//! the contract (DESIGN sections 1, 6 and 7) and nothing of the proxy.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Range;

use super::rules::in_force;
use super::{
    Answer, Authn, Book, CookieChange, Deed, Moment, Operation, Outcome, Part, Phase, Request, Route, Row,
    Seen, SessionNumber,
};

pub use super::rules::Bounds;

/// The rule that was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Rule {
    /// The application was told of another session or user than the cookie's, or of one where there was no cookie.
    WrongIdentity,
    /// The application was told of a platform that was not chosen, or no longer.
    WrongPlatform,
    /// The application did not believe the signatures.
    Unbelievable,
    /// A session was served that had ended longer ago than the bound.
    ServedAfterEnd,
    /// A valid session was told that there is none.
    LoggedOut,
    /// The cookie of a valid session was changed.
    CookieTouched,
    /// A public or an optional route did not go through.
    NotPublic,
    /// A refusal in an outage that is not 503 with `Retry-After`.
    BadRefusal,
    /// No answer, though the proxy was there.
    NoAnswer,
    /// In a settled row of the table, another answer than it says.
    AgainstTheTable,
}

/// What must not have happened, and where.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The rule.
    pub rule: Rule,
    /// When the request or change began.
    pub at: Moment,
    /// What it was.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {:.3} s: {}", self.rule, self.at.as_secs_f64(), self.what)
    }
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Everything that must not have happened.
    pub violations: Vec<Violation>,
    /// Requests by route and what became of them.
    pub requests: BTreeMap<String, usize>,
    /// Changes by kind and what became of them.
    pub operations: BTreeMap<String, usize>,
    /// Requests with a session that had certainly ended, the bound included: the material of the strictest rule.
    pub after_end: usize,
    /// The longest that a session was served after its end was acknowledged, allowed or not.
    pub longest_served: Moment,
}

impl Report {
    /// How often a rule was broken.
    #[must_use]
    pub fn count(&self, rule: Rule) -> usize {
        self.violations.iter().filter(|violation| violation.rule == rule).count()
    }

    /// The first violations, one per line.
    #[must_use]
    pub fn summary(&self) -> String {
        self.violations.iter().take(20).map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }
}

/// Checks a whole history.
#[must_use]
pub fn check(book: &Book, bounds: &Bounds) -> Report {
    check_part(book, bounds, Moment::ZERO..Moment::MAX)
}

/// Checks the requests and changes that ended in a part of a history; all of it is looked at to judge them. While the
/// history is still being written, the part must lie further back than the longest that a change may be under way.
#[must_use]
pub fn check_part(book: &Book, bounds: &Bounds, part: Range<Moment>) -> Report {
    let checker = Checker { book, bounds, lives: Lives::of(book) };
    let mut report = Report::default();
    for request in book.requests.iter().filter(|request| part.contains(&request.end)) {
        checker.request(request, &mut report);
    }
    for operation in book.operations.iter().filter(|operation| part.contains(&operation.end)) {
        checker.operation(operation, &mut report);
    }
    report
}

/// The changes of each session, by their places in the book.
struct Lives {
    logins: Vec<Option<usize>>,
    switches: Vec<Vec<usize>>,
    ends: Vec<Vec<usize>>,
}

impl Lives {
    fn of(book: &Book) -> Self {
        let count = book.sessions.len();
        let mut lives = Self {
            logins: vec![None; count],
            switches: vec![Vec::new(); count],
            ends: vec![Vec::new(); count],
        };
        let mut of_user: HashMap<&str, Vec<SessionNumber>> = HashMap::new();
        for (number, session) in book.sessions.iter().enumerate() {
            of_user.entry(&session.user).or_default().push(number);
        }
        for (place, operation) in book.operations.iter().enumerate() {
            match &operation.deed {
                Deed::Login(Some(session), _) => lives.logins[*session] = Some(place),
                Deed::Login(None, _) => {}
                Deed::Switch(session, _) => lives.switches[*session].push(place),
                Deed::End(session) => lives.ends[*session].push(place),
                Deed::EndAll(session) => {
                    let user = book.sessions[*session].user.as_str();
                    for session in of_user.get(user).into_iter().flatten() {
                        lives.ends[*session].push(place);
                    }
                }
            }
        }
        lives
    }
}

struct Checker<'a> {
    book: &'a Book,
    bounds: &'a Bounds,
    lives: Lives,
}

impl Checker<'_> {
    fn request(&self, request: &Request, report: &mut Report) {
        *report.requests.entry(word_of(request)).or_default() += 1;
        let mut broken = |rule| {
            report.violations.push(Violation { rule, at: request.begin, what: format!("{request:?}") });
        };
        match &request.seen {
            Some(Seen::Unbelievable(_)) => broken(Rule::Unbelievable),
            Some(Seen::Context { authn, session, user, platform }) => {
                if let Some(rule) = self.identity(request, *authn, (session, user)) {
                    broken(rule);
                } else if *authn == Authn::Session && !self.platform_fits(request, platform.as_deref()) {
                    broken(Rule::WrongPlatform);
                }
            }
            None => {}
        }
        match &request.answer {
            None if self.process_was_away(request) => {}
            None => broken(Rule::NoAnswer),
            Some(answer) => self.answer(request, answer).into_iter().for_each(&mut broken),
        }
        self.end_is_obeyed(request, report);
    }

    /// Whether the identity that the application was told is the cookie's, and "nobody" only where that may be.
    fn identity(
        &self,
        request: &Request,
        authn: Authn,
        (id, user): (&Option<String>, &Option<String>),
    ) -> Option<Rule> {
        let session = request.session.map(|number| &self.book.sessions[number]);
        let fits = match (authn, session) {
            (Authn::Session, Some(session)) => {
                id.as_ref() == Some(&session.id) && user.as_ref() == Some(&session.user)
            }
            (Authn::Session, None) => false,
            (Authn::None, Some(_)) if request.route == Route::Optional && self.is_valid(request) => {
                return Some(Rule::LoggedOut);
            }
            (Authn::None | Authn::Undetermined, _) => request.route == Route::Optional,
            (Authn::Unchecked, _) => request.route == Route::Public,
        };
        (!fits).then_some(Rule::WrongIdentity)
    }

    /// Whether the session had begun, and nobody had asked to end it, for all the time of the request.
    fn is_valid(&self, request: &Request) -> bool {
        let Some(session) = request.session else { return false };
        let begun =
            self.lives.logins[session].is_some_and(|login| self.book.operations[login].end <= request.begin);
        begun && !self.ends_before(session, request.end)
    }

    /// Whether anybody had asked to end the session by this moment.
    fn ends_before(&self, session: SessionNumber, moment: Moment) -> bool {
        self.lives.ends[session].iter().any(|place| self.book.operations[*place].begin <= moment)
    }

    /// Whether the platform was chosen, and not replaced by an acknowledged choice longer ago than the bound.
    fn platform_fits(&self, request: &Request, platform: Option<&str>) -> bool {
        let Some(session) = request.session else { return false };
        let choices = || {
            let login = self.lives.logins[session].iter();
            login.chain(&self.lives.switches[session]).map(|place| &self.book.operations[*place])
        };
        let chosen = |choice: &Operation| match &choice.deed {
            Deed::Login(_, chosen) | Deed::Switch(_, chosen) => Some(chosen.as_str()) == platform,
            _ => false,
        };
        let replaced = |old: &Operation| {
            choices().any(|new| {
                new.begin >= old.end
                    && in_force(self.book, self.bounds, new, request.proxy)
                        .is_some_and(|moment| request.begin > moment)
            })
        };
        choices().any(|choice| chosen(choice) && choice.begin <= request.end && !replaced(choice))
    }

    fn end_is_obeyed(&self, request: &Request, report: &mut Report) {
        let Some(session) = request.session else { return };
        let served = matches!(request.seen, Some(Seen::Context { authn: Authn::Session, .. }));
        for place in &self.lives.ends[session] {
            let end = &self.book.operations[*place];
            if self.began_after(session, end) {
                continue;
            }
            let acknowledged = matches!(end.outcome, Outcome::Done | Outcome::Taken | Outcome::Accepted);
            if served && acknowledged && request.begin > end.end {
                report.longest_served = report.longest_served.max(request.begin.saturating_sub(end.end));
            }
            let moment = in_force(self.book, self.bounds, end, request.proxy);
            if moment.is_some_and(|moment| request.begin > moment) {
                report.after_end += 1;
                if served {
                    let late = request.begin.saturating_sub(end.end).as_millis();
                    let life = self.life(session);
                    let what = format!("{late} ms after the end: {request:?} after {end:?}; its life:{life}");
                    report.violations.push(Violation { rule: Rule::ServedAfterEnd, at: request.begin, what });
                    return;
                }
            }
        }
    }

    /// All that was done to a session, and every fault, for whoever looks for the cause.
    fn life(&self, session: SessionNumber) -> String {
        let changes = self.lives.logins[session].iter().chain(&self.lives.switches[session]);
        let changes = changes.chain(&self.lives.ends[session]).map(|place| &self.book.operations[*place]);
        let faults = self.book.outages.iter().map(|outage| format!("\n    {outage:?}"));
        changes.map(|change| format!("\n    {change:?}")).chain(faults).collect()
    }

    /// Whether a session may have begun after an end that concerns all of its user.
    fn began_after(&self, session: SessionNumber, end: &Operation) -> bool {
        self.lives.logins[session].is_none_or(|login| self.book.operations[login].end >= end.begin)
    }

    fn answer(&self, request: &Request, answer: &Answer) -> Vec<Rule> {
        let mut broken = Vec::new();
        let valid = self.is_valid(request);
        if answer.cookie.is_some() && (valid || request.session.is_none()) {
            broken.push(Rule::CookieTouched);
        }
        match (request.route.is_guarded(), answer.status) {
            (_, 200) => {}
            (false, _) => broken.push(Rule::NotPublic),
            (true, 503) if answer.retry_after && answer.location.is_none() => {}
            // Nobody's request, and that of a session that somebody has ended, are sent to the login page.
            (true, 302 | 303 | 401) if !valid => {}
            (true, 302 | 303 | 401 | 403) => broken.push(Rule::LoggedOut),
            (true, _) => broken.push(Rule::BadRefusal),
        }
        if valid && request.route.is_guarded() && self.against_the_table(request, answer) {
            broken.push(Rule::AgainstTheTable);
        }
        broken
    }

    /// A valid session on a guarded route, in a settled row of the table.
    fn against_the_table(&self, request: &Request, answer: &Answer) -> bool {
        match self.row(request.begin, request.end) {
            Some(Row::Whole | Row::NoRedis) => answer.status != 200,
            // Whatever Redis does not hold cannot be said.
            Some(Row::NoPostgres) => !matches!(answer.status, 200 | 503),
            Some(Row::Nothing) => answer.status != 503,
            None => false,
        }
    }

    fn row(&self, begin: Moment, end: Moment) -> Option<Row> {
        let within = |phase: &&Phase| phase.begin <= begin && phase.end.is_none_or(|over| end <= over);
        self.book.phases.iter().find(within).map(|phase| phase.row)
    }

    fn process_was_away(&self, request: &Request) -> bool {
        self.away(request.proxy, request.begin, request.end)
    }

    fn away(&self, proxy: usize, begin: Moment, end: Moment) -> bool {
        self.book.outages.iter().any(|outage| {
            outage.part == Part::Process
                && outage.proxy.is_none_or(|its| its == proxy)
                && outage.begin <= end
                && outage.end.is_none_or(|over| over >= begin)
        })
    }

    fn operation(&self, operation: &Operation, report: &mut Report) {
        *report.operations.entry(word_of_operation(operation)).or_default() += 1;
        let mut broken = |rule| {
            report.violations.push(Violation { rule, at: operation.begin, what: format!("{operation:?}") });
        };
        match &operation.outcome {
            Outcome::Silence if !self.away(operation.proxy, operation.begin, operation.end) => {
                broken(Rule::NoAnswer);
            }
            Outcome::Refused(answer) => {
                if answer.cookie.is_some() {
                    broken(Rule::CookieTouched);
                }
                let expected = answer.status == 503 && answer.retry_after;
                if !(expected || self.may_be_over(operation)) {
                    broken(Rule::BadRefusal);
                }
            }
            _ => {}
        }
        if self.row(operation.begin, operation.end).is_some_and(|row| !self.is_by_the_table(operation, row)) {
            broken(Rule::AgainstTheTable);
        }
    }

    /// Whether somebody else may have ended the session that a change is about.
    fn may_be_over(&self, operation: &Operation) -> bool {
        let (Deed::Switch(session, _) | Deed::End(session) | Deed::EndAll(session)) = &operation.deed else {
            return false;
        };
        let mut ends = self.lives.ends[*session].iter().map(|place| &self.book.operations[*place]);
        ends.any(|end| !std::ptr::eq(end, operation) && end.begin <= operation.end)
    }

    fn is_by_the_table(&self, operation: &Operation, row: Row) -> bool {
        if self.may_be_over(operation) {
            return true;
        }
        let ends = matches!(operation.deed, Deed::End(_) | Deed::EndAll(_));
        match (row, &operation.outcome) {
            (Row::Whole | Row::NoRedis, outcome) => matches!(outcome, Outcome::Done | Outcome::Taken),
            // Who cannot say whose session it is cannot end it: 503, as for any other request.
            (Row::NoPostgres, outcome) if ends => !matches!(outcome, Outcome::Done | Outcome::Silence),
            (Row::NoPostgres | Row::Nothing, outcome) => matches!(outcome, Outcome::Refused(_)),
        }
    }
}

fn word_of(request: &Request) -> String {
    let route = format!("{:?}", request.route).to_lowercase();
    let became = match (&request.answer, &request.seen) {
        (None, _) => "no answer".to_owned(),
        (Some(answer), Some(Seen::Context { authn, .. })) => {
            format!("{} as {}", answer.status, format!("{authn:?}").to_lowercase())
        }
        (Some(answer), Some(Seen::Unbelievable(_))) => format!("{} unbelievable", answer.status),
        (Some(answer), None) => answer.status.to_string(),
    };
    format!("{route}: {became}")
}

fn word_of_operation(operation: &Operation) -> String {
    let kind = match operation.deed {
        Deed::Login(..) => "login",
        Deed::Switch(..) => "switch",
        Deed::End(_) => "end",
        Deed::EndAll(_) => "end of all",
    };
    let became = match &operation.outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Taken => "taken".to_owned(),
        Outcome::Accepted => "accepted".to_owned(),
        Outcome::Refused(answer) => answer.status.to_string(),
        Outcome::Silence => "no answer".to_owned(),
    };
    format!("{kind}: {became}")
}

/// What an answer does to the session cookie called `name`.
#[must_use]
pub fn cookie_change(set_cookies: &[String], name: &str) -> Option<CookieChange> {
    let mine = set_cookies.iter().find(|line| line.split('=').next() == Some(name))?;
    let gone = mine.to_ascii_lowercase().split(';').any(|part| part.trim() == "max-age=0");
    Some(if gone { CookieChange::Cleared } else { CookieChange::Set })
}
