//! From when on an acknowledged change must be in force at which proxy (DESIGN section 6), given the faults of the time.
//! Where the design names a residual, the rule waits for what ends it. Nothing here looks at requests.

use std::time::Duration;

use super::{Book, Moment, Operation, Outage, Outcome, Part};

/// The bounds that the proxies promise, and how long they may take to be whole again.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `cache.max_staleness`.
    pub max_staleness: Duration,
    /// `cache.degraded_lease`.
    pub degraded_lease: Duration,
    /// How long after a fault of Redis a proxy may still work without it: reconnecting with its longest pause between
    /// attempts, and replaying.
    pub reconciling: Duration,
    /// How long a returning store may take to be heard of.
    pub returning: Duration,
    /// How long a change waits for Postgres at least before an end is left to Redis. An application's answer does not tell
    /// an end that took so long from one that is durable.
    pub patience: Duration,
}

impl Default for Bounds {
    /// The documented defaults of the product.
    fn default() -> Self {
        Self {
            max_staleness: Duration::from_millis(100),
            degraded_lease: Duration::from_secs(1),
            reconciling: Duration::from_secs(5),
            returning: Duration::from_secs(10),
            patience: Duration::from_secs(1),
        }
    }
}

/// From when on nobody may be served by `proxy` as if `change` had not been made; `None` while nothing is promised.
pub(super) fn in_force(book: &Book, bounds: &Bounds, change: &Operation, proxy: usize) -> Option<Moment> {
    let end = change.end;
    let window = (change.begin.saturating_sub(bounds.reconciling), end);
    let without = |part, proxy| book.outages.iter().any(|outage| hits(outage, part, proxy, window));
    // Until the bound is over a proxy need not have heard what Postgres alone knows, nor has it if it loses Postgres first.
    let hearing = (window.0, end + bounds.degraded_lease);
    let deaf = book.outages.iter().any(|outage| hits(outage, Part::Postgres, proxy, hearing));
    let returned =
        |part, proxy, window| returns(book, part, proxy, window).map(|at| at.max(end) + bounds.returning);
    let outcome = match &change.outcome {
        Outcome::Taken
            if without(Part::Postgres, change.proxy)
                || end.saturating_sub(change.begin) >= bounds.patience =>
        {
            &Outcome::Accepted
        }
        Outcome::Taken => &Outcome::Done,
        said => said,
    };
    match outcome {
        // Who made the change forgets its own copies before it answers.
        Outcome::Done if change.proxy == proxy => Some(end),
        Outcome::Done if !without(Part::Redis, change.proxy) => {
            let lease = without(Part::Redis, proxy);
            Some(end + if lease { bounds.degraded_lease } else { bounds.max_staleness })
        }
        // The residual: it was not told by Redis, and does not hear Postgres. The first that returns tells it.
        Outcome::Done if deaf => {
            earliest(returned(Part::Postgres, proxy, hearing), returned(Part::Redis, change.proxy, window))
        }
        Outcome::Done => Some(end + bounds.degraded_lease),
        Outcome::Accepted if is_forgotten(book, bounds, change) => None,
        // The same residual seen from the other side: only Redis knows it, until Postgres has returned and was told.
        Outcome::Accepted if loses_redis_before_durable(book, bounds, change, proxy) => {
            let durable = returned(Part::Postgres, change.proxy, window);
            earliest(redis_back(book, bounds, change, proxy), durable)
        }
        Outcome::Accepted => Some(end + bounds.max_staleness),
        Outcome::Taken | Outcome::Refused(_) | Outcome::Silence => None,
    }
}

/// Whether Redis lost its memory between a change that only Redis held and the return of Postgres.
fn is_forgotten(book: &Book, bounds: &Bounds, change: &Operation) -> bool {
    let window = (change.begin.saturating_sub(bounds.reconciling), change.end);
    let durable = returns(book, Part::Postgres, change.proxy, window);
    let durable = durable.map(|at| at.max(change.end) + bounds.returning);
    book.outages.iter().any(|outage| {
        outage.part == Part::RedisMemory
            && outage.end.is_none_or(|end| end >= change.begin)
            && durable.is_none_or(|durable| outage.begin <= durable)
    })
}

/// From a change that only Redis holds until Postgres holds it too.
fn until_durable(book: &Book, bounds: &Bounds, change: &Operation) -> (Moment, Moment) {
    let begin = change.begin.saturating_sub(bounds.reconciling);
    let durable = returns(book, Part::Postgres, change.proxy, (begin, change.end));
    (begin, durable.map_or(Moment::MAX, |at| at.max(change.end) + bounds.returning))
}

fn loses_redis_before_durable(book: &Book, bounds: &Bounds, change: &Operation, proxy: usize) -> bool {
    let window = until_durable(book, bounds, change);
    book.outages.iter().any(|outage| hits(outage, Part::Redis, proxy, window))
}

fn redis_back(book: &Book, bounds: &Bounds, change: &Operation, proxy: usize) -> Option<Moment> {
    let window = until_durable(book, bounds, change);
    returns(book, Part::Redis, proxy, window).map(|at| at.max(change.end) + bounds.returning)
}

/// Whether an outage takes this part from this proxy at some moment of a window.
fn hits(outage: &Outage, part: Part, proxy: usize, window: (Moment, Moment)) -> bool {
    let concerns = outage.part == part || (part == Part::Redis && outage.part == Part::RedisMemory);
    concerns
        && outage.proxy.is_none_or(|its| its == proxy)
        && outage.begin <= window.1
        && outage.end.is_none_or(|end| end >= window.0)
}

/// When the last outage of a window was over; `None` while one lasts.
fn returns(book: &Book, part: Part, proxy: usize, window: (Moment, Moment)) -> Option<Moment> {
    let hit = book.outages.iter().filter(|outage| hits(outage, part, proxy, window));
    hit.map(|outage| outage.end).try_fold(Moment::ZERO, |last, end| end.map(|end| last.max(end)))
}

fn earliest(one: Option<Moment>, other: Option<Moment>) -> Option<Moment> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
