//! One supervised connection to Redis. While there is none, calls fail at once; a task of its own connects again in
//! the background. Every call has a deadline. The connection that hears of changes stands beside it, in `tracking`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, PushInfo, PushKind, RedisError, Value};
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

use super::instance::{Instance, identify};
use crate::breaker::{Admission, Breaker};
use crate::clock::SystemClock;
use crate::store::StoreError;
use crate::upkeep;

/// The waits between attempts to connect, each drawn at random below a ceiling that doubles (STATE.md 2.4).
const FIRST_WAIT: Duration = Duration::from_millis(10);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest that connecting, TLS and login may take together.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How often an idle connection is asked whether it lives, and how many silences end it: a host that vanished says
/// nothing, and no call would ever notice (STATE.md 1.2).
const HEARTBEAT: Duration = Duration::from_secs(1);
const SILENCES: u32 = 3;
/// Room for commands that wait to be written (STATE.md 1.5).
const QUEUE: usize = 1024;
/// A refusal that repeats is logged once in this time.
const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// A handle on the connection; the task that keeps it ends with the handle.
pub(super) struct Connection {
    line: Arc<Line>,
    timeout: Duration,
    keeper: AbortHandle,
}

/// What the handle and its keeper share.
struct Line {
    address: String,
    current: ArcSwapOption<Numbered>,
    lost: Arc<Notify>,
    instance: Arc<Instance>,
    breaker: Breaker,
    last_complaint: Mutex<Option<(String, Instant)>>,
}

/// A connection and its number, which no later one has.
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

impl Connection {
    /// Starts to connect, in the background of the current tokio runtime, and returns at once.
    pub(super) fn open(client: Client, address: String, timeout: Duration, instance: Arc<Instance>) -> Self {
        let line = Arc::new(Line {
            address,
            current: ArcSwapOption::empty(),
            lost: Arc::new(Notify::new()),
            instance,
            breaker: Breaker::new(Arc::new(SystemClock)),
            last_complaint: Mutex::new(None),
        });
        let keeper = upkeep::spawn("redis connection", keep(Arc::clone(&line), client, timeout));
        Self { line, timeout, keeper }
    }

    /// Sends commands together and answers one value for each; a refused command is a `Value::ServerError` among
    /// them. Dropping the call leaves the connection in step: the client discards its replies in order.
    pub(super) async fn ask(&self, commands: &Pipeline) -> Result<Vec<Value>, StoreError> {
        let Some(connection) = self.line.current.load_full() else {
            // Nothing is waited for, but whoever looks at the breaker shall see it.
            if let Some(admission) = self.line.breaker.admit() {
                admission.failed();
            }
            return Err(StoreError::Unavailable);
        };
        self.ask_on(&connection, commands).await
    }

    /// As [`Self::ask_all`], but only on the connection `number`: a later one may lead to a server that lacks what was
    /// written on that one.
    pub(super) async fn ask_all_on(
        &self,
        number: u64,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, StoreError> {
        let connection = self.line.current.load_full().filter(|connection| connection.number == number);
        let values = self.ask_on(&connection.ok_or(StoreError::Unavailable)?, commands).await?;
        none_refused(values)
    }

    /// What keeps calls from waiting for a server that does not answer.
    pub(super) fn breaker(&self) -> &Breaker {
        &self.line.breaker
    }

    /// The number of the connection that there is.
    pub(super) fn number(&self) -> Option<u64> {
        self.line.current.load().as_ref().map(|connection| connection.number)
    }

    async fn ask_on(
        &self,
        connection: &Arc<Numbered>,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, StoreError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let admission = self.line.breaker.admit().ok_or(StoreError::Unavailable)?;
        let call = Call { admission: Some(admission), begun: Instant::now(), patience: self.timeout / 2 };
        let mut own = connection.connection.clone();
        match timeout(self.timeout, own.send_packed_commands(commands, 0, commands.len())).await {
            Ok(Ok(values)) => {
                call.answered(true);
                self.line.note_refusals(connection, &values);
                Ok(values)
            }
            Ok(Err(error)) => {
                call.answered(false);
                Err(self.line.fail(connection, &error))
            }
            Err(_) => {
                call.answered(false);
                Err(StoreError::Timeout)
            }
        }
    }

    /// As [`Self::ask`], for commands of which none may be refused.
    pub(super) async fn ask_all(&self, commands: &Pipeline) -> Result<Vec<Value>, StoreError> {
        none_refused(self.ask(commands).await?)
    }
}

/// A call under way. Requests give up before a call's own deadline: one that was given up after half of it counts as
/// not answered.
struct Call<'a> {
    admission: Option<Admission<'a>>,
    begun: Instant,
    patience: Duration,
}

impl Call<'_> {
    fn answered(mut self, answered: bool) {
        match self.admission.take() {
            Some(admission) if answered => admission.succeeded(),
            Some(admission) => admission.failed(),
            None => {}
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take_if(|_| self.begun.elapsed() >= self.patience) {
            admission.failed();
        }
    }
}

fn none_refused(values: Vec<Value>) -> Result<Vec<Value>, StoreError> {
    let refused = values.iter().any(|value| matches!(value, Value::ServerError(_)));
    if refused { Err(StoreError::Unavailable) } else { Ok(values) }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected = self.line.current.load().is_some();
        f.debug_struct("Connection")
            .field("address", &self.line.address)
            .field("connected", &connected)
            .finish_non_exhaustive()
    }
}

