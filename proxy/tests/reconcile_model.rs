//! The rules of `proxy/src/cache/PROTOCOL.md` by which a store is believed again, for one session: a revoker that loses
//! the store or dies, a reader that loses it and goes through what changed, a server that is restored from an old save.
//! With all rules nobody believes a session of whose end they heard; without any one of them somebody does.

#![expect(clippy::struct_excessive_bools, reason = "each is a rule, or a fact about somebody")]

mod model;

use stateright::{Model, Property};

/// How often connections are cut, and servers restored: enough for each rule to matter twice.
const CUTS: u8 = 2;
const RESTORES: u8 = 2;

/// The rules, each of which can be left out.
#[derive(Clone, Copy)]
struct Rules {
    /// A new connection puts the store in doubt until what changed was gone through.
    doubt: bool,
    /// How far that got lies in the store itself, so that an old save says what it lacks.
    place_in_store: bool,
    /// It is noted only on the connection on which it began.
    same_connection: bool,
    /// A doubt that was raised meanwhile stays.
    numbered: bool,
    /// The next place is the oldest transaction under way, not the latest that was seen.
    horizon: bool,
    /// Without the directory only a server is used again that was neither restored nor replaced.
    same_server: bool,
    /// A tombstone that could not be written is believed as if it lay there.
    waiting_writes: bool,
    /// Whoever accepted an end without the directory obeys it until the directory knows.
    accepted_ends: bool,
    /// A pass brings what it found into the store before it settles anything.
    brings: bool,
    /// The place is noted after everything before it was written.
    place_last: bool,
}

const ALL: Rules = Rules {
    doubt: true,
    place_in_store: true,
    same_connection: true,
    numbered: true,
    horizon: true,
    same_server: true,
    waiting_writes: true,
    accepted_ends: true,
    brings: true,
    place_last: true,
};

