//! Stops asking a server that does not answer: after repeated failures calls fail at once, and one probe at a time finds
//! out whether it is back. A state machine that is told the time and the outcomes; it never calls anybody itself and
//! fits every server alike.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};

use crate::clock::{Clock, Timestamp};

/// How many failures in a row open the breaker: more than one broken pool's worth of connections would be too late.
const FAILURES: u32 = 5;
/// The ceiling of the first wait before a probe; each probe that fails doubles it.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The highest ceiling.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What a breaker lets through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Every call.
    Closed,
    /// One call, which decides.
    HalfOpen,
    /// None, until the wait is over.
    Open,
}

impl State {
    /// The value of the gauge `breaker_state`: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub const fn as_gauge(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// The breaker in front of one server.
pub struct Breaker {
    clock: Arc<dyn Clock>,
    circuit: Mutex<Circuit>,
    observer: OnceLock<Box<dyn Fn(State) + Send + Sync>>,
}

/// The leave to make one call, which must be told how the call went. One that is dropped says nothing: the call was
/// given up, or its outcome is no evidence.
#[derive(Debug)]
pub struct Admission<'a> {
    breaker: &'a Breaker,
    is_probe: bool,
    is_told: bool,
}

impl Breaker {
    /// A closed breaker that waits by `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, circuit: Mutex::new(Circuit::Closed { failures: 0 }), observer: OnceLock::new() }
    }

    /// Leave to make a call; `None` while the server is not asked: the call fails at once.
    pub fn admit(&self) -> Option<Admission<'_>> {
        let is_probe = self.change(Circuit::admit)?;
        Some(Admission { breaker: self, is_probe, is_told: false })
    }

    /// The server was seen to answer by other means than a call through this breaker: every call is let through again.
    pub fn recovered(&self) {
        self.change(|circuit, _| *circuit = Circuit::Closed { failures: 0 });
    }

    /// What is let through now.
    pub fn state(&self) -> State {
        self.circuit.lock().state()
    }

    /// Calls `observer` with the state now and at every change, for a gauge. Only the first observer is kept. It is
    /// called under the breaker's lock, so it must be quick and must not ask the breaker.
    pub fn observe(&self, observer: impl Fn(State) + Send + Sync + 'static) {
        let circuit = self.circuit.lock();
        observer(circuit.state());
        // A second observer is a fault of ours without consequences.
        let _ = self.observer.set(Box::new(observer));
    }

    fn change<T>(&self, change: impl FnOnce(&mut Circuit, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut circuit = self.circuit.lock();
        let before = circuit.state();
        let outcome = change(&mut circuit, now);
        let after = circuit.state();
        if let Some(observer) = self.observer.get().filter(|_| before != after) {
            observer(after);
        }
        outcome
    }
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker").field("state", &self.state()).finish_non_exhaustive()
    }
}

impl Admission<'_> {
    /// The server answered, whatever it said.
    pub fn succeeded(mut self) {
        self.is_told = true;
        self.breaker.change(|circuit, _| circuit.succeeded(self.is_probe));
    }

    /// The server could not be reached, broke off, or did not answer in time.
    pub fn failed(mut self) {
        self.is_told = true;
        let part = random_part();
        self.breaker.change(|circuit, now| circuit.failed(self.is_probe, now, part));
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        if !self.is_told && self.is_probe {
            self.breaker.change(|circuit, _| circuit.gave_up());
        }
    }
}

/// The state machine. `ceiling` is the longest wait of this round, `wait` the part of it that was drawn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Circuit {
    Closed { failures: u32 },
    Open { since: Timestamp, ceiling: Duration, wait: Duration },
    HalfOpen { since: Timestamp, ceiling: Duration, wait: Duration },
}

impl Circuit {
    const fn state(&self) -> State {
        match self {
            Self::Closed { .. } => State::Closed,
            Self::Open { .. } => State::Open,
            Self::HalfOpen { .. } => State::HalfOpen,
        }
    }

    /// Whether a call may be made, and if so whether it is the probe.
    fn admit(&mut self, now: Timestamp) -> Option<bool> {
        match *self {
            Self::Closed { .. } => Some(false),
            Self::HalfOpen { .. } => None,
            Self::Open { since, ceiling, wait } => {
                // A clock that was set back must not keep the breaker open.
                let is_over = now < since || now.since(since) >= wait;
                is_over.then(|| {
                    *self = Self::HalfOpen { since, ceiling, wait };
                    true
                })
            }
        }
    }

    fn succeeded(&mut self, is_probe: bool) {
        match self {
            Self::Closed { failures } => *failures = 0,
            Self::HalfOpen { .. } if is_probe => *self = Self::Closed { failures: 0 },
            // A call from before the breaker opened; the probe decides.
            Self::HalfOpen { .. } | Self::Open { .. } => {}
        }
    }

    fn failed(&mut self, is_probe: bool, now: Timestamp, part: u8) {
        match *self {
            Self::Closed { failures } if failures + 1 < FAILURES => {
                *self = Self::Closed { failures: failures + 1 };
            }
            Self::Closed { .. } => *self = Self::opened(now, FIRST_WAIT, part),
            Self::HalfOpen { ceiling, .. } if is_probe => {
                *self = Self::opened(now, (ceiling * 2).min(LONGEST_WAIT), part);
            }
            Self::HalfOpen { .. } | Self::Open { .. } => {}
        }
    }

    /// The probe came to nothing: the next call is the probe.
    fn gave_up(&mut self) {
        if let Self::HalfOpen { since, ceiling, wait } = *self {
            *self = Self::Open { since, ceiling, wait };
        }
    }

    /// Waits between half the ceiling and all of it, so that proxies do not come back all at once.
    fn opened(since: Timestamp, ceiling: Duration, part: u8) -> Self {
        let wait = ceiling / 2 + ceiling * u32::from(part) / (2 * u32::from(u8::MAX));
        Self::Open { since, ceiling, wait }
    }
}

fn random_part() -> u8 {
    let mut random = [0; 1];
    // Without randomness the full wait is still a fair one.
    SystemRandom::new().fill(&mut random).map_or(u8::MAX, |()| random[0])
}

#[cfg(test)]
mod tests;
