//! The steps of one request and when each of them ended: for the log of slow requests and for traces. Numbers only; a
//! request that is neither timed nor traced pays one branch for each step.

use std::time::Instant;

/// A stretch of a request's life. Each begins where the one before it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// From the head's arrival until its route is found and its cookie is read.
    Accept,
    /// Until it is known whose session it is.
    Resolve,
    /// Until it is decided what becomes of it, with what only some routes ask for (settings, figures).
    Decide,
    /// Until there is a connection to the application.
    Connect,
    /// Until its context headers are made and signed.
    Sign,
    /// Until the head of the application's answer is there.
    Upstream,
    /// Until what the application ordered (a login, a logout) is carried out.
    Directive,
    /// Until everything was sent to the client.
    Answer,
}

impl Step {
    /// All of them, in order.
    pub const ALL: [Self; 8] = [
        Self::Accept,
        Self::Resolve,
        Self::Decide,
        Self::Connect,
        Self::Sign,
        Self::Upstream,
        Self::Directive,
        Self::Answer,
    ];

    /// The name of its span.
    #[must_use]
    pub const fn span(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Resolve => "resolve",
            Self::Decide => "decide",
            Self::Connect => "connect",
            Self::Sign => "sign",
            Self::Upstream => "upstream",
            Self::Directive => "directive",
            Self::Answer => "answer",
        }
    }

    /// Its field in the log.
    #[must_use]
    pub const fn field(self) -> &'static str {
        match self {
            Self::Accept => "accept_us",
            Self::Resolve => "resolve_us",
            Self::Decide => "decide_us",
            Self::Connect => "connect_us",
            Self::Sign => "sign_us",
            Self::Upstream => "upstream_us",
            Self::Directive => "directive_us",
            Self::Answer => "answer_us",
        }
    }

    /// What it is, for the documentation.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Accept => "from the head's arrival until its route is found and its cookie is read",
            Self::Resolve => "until it is known whose session it is: copies, Redis, Postgres",
            Self::Decide => {
                "until it is decided what becomes of it, with settings and figures where the route asks for them"
            }
            Self::Connect => "until there is a connection to the application, a kept one or a new one",
            Self::Sign => "until its context headers are made and signed",
            Self::Upstream => "until the head of the application's answer is there",
            Self::Directive => "until what the application ordered (a login, a logout) is carried out",
            Self::Answer => "until everything was sent to the client",
        }
    }
}

/// When the steps of one request ended, in microseconds after its head was there; 0 for those it did not take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    timed: bool,
    ends: [u32; Step::ALL.len()],
}

impl Steps {
    /// From now on the ends of steps are noted.
    pub fn time(&mut self) {
        self.timed = true;
    }

    /// Notes that a step of a request that began at `started` has just ended; a later attempt counts.
    pub fn end(&mut self, step: Step, started: Instant) {
        if self.timed {
            self.note(step, started);
        }
    }

    #[cold]
    fn note(&mut self, step: Step, started: Instant) {
        self.ends[step as usize] = u32::try_from(started.elapsed().as_micros()).unwrap_or(u32::MAX).max(1);
    }

    /// Each step that was taken, with its beginning and end in microseconds.
    pub fn taken(&self) -> impl Iterator<Item = (Step, u32, u32)> + '_ {
        let mut before = 0;
        Step::ALL.into_iter().filter_map(move |step| {
            let end = self.ends[step as usize];
            let begin = before;
            before = before.max(end);
            (end > 0).then(|| (step, begin.min(end), end))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_follow_each_other_and_those_not_taken_are_left_out() {
        let mut steps = Steps::default();
        steps.end(Step::Accept, Instant::now());
        assert_eq!(steps.taken().count(), 0, "nobody asked for the time");
        steps.time();
        steps.ends = [10, 0, 30, 0, 0, 70, 0, 80];
        let taken: Vec<_> = steps.taken().collect();
        assert_eq!(
            taken,
            [(Step::Accept, 0, 10), (Step::Decide, 10, 30), (Step::Upstream, 30, 70), (Step::Answer, 70, 80)]
        );
        for (position, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step as usize, position);
            assert_eq!(step.field(), format!("{}_us", step.span()));
        }
    }
}
