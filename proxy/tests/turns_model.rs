//! Rule 8 of `proxy/src/cache/PROTOCOL.md` in the turns of the server's event loop: within a turn answers go out at once and
//! reports behind all of them, so the answer to a PING can pass the report of a change that was made before it. With one
//! PING under way at a time the lease is never longer than allowed all the same; with two it is, and the checker shows how.

mod model;

use std::collections::VecDeque;

use stateright::{Model, Property};

/// Length of the lease, in ticks, and how long the world lasts.
const LEASE: u8 = 1;
const TICKS: u8 = 4;
/// How many PINGs are sent at most.
const PINGS: u8 = 3;

/// The rule, which can be left out.
#[derive(Clone, Copy)]
struct Rules {
    /// No PING is sent while another one is unanswered.
    single: bool,
}

/// What comes from the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Message {
    /// The answer to a PING that was sent at this time.
    Pong(u8),
    Changed,
}

/// A turn of the server: whoever had sent something when it began is served once in it, in any order.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Turn {
    /// Whether the connection that is told of changes is still to be read.
    reads_line: bool,
    /// Whether the revoker is.
    reads_revoker: bool,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    now: u8,
    sent: u8,
    unanswered: u8,
    /// PINGs that the server has not read, by when they were sent.
    inbox: VecDeque<u8>,
    turn: Option<Turn>,
    /// When the session was revoked: when the server carried the revocation out.
    revoked: Option<u8>,
    /// A report is written down for the end of the turn.
    report: bool,
    wire: VecDeque<Message>,
    until: u8,
    struck: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    Tick,
    Ping,
    BeginTurn,
    ReadLine,
    ReadRevoker,
    EndTurn,
    Deliver,
}

const STEPS: [Step; 7] = [
    Step::Tick,
    Step::Ping,
    Step::BeginTurn,
    Step::ReadLine,
    Step::ReadRevoker,
    Step::EndTurn,
    Step::Deliver,
];

impl World {
    /// A copy is held, and the lease is open.
    fn new() -> Self {
        Self {
            now: 0,
            sent: 0,
            unanswered: 0,
            inbox: VecDeque::new(),
            turn: None,
            revoked: None,
            report: false,
            wire: VecDeque::new(),
            until: LEASE,
            struck: false,
        }
    }

    fn serves(&self) -> bool {
        !self.struck && self.now < self.until
    }

    fn ping(&mut self, rules: Rules) -> Option<()> {
        if self.sent == PINGS || (rules.single && self.unanswered > 0) {
            return None;
        }
        self.sent += 1;
        self.unanswered += 1;
        self.inbox.push_back(self.now);
        Some(())
    }

    fn serve(&mut self, step: Step) -> Option<()> {
        match step {
            Step::BeginTurn if self.turn.is_none() => {
                self.turn =
                    Some(Turn { reads_line: !self.inbox.is_empty(), reads_revoker: self.revoked.is_none() });
            }
            Step::ReadLine => {
                let turn = self.turn.as_mut().filter(|turn| turn.reads_line)?;
                turn.reads_line = false;
                // What arrived since the turn began is read with the rest.
                self.wire.extend(self.inbox.drain(..).map(Message::Pong));
            }
            Step::ReadRevoker => {
                let turn = self.turn.as_mut().filter(|turn| turn.reads_revoker)?;
                turn.reads_revoker = false;
                self.revoked = Some(self.now);
                self.report = true;
            }
            Step::EndTurn => {
                self.turn.take()?;
                if std::mem::take(&mut self.report) {
                    self.wire.push_back(Message::Changed);
                }
            }
            _ => return None,
        }
        Some(())
    }

    fn deliver(&mut self) -> Option<()> {
        match self.wire.pop_front()? {
            Message::Pong(sent) => {
                self.unanswered -= 1;
                self.until = self.until.max(sent + LEASE);
            }
            Message::Changed => self.struck = true,
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
        steps.extend(STEPS);
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut next = last.clone();
        match step {
            Step::Tick if next.now < TICKS => next.now += 1,
            Step::Tick => return None,
            Step::Ping => next.ping(*self)?,
            Step::Deliver => next.deliver()?,
            _ => next.serve(step)?,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(BOUND, |_: &Self, world: &World| {
                let over = world.revoked.is_some_and(|moment| world.now - moment > LEASE);
                !(over && world.serves())
            }),
            // Else the model would not show what the rule is for.
            Property::sometimes(
                "an answer passes the report of an earlier change",
                |_: &Self, world: &World| {
                    let answered = world.wire.iter().position(|message| matches!(message, Message::Pong(_)));
                    let reported = world.wire.iter().position(|message| *message == Message::Changed);
                    answered.zip(reported).is_some_and(|(answer, report)| answer < report)
                },
            ),
        ]
    }
}

const BOUND: &str = "a revoked session is served no longer than the lease";

#[test]
fn with_one_ping_under_way_no_lease_is_too_long() {
    model::holds(Rules { single: true }, 1_000);
}

#[test]
fn a_second_ping_outlives_a_change_that_was_made_before_it_was_sent() {
    model::breaks(Rules { single: false }, BOUND);
}
