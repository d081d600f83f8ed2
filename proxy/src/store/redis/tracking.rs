//! The connection on which Redis reports every write under our prefixes (RESP3, BCAST), and the lease that lives on it.
//! Reports are handed over in the task that drives the connection, in the order of the wire, so that an answered PING
//! proves that all before it have arrived. `cache/PROTOCOL.md` holds the rules; nothing is read or written here.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, PushInfo, PushKind, RedisError, Value};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::connection::{CONNECT_TIMEOUT, LONGEST_WAIT, wait_after};
use super::instance::{Identity, Instance, read_identity};
use super::keys::Keys;
use super::replies::bytes_of;
use crate::store::coherence::Line;
use crate::store::{Change, Epoch, Follower, Lease};
use crate::upkeep;

/// The longest that a PING may stay unanswered before the connection is given up. The lease lapsed long before; if the
/// answer comes in time, nothing was lost and the copies are good again.
const SUSPECT: Duration = Duration::from_secs(1);
/// How often a PING is sent within the length of the lease (STATE.md 2.5: no false lapses even at a load of 3).
const PINGS: u32 = 5;
/// How often, and how many times, the server that is read is compared while it is another one.
const MEETING_WAIT: Duration = Duration::from_millis(20);
const MEETINGS: u32 = 50;

/// A running tracker; it ends with this value.
#[derive(Debug)]
pub(super) struct Tracking(AbortHandle);

/// What a tracker works with.
pub(super) struct Tracker {
    pub(super) client: Client,
    pub(super) address: String,
    pub(super) keys: Arc<Keys>,
    pub(super) instance: Arc<Instance>,
    pub(super) lease: Arc<Lease>,
    pub(super) follower: Arc<dyn Follower>,
    pub(super) max_staleness: Duration,
}

/// A connection whose server confirmed that it reports.
struct Armed {
    connection: MultiplexedConnection,
    line: Arc<Line>,
    lost: Arc<Notify>,
    epoch: Epoch,
}

/// A connection that is being prepared.
struct Arming {
    connection: MultiplexedConnection,
    line: Arc<Line>,
    lost: Arc<Notify>,
}

/// Why a connection could not be armed.
#[derive(Debug)]
enum Trouble {
    Redis(RedisError),
    /// The server does not do what it was asked, or is not the one to ask.
    Unfit(&'static str),
}

impl From<RedisError> for Trouble {
    fn from(error: RedisError) -> Self {
        Self::Redis(error)
    }
}

impl Tracking {
    /// Starts to connect, in the background of the current tokio runtime.
    pub(super) fn start(tracker: Tracker) -> Self {
        Self(upkeep::spawn("redis tracking", async move { tracker.run().await }))
    }
}

impl Drop for Tracking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Tracker {
    /// DOWN, ARMING, LIVE and SUSPECT, round and round.
    async fn run(self) {
        let mut failures = 0_u32;
        let mut said = None;
        loop {
            match self.arm().await {
                Ok(armed) => {
                    tracing::info!(address = %self.address, "redis reports changes");
                    let begin = Instant::now();
                    self.hold(&armed).await;
                    // Dropping a connection says nothing by itself (STATE.md 1.2).
                    self.lease.close(&armed.line);
                    self.instance.doubts().raise("reports lost");
                    tracing::warn!(address = %self.address, "redis does not report changes any more");
                    failures = if begin.elapsed() > LONGEST_WAIT { 0 } else { failures.saturating_add(1) };
                    said = None;
                }
                Err(trouble) => {
                    failures = failures.saturating_add(1);
                    let cause = trouble.word();
                    if said.as_deref() != Some(cause.as_str()) {
                        tracing::warn!(
                            address = %self.address, cause,
                            "redis does not report changes yet; sessions are not served from memory"
                        );
                        said = Some(cause);
                    }
                }
            }
            sleep(wait_after(failures)).await;
        }
    }

    /// ARMING: connects, asks for reports, and opens the lease once the server has confirmed (rule 2).
    async fn arm(&self) -> Result<Armed, Trouble> {
        let line = Arc::new(Line::default());
        let lost = Arc::new(Notify::new());
        let connecting = self.connect(Arc::clone(&line), Arc::clone(&lost));
        let connection =
            timeout(CONNECT_TIMEOUT, connecting).await.map_err(|_| Trouble::Unfit("timeout"))??;
        let arming = Arming { connection, line, lost };
        let asking = timeout(CONNECT_TIMEOUT, self.ask_for_reports(&arming)).await;
        let (identity, sent) = asking.map_err(|_| Trouble::Unfit("timeout"))??;
        for _ in 0..MEETINGS {
            let open = || self.lease.open(&arming.line, sent);
            if let Some(epoch) = self.instance.open(&identity, open) {
                let Arming { connection, line, lost } = arming;
                return Ok(Armed { connection, line, lost, epoch });
            }
            sleep(MEETING_WAIT).await;
        }
        self.lease.close(&arming.line);
        Err(Trouble::Unfit("another server is read"))
    }

