//! How many connections of clients are open, in all and from one address. Counts from accepting to closing, whatever
//! happens in between.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::telemetry::metrics::{Level, unregistered};

/// Everybody who is connected.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Open connections; also what the metric shows.
    open: Level,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// One connection; it counts until this is dropped.
#[derive(Debug)]
pub(super) struct Presence {
    crowd: Arc<Crowd>,
    address: Option<IpAddr>,
}

impl Crowd {
    pub(super) fn new(open: Level) -> Self {
        Self { open, by_address: Mutex::default() }
    }

    /// A crowd that no metric shows.
    pub(super) fn uncounted() -> Self {
        Self::new(unregistered())
    }

    /// One more, unless that is more than `limit`.
    pub(super) fn enter(self: &Arc<Self>, limit: Option<usize>) -> Option<Presence> {
        self.open.inc();
        let presence = Presence { crowd: Arc::clone(self), address: None };
        let open = usize::try_from(self.open.get()).unwrap_or(0);
        limit.is_none_or(|limit| open <= limit).then_some(presence)
    }
}

impl Presence {
    /// Says where the connection comes from; false when that makes more than `limit` from there.
    pub(super) fn is_from(&mut self, address: IpAddr, limit: usize) -> bool {
        let network = network_of(address);
        let mut by_address = self.crowd.by_address.lock();
        let count = by_address.entry(network).or_insert(0);
        *count += 1;
        let fits = *count <= limit;
        drop(by_address);
        self.address = Some(network);
        fits
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.crowd.open.dec();
        let Some(address) = self.address else { return };
        let mut by_address = self.crowd.by_address.lock();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

/// What one client can choose its address from: an IPv6 host has 64 bits of its own (RFC 4291, section 2.5.4).
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn crowd() -> Arc<Crowd> {
        Arc::new(Crowd::new(unregistered()))
    }

    #[test]
    fn whoever_leaves_makes_room() {
        let crowd = crowd();
        let first = crowd.enter(Some(1)).unwrap();
        assert!(crowd.enter(Some(1)).is_none());
        assert!(crowd.enter(None).is_some());
        drop(first);
        assert!(crowd.enter(Some(1)).is_some());
        assert_eq!(crowd.open.get(), 0);
    }

    #[test]
    fn one_address_cannot_take_what_belongs_to_others() {
        let crowd = crowd();
        let from = |address: &str| {
            let mut presence = crowd.enter(None).unwrap();
            let fits = presence.is_from(address.parse().unwrap(), 2);
            (presence, fits)
        };
        let (one, two, three) = (from("192.0.2.1"), from("::ffff:192.0.2.1"), from("192.0.2.1"));
        assert_eq!((one.1, two.1, three.1), (true, true, false));
        assert!(from("192.0.2.2").1);
        drop((one, two, three));
        assert!(from("192.0.2.1").1);
        let (a, b, c) = (from("2001:db8::1"), from("2001:db8::2"), from("2001:db8::3"));
        assert_eq!((a.1, b.1, c.1), (true, true, false));
        drop((a, b, c));
        assert!(crowd.by_address.lock().is_empty());
    }
}
