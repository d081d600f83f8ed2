//! Assembly: from a snapshot to running services, and to their end.

mod admin;
pub mod connect;
mod crowd;
mod doors;
mod farewell;
mod files;
mod front;
mod gauges;
mod guard;
mod life;
pub mod privacy;
mod public;
mod reload;
mod requests;
mod shutdown;
mod signals;
mod sockets;
mod stores;
mod systemd;
mod tls;
mod turn;
mod upgrade;
mod watchers;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use pingora::apps::HttpServerOptions;
use pingora::connectors::ConnectorOptions;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use tokio::sync::{OnceCell, watch};

use self::admin::{Admin, Watched};
use self::crowd::Crowd;
use self::doors::{Door, Entrances, Hall};
use self::farewell::Farewell;
use self::front::Front;
use self::life::Life;
use self::public::{Doors, Prepare};
use self::reload::{Reloader, Reloads};
use self::shutdown::Closed;
pub use self::sockets::ensure_addresses_are_free;
use self::sockets::{Opened, Sockets};
use self::stores::Opener;
pub use self::stores::Seed;
use self::upgrade::Upgrader;
use self::watchers::Watchers;
use crate::clock::{Clock, SystemClock};
use crate::config::Snapshot;
use crate::config::snapshot::Listening;
use crate::endpoints::operators::console::{Console, history};
use crate::gateway::request_id::RequestIds;
use crate::gateway::rules::Rules;
use crate::gateway::{Core, Gateway};
use crate::telemetry::traces::{Records, Tracer};
use crate::telemetry::{LevelSwitch, LogSink, Metrics, panics};
use crate::upkeep;

/// How long Pingora lets running requests finish; only the reference of the benchmark ends so.
const GRACE_SECONDS: u64 = 30;
/// How often prepared contexts that may not be used any more are dropped: they serve for half a minute.
const SWEEP: Duration = Duration::from_secs(30);
/// How long an HTTP/2 connection of a client may be idle.
const CLIENT_IDLE: Duration = Duration::from_mins(1);

/// What a server is started with besides its configuration.
#[derive(Default)]
pub struct Options {
    /// Where log lines go; `None` tells nothing.
    pub log: Option<LogSink>,
    /// The metrics to count in.
    pub metrics: Arc<Metrics>,
    /// Fills a fresh directory.
    pub seed: Option<Seed>,
    /// What the configuration was read from, to be read again; `None` when it never is.
    pub source: Option<Source>,
    /// Changes the level of the log when a new configuration says so.
    pub level: Option<LevelSwitch>,
    /// Whether core dumps and debuggers may see the process' memory.
    pub core_dumps: bool,
}

/// Where a configuration came from.
#[derive(Clone, Debug)]
pub struct Source {
    /// The configuration file.
    pub config: PathBuf,
    /// Every file that had a part in it.
    pub files: Vec<PathBuf>,
}

/// Serves until a signal ends it. Returns only when it could not start.
///
/// # Errors
/// What kept it from starting.
pub fn run(snapshot: Snapshot, options: Options) -> anyhow::Result<()> {
    if options.core_dumps {
        tracing::warn!("core dumps and debuggers are allowed: they see every key and token");
    } else if let Err(error) = privacy::keep_memory_private() {
        tracing::warn!(%error, "the process' memory cannot be kept private");
    }
    allow_many_connections();
    panics::count(&options.metrics);
    ensure_authorities_can_be_read()?;
    // One TLS provider in the whole process: rediss:// takes the default one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (sockets, opened) = Sockets::open(&snapshot)?;
    let assembly = Assembly::new(snapshot, options, sockets)?;
    assembly.serve(opened)
}

struct Assembly {
    rules: Arc<ArcSwap<Rules>>,
    entrances: Arc<ArcSwap<Entrances>>,
    core: Arc<OnceCell<Arc<Core>>>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    log: Option<LogSink>,
    life: Arc<Life>,
    opener: Arc<Opener>,
    watchers: Arc<Watchers>,
    sockets: Arc<Sockets>,
    source: Option<Source>,
    level: Option<LevelSwitch>,
    console: Arc<Console>,
    tracer: Arc<Tracer>,
    /// What it records, until somebody sends it on.
    records: parking_lot::Mutex<Option<Records>>,
    /// Asks for what was recorded and not sent yet, at the end.
    last_records: Arc<Farewell>,
}

