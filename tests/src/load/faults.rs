//! Faults that are made to a fleet and mended again, each noted down in the history before and after.

use std::time::Duration;

use rustix::process::Signal;

use super::fleet::Fleet;
use crate::dice::Dice;
use crate::history::{History, Part};
use crate::relay::Mode;

/// What can go wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Redis stands still (SIGSTOP), connections stay open.
    FreezeRedis,
    /// Redis dies, and comes back empty.
    KillRedis,
    /// Redis forgets everything (`FLUSHALL`); over at once.
    FlushRedis,
    /// Postgres stands still.
    FreezePostgres,
    /// Postgres dies as in a crash, and comes back.
    KillPostgres,
    /// Postgres is stopped in order, and comes back.
    StopPostgres,
    /// Something happens on the way of one proxy to Redis.
    WayToRedis(usize, Mode),
    /// Something happens on the way of one proxy to Postgres.
    WayToPostgres(usize, Mode),
    /// A proxy stands still.
    FreezeProxy(usize),
    /// A proxy is told to end, and started again.
    RestartProxy(usize),
}

/// A fault that was made and is not mended yet.
#[derive(Debug)]
pub struct Wound {
    fault: Fault,
    outages: Vec<usize>,
}

impl Wound {
    /// What was made.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault
    }
}

impl Fault {
    /// Any fault of a fleet of `proxies`.
    pub fn any(dice: &mut Dice, proxies: usize) -> Self {
        let proxy = dice.below(proxies);
        match dice.below(16) {
            0 | 1 => Self::FreezeRedis,
            2 | 3 => Self::KillRedis,
            4 => Self::FlushRedis,
            5 => Self::FreezePostgres,
            6 => Self::KillPostgres,
            7 => Self::StopPostgres,
            8..=10 => Self::WayToRedis(proxy, any_mode(dice)),
            11..=13 => Self::WayToPostgres(proxy, any_mode(dice)),
            14 => Self::FreezeProxy(proxy),
            _ => Self::RestartProxy(proxy),
        }
    }

    /// Whether both can be made at the same time, and mended in any order.
    #[must_use]
    pub fn agrees_with(self, other: Self) -> bool {
        self.place() != other.place()
    }

    fn place(self) -> (u8, usize) {
        match self {
            Self::FreezeRedis | Self::KillRedis | Self::FlushRedis => (0, 0),
            Self::FreezePostgres | Self::KillPostgres | Self::StopPostgres => (1, 0),
            Self::WayToRedis(proxy, _) => (2, proxy),
            Self::WayToPostgres(proxy, _) => (3, proxy),
            Self::FreezeProxy(proxy) | Self::RestartProxy(proxy) => (4, proxy),
        }
    }

    /// What it takes away, and from whom.
    fn parts(self) -> Option<(Part, Option<usize>)> {
        match self {
            Self::FreezeRedis => Some((Part::Redis, None)),
            Self::KillRedis | Self::FlushRedis => Some((Part::RedisMemory, None)),
            Self::FreezePostgres | Self::KillPostgres | Self::StopPostgres => Some((Part::Postgres, None)),
            // To be told of nothing is no fault of the store: it is one that the proxy cannot know of.
            Self::WayToRedis(_, Mode::Mute) => None,
            Self::WayToRedis(proxy, _) => Some((Part::Redis, Some(proxy))),
            Self::WayToPostgres(proxy, _) => Some((Part::Postgres, Some(proxy))),
            Self::FreezeProxy(proxy) | Self::RestartProxy(proxy) => Some((Part::Process, Some(proxy))),
        }
    }
}

fn any_mode(dice: &mut Dice) -> Mode {
    let time = dice.between(Duration::from_millis(5), Duration::from_millis(400));
    match dice.below(5) {
        0 => Mode::Delay(time),
        1 => Mode::Jitter(time / 4),
        2 => Mode::Stall,
        3 => Mode::StallAnswers,
        _ => Mode::Cut,
    }
}

impl Fleet {
    /// Makes a fault. It lasts until it is given to [`Self::mend`].
    ///
    /// # Panics
    /// When a server cannot be told.
    pub async fn make(&self, fault: Fault, history: &History) -> Wound {
        let outages = fault.parts().map(|(part, proxy)| history.outage(part, proxy)).into_iter().collect();
        let mut stores = self.stores.lock().await;
        match fault {
            Fault::FreezeRedis => stores.redis().freeze(),
            Fault::KillRedis => tokio::task::block_in_place(|| stores.redis().kill()),
            Fault::FlushRedis => {
                let flushed = tokio::task::block_in_place(|| stores.redis().command(&["FLUSHALL"]));
                assert_eq!(flushed, "OK");
            }
            Fault::FreezePostgres => stores.postgres().freeze(),
            Fault::KillPostgres => tokio::task::block_in_place(|| stores.postgres().kill()),
            Fault::StopPostgres => tokio::task::block_in_place(|| stores.postgres().stop()),
            Fault::WayToRedis(proxy, mode) => self.seats[proxy].redis.set(mode),
            Fault::WayToPostgres(proxy, mode) => self.seats[proxy].postgres.set(mode),
            Fault::FreezeProxy(proxy) => self.seats[proxy].proxy.lock().await.signal(Signal::STOP),
            Fault::RestartProxy(proxy) => {
                self.seats[proxy].proxy.lock().await.stop().await;
            }
        }
        Wound { fault, outages }
    }

    /// Mends a fault.
    ///
    /// # Panics
    /// When a server does not come back.
    pub async fn mend(&self, wound: Wound, history: &History) {
        let mut stores = self.stores.lock().await;
        match wound.fault {
            Fault::FreezeRedis => stores.redis().thaw(),
            Fault::KillRedis => tokio::task::block_in_place(|| stores.redis().restart()),
            Fault::FlushRedis => {}
            Fault::FreezePostgres => stores.postgres().thaw(),
            Fault::KillPostgres | Fault::StopPostgres => {
                tokio::task::block_in_place(|| stores.postgres().restart());
            }
            Fault::WayToRedis(proxy, _) => self.seats[proxy].redis.set(Mode::Pass),
            Fault::WayToPostgres(proxy, _) => self.seats[proxy].postgres.set(Mode::Pass),
            Fault::FreezeProxy(proxy) => self.seats[proxy].proxy.lock().await.signal(Signal::CONT),
            Fault::RestartProxy(proxy) => self.seats[proxy].proxy.lock().await.restart().await,
        }
        for outage in wound.outages {
            history.mended(outage);
        }
    }
}