    async fn connect(&self, line: Arc<Line>, lost: Arc<Notify>) -> Result<MultiplexedConnection, RedisError> {
        let (lease, keys, follower) =
            (Arc::clone(&self.lease), Arc::clone(&self.keys), Arc::clone(&self.follower));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(None)
            .set_push_sender(move |push: PushInfo| {
                match push.kind {
                    PushKind::Invalidate => {
                        for change in changes(&push.data, &keys) {
                            follower.changed(&change);
                        }
                    }
                    // Here and now, before anything else is served (rule 6).
                    PushKind::Disconnection => {
                        lease.close(&line);
                        lost.notify_one();
                    }
                    _ => {}
                }
                Ok::<(), std::convert::Infallible>(())
            });
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Asks for reports and makes sure that they will come: a server that talks RESP2 says yes and stays silent.
    async fn ask_for_reports(&self, arming: &Arming) -> Result<(Identity, Instant), Trouble> {
        let mut commands = Pipeline::new();
        let tracking = commands.cmd("CLIENT").arg("TRACKING").arg("ON").arg("BCAST");
        for prefix in self.keys.tracked() {
            tracking.arg("PREFIX").arg(prefix);
        }
        commands.cmd("CLIENT").arg("TRACKINGINFO");
        commands.cmd("INFO").arg("server");
        commands.cmd("INFO").arg("replication");
        let sent = Instant::now();
        let values = arming.connection.clone().send_packed_commands(&commands, 0, 4).await?;
        let [answer, state, identity @ ..] = values.as_slice() else { return Err(Trouble::Unfit("answers")) };
        if let Value::ServerError(error) = answer {
            return Err(Trouble::Redis(error.clone().into()));
        }
        let wanted: Vec<String> = self.keys.tracked().collect();
        if *answer != Value::Okay || !reports(state, &wanted) {
            return Err(Trouble::Unfit("it does not report changes"));
        }
        let identity = read_identity(identity)?;
        if identity.run.is_none() {
            return Err(Trouble::Unfit("INFO is refused, and without it nobody knows which server this is"));
        }
        if !identity.primary {
            return Err(Trouble::Unfit("it is a replica"));
        }
        Ok((identity, sent))
    }

    /// LIVE and SUSPECT: renews the lease until the connection ends, is silent for too long, or another server is read.
    ///
    /// There is never more than one PING under way. One that follows another into a server that was frozen could be
    /// answered before the report of a write that was made between the two.
    async fn hold(&self, armed: &Armed) {
        let mut ping = Pipeline::new();
        ping.cmd("PING");
        loop {
            let sent = Instant::now();
            let mut connection = armed.connection.clone();
            match timeout(SUSPECT, connection.send_packed_commands(&ping, 0, 1)).await {
                Ok(Ok(values)) if !matches!(values.first(), None | Some(Value::ServerError(_))) => {
                    if !self.lease.renew(sent, Instant::now()) {
                        // Whoever wrote meanwhile may have given up as well (rule 13).
                        self.instance.doubts().raise("lapse");
                    }
                }
                _ => return,
            }
            tokio::select! {
                () = armed.lost.notified() => return,
                () = sleep(self.max_staleness / PINGS) => {}
            }
            if self.lease.epoch() != armed.epoch {
                return;
            }
        }
    }
}

impl Trouble {
    fn word(&self) -> String {
        match self {
            Self::Redis(error) => error.code().unwrap_or(error.category()).to_owned(),
            Self::Unfit(word) => (*word).to_owned(),
        }
    }
}

/// What a report says: a list of keys, or nothing at all, which means everything. What cannot be read could be anything.
fn changes(data: &[Value], keys: &Keys) -> Vec<Change> {
    let [Value::Array(names)] = data else { return vec![Change::Everything] };
    let change = |name: &Value| match bytes_of(name) {
        Some(key) => keys.change(key),
        None => Some(Change::Everything),
    };
    names.iter().filter_map(change).collect()
}

/// Whether the answer to `CLIENT TRACKINGINFO` says that everything wanted is reported.
fn reports(state: &Value, wanted: &[String]) -> bool {
    let flat: Vec<&Value> = match state {
        Value::Map(pairs) => pairs.iter().flat_map(|(name, value)| [name, value]).collect(),
        Value::Array(values) => values.iter().collect(),
        _ => return false,
    };
    let words = |name: &str| -> Vec<&[u8]> {
        let pair = flat.chunks_exact(2).find(|pair| bytes_of(pair[0]) == Some(name.as_bytes()));
        match pair.map(|pair| pair[1]) {
            Some(Value::Array(values) | Value::Set(values)) => values.iter().filter_map(bytes_of).collect(),
            _ => Vec::new(),
        }
    };
    let (flags, prefixes) = (words("flags"), words("prefixes"));
    flags.contains(&b"on".as_slice())
        && flags.contains(&b"bcast".as_slice())
        && wanted.iter().all(|prefix| prefixes.contains(&prefix.as_bytes()))
}
