//! The protocol of `proxy/src/cache/PROTOCOL.md` for one key, explored over every order of its steps: a reader, a
//! revoker, a connection that reports changes and may fall silent, be cut or be given up. With all rules nothing wrong can
//! be reached; without any one of them something can, and the checker shows how.

#![expect(clippy::struct_excessive_bools, reason = "each is a rule, or a fact about a connection")]

mod model;

use std::collections::VecDeque;

use stateright::{Model, Property};

/// Length of the lease, in ticks.
const LEASE: u8 = 1;
/// How long the world lasts.
const TICKS: u8 = 3;
/// Who reads at the same time. One is enough: whether a copy is served depends on its own notes alone, so of several
/// readers each could do only what one of them alone can; two take minutes instead of seconds.
const READERS: usize = 1;
/// How often a connection is made.
const LINES: u8 = 2;

/// The rules of the protocol, each of which can be left out.
#[derive(Clone, Copy)]
struct Rules {
    /// The mark of a key is noted before it is read, not when the answer is kept.
    placeholder: bool,
    /// A copy is served only in the epoch that it was read in.
    epoch: bool,
    /// The end of a connection ends the epoch at once.
    close_on_disconnect: bool,
    /// A copy is served only while the lease is fresh.
    lease: bool,
    /// An epoch begins after the server has confirmed that it reports.
    arm_first: bool,
    /// The lease counts from when the PING was sent, not from when its answer came.
    from_sent: bool,
    /// Nobody joins a lookup that is older than the lease.
    flights: bool,
}

const ALL: Rules = Rules {
    placeholder: true,
    epoch: true,
    close_on_disconnect: true,
    lease: true,
    arm_first: true,
    from_sent: true,
    flights: true,
};

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    now: u8,
    revoked: Option<u8>,
    line: Option<Line>,
    lines: u8,
    /// How many lines that reported have ended, as far as this process knows.
    ended: u8,
    /// Whether the report of the revocation has arrived.
    told: bool,
    epoch: u8,
    until: u8,
    marks: u8,
    readers: [Reader; READERS],
    copy: Option<Copy>,
}

/// A connection, with what is under way on it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Line {
    asked: Option<u8>,
    reporting: bool,
    armed: bool,
    ping: Option<u8>,
    ping_at_server: bool,
    silent: bool,
    wire: VecDeque<Message>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Message {
    Confirmed(u8),
    Changed,
    Pong(u8),
    End,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Reader {
    Idle,
    Began(Copy),
    /// With a live session; whoever reads a revoked one keeps nothing.
    Got(Copy),
}

/// What a copy rests on. `ended` is no part of the protocol: it tells the properties which end it was read before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Copy {
    at: u8,
    epoch: u8,
    mark: u8,
    ended: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    Tick,
    Revoke,
    Connect,
    ServerConfirms,
    Ping,
    ServerPongs,
    Deliver,
    FallSilent,
    Heal,
    Cut,
    GiveUp,
    Begin(usize),
    Read(usize),
    Keep(usize),
}

impl World {
    fn new() -> Self {
        Self {
            now: 0,
            revoked: None,
            line: None,
            lines: 0,
            ended: 0,
            told: false,
            epoch: 0,
            until: 0,
            marks: 0,
            readers: [Reader::Idle; READERS],
            copy: None,
        }
    }

    /// The hit rule.
    fn serves(&self, rules: Rules) -> bool {
        self.copy.is_some_and(|copy| {
            let young = self.now < copy.at + LEASE;
            let leased = self.epoch % 2 == 1 && (!rules.lease || self.now < self.until);
            let same_epoch = !rules.epoch || copy.epoch == self.epoch;
            copy.mark == self.marks && same_epoch && (young || leased)
        })
    }

    /// Time passes. What is past all the same is made equal, which leaves fewer worlds to explore.
    fn tick(&mut self) {
        self.now += 1;
        let past = self.now.saturating_sub(LEASE + 1);
        self.until = self.until.max(self.now);
        self.revoked = self.revoked.map(|moment| moment.max(past));
        let stamps = self.readers.iter_mut().filter_map(|reader| match reader {
            Reader::Idle => None,
            Reader::Began(stamp) | Reader::Got(stamp) => Some(stamp),
        });
        for stamp in stamps.chain(&mut self.copy) {
            stamp.at = stamp.at.max(past);
        }
    }

