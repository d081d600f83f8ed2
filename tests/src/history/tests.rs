//! Planted histories: what the proxies may do passes, and each thing that they must not do is found.

use std::time::Duration;

use super::{
    Answer, Authn, Book, Bounds, CookieChange, Deed, Operation, Outage, Outcome, Part, Phase, Report,
    Request, Route, Row, Rule, Seen, Session, check,
};

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// One session of user 1 with platform 11, begun at 10 ms at proxy 0.
fn book() -> Book {
    let mut book = Book::default();
    book.sessions.push(Session { id: "a".to_owned(), user: "1".to_owned() });
    book.operations.push(done(0, 10, Deed::Login(Some(0), "11".to_owned())));
    book
}

fn done(begin: u64, end: u64, deed: Deed) -> Operation {
    Operation { begin: ms(begin), end: ms(end), proxy: 0, deed, outcome: Outcome::Done }
}

fn answer(status: u16) -> Answer {
    Answer { status, retry_after: status == 503, location: None, cookie: None }
}

#[expect(clippy::unnecessary_wraps, reason = "as the field wants it")]
fn seen(user: &str, platform: &str) -> Option<Seen> {
    let (session, user) = (Some("a".to_owned()), Some(user.to_owned()));
    Some(Seen::Context { authn: Authn::Session, session, user, platform: Some(platform.to_owned()) })
}

#[expect(clippy::unnecessary_wraps, reason = "as the field wants it")]
fn told(authn: Authn) -> Option<Seen> {
    Some(Seen::Context { authn, session: None, user: None, platform: None })
}

/// A request of the session at proxy 1 that is served.
fn served(begin: u64, platform: &str) -> Request {
    Request {
        begin: ms(begin),
        end: ms(begin + 2),
        proxy: 1,
        route: Route::Platform,
        session: Some(0),
        answer: Some(answer(200)),
        seen: seen("1", platform),
    }
}

/// A request of the session at proxy 1 that does not reach the application.
fn refused(begin: u64, status: u16) -> Request {
    Request { answer: Some(answer(status)), seen: None, ..served(begin, "11") }
}

fn away(part: Part, proxy: Option<usize>, begin: u64, end: u64) -> Outage {
    Outage { begin: ms(begin), end: Some(ms(end)), part, proxy }
}

fn judge(book: &Book) -> Report {
    check(book, &Bounds::default())
}

fn rules(book: &Book) -> Vec<Rule> {
    judge(book).violations.iter().map(|violation| violation.rule).collect()
}

/// What is found when these requests are added to the book.
fn with(mut book: Book, requests: impl IntoIterator<Item = Request>) -> Vec<Rule> {
    book.requests.extend(requests);
    rules(&book)
}

#[test]
fn a_good_history_passes() {
    let mut book = book();
    book.operations.push(done(100, 110, Deed::Switch(0, "12".to_owned())));
    book.operations.push(done(500, 510, Deed::End(0)));
    let nobody =
        |route, status, seen| Request { route, answer: Some(answer(status)), seen, ..refused(30, 0) };
    book.requests.extend([
        served(20, "11"),
        // While the switch is under way, and as long as others may not have heard of it.
        served(105, "12"),
        served(205, "11"),
        served(250, "12"),
        served(600, "12"),
        refused(601, 401),
        refused(40, 503),
        nobody(Route::Public, 200, told(Authn::Unchecked)),
        nobody(Route::Optional, 200, told(Authn::Undetermined)),
        Request { session: None, ..nobody(Route::Page, 303, None) },
    ]);
    let report = judge(&book);
    assert!(report.violations.is_empty(), "{}", report.summary());
    assert_eq!(report.longest_served, ms(90));
    assert_eq!(report.requests["platform: 200 as session"], 5);
}

#[test]
fn another_identity_is_found() {
    let other_session = Some(Seen::Context {
        authn: Authn::Session,
        session: Some("b".to_owned()),
        user: Some("1".to_owned()),
        platform: Some("11".to_owned()),
    });
    let requests = [
        Request { seen: seen("2", "11"), ..served(20, "11") },
        Request { seen: other_session, ..served(20, "11") },
        Request { session: None, ..served(20, "11") },
        Request { seen: told(Authn::None), ..served(20, "11") },
        Request { seen: told(Authn::Undetermined), ..served(20, "11") },
    ];
    for request in requests {
        assert_eq!(with(book(), [request.clone()]), [Rule::WrongIdentity], "{request:?}");
    }
    let forged = Request { seen: Some(Seen::Unbelievable("expired".to_owned())), ..served(20, "11") };
    assert_eq!(with(book(), [forged]), [Rule::Unbelievable]);
}

#[test]
fn a_platform_never_chosen_not_yet_chosen_or_replaced_is_found() {
    assert_eq!(with(book(), [served(20, "21")]), [Rule::WrongPlatform]);
    let mut switched = book();
    switched.operations.push(done(100, 110, Deed::Switch(0, "12".to_owned())));
    switched.requests.extend([served(50, "12"), served(211, "11")]);
    assert_eq!(rules(&switched), [Rule::WrongPlatform; 2]);
    // The proxy that answered serves it at once.
    switched.requests = vec![Request { proxy: 0, ..served(111, "11") }];
    assert_eq!(rules(&switched), [Rule::WrongPlatform]);
}

