//! Ends of sessions between the order and their effect. A store tells the proxy that made a change in the same moment as
//! every other one, so the time until it is heard here is what others take as well.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::context::SessionId;

/// The most ends that are waited for; further ones are not measured.
const ROOM: usize = 1024;

/// The ends that are waited for.
#[derive(Debug, Default)]
pub struct Effects {
    /// How many there are: whoever hears of a change looks into the table only when there are any.
    waiting: AtomicUsize,
    orders: Mutex<HashMap<SessionId, Instant>>,
}

impl Effects {
    /// An end that was ordered at `began`; the store will tell of it.
    pub(super) fn expect(&self, id: &SessionId, began: Instant) {
        let mut orders = self.orders.lock();
        if orders.len() < ROOM {
            orders.insert(*id, began);
            self.waiting.store(orders.len(), Ordering::Release);
        }
    }

    /// The store told of a change; how long ago it was ordered, if it is one that is waited for.
    pub(super) fn arrived(&self, id: &SessionId) -> Option<Duration> {
        if self.waiting.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut orders = self.orders.lock();
        let began = orders.remove(id)?;
        self.waiting.store(orders.len(), Ordering::Release);
        Some(began.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::{Effects, ROOM};
    use crate::context::SessionId;
    use std::time::Instant;

    #[test]
    fn an_end_is_measured_once_and_what_has_no_room_is_not() {
        let effects = Effects::default();
        let id = |number: usize| SessionId::of_token(number.to_string().as_bytes());
        assert!(effects.arrived(&id(0)).is_none());
        for number in 0..=ROOM {
            effects.expect(&id(number), Instant::now());
        }
        assert!(effects.arrived(&id(0)).is_some());
        assert!(effects.arrived(&id(0)).is_none(), "measured twice");
        assert!(effects.arrived(&id(ROOM)).is_none(), "the table has no end");
    }
}