    fn open(&mut self, sent: u8) {
        self.until = self.now.max(sent + LEASE);
        self.epoch += 1 + self.epoch % 2;
    }

    fn end_line(&mut self, rules: Rules) {
        // The end of a line that never reported is no loss: no copy rested on it.
        let armed = self.line.take().is_some_and(|line| line.armed);
        self.ended += u8::from(armed);
        if rules.close_on_disconnect && self.epoch % 2 == 1 {
            self.epoch += 1;
        }
    }

    fn stamp(&self) -> Copy {
        Copy { at: self.now, epoch: self.epoch, mark: self.marks, ended: self.ended }
    }

    fn revoke(&mut self) -> Option<()> {
        if self.revoked.is_some() {
            return None;
        }
        self.revoked = Some(self.now);
        if let Some(line) = self.line.as_mut().filter(|line| line.reporting) {
            line.wire.push_back(Message::Changed);
        }
        Some(())
    }

    fn connect(&mut self, rules: Rules) -> Option<()> {
        if self.line.is_some() || self.lines == LINES {
            return None;
        }
        self.lines += 1;
        self.line = Some(Line {
            asked: Some(self.now),
            reporting: false,
            armed: false,
            ping: None,
            ping_at_server: false,
            silent: false,
            wire: VecDeque::new(),
        });
        if !rules.arm_first {
            self.open(self.now);
        }
        Some(())
    }

    fn deliver(&mut self, rules: Rules) -> Option<()> {
        let line = self.line.as_mut().filter(|line| !line.silent)?;
        match line.wire.pop_front()? {
            Message::Confirmed(sent) => {
                line.armed = true;
                if rules.arm_first {
                    self.open(sent);
                }
            }
            Message::Changed => {
                self.marks += 1;
                self.told = true;
            }
            Message::Pong(sent) => {
                line.ping = None;
                let from = if rules.from_sent { sent } else { self.now };
                self.until = self.until.max(from + LEASE);
            }
            Message::End => self.end_line(rules),
        }
        Some(())
    }

    fn on_line(&mut self, step: Step) -> Option<()> {
        let now = self.now;
        let line = self.line.as_mut()?;
        match step {
            Step::ServerConfirms if !line.silent => {
                let sent = line.asked.take()?;
                line.reporting = true;
                line.wire.push_back(Message::Confirmed(sent));
            }
            // One at a time.
            Step::Ping if line.armed && line.ping.is_none() => {
                line.ping = Some(now);
                line.ping_at_server = true;
            }
            Step::ServerPongs if !line.silent && line.reporting && line.ping_at_server => {
                line.ping_at_server = false;
                line.wire.push_back(Message::Pong(line.ping?));
            }
            Step::FallSilent if !line.silent => line.silent = true,
            Step::Heal if line.silent => line.silent = false,
            // The server forgets it; what was under way is lost, and the end is found out when it is delivered.
            Step::Cut if line.wire.back() != Some(&Message::End) => {
                *line = Line {
                    asked: None,
                    reporting: false,
                    ping_at_server: false,
                    wire: VecDeque::from([Message::End]),
                    ..line.clone()
                };
            }
            _ => return None,
        }
        Some(())
    }

    fn read(&mut self, rules: Rules, step: Step) -> Option<()> {
        match step {
            Step::Begin(reader) if self.readers[reader] == Reader::Idle => {
                self.readers[reader] = Reader::Began(self.stamp());
            }
            Step::Read(reader) => {
                let Reader::Began(stamp) = self.readers[reader] else { return None };
                self.readers[reader] = if self.revoked.is_none() { Reader::Got(stamp) } else { Reader::Idle };
            }
            Step::Keep(reader) => {
                let Reader::Got(stamp) = self.readers[reader] else { return None };
                let mark = if rules.placeholder { stamp.mark } else { self.marks };
                self.copy = Some(Copy { mark, ..stamp });
                self.readers[reader] = Reader::Idle;
            }
            _ => return None,
        }
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
        steps.extend([
            Step::Tick,
            Step::Revoke,
            Step::Connect,
            Step::ServerConfirms,
            Step::Ping,
            Step::ServerPongs,
            Step::Deliver,
            Step::FallSilent,
            Step::Heal,
            Step::Cut,
            Step::GiveUp,
        ]);
        for reader in 0..READERS {
            steps.extend([Step::Begin(reader), Step::Read(reader), Step::Keep(reader)]);
        }
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut next = last.clone();
        match step {
            Step::Tick if next.now < TICKS => next.tick(),
            Step::Revoke => next.revoke()?,
            Step::Connect => next.connect(*self)?,
            Step::Deliver => next.deliver(*self)?,
            // A connection whose lease has lapsed is given up some time later.
            Step::GiveUp if next.line.is_some() && next.now >= next.until => next.end_line(*self),
            Step::Tick | Step::GiveUp => return None,
            Step::Begin(_) | Step::Read(_) | Step::Keep(_) => next.read(*self, step)?,
            _ => next.on_line(step)?,
        }
        Some(next)
    }