#[test]
fn a_choice_that_was_refused_may_have_been_made_until_the_next_one() {
    let mut book = book();
    let outcome = Outcome::Refused(answer(503));
    book.operations.push(Operation { outcome, ..done(100, 110, Deed::Switch(0, "12".to_owned())) });
    book.requests.extend([served(2000, "11"), served(2100, "12")]);
    assert_eq!(rules(&book), []);
    book.operations.push(done(3000, 3010, Deed::Switch(0, "11".to_owned())));
    book.requests.push(served(3200, "12"));
    assert_eq!(rules(&book), [Rule::WrongPlatform]);
}

#[test]
fn a_session_served_later_than_the_bound_after_its_end_is_found() {
    let mut book = book();
    book.operations.push(done(500, 510, Deed::End(0)));
    book.requests.extend([served(610, "11"), served(611, "11"), Request { proxy: 0, ..served(511, "11") }]);
    let report = judge(&book);
    assert_eq!(report.count(Rule::ServedAfterEnd), 2, "{}", report.summary());
    assert_eq!((report.after_end, report.longest_served), (2, ms(101)));
}

#[test]
fn the_end_of_all_concerns_the_sessions_that_had_begun() {
    let mut book = book();
    for (id, user) in [("b", "1"), ("c", "2"), ("d", "1")] {
        book.sessions.push(Session { id: id.to_owned(), user: user.to_owned() });
    }
    book.operations.push(done(20, 30, Deed::Login(Some(1), "11".to_owned())));
    book.operations.push(done(20, 30, Deed::Login(Some(2), "21".to_owned())));
    book.operations.push(done(100, 110, Deed::EndAll(0)));
    book.operations.push(done(120, 130, Deed::Login(Some(3), "11".to_owned())));
    let of = |session, id: &str, user: &str, platform: &str| {
        let seen = Seen::Context {
            authn: Authn::Session,
            session: Some(id.to_owned()),
            user: Some(user.to_owned()),
            platform: Some(platform.to_owned()),
        };
        Request { session: Some(session), seen: Some(seen), ..served(300, platform) }
    };
    book.requests.extend([of(1, "b", "1", "11"), of(2, "c", "2", "21"), of(3, "d", "1", "11")]);
    assert_eq!(rules(&book), [Rule::ServedAfterEnd]);
}

#[test]
fn without_redis_the_bound_is_the_degraded_lease_and_the_residual_waits_for_a_return() {
    let mut book = book();
    book.operations.push(done(20_000, 20_010, Deed::End(0)));
    book.outages.push(away(Part::Redis, Some(0), 19_000, 60_000));
    book.requests.extend([served(21_010, "11"), served(21_011, "11")]);
    assert_eq!(rules(&book), [Rule::ServedAfterEnd]);
    book.outages.push(away(Part::Postgres, Some(1), 19_500, 30_000));
    assert_eq!(rules(&book), []);
    book.requests.push(served(40_001, "11"));
    assert_eq!(rules(&book), [Rule::ServedAfterEnd]);
    book.outages[1].end = None;
    assert_eq!(rules(&book), [], "neither has returned");
}

#[test]
fn postgres_that_goes_away_before_the_bound_is_over_may_not_have_been_heard() {
    let mut book = book();
    book.operations.push(done(20_000, 20_010, Deed::End(0)));
    book.outages.push(away(Part::Redis, Some(0), 19_000, 22_000));
    book.outages.push(away(Part::Postgres, None, 21_011, 60_000));
    book.requests.push(served(22_400, "11"));
    assert_eq!(rules(&book), [Rule::ServedAfterEnd], "the bound was over, everybody had heard");
    book.outages[1].begin = ms(20_060);
    assert_eq!(rules(&book), []);
    book.requests.push(served(32_001, "11"));
    assert_eq!(rules(&book), [Rule::ServedAfterEnd], "Redis has returned to who ended it");
}

#[test]
fn an_accepted_end_is_in_force_at_once_unless_redis_forgot_it_before_it_was_durable() {
    let mut book = book();
    book.outages.push(away(Part::Postgres, None, 19_000, 30_000));
    book.operations.push(Operation { outcome: Outcome::Accepted, ..done(20_000, 20_010, Deed::End(0)) });
    book.requests.extend([served(20_110, "11"), served(20_111, "11"), served(90_000, "11")]);
    assert_eq!(rules(&book), [Rule::ServedAfterEnd; 2]);
    book.outages.push(away(Part::RedisMemory, None, 25_000, 26_000));
    assert_eq!(rules(&book), []);
}

#[test]
fn an_end_that_was_refused_promises_nothing_and_excuses_a_refusal() {
    let mut book = book();
    book.operations
        .push(Operation { outcome: Outcome::Refused(answer(503)), ..done(100, 110, Deed::End(0)) });
    book.requests.extend([served(5000, "11"), refused(5000, 401)]);
    assert_eq!(rules(&book), []);
}

