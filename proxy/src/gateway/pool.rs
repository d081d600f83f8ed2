//! Connections to applications that wait for their next request. Pingora's pool starts a task for each request, which
//! watches the connection until the next one takes it, and with it wakes a thread that would sleep; here they are looked
//! at when one is taken, and all of them once a second.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use parking_lot::Mutex;
use pingora::Result;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::protocols::Stream;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::upstreams::peer::HttpPeer;
use tokio::io::AsyncReadExt;
use tokio::time::Sleep;

use crate::upkeep;

/// How often connections are looked at that nobody takes.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How much of an answer is read at first.
const ROOM: usize = 8192;

/// Where a connection leads, and under which rules it was made ([`super::rules::UpstreamRules`]).
pub(super) type Place = (u64, SocketAddr);

/// The connections of one gateway.
pub(super) struct Pool {
    transport: TransportConnector,
    idle: Arc<Mutex<Idle>>,
    most: usize,
    watched: Once,
}

#[derive(Default)]
struct Idle {
    places: HashMap<Place, Vec<Kept>>,
    count: usize,
}

/// A connection, with the timer by which its answers are due. Made once for all its requests: a timer that is only put
/// off costs next to nothing, where Pingora starts one for every answer.
pub(super) struct Connection {
    pub(super) stream: Stream,
    pub(super) timer: Pin<Box<Sleep>>,
    /// Room for what comes first of an answer.
    pub(super) room: Vec<u8>,
}

struct Kept {
    connection: Connection,
    until: Instant,
}

impl Pool {
    /// An empty pool, which connects and keeps as many connections as `options` say.
    pub(super) fn new(options: ConnectorOptions) -> Self {
        let most = options.keepalive_pool_size;
        let transport = TransportConnector::new(Some(options));
        Self { transport, idle: Arc::default(), most, watched: Once::new() }
    }

    /// A connection that has served before and is still open, the one used last if there are several.
    pub(super) fn take(&self, place: &Place) -> Option<Connection> {
        loop {
            let mut kept = self.idle.lock().pop(place)?;
            if kept.is_usable(Instant::now()) {
                return Some(kept.connection);
            }
        }
    }

    /// A new connection.
    ///
    /// # Errors
    /// When none could be made in the time that the peer's options give.
    pub(super) async fn connect(&self, peer: &HttpPeer) -> Result<Connection> {
        self.transport.new_stream(peer).await.map(Connection::new)
    }

    /// Keeps a connection for the next request. It is closed when nobody takes it in `patience`, or too many are kept.
    pub(super) fn keep(&self, place: Place, connection: Connection, patience: Duration) {
        self.watched.call_once(|| {
            upkeep::spawn("idle connections to applications", watch(Arc::clone(&self.idle)));
        });
        let kept = Kept { connection, until: Instant::now() + patience };
        let mut idle = self.idle.lock();
        if idle.count < self.most {
            idle.count += 1;
            idle.places.entry(place).or_default().push(kept);
        }
    }
}

impl Connection {
    fn new(stream: Stream) -> Self {
        let timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        Self { stream, timer, room: Vec::with_capacity(ROOM) }
    }
}

impl Idle {
    fn pop(&mut self, place: &Place) -> Option<Kept> {
        let kept = self.places.get_mut(place)?.pop()?;
        self.count -= 1;
        Some(kept)
    }

    /// Takes out what is no longer of use.
    fn unusable(&mut self, now: Instant) -> Vec<Kept> {
        let mut unusable = Vec::new();
        self.places.retain(|_, line| {
            unusable.extend(line.extract_if(.., |kept| !kept.is_usable(now)));
            !line.is_empty()
        });
        self.count -= unusable.len();
        unusable
    }
}

impl Kept {
    /// Whether its time is not over, and the application has neither closed it nor said anything that nobody asked for.
    fn is_usable(&mut self, now: Instant) -> bool {
        let mut unasked = [0; 1];
        // Outside of the budget of its task, at whose end nothing would seem to have come.
        let read = tokio::task::unconstrained(self.connection.stream.read(&mut unasked)).now_or_never();
        read.is_none() && now < self.until
    }
}

/// Closes what is no longer of use, for ever.
async fn watch(idle: Arc<Mutex<Idle>>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let unusable = idle.lock().unusable(Instant::now());
        // Closed outside of the lock.
        drop(unusable);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt, DuplexStream};

    use super::*;

    fn pool() -> Pool {
        let mut options = ConnectorOptions::new(2);
        options.keepalive_pool_size = 2;
        Pool::new(options)
    }

    fn place(group: u64) -> Place {
        (group, "127.0.0.1:80".parse().unwrap())
    }

    /// A connection, and the application's end of it.
    fn connection() -> (Connection, DuplexStream) {
        let (ours, theirs) = tokio::io::duplex(64);
        (Connection::new(Box::new(ours)), theirs)
    }

    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test]
    async fn what_is_kept_is_taken_once_by_who_goes_there_under_the_same_rules() {
        let (pool, (connection, _application)) = (pool(), connection());
        pool.keep(place(1), connection, LONG);
        assert!(pool.take(&place(2)).is_none());
        assert!(pool.take(&place(1)).is_some());
        assert!(pool.take(&place(1)).is_none());
    }

    #[tokio::test]
    async fn what_was_closed_spoke_unasked_or_waited_too_long_is_not_taken() {
        let pool = pool();
        let (closed, application) = connection();
        drop(application);
        pool.keep(place(1), closed, LONG);
        assert!(pool.take(&place(1)).is_none());

        let (spoke, mut application) = connection();
        application.write_all(b"HTTP/1.1 408").await.unwrap();
        pool.keep(place(1), spoke, LONG);
        assert!(pool.take(&place(1)).is_none());

        let (waited, _application) = connection();
        pool.keep(place(1), waited, Duration::ZERO);
        assert!(pool.take(&place(1)).is_none());
    }

    #[tokio::test]
    async fn no_more_are_kept_than_was_said_and_places_come_free_again() {
        let pool = pool();
        let mut ends = Vec::new();
        for group in [1, 1, 2] {
            let (kept, end) = connection();
            pool.keep(place(group), kept, LONG);
            ends.push(end);
        }
        assert!(pool.take(&place(2)).is_none(), "a third was kept");
        drop(ends.remove(0));
        assert_eq!(pool.idle.lock().unusable(Instant::now()).len(), 1);
        let (kept, _end) = connection();
        pool.keep(place(2), kept, LONG);
        assert!(pool.take(&place(2)).is_some());
        assert!(pool.take(&place(1)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_takes_is_closed_by_itself() {
        let (pool, (connection, mut application)) = (pool(), connection());
        pool.keep(place(1), connection, Duration::ZERO);
        let mut nothing = [0; 1];
        assert_eq!(application.read(&mut nothing).await.unwrap(), 0);
        assert_eq!(pool.idle.lock().count, 0);
        assert!(pool.idle.lock().places.is_empty());
    }
}