    /// Once the session is revoked and nobody holds a copy or is about to keep one, nothing can go wrong any more.
    fn within_boundary(&self, world: &World) -> bool {
        let pending = world.readers.iter().any(|reader| matches!(reader, Reader::Got(_)));
        world.revoked.is_none() || world.copy.is_some() || pending
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "a revoked session is served no longer than the lease",
                |rules: &Self, world: &World| {
                    let over = world.revoked.is_some_and(|moment| world.now - moment > LEASE);
                    !(over && world.serves(*rules))
                },
            ),
            Property::always(
                "nothing is served once the report has arrived",
                |rules: &Self, world: &World| !(world.told && world.serves(*rules)),
            ),
            Property::always(
                "nothing stale is served after an end that was noticed",
                |rules: &Self, world: &World| {
                    let old = world.copy.is_some_and(|copy| copy.ended < world.ended);
                    !(old && world.revoked.is_some() && world.serves(*rules))
                },
            ),
            // A lookup that has read a live session gives it to whoever may still join.
            Property::always(JOINS, |rules: &Self, world: &World| {
                let over = world.revoked.is_some_and(|moment| world.now - moment > LEASE);
                let joinable = |reader: &Reader| match reader {
                    Reader::Got(stamp) => !rules.flights || world.now < stamp.at + LEASE,
                    _ => false,
                };
                !(over && world.readers.iter().any(joinable))
            }),
            Property::sometimes("a copy is served by its lease alone", |rules: &Self, world: &World| {
                world.serves(*rules) && world.copy.is_some_and(|copy| world.now >= copy.at + LEASE)
            }),
            Property::sometimes(
                "a copy is served after a connection was lost",
                |rules: &Self, world: &World| {
                    let young = world.copy.is_some_and(|copy| world.now < copy.at + LEASE);
                    world.ended > 0 && world.epoch % 2 == 1 && world.serves(*rules) && !young
                },
            ),
        ]
    }
}

const BOUND: &str = "a revoked session is served no longer than the lease";
const JOINS: &str = "nobody joins a lookup from before a revocation later than the lease";

#[test]
fn with_all_rules_nothing_wrong_can_be_reached() {
    model::holds(ALL, 10_000);
}

#[test]
fn without_the_placeholder_an_answer_outlives_its_invalidation() {
    model::breaks(Rules { placeholder: false, ..ALL }, BOUND);
}

#[test]
fn without_the_epoch_copies_survive_a_lost_connection() {
    model::breaks(Rules { epoch: false, ..ALL }, BOUND);
}

#[test]
fn without_closing_at_the_end_of_a_connection_stale_copies_are_served_after_it() {
    model::breaks(
        Rules { close_on_disconnect: false, ..ALL },
        "nothing stale is served after an end that was noticed",
    );
}

#[test]
fn without_the_lease_a_silent_connection_keeps_copies_alive() {
    model::breaks(Rules { lease: false, ..ALL }, BOUND);
}

#[test]
fn without_arming_first_a_change_before_the_server_reports_is_missed() {
    model::breaks(Rules { arm_first: false, ..ALL }, BOUND);
}

#[test]
fn a_lease_that_counts_from_the_answer_outlives_a_change_that_was_made_meanwhile() {
    model::breaks(Rules { from_sent: false, ..ALL }, BOUND);
}

#[test]
fn without_a_bound_on_flights_a_slow_lookup_hands_out_what_is_over() {
    model::breaks(Rules { flights: false, ..ALL }, JOINS);
}
