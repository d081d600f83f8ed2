//! Assembly: from a snapshot to running services, and to their end.

mod admin;
pub mod connect;
mod front;
mod guard;
mod life;
mod public;
mod shutdown;
mod stores;
mod tls;
mod upkeep;

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use arc_swap::ArcSwap;
use pingora::apps::HttpServerOptions;
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server};
use pingora::services::listening::Service;
use tokio::sync::OnceCell;

use self::front::Front;
use self::life::Life;
use self::public::Public;
pub use self::stores::Seed;
use self::stores::{Farewell, Opener};
use crate::clock::{Clock, SystemClock};
use crate::config::Snapshot;
use crate::config::snapshot::Listener;
use crate::gateway::rules::Rules;
use crate::gateway::{Core, Gateway};
use crate::telemetry::{LogSink, Metrics};

/// How long running requests may take to finish after SIGTERM, in seconds.
const GRACE_SECONDS: u64 = 30;
/// How often prepared contexts that may not be used any more are dropped: they serve for half a minute.
const SWEEP: Duration = Duration::from_secs(30);
/// Streams that one HTTP/2 connection of a client may have open at once.
const CLIENT_STREAMS: u32 = 100;
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
}

/// Serves until a signal ends it. Returns only when it could not start.
///
/// # Errors
/// What kept it from starting.
pub fn run(snapshot: Snapshot, options: Options) -> anyhow::Result<()> {
    harden();
    allow_many_connections();
    count_panics(&options.metrics);
    // One TLS provider in the whole process: rediss:// takes the default one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    ensure_addresses_are_free(&snapshot)?;
    let assembly = Assembly::new(snapshot, options)?;
    assembly.serve()
}

struct Assembly {
    rules: Arc<ArcSwap<Rules>>,
    core: Arc<OnceCell<Arc<Core>>>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    log: Option<LogSink>,
    life: Arc<Life>,
    opener: Arc<Opener>,
}

impl Assembly {
    fn new(snapshot: Snapshot, options: Options) -> anyhow::Result<Self> {
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
        Ok(Self {
            rules: Arc::new(ArcSwap::from_pointee(rules)),
            core,
            metrics: options.metrics,
            clock,
            log: options.log,
            life: Arc::new(Life::default()),
            opener: Arc::new(opener),
        })
    }

    fn serve(self) -> anyhow::Result<()> {
        let rules = self.rules.load_full();
        let mut server = Server::new_with_opt_and_conf(None, server_conf());
        // HTTP/2 without TLS is told apart by reading ahead, which has traps (PINGORA.md, pitfall 7): a service apart.
        let (h2c, usual): (Vec<_>, Vec<_>) =
            rules.snapshot.listeners.iter().partition(|listener| listener.h2c);
        if !usual.is_empty() {
            server.add_service(self.public("public", &usual, &server.configuration)?);
        }
        if !h2c.is_empty() {
            server.add_service(self.public("public h2c", &h2c, &server.configuration)?);
        }
        server.add_service(admin::service(&rules, &self.rules, &self.metrics, &self.life));
        server.bootstrap();
        self.end_well(&server);
        server.run(RunArgs { shutdown_signal: Box::new(shutdown::Signals { life: Arc::clone(&self.life) }) });
        Ok(())
    }

    fn public(&self, name: &str, listeners: &[&Listener], conf: &Arc<ServerConf>) -> anyhow::Result<Public> {
        let gateway = Gateway::new(
            Arc::clone(&self.rules),
            Arc::clone(&self.core),
            Arc::clone(&self.metrics),
            Arc::clone(&self.clock),
            self.log.clone(),
        )
        .map_err(|_| anyhow::anyhow!("the operating system has no randomness to give"))?;
        let mut proxy = pingora::proxy::http_proxy(conf, gateway);
        let mut options = HttpServerOptions::default();
        options.h2c = listeners.iter().any(|listener| listener.h2c);
        // So that CONNECT reaches policy, which refuses it and says so in the log; Pingora alone would be silent.
        options.allow_connect_method_proxying = true;
        options.h2_idle_timeout = Some(CLIENT_IDLE);
        proxy.server_options = Some(options);
        let mut h2 = pingora::protocols::http::v2::server::H2Options::new();
        h2.max_concurrent_streams(CLIENT_STREAMS);
        let limits = self.rules.load().snapshot.limits;
        h2.max_header_list_size(u32::try_from(limits.head_bytes.saturating_mul(2)).unwrap_or(u32::MAX));
        proxy.h2_options = Some(h2);
        let mut service = Service::new(name.to_owned(), Front::new(proxy, limits));
        for listener in listeners {
            match &listener.tls {
                None => service.add_tcp(&listener.address.to_string()),
                Some(files) => {
                    service.add_tls_with_settings(&listener.address.to_string(), None, tls::settings(files)?);
                }
            }
        }
        self.life.expect_service();
        Ok(Public {
            service,
            opener: Arc::clone(&self.opener),
            life: Arc::clone(&self.life),
            prepare: Some(self.watch_upstreams()),
        })
    }

    /// Resolves the upstreams' names before the first request and keeps watching them.
    fn watch_upstreams(&self) -> public::Prepare {
        let (rules, metrics) = (self.rules.load_full(), Arc::clone(&self.metrics));
        let (in_force, clock) = (Arc::clone(&self.rules), Arc::clone(&self.clock));
        Box::new(move || {
            let (rules, metrics) = (Arc::clone(&rules), Arc::clone(&metrics));
            upkeep::spawn("prepared contexts", sweep(Arc::clone(&in_force), Arc::clone(&clock)));
            Box::pin(async move {
                for (name, servers) in rules.servers() {
                    let watch = servers.start(name, &metrics).await;
                    upkeep::spawn("upstream", watch);
                }
            })
        })
    }

    fn end_well(&self, server: &Server) {
        let farewell = Arc::clone(&self.opener.farewell);
        shutdown::end_when_idle(
            server.watch_execution_phase(),
            Arc::clone(&self.metrics),
            self.log.clone(),
            move || farewell.say(),
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

/// Says at once that an address is taken; Pingora would try for 30 s (PINGORA.md, pitfall 8).
///
/// # Errors
/// The first address that cannot be listened on.
pub fn ensure_addresses_are_free(snapshot: &Snapshot) -> anyhow::Result<()> {
    for listener in &snapshot.listeners {
        can_bind(listener.address)?;
    }
    can_bind(snapshot.admin.address)
}

fn can_bind(address: std::net::SocketAddr) -> anyhow::Result<()> {
    match TcpListener::bind(address) {
        Ok(_) => Ok(()),
        Err(error) => {
            bail!("cannot listen on {address}: {error}; stop what uses it, or choose another address")
        }
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

/// Counts panics and says where they were. A panic ends the connection it happened on, never the process (THREATS O9);
/// its message is kept back, because it may show what it stumbled over.
fn count_panics(metrics: &Arc<Metrics>) {
    let metrics = Arc::clone(metrics);
    std::panic::set_hook(Box::new(move |panic| {
        metrics.panics.inc();
        let (file, line) = panic.location().map_or(("", 0), |at| (at.file(), at.line()));
        tracing::error!(file, line, "panicked");
    }));
}

/// No core dumps, no reading of this process' memory by others: they hold keys (THREATS O8).
fn harden() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Core);
    let none = Rlimit { current: Some(0), maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "cannot switch core dumps off");
    }
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "cannot make the process' memory private");
    }
}