impl Line {
    /// What a failed call comes to; a connection that broke is put away.
    fn fail(&self, connection: &Arc<Numbered>, error: &RedisError) -> StoreError {
        if error.is_timeout() {
            return StoreError::Timeout;
        }
        if error.is_connection_dropped() || error.is_unrecoverable_error() {
            self.put_away(connection);
        } else {
            self.complain(error.code().unwrap_or(error.category()));
        }
        StoreError::Unavailable
    }

    /// Forgets `connection`, if it is still the current one, and wakes the keeper.
    fn put_away(&self, connection: &Arc<Numbered>) {
        let previous = self.current.compare_and_swap(connection, None);
        if previous.as_ref().is_some_and(|previous| Arc::ptr_eq(previous, connection)) {
            self.lost.notify_one();
        }
    }

    /// Looks at what the server refused: after a failover the old primary answers, but takes no writes.
    fn note_refusals(&self, connection: &Arc<Numbered>, values: &[Value]) {
        for value in values {
            let Value::ServerError(error) = value else { continue };
            match error.code() {
                // An unreadable record, which the caller counts.
                "WRONGTYPE" => {}
                "READONLY" => {
                    self.complain("READONLY");
                    self.put_away(connection);
                }
                code => self.complain(code),
            }
        }
    }

    /// Logs a refusal by its code only; the server's sentence may quote what we sent.
    fn complain(&self, code: &str) {
        let mut last = self.last_complaint.lock();
        let is_new = last.as_ref().is_none_or(|(c, at)| c != code || at.elapsed() > COMPLAINT_INTERVAL);
        if is_new {
            tracing::warn!(address = %self.address, code, "redis refused a command");
            *last = Some((code.to_owned(), Instant::now()));
        }
    }
}

/// Connects, watches, connects again, for as long as the handle lives.
async fn keep(line: Arc<Line>, client: Client, call_timeout: Duration) {
    let mut failures = 0_u32;
    let mut said_down = false;
    loop {
        match connect_and_identify(&line, &client).await {
            Ok(connection) => {
                tracing::info!(address = %line.address, "redis is connected");
                line.current.store(Some(Arc::clone(&connection)));
                line.breaker.recovered();
                let begin = Instant::now();
                watch(&line, &connection, call_timeout).await;
                line.current.store(None);
                line.instance.reads_lost();
                tracing::warn!(address = %line.address, "the connection to redis is lost");
                said_down = true;
                // A server that accepts and hangs up again at once is not asked without a pause.
                failures = if begin.elapsed() > LONGEST_WAIT { 0 } else { failures.saturating_add(1) };
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                let cause = error.code().unwrap_or(error.category());
                if said_down {
                    tracing::debug!(address = %line.address, cause, "redis cannot be reached");
                } else {
                    tracing::warn!(address = %line.address, cause, "redis cannot be reached; trying on");
                    said_down = true;
                }
            }
        }
        sleep(wait_after(failures)).await;
    }
}

/// Connects, and finds out who answers before anybody reads there.
async fn connect_and_identify(line: &Line, client: &Client) -> Result<Arc<Numbered>, RedisError> {
    let connection = connect(line, client).await?;
    let identity = timeout(CONNECT_TIMEOUT, identify(&connection)).await.map_err(|_| timed_out())?;
    let number = line.instance.reads_from(identity?, &line.address);
    Ok(Arc::new(Numbered { number, connection }))
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

async fn connect(line: &Line, client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let lost = Arc::clone(&line.lost);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        // Each call has its own deadline; the client's would be a second one.
        .set_response_timeout(None)
        .set_pipeline_buffer_size(QUEUE)
        .set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                lost.notify_one();
            }
            Ok::<(), std::convert::Infallible>(())
        });
    match timeout(CONNECT_TIMEOUT, client.get_multiplexed_async_connection_with_config(&config)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(timed_out()),
    }
}

/// Returns when the connection is lost: broken, put away by a call, or silent for too long.
async fn watch(line: &Line, connection: &Arc<Numbered>, call_timeout: Duration) {
    let mut silences = 0;
    while silences < SILENCES {
        let woken = tokio::select! {
            () = line.lost.notified() => true,
            // What is read and what is followed must be one server (PROTOCOL.md, rule 7).
            () = line.instance.elsewhere() => return,
            () = sleep(HEARTBEAT) => false,
        };
        if woken {
            // A permit can be left over from an earlier connection; only a dead or replaced one ends the watch.
            let replaced = line.current.load().as_ref().is_none_or(|now| !Arc::ptr_eq(now, connection));
            if replaced {
                return;
            }
        }
        let mut own = connection.connection.clone();
        let mut ping = Pipeline::new();
        ping.cmd("PING");
        match timeout(call_timeout, own.send_packed_commands(&ping, 0, 1)).await {
            Ok(Ok(_)) => silences = 0,
            Ok(Err(_)) => return,
            Err(_) => silences += 1,
        }
    }
}

/// A random part of a ceiling that doubles with each failure, so that proxies do not come back all at once.
pub(super) fn wait_after(failures: u32) -> Duration {
    let ceiling = FIRST_WAIT.saturating_mul(1 << failures.min(7)).min(LONGEST_WAIT);
    let mut random = [0; 1];
    // Without randomness the full ceiling is still a fair wait.
    let part = SystemRandom::new().fill(&mut random).map_or(u32::from(u8::MAX), |()| u32::from(random[0]));
    FIRST_WAIT.max(ceiling * part / u32::from(u8::MAX))
}