#[test]
fn a_valid_session_that_is_told_to_log_in_is_found() {
    for status in [401, 302, 303, 403] {
        assert_eq!(with(book(), [refused(20, status)]), [Rule::LoggedOut], "{status}");
    }
    let nobody = Request { route: Route::Optional, seen: told(Authn::None), ..served(20, "11") };
    assert_eq!(with(book(), [nobody]), [Rule::LoggedOut]);
}

#[test]
fn a_touched_cookie_is_found() {
    for cookie in [CookieChange::Cleared, CookieChange::Set] {
        let answer = Answer { cookie: Some(cookie), ..answer(503) };
        let request = Request { answer: Some(answer.clone()), ..refused(20, 503) };
        assert_eq!(with(book(), [request]), [Rule::CookieTouched]);
        let mut book = book();
        let outcome = Outcome::Refused(answer);
        book.operations.push(Operation { outcome, ..done(50, 60, Deed::End(0)) });
        assert_eq!(rules(&book), [Rule::CookieTouched]);
    }
}

#[test]
fn a_public_route_that_fails_is_found_and_so_is_every_bad_refusal() {
    for route in [Route::Public, Route::Optional] {
        assert_eq!(with(book(), [Request { route, ..refused(20, 503) }]), [Rule::NotPublic]);
    }
    for status in [500, 502, 504, 404, 429] {
        assert_eq!(with(book(), [refused(20, status)]), [Rule::BadRefusal], "{status}");
    }
    let in_silence = Answer { retry_after: false, ..answer(503) };
    assert_eq!(with(book(), [Request { answer: Some(in_silence), ..refused(20, 503) }]), [Rule::BadRefusal]);
    let redirected = Answer { location: Some("/login".to_owned()), ..answer(503) };
    assert_eq!(with(book(), [Request { answer: Some(redirected), ..refused(20, 503) }]), [Rule::BadRefusal]);
}

#[test]
fn silence_is_excused_only_while_the_process_is_away() {
    let silent = Request { answer: None, ..refused(20, 503) };
    assert_eq!(with(book(), [silent.clone()]), [Rule::NoAnswer]);
    let mut book = book();
    book.outages.push(away(Part::Process, Some(1), 15, 25));
    assert_eq!(with(book, [silent]), []);
}

#[test]
fn a_settled_row_allows_what_the_table_says_and_no_more() {
    let table = [
        (Row::Whole, 200, Outcome::Done, Outcome::Done),
        (Row::NoRedis, 200, Outcome::Done, Outcome::Done),
        (Row::NoPostgres, 200, Outcome::Accepted, Outcome::Refused(answer(503))),
        (Row::Nothing, 503, Outcome::Refused(answer(503)), Outcome::Refused(answer(503))),
    ];
    for (row, status, end, switch) in &table {
        let settled = |request: Request, deed, outcome: &Outcome| {
            let mut book = book();
            book.phases.push(Phase { begin: ms(11), end: Some(ms(900)), row: *row });
            book.requests.push(request);
            book.operations.push(Operation { outcome: outcome.clone(), ..done(100, 110, deed) });
            rules(&book)
        };
        let request = |status| if status == 200 { served(20, "11") } else { refused(20, status) };
        let switching = || Deed::Switch(0, "12".to_owned());
        assert_eq!(settled(request(*status), Deed::End(0), end), [], "{row:?}");
        assert_eq!(settled(request(*status), switching(), switch), [], "{row:?}");
        for (_, other, other_end, other_switch) in &table {
            if other != status && *row != Row::NoPostgres {
                let found = settled(request(*other), Deed::End(0), end);
                assert_eq!(found, [Rule::AgainstTheTable], "{row:?} {other}");
            }
            if other_end != end && !(*row == Row::NoPostgres && matches!(other_end, Outcome::Refused(_))) {
                let found = settled(request(*status), Deed::End(0), other_end);
                assert_eq!(found, [Rule::AgainstTheTable], "{row:?} {other_end:?}");
            }
            if other_switch != switch {
                let found = settled(request(*status), switching(), other_switch);
                assert_eq!(found, [Rule::AgainstTheTable], "{row:?} {other_switch:?}");
            }
        }
    }
}

/// A machine that is busy makes Postgres miss a deadline without being away: the end is left to Redis, and the
/// application's answer cannot say so.
#[test]
fn an_end_that_an_application_answered_late_may_be_one_that_only_redis_knows() {
    for (took, found) in [(999, vec![Rule::ServedAfterEnd]), (1000, vec![])] {
        let mut book = book();
        book.outages.push(away(Part::Redis, Some(1), 19_000, 25_000));
        let end = Operation { outcome: Outcome::Taken, ..done(20_000, 20_000 + took, Deed::End(0)) };
        book.operations.push(end);
        assert_eq!(with(book, [served(22_500, "11")]), found, "{took} ms");
    }
}
