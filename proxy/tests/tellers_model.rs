//! Who tells a process that its copy is over, for one key: the rules of `proxy/src/cache/PROTOCOL.md` on reports without
//! keys (5), on two connections to one server (7), on one's own writes (11), and on answers of the directory, of which no
//! report tells (12). Every order of steps is explored; without any one of the rules the checker finds what goes wrong.

#![expect(clippy::struct_excessive_bools, reason = "each is a rule, or a fact about somebody")]

mod model;

use std::collections::VecDeque;

use stateright::{Model, Property};

/// Length of the lease and of an answer's age, in ticks, and how long the world lasts.
const LEASE: u8 = 1;
const TICKS: u8 = 3;

/// The rules, each of which can be left out.
#[derive(Clone, Copy)]
struct Rules {
    /// A report without keys marks everything.
    flush: bool,
    /// The lease is open only while both connections lead to the same server.
    one_server: bool,
    /// Who ends a session strikes the copy before the store is told, and after.
    own_writes: bool,
    /// What the directory answered is believed by its age alone.
    age: bool,
}

const ALL: Rules = Rules { flush: true, one_server: true, own_writes: true, age: true };

/// Who answered a reader.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Source {
    Store,
    Directory,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Copy {
    at: u8,
    epoch: u8,
    mark: u8,
    source: Source,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Reader {
    Idle,
    Began(Copy),
    /// With a live session.
    Got(Copy),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Report {
    Key,
    Everything,
}

/// How the session ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum How {
    /// With a tombstone, or with a store that was emptied.
    InStore,
    /// By somebody who could not reach the store.
    InDirectory,
}

/// How far this process has come with ending the session itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
enum Own {
    No,
    Begun,
    Written,
    Answered,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    now: u8,
    ended: Option<(u8, How)>,
    own: Own,
    told: bool,
    /// Which of two servers is written to, read from (`None` while not connected) and listened to.
    primary: u8,
    reads: Option<u8>,
    line: u8,
    wire: VecDeque<Report>,
    epoch: u8,
    until: u8,
    marks: u8,
    reader: Reader,
    copy: Option<Copy>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    Tick,
    End,
    Flush,
    EndInDirectory,
    OwnBegin,
    OwnWrite,
    OwnAnswer,
    FailOver,
    Reconnect,
    Listen,
    Deliver,
    Pong,
    Begin,
    AskStore,
    AskDirectory,
    Keep,
}

const STEPS: [Step; 16] = [
    Step::Tick,
    Step::End,
    Step::Flush,
    Step::EndInDirectory,
    Step::OwnBegin,
    Step::OwnWrite,
    Step::OwnAnswer,
    Step::FailOver,
    Step::Reconnect,
    Step::Listen,
    Step::Deliver,
    Step::Pong,
    Step::Begin,
    Step::AskStore,
    Step::AskDirectory,
    Step::Keep,
];

impl World {
    /// Everything is connected, and the lease is open.
    fn new() -> Self {
        Self {
            now: 0,
            ended: None,
            own: Own::No,
            told: false,
            primary: 0,
            reads: Some(0),
            line: 0,
            wire: VecDeque::new(),
            epoch: 1,
            until: LEASE,
            marks: 0,
            reader: Reader::Idle,
            copy: None,
        }
    }

    fn serves(&self, rules: Rules) -> bool {
        self.copy.is_some_and(|copy| {
            let young = self.now < copy.at + LEASE;
            let coherent = copy.source == Source::Store || !rules.age;
            let leased = coherent && self.epoch % 2 == 1 && self.now < self.until;
            copy.mark == self.marks && copy.epoch == self.epoch && (young || leased)
        })
    }

    fn over(&self, how: How) -> bool {
        self.ended.is_some_and(|(moment, its)| its == how && self.now - moment > LEASE)
    }

    fn end(&mut self, how: How, report: Option<Report>) -> Option<()> {
        if self.ended.is_some() {
            return None;
        }
        self.ended = Some((self.now, how));
        if self.line == self.primary {
            self.wire.extend(report);
        }
        Some(())
    }

    fn own(&mut self, rules: Rules, step: Step) -> Option<()> {
        let (before, after) = match step {
            Step::OwnBegin => (Own::No, Own::Begun),
            Step::OwnWrite => (Own::Begun, Own::Written),
            _ => (Own::Written, Own::Answered),
        };
        if self.own != before {
            return None;
        }
        if step == Step::OwnWrite {
            self.end(How::InStore, Some(Report::Key))?;
        } else {
            self.marks += u8::from(rules.own_writes);
        }
        self.own = after;
        Some(())
    }

    /// The primary dies and its replica takes over; what listened to the dead one goes on getting answers from whatever
    /// stands there now.
    fn connect(&mut self, rules: Rules, step: Step) -> Option<()> {
        match step {
            Step::FailOver if self.primary == 0 => {
                self.primary = 1;
                self.reads = None;
                if rules.one_server {
                    self.close();
                }
            }
            Step::Reconnect if self.reads.is_none() => self.reads = Some(self.primary),
            Step::Listen if self.line != self.primary => {
                if rules.one_server && self.reads != Some(self.primary) {
                    return None;
                }
                self.line = self.primary;
                self.wire.clear();
                self.epoch += 2 - (self.epoch + 1) % 2;
                self.until = self.now + LEASE;
            }
            _ => return None,
        }
        Some(())
    }

    fn close(&mut self) {
        self.epoch += self.epoch % 2;
    }

    fn hear(&mut self, rules: Rules, step: Step) -> Option<()> {
        if step == Step::Pong {
            // In order with the reports.
            let moved = self.wire.is_empty() && self.until != self.now + LEASE;
            self.until = self.now + LEASE;
            return moved.then_some(());
        }
        let report = self.wire.pop_front()?;
        if report == Report::Key || rules.flush {
            self.marks += 1;
        }
        self.told = true;
        Some(())
    }

    fn read(&mut self, step: Step) -> Option<()> {
        let lives_in_store = self.reads.is_some() && !matches!(self.ended, Some((_, How::InStore)));
        let got = |copy: Copy, source| Reader::Got(Copy { source, ..copy });
        self.reader = match (step, self.reader) {
            (Step::Begin, Reader::Idle) => {
                let (at, epoch, mark) = (self.now, self.epoch, self.marks);
                Reader::Began(Copy { at, epoch, mark, source: Source::Store })
            }
            (Step::AskStore, Reader::Began(copy)) if lives_in_store => got(copy, Source::Store),
            // The store was asked, and did not answer in time or had nothing.
            (Step::AskDirectory, Reader::Began(copy)) if self.ended.is_none() => got(copy, Source::Directory),
            (Step::Keep, Reader::Got(copy)) => {
                self.copy = Some(copy);
                Reader::Idle
            }
            _ => return None,
        };
        Some(())
    }
}

impl Model for Rules {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new()]
    }

    fn actions(&self, _: &World, steps: &mut Vec<Step>) {
        steps.extend(STEPS);
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut next = last.clone();
        match step {
            Step::Tick if next.now < TICKS => next.now += 1,
            Step::Tick => return None,
            Step::End => next.end(How::InStore, Some(Report::Key))?,
            Step::Flush => next.end(How::InStore, Some(Report::Everything))?,
            Step::EndInDirectory => next.end(How::InDirectory, None)?,
            Step::OwnBegin | Step::OwnWrite | Step::OwnAnswer => next.own(*self, step)?,
            Step::FailOver | Step::Reconnect | Step::Listen => next.connect(*self, step)?,
            Step::Deliver | Step::Pong => next.hear(*self, step)?,
            Step::Begin | Step::AskStore | Step::AskDirectory | Step::Keep => next.read(step)?,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BOUND, |rules: &Self, world: &World| {
                !(world.over(How::InStore) && world.serves(*rules))
            }),
            Property::always(TOLD, |rules: &Self, world: &World| !(world.told && world.serves(*rules))),
            Property::always(OWN, |rules: &Self, world: &World| {
                !(world.own == Own::Answered && world.serves(*rules))
            }),
            Property::always(UNTOLD, |rules: &Self, world: &World| {
                let from_directory = world.copy.is_some_and(|copy| copy.source == Source::Directory);
                !(world.over(How::InDirectory) && from_directory && world.serves(*rules))
            }),
            Property::sometimes("a copy is served after a failover", |rules: &Self, world: &World| {
                let old = world.copy.is_some_and(|copy| world.now >= copy.at + LEASE);
                world.primary == 1 && old && world.serves(*rules)
            }),
        ]
    }
}

const BOUND: &str = "a revoked session is served no longer than the lease";
const TOLD: &str = "nothing is served once a report has arrived";
const OWN: &str = "nothing is served by whoever has answered that it is over";
const UNTOLD: &str = "what only the directory knows is served no longer than the age of its answer";

#[test]
fn with_all_rules_somebody_tells_in_time() {
    model::holds(ALL, 1_000);
}

#[test]
fn a_report_without_keys_that_is_passed_over_leaves_copies_alive() {
    model::breaks(Rules { flush: false, ..ALL }, TOLD);
}

#[test]
fn a_lease_on_another_server_than_the_one_that_is_read_never_hears_of_the_end() {
    model::breaks(Rules { one_server: false, ..ALL }, BOUND);
}

#[test]
fn who_does_not_strike_the_own_copy_serves_it_after_its_own_answer() {
    model::breaks(Rules { own_writes: false, ..ALL }, OWN);
}

#[test]
fn an_answer_of_the_directory_that_the_lease_keeps_alive_is_never_told_to_be_over() {
    model::breaks(Rules { age: false, ..ALL }, UNTOLD);
}
