//! Rule 20 of `proxy/src/cache/PROTOCOL.md` at a proxy that only hears of an end of all sessions, for a session that no
//! tombstone was set for: the store lists the end, loses its memory, or learns that the directory knows; the directory is
//! back before it knows. With all rules nobody is let in once the end was heard of; without any one of them somebody is.

#![expect(clippy::struct_excessive_bools, reason = "each is a rule, or a fact about somebody")]

mod model;

use stateright::{Model, Property};

/// The rules, each of which can be left out.
#[derive(Clone, Copy)]
struct Rules {
    /// What was heard of is obeyed, whatever the directory says.
    obeyed: bool,
    /// It is remembered before the copies are dropped.
    remembered_first: bool,
    /// It is remembered on when the store does not list it any more.
    kept: bool,
    /// And when the directory knows.
    beyond: bool,
}

const ALL: Rules = Rules { obeyed: true, remembered_first: true, kept: true, beyond: true };

/// How far the reader is with what the store lists.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Look {
    Idle,
    /// The answer of the store: whether the end is listed.
    Listed(bool),
    /// One of two was done: it was remembered, or the copies were dropped.
    Half,
}

/// How far a lookup of the session in the directory is, with the mark that it noted and whether it began after the end had
/// been heard of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Lookup {
    Idle,
    Began { mark: u8, late: bool },
    Alive { mark: u8, late: bool },
    Checked { mark: u8, late: bool },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    /// The directory answers; it knows of the end.
    directory: bool,
    knows: bool,
    /// The end was accepted; the store lists it.
    accepted: bool,
    listed: bool,
    lost: bool,
    /// The list has changed since the reader looked.
    told: bool,
    look: Look,
    remembered: bool,
    /// All that has to be done on hearing was done.
    heard: bool,
    mark: u8,
    lookup: Lookup,
    copy: Option<u8>,
    /// A lookup that began after the end had been heard of let the session in.
    let_in: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    DirectoryReturns,
    Accept,
    LoseMemory,
    Confirm,
    ConfirmHere,
    List,
    Hear,
    Begin,
    Ask,
    Check,
    Keep,
}

const STEPS: [Step; 11] = [
    Step::DirectoryReturns,
    Step::Accept,
    Step::LoseMemory,
    Step::Confirm,
    Step::ConfirmHere,
    Step::List,
    Step::Hear,
    Step::Begin,
    Step::Ask,
    Step::Check,
    Step::Keep,
];

impl World {
    /// The directory has gone a moment ago: the reader may have a copy, and may be asking still.
    fn all() -> Vec<Self> {
        let world = Self {
            directory: false,
            knows: false,
            accepted: false,
            listed: false,
            lost: false,
            told: false,
            look: Look::Idle,
            remembered: false,
            heard: false,
            mark: 0,
            lookup: Lookup::Idle,
            copy: None,
            let_in: false,
        };
        let asking = Self { lookup: Lookup::Alive { mark: 0, late: false }, ..world.clone() };
        vec![Self { copy: Some(0), ..world.clone() }, asking, world]
    }

    fn lets_in(&self) -> bool {
        self.copy == Some(self.mark)
    }

    /// What becomes of the end.
    fn stores(&mut self, rules: Rules, step: Step) -> Option<()> {
        match step {
            Step::DirectoryReturns if !self.directory => self.directory = true,
            Step::Accept if !self.directory && !self.accepted => {
                (self.accepted, self.listed, self.told) = (true, true, true);
            }
            Step::LoseMemory if self.listed && !self.lost => {
                (self.listed, self.lost, self.told) = (false, true, true);
            }
            // By whoever accepted it: the end, and that it need not be listed any more.
            Step::Confirm if self.accepted && self.directory && !self.knows => {
                (self.knows, self.listed, self.told) = (true, false, true);
            }
            // Whoever has heard of it brings it as well, and drops the copies once more.
            Step::ConfirmHere if self.heard && self.directory && !self.knows => {
                (self.knows, self.listed, self.told) = (true, false, true);
                self.mark += 1;
                self.remembered &= rules.beyond;
            }
            _ => return None,
        }
        Some(())
    }

    /// What the reader does about the list.
    fn hear(&mut self, rules: Rules, step: Step) -> Option<()> {
        self.look = match (step, self.look) {
            (Step::List, Look::Idle) if self.told => {
                self.told = false;
                Look::Listed(self.listed)
            }
            (Step::Hear, Look::Listed(false)) => {
                self.remembered &= rules.kept;
                Look::Idle
            }
            (Step::Hear, Look::Listed(true)) => {
                if rules.remembered_first {
                    self.remembered = true;
                } else {
                    self.mark += 1;
                }
                Look::Half
            }
            (Step::Hear, Look::Half) => {
                if rules.remembered_first {
                    self.mark += 1;
                } else {
                    self.remembered = true;
                }
                self.heard = true;
                Look::Idle
            }
            _ => return None,
        };
        Some(())
    }

    /// A lookup of the session, which the store does not hold.
    fn look_up(&mut self, rules: Rules, step: Step) -> Option<()> {
        self.lookup = match (step, self.lookup) {
            (Step::Begin, Lookup::Idle) => Lookup::Began { mark: self.mark, late: self.heard },
            (Step::Ask, Lookup::Began { mark, late }) if self.directory => {
                if self.knows {
                    Lookup::Idle
                } else {
                    Lookup::Alive { mark, late }
                }
            }
            (Step::Check, Lookup::Alive { mark, late }) => {
                if rules.obeyed && self.remembered {
                    Lookup::Idle
                } else {
                    Lookup::Checked { mark, late }
                }
            }
            (Step::Keep, Lookup::Checked { mark, late }) => {
                self.copy = Some(mark);
                self.let_in |= late;
                Lookup::Idle
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
        World::all()
    }

    fn actions(&self, _: &World, steps: &mut Vec<Step>) {
        steps.extend(STEPS);
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut next = last.clone();
        match step {
            Step::List | Step::Hear => next.hear(*self, step)?,
            Step::Begin | Step::Ask | Step::Check | Step::Keep => next.look_up(*self, step)?,
            _ => next.stores(*self, step)?,
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(OVER, |_: &Self, world: &World| {
                !(world.heard && (world.lets_in() || world.let_in))
            }),
            // Else the model would not show what the rule is for.
            Property::sometimes(
                "the end was heard of, and the directory does not know when it is asked",
                |_: &Self, world: &World| {
                    world.heard && matches!(world.lookup, Lookup::Alive { late: true, .. })
                },
            ),
        ]
    }
}

const OVER: &str = "nobody is let in whose end was heard of";

#[test]
fn with_all_rules_an_end_that_was_heard_of_is_obeyed() {
    model::holds(ALL, 200);
}

#[test]
fn the_directory_must_not_be_believed_before_it_knows() {
    model::breaks(Rules { obeyed: false, ..ALL }, OVER);
}

#[test]
fn copies_that_are_dropped_before_the_end_is_remembered_come_back() {
    model::breaks(Rules { remembered_first: false, ..ALL }, OVER);
}

#[test]
fn a_store_that_lost_its_memory_lists_nothing_and_that_means_nothing() {
    model::breaks(Rules { kept: false, ..ALL }, OVER);
}

#[test]
fn whoever_asked_the_directory_before_it_knew_must_not_be_let_in_when_it_knows() {
    model::breaks(Rules { beyond: false, ..ALL }, OVER);
}
