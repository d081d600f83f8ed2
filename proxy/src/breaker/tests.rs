//! The breaker by its clock, and what holds after any history of calls.

use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;

fn breaker() -> (Arc<ManualClock>, Breaker) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000)));
    let breaker = Breaker::new(Arc::clone(&clock) as Arc<dyn Clock>);
    (clock, breaker)
}

fn fail(breaker: &Breaker, times: u32) {
    for _ in 0..times {
        breaker.admit().expect("a closed breaker admits").failed();
    }
}

#[test]
fn a_server_that_was_seen_elsewhere_is_asked_again_at_once() {
    let (_, breaker) = breaker();
    fail(&breaker, FAILURES);
    assert!(breaker.admit().is_none());
    breaker.recovered();
    assert_eq!(breaker.state(), State::Closed);
    assert!(breaker.admit().is_some());
}

#[test]
fn only_failures_in_a_row_open_it() {
    let (_, breaker) = breaker();
    for _ in 0..3 {
        fail(&breaker, FAILURES - 1);
        breaker.admit().unwrap().succeeded();
    }
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, FAILURES);
    assert_eq!(breaker.state(), State::Open);
    assert!(breaker.admit().is_none());
}

#[test]
fn one_probe_at_a_time_decides() {
    let (clock, breaker) = breaker();
    fail(&breaker, FAILURES);
    clock.advance(FIRST_WAIT);
    let probe = breaker.admit().unwrap();
    assert!(breaker.admit().is_none(), "the probe is under way");
    probe.failed();
    assert!(breaker.admit().is_none());
    clock.advance(2 * FIRST_WAIT);
    breaker.admit().unwrap().succeeded();
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, FAILURES - 1);
    assert_eq!(breaker.state(), State::Closed, "what failed before the outage is forgotten");
}

#[test]
fn a_probe_that_is_given_up_leaves_the_decision_to_the_next() {
    let (clock, breaker) = breaker();
    fail(&breaker, FAILURES);
    clock.advance(FIRST_WAIT);
    drop(breaker.admit().unwrap());
    breaker.admit().unwrap().succeeded();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn calls_from_before_the_outage_decide_nothing() {
    let (clock, breaker) = breaker();
    let (slow, slower) = (breaker.admit().unwrap(), breaker.admit().unwrap());
    fail(&breaker, FAILURES);
    slow.succeeded();
    assert_eq!(breaker.state(), State::Open);
    clock.advance(FIRST_WAIT);
    let probe = breaker.admit().unwrap();
    slower.failed();
    assert_eq!(breaker.state(), State::HalfOpen);
    probe.succeeded();
    assert_eq!(breaker.state(), State::Closed);
}

#[test]
fn a_clock_that_is_set_back_does_not_keep_it_open() {
    let mut circuit = Circuit::opened(Timestamp::from_secs(1_000), LONGEST_WAIT, u8::MAX);
    assert_eq!(circuit.admit(Timestamp::from_secs(10)), Some(true));
}

#[test]
fn every_change_is_told() {
    let (clock, breaker) = breaker();
    let told = Arc::new(Mutex::new(Vec::new()));
    let teller = Arc::clone(&told);
    breaker.observe(move |state| teller.lock().push(state.as_gauge()));
    fail(&breaker, FAILURES);
    clock.advance(FIRST_WAIT);
    breaker.admit().unwrap().failed();
    clock.advance(LONGEST_WAIT);
    breaker.admit().unwrap().succeeded();
    assert_eq!(*told.lock(), [0, 2, 1, 2, 1, 0]);
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Succeed(usize),
    Fail(usize),
    GiveUp(usize),
    Wait(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Ask),
        1 => (0..8_usize).prop_map(Step::Succeed),
        3 => (0..8_usize).prop_map(Step::Fail),
        1 => (0..8_usize).prop_map(Step::GiveUp),
        1 => (0..2_500_u16).prop_map(Step::Wait),
    ]
}

proptest! {
    #[test]
    fn whatever_happened_at_most_one_probe_is_out_and_two_seconds_later_one_is_admitted(
        steps in prop::collection::vec(step(), 0..200)
    ) {
        let (clock, breaker) = breaker();
        let mut out: Vec<Admission<'_>> = Vec::new();
        for step in steps {
            match step {
                Step::Ask => out.extend(breaker.admit()),
                Step::Succeed(at) if at < out.len() => out.swap_remove(at).succeeded(),
                Step::Fail(at) if at < out.len() => out.swap_remove(at).failed(),
                Step::GiveUp(at) if at < out.len() => drop(out.swap_remove(at)),
                Step::Succeed(_) | Step::Fail(_) | Step::GiveUp(_) => {}
                Step::Wait(millis) => clock.advance(Duration::from_millis(millis.into())),
            }
            let probes = out.iter().filter(|admission| admission.is_probe).count();
            prop_assert_eq!(probes, usize::from(breaker.state() == State::HalfOpen));
        }
        out.clear();
        clock.advance(LONGEST_WAIT);
        prop_assert!(breaker.admit().is_some());
    }

    #[test]
    fn waits_lie_between_half_the_ceiling_and_all_of_it(part: u8, rounds in 0..10_usize) {
        let mut circuit = Circuit::opened(Timestamp::from_secs(1), FIRST_WAIT, part);
        for _ in 0..rounds {
            let Circuit::Open { since, ceiling, .. } = circuit else { panic!("{circuit:?}") };
            circuit.admit(since.plus(ceiling));
            circuit.failed(true, since.plus(ceiling), part);
        }
        let Circuit::Open { ceiling, wait, .. } = circuit else { panic!("{circuit:?}") };
        prop_assert_eq!(ceiling, (FIRST_WAIT * (1 << rounds)).min(LONGEST_WAIT));
        prop_assert!(wait >= ceiling / 2 && wait <= ceiling);
    }
}