impl Assembly {
    fn new(snapshot: Snapshot, options: Options, sockets: Sockets) -> anyhow::Result<Self> {
        let entrances = Entrances::build(&snapshot)?;
        let rules = Rules::build(snapshot.clone()).context("building the configuration")?;
        let core = Arc::new(OnceCell::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let opener = Opener {
            snapshot: Arc::new(snapshot),
            core: Arc::clone(&core),
            clock: Arc::clone(&clock),
            metrics: Arc::clone(&options.metrics),
            farewell: Arc::new(Farewell::default()),
            seed: options.seed,
        };
        let (tracer, records) = Tracer::new(Arc::clone(&options.metrics));
        Ok(Self {
            console: Arc::new(Console::new(clock.now())),
            rules: Arc::new(ArcSwap::from_pointee(rules)),
            entrances: Arc::new(ArcSwap::from_pointee(entrances)),
            core,
            metrics: options.metrics,
            clock,
            log: options.log,
            life: Arc::new(Life::default()),
            opener: Arc::new(opener),
            watchers: Arc::default(),
            sockets: Arc::new(sockets),
            source: options.source,
            level: options.level,
            tracer: Arc::new(tracer),
            records: parking_lot::Mutex::new(Some(records)),
            last_records: Arc::default(),
        })
    }

    fn serve(self, mut opened: Opened) -> anyhow::Result<()> {
        let (reloads, asked) = Reloads::new(self.clock.now());
        let upgrader = Upgrader::new(Arc::clone(&self.sockets)).context("finding this program")?;
        let endings = signals::listen(reloads.clone(), upgrader.clone()).context("listening for signals")?;
        let (closing, closed) = watch::channel(Closed::default());
        let never = shutdown::NEVER_BY_ITSELF.as_secs();
        let conf = ServerConf { grace_period_seconds: Some(never), ..server_conf() };
        let mut server = Server::new_with_opt_and_conf(None, conf);
        let admin = opened.pop().context("the admin listener comes last")?;
        server.add_service(self.public(
            opened,
            closed.clone(),
            self.prepare(&reloads, asked),
            &server.configuration,
        )?);
        server.add_service(self.admin(admin, closed, reloads)?);
        server.bootstrap();
        self.end_well(&server);
        let signals = shutdown::Signals {
            endings: tokio::sync::Mutex::new(endings),
            rules: self.rules,
            life: self.life,
            sockets: self.sockets,
            upgrader,
            metrics: self.metrics,
            doors: closing,
        };
        server.run(RunArgs { shutdown_signal: Box::new(signals) });
        Ok(())
    }

    fn public(
        &self,
        opened: Opened,
        closed: watch::Receiver<Closed>,
        prepare: Prepare,
        conf: &Arc<ServerConf>,
    ) -> anyhow::Result<Doors<Front>> {
        // HTTP/2 without TLS is told apart by reading ahead, which has traps (PINGORA.md, pitfall 7): an application apart.
        let (usual, h2c) = (Arc::new(self.front(conf, false)?), Arc::new(self.front(conf, true)?));
        let hall = Hall {
            entrances: Arc::clone(&self.entrances),
            crowd: Arc::new(Crowd::new(self.metrics.connections_open.clone())),
            metrics: Arc::clone(&self.metrics),
        };
        let rules = self.rules.load();
        let speaks_h2c = |place: &Listening| {
            rules.snapshot.listeners.iter().any(|listener| listener.h2c && listener.place == *place)
        };
        let doors = opened.into_iter().map(|(place, socket)| {
            let app = Arc::clone(if speaks_h2c(&place) { &h2c } else { &usual });
            (Door { place, hall: hall.clone(), app }, socket)
        });
        self.life.expect_service();
        Ok(Doors {
            name: "public",
            threads: None,
            open: doors.collect(),
            life: Arc::clone(&self.life),
            closed: (closed, |closed| closed.public),
            prepare: Some(prepare),
        })
    }

    fn front(&self, conf: &Arc<ServerConf>, h2c: bool) -> anyhow::Result<Front> {
        let gateway = Gateway::new(
            Arc::clone(&self.rules),
            Arc::clone(&self.core),
            Arc::clone(&self.metrics),
            Arc::clone(&self.clock),
            self.log.clone(),
            ConnectorOptions::from_server_conf(conf),
        )
        .map_err(|_| anyhow::anyhow!("the operating system has no randomness to give"))?
        .recording(Arc::clone(&self.tracer));
        let mut proxy = pingora::proxy::http_proxy(conf, gateway.clone());
        let mut options = HttpServerOptions::default();
        options.h2c = h2c;
        // So that CONNECT reaches policy, which refuses it and says so in the log; Pingora alone would be silent.
        options.allow_connect_method_proxying = true;
        options.h2_idle_timeout = Some(CLIENT_IDLE);
        proxy.server_options = Some(options);
        Ok(Front::new(proxy, gateway, Arc::clone(&self.rules), self.life.draining()))
    }

    /// The service on the admin address, with a thread of its own, so that it answers however busy the proxy is.
    fn admin(
        &self,
        (place, socket): (Listening, sockets::Socket),
        closed: watch::Receiver<Closed>,
        reloads: Reloads,
    ) -> anyhow::Result<Doors<Watched>> {
        let admin = Admin {
            rules: Arc::clone(&self.rules),
            core: Arc::clone(&self.core),
            metrics: Arc::clone(&self.metrics),
            life: Arc::clone(&self.life),
            clock: Arc::clone(&self.clock),
            request_ids: RequestIds::new()
                .map_err(|_| anyhow::anyhow!("the operating system has no randomness to give"))?,
            reloads,
            console: Arc::clone(&self.console),
        };
        // Neither counted nor limited: operators come in when the public side is full.
        let hall = Hall {
            entrances: Arc::new(ArcSwap::from_pointee(Entrances::plain())),
            crowd: Arc::new(Crowd::uncounted()),
            metrics: Arc::clone(&self.metrics),
        };
        self.life.expect_service();
        Ok(Doors {
            name: "admin",
            threads: Some(1),
            open: vec![(Door { place, hall, app: Arc::new(Watched(Arc::new(admin))) }, socket)],
            life: Arc::clone(&self.life),
            closed: (closed, |closed| closed.admin),
            prepare: None,
        })
    }

    /// What has to be there before the first request, and what runs beside the requests.
    fn prepare(&self, reloads: &Reloads, asked: tokio::sync::mpsc::Receiver<reload::Ask>) -> Prepare {
        let (opener, watchers) = (Arc::clone(&self.opener), Arc::clone(&self.watchers));
        let (rules, metrics) = (Arc::clone(&self.rules), Arc::clone(&self.metrics));
        let reloader =
            self.source.clone().map(|source| (self.reloader(source.config, reloads), source.files));
        let (in_force, clock) = (Arc::clone(&self.rules), Arc::clone(&self.clock));
        let (shown, counted, log) = (Arc::clone(&self.rules), Arc::clone(&self.metrics), self.log.clone());
        let watched = watch_history(Arc::clone(&self.console), Arc::clone(&self.metrics), Arc::clone(&clock));
        let (records, sent) = (self.records.lock().take(), Arc::clone(&self.metrics));
        let (in_use, ending) = (Arc::clone(&self.rules), Arc::clone(&self.last_records));
        Box::new(move || {
            if let Some(records) = records {
                let settings = move || in_use.load().snapshot.traces.clone();
                upkeep::spawn("traces", async move {
                    records.export(settings, sent, ending.asked()).await;
                    ending.all_is_said().await;
                });
            }
            upkeep::spawn("gauges", gauges::of_rules(shown, log, Arc::clone(&clock), counted));
            upkeep::spawn("history", watched);
            upkeep::spawn("prepared contexts", sweep(in_force, clock));
            Box::pin(async move {
                opener.open().await?;
                watchers.begin(&rules.load_full(), &metrics).await;
                if let Some((reloader, files)) = reloader {
                    upkeep::spawn("reload", reloader.run(asked, files));
                }
                upkeep::spawn("watchdog", systemd::watchdog());
                Ok(())
            })
        })
    }

    fn reloader(&self, config: PathBuf, reloads: &Reloads) -> Reloader {
        Reloader {
            config,
            rules: Arc::clone(&self.rules),
            entrances: Arc::clone(&self.entrances),
            core: Arc::clone(&self.core),
            watchers: Arc::clone(&self.watchers),
            metrics: Arc::clone(&self.metrics),
            clock: Arc::clone(&self.clock),
            level: self.level.clone(),
            reloads: reloads.clone(),
        }
    }

    fn end_well(&self, server: &Server) {
        let (activity, records) = (Arc::clone(&self.opener.farewell), Arc::clone(&self.last_records));
        shutdown::end_when_idle(
            server.watch_execution_phase(),
            Arc::clone(&self.rules),
            Arc::clone(&self.metrics),
            self.log.clone(),
            move || Farewell::say(&[&activity, &records]),
        );
    }
}

/// Gives back the memory of prepared contexts that may not be used any more, for ever.
async fn sweep(rules: Arc<ArcSwap<Rules>>, clock: Arc<dyn Clock>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        rules.load_full().shelf.sweep(clock.now());
    }
}