/// What a server holds, and what a save of it holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Data {
    live: bool,
    /// Whether the list of changes was gone through beyond the revocation.
    place: bool,
    /// The run of the server on which the place was noted.
    noted_on: Option<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Pass {
    Idle,
    Began {
        connection: u8,
        doubt: u8,
        place: bool,
    },
    /// With the revocation found, or not; `horizon` is where the list was complete.
    Read {
        connection: u8,
        doubt: u8,
        found: bool,
        horizon: bool,
    },
    Written {
        connection: u8,
        doubt: u8,
        horizon: bool,
    },
    Noted {
        doubt: u8,
    },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    data: Data,
    saved: Data,
    /// The directory answers. When it has gone it comes back once.
    directory: bool,
    outages: u8,
    /// A transaction that ends the session is under way.
    begun: bool,
    /// The directory knows of the end.
    revoked: bool,
    /// The reader accepted the end while the directory was away, and the directory does not know yet.
    accepted: bool,
    /// A tombstone of the reader waits to be written.
    waiting: bool,
    /// Restored servers are new runs.
    run: u8,
    /// The revoker: alive, and with a connection to the store.
    revoker: bool,
    revoker_connected: bool,
    /// The reader has heard of the end, or it was acknowledged with its tombstone.
    known: bool,
    heard: bool,
    connected: bool,
    connections: u8,
    doubts: u8,
    doubtful: bool,
    /// The place as the reader remembers it, which is no part of the protocol.
    remembered: bool,
    pass: Pass,
    cuts: u8,
    restores: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Step {
    BeginRevoking,
    Revoke,
    DirectoryGoes,
    DirectoryReturns,
    Accept,
    Confirm,
    Retry,
    Trust,
    Tombstone,
    Notice,
    RevokerCut,
    RevokerDies,
    Cut,
    Connect,
    Save,
    Restore,
    Begin,
    ReadList,
    Write,
    Note,
    Settle,
}

const STEPS: [Step; 21] = [
    Step::BeginRevoking,
    Step::Revoke,
    Step::DirectoryGoes,
    Step::DirectoryReturns,
    Step::Accept,
    Step::Confirm,
    Step::Retry,
    Step::Trust,
    Step::Tombstone,
    Step::Notice,
    Step::RevokerCut,
    Step::RevokerDies,
    Step::Cut,
    Step::Connect,
    Step::Save,
    Step::Restore,
    Step::Begin,
    Step::ReadList,
    Step::Write,
    Step::Note,
    Step::Settle,
];

impl World {
    fn new(rules: Rules) -> Self {
        let data = Data { live: true, place: false, noted_on: None };
        Self {
            data,
            saved: data,
            directory: true,
            outages: 0,
            begun: false,
            revoked: false,
            accepted: false,
            waiting: false,
            run: 0,
            revoker: true,
            revoker_connected: true,
            known: false,
            heard: false,
            connected: true,
            connections: 0,
            doubts: 0,
            doubtful: rules.doubt,
            remembered: false,
            pass: Pass::Idle,
            cuts: 0,
            restores: 0,
        }
    }

    fn believes_it_lives(&self, rules: Rules) -> bool {
        let over = (rules.waiting_writes && self.waiting) || (rules.accepted_ends && self.accepted);
        self.connected && !self.doubtful && self.data.live && !over
    }

    /// What the revoker and its notice do. Whoever cannot write does not come back to it: the worst of cases.
    fn revoke(&mut self, step: Step) -> Option<()> {
        match step {
            Step::BeginRevoking if self.revoker && self.directory && !self.begun => self.begun = true,
            Step::Revoke if self.begun && self.directory && !self.revoked => self.revoked = true,
            Step::Tombstone if self.revoker && self.revoker_connected && self.revoked => {
                self.data.live = false;
                self.known = true;
            }
            Step::Notice if self.revoked && self.directory && !self.heard => {
                self.heard = true;
                self.known = true;
                self.write_tombstone();
            }
            Step::RevokerCut if self.revoker_connected => self.revoker_connected = false,
            Step::RevokerDies if self.revoker => self.revoker = false,
            _ => return None,
        }
        Some(())
    }

    /// What the reader does while the directory is away, and when it is back.
    fn manage(&mut self, rules: Rules, step: Step) -> Option<()> {
        match step {
            Step::DirectoryGoes if self.directory && self.outages == 0 => {
                self.directory = false;
                self.outages = 1;
            }
            Step::DirectoryReturns if !self.directory => self.directory = true,
            Step::Accept if !self.directory && self.connected && !self.doubtful && !self.accepted => {
                self.data.live = false;
                self.accepted = true;
                self.known = true;
            }
            Step::Confirm if self.accepted && self.directory => {
                self.begun = true;
                self.revoked = true;
                self.write_tombstone();
                self.accepted = false;
            }
            Step::Retry if self.waiting && self.connected => {
                self.data.live = false;
                self.waiting = false;
            }
            Step::Trust if !self.directory && self.connected && self.doubtful => {
                if rules.same_server && self.data.noted_on != Some(self.run) {
                    return None;
                }
                self.doubtful = false;
            }
            _ => return None,
        }
        Some(())
    }

    fn write_tombstone(&mut self) {
        if self.connected {
            self.data.live = false;
        } else {
            self.waiting = true;
        }
    }

    fn lose(&mut self) {
        self.connected = false;
    }

    fn serve(&mut self, rules: Rules, step: Step) -> Option<()> {
        match step {
            Step::Cut if self.connected && self.cuts < CUTS => {
                self.cuts += 1;
                self.lose();
            }
            Step::Connect if !self.connected => {
                self.connected = true;
                self.connections += 1;
                self.doubts += 1;
                self.doubtful = rules.doubt;
            }
            Step::Save if self.saved != self.data => self.saved = self.data,
            Step::Restore if self.restores < RESTORES && self.saved != self.data => {
                self.restores += 1;
                self.run += 1;
                self.data = self.saved;
                self.revoker_connected = false;
                self.lose();
            }
            _ => return None,
        }
        Some(())
    }

    fn pass(&mut self, rules: Rules, step: Step) -> Option<()> {
        self.pass = match (step, self.pass) {
            (Step::Begin, Pass::Idle) if self.connected && self.doubtful => {
                let place = if rules.place_in_store { self.data.place } else { self.remembered };
                Pass::Began { connection: self.connections, doubt: self.doubts, place }
            }
            (Step::ReadList, Pass::Began { connection, doubt, place }) if self.directory => {
                // Others commit all the time: what was begun later is seen while this is under way.
                let horizon = if rules.horizon { self.revoked } else { self.begun };
                if !rules.place_last && self.connected {
                    self.data.place |= horizon;
                }
                Pass::Read { connection, doubt, found: self.revoked && !place, horizon }
            }
            (Step::Write, Pass::Read { connection, doubt, found, horizon }) if self.connected => {
                self.data.live &= !(found && rules.brings);
                Pass::Written { connection, doubt, horizon }
            }
            (Step::Note, Pass::Written { connection, doubt, horizon }) if self.connected => {
                if connection == self.connections || !rules.same_connection {
                    self.data.place |= horizon;
                    self.data.noted_on = Some(self.run);
                    self.remembered |= horizon;
                    Pass::Noted { doubt }
                } else {
                    Pass::Idle
                }
            }
            (Step::Settle, Pass::Noted { doubt }) => {
                if doubt == self.doubts || !rules.numbered {
                    self.doubtful = false;
                }
                Pass::Idle
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
        vec![World::new(*self)]
    }

    fn actions(&self, _: &World, steps: &mut Vec<Step>) {
        steps.extend(STEPS);
    }

    fn next_state(&self, last: &World, step: Step) -> Option<World> {
        let mut next = last.clone();
        let done = next
            .revoke(step)
            .or_else(|| next.manage(*self, step))
            .or_else(|| next.serve(*self, step))
            .or_else(|| next.pass(*self, step));
        done.map(|()| next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ZOMBIE, |rules: &Self, world: &World| {
                !(world.known && world.believes_it_lives(*rules))
            }),
            Property::sometimes(
                "the store is believed after a save was restored",
                |_: &Self, world: &World| {
                    world.restores == RESTORES && world.connected && !world.doubtful && world.revoked
                },
            ),
        ]
    }
}

const ZOMBIE: &str = "nobody believes a session of whose end they know";

#[test]
fn with_all_rules_no_session_comes_back() {
    model::holds(ALL, 1_000);
}

#[test]
fn without_doubt_a_session_lives_whose_tombstone_nobody_could_write() {
    model::breaks(Rules { doubt: false, ..ALL }, ZOMBIE);
}

#[test]
fn without_the_place_in_the_store_an_old_save_hides_what_it_lacks() {
    model::breaks(Rules { place_in_store: false, ..ALL }, ZOMBIE);
}

#[test]
fn without_the_same_connection_an_old_save_is_told_that_it_lacks_nothing() {
    model::breaks(Rules { same_connection: false, ..ALL }, ZOMBIE);
}

#[test]
fn without_numbers_an_old_pass_settles_a_new_doubt() {
    model::breaks(Rules { numbered: false, ..ALL }, ZOMBIE);
}

#[test]
fn a_place_beyond_a_transaction_under_way_hides_what_it_commits() {
    model::breaks(Rules { horizon: false, ..ALL }, ZOMBIE);
}

#[test]
fn without_the_directory_a_restored_server_brings_the_session_back() {
    model::breaks(Rules { same_server: false, ..ALL }, ZOMBIE);
}

#[test]
fn a_tombstone_that_waits_must_be_believed() {
    model::breaks(Rules { waiting_writes: false, ..ALL }, ZOMBIE);
}

#[test]
fn an_accepted_end_that_the_store_forgets_must_be_remembered() {
    model::breaks(Rules { accepted_ends: false, ..ALL }, ZOMBIE);
}

#[test]
fn a_pass_that_brings_nothing_settles_a_doubt_for_no_reason() {
    model::breaks(Rules { brings: false, ..ALL }, ZOMBIE);
}

#[test]
fn a_place_that_is_noted_first_hides_what_was_never_written() {
    model::breaks(Rules { place_last: false, ..ALL }, ZOMBIE);
}