/// Keeps what the page for people shows of the last minutes, for ever.
async fn watch_history(console: Arc<Console>, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) {
    loop {
        console.history.look(&metrics, clock.now());
        tokio::time::sleep(history::EVERY).await;
    }
}

/// The settings that Pingora runs with; the benchmark gives the same ones to its reference.
#[must_use]
pub fn server_conf() -> ServerConf {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    ServerConf {
        threads,
        grace_period_seconds: Some(GRACE_SECONDS),
        graceful_shutdown_timeout_seconds: Some(1),
        // Pooled connections per thread; each costs a few KiB.
        upstream_keepalive_pool_size: 512,
        max_retries: 16,
        ..ServerConf::default()
    }
}

/// As many open files as the system allows: the usual soft limit of 1,024 is what a single idle attacker opens.
fn allow_many_connections() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Pingora reads the system's certificate authorities whether it needs them or not, and panics where a variable leads
/// nowhere (PINGORA.md, section 1.1).
fn ensure_authorities_can_be_read() -> anyhow::Result<()> {
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let Some(place) = std::env::var_os(variable) else { continue };
        anyhow::ensure!(
            std::path::Path::new(&place).exists(),
            "the environment variable `{variable}` names {}, which is not there\nNext: unset it, or install certificates",
            place.display()
        );
    }
    Ok(())
}
