//! The servers of an upstream: names resolved, health watched, turns taken. Pingora's load balancer does the work; this
//! file gives it names to resolve and tells it which servers a request has tried.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr as InetAddr;
use std::os::unix::net::SocketAddr as UnixAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use pingora::lb::discovery::ServiceDiscovery;
use pingora::lb::health_check::{HealthCheck, HttpHealthCheck, TcpHealthCheck};
use pingora::lb::selection::RoundRobin;
use pingora::lb::{Backend, Backends, LoadBalancer};
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType};

use crate::telemetry::Metrics;
use crate::upstream::Upstream;

/// How often names are resolved again.
const RESOLVE_EVERY: Duration = Duration::from_secs(10);
/// How soon a name is tried again that never resolved.
const RESOLVE_RETRY: Duration = Duration::from_millis(500);

/// The servers of one upstream.
pub struct Servers {
    balancer: LoadBalancer<RoundRobin>,
    health_interval: Option<Duration>,
    /// Whether there are names to be resolved at all.
    names: bool,
    /// The one server there is: nothing to choose, whatever its health.
    only: Option<SocketAddr>,
}

impl Servers {
    /// Servers that can be used at once where they are given by address, and after the first `watch` else.
    pub fn new(upstream: &Upstream) -> Self {
        let is_name = |server: &String| unix_path(server).is_none() && server.parse::<InetAddr>().is_err();
        let names = upstream.servers.iter().any(is_name);
        let discovery = Names { servers: upstream.servers.clone() };
        let mut balancer = LoadBalancer::from_backends(Backends::new(Box::new(discovery)));
        if let Some(check) = health_check(upstream) {
            balancer.set_health_check(check);
            balancer.parallel_health_check = true;
        }
        let only = match upstream.servers.as_slice() {
            [server] => server.parse::<InetAddr>().ok().map(SocketAddr::from),
            _ => None,
        };
        Self {
            balancer,
            health_interval: upstream.health.as_ref().map(|health| health.interval),
            names,
            only,
        }
    }

    /// The next server in turn that is healthy and not among `tried`; an unhealthy one when nothing else is left.
    pub fn select(&self, tried: &[SocketAddr]) -> Option<SocketAddr> {
        if let Some(only) = &self.only {
            return Some(only).filter(|only| !tried.contains(only)).cloned();
        }
        let fresh = |backend: &Backend| !tried.contains(&backend.addr);
        self.balancer
            .select_with(b"", 64, |backend, healthy| healthy && fresh(backend))
            .or_else(|| self.balancer.select_with(b"", 64, |backend, _| fresh(backend)))
            .map(|backend| backend.addr)
    }

    /// How many servers are healthy.
    pub fn healthy(&self) -> usize {
        let backends = self.balancer.backends();
        backends.get_backend().iter().filter(|backend| backends.ready(backend)).count()
    }

    /// Whether any server is known.
    pub fn known(&self) -> bool {
        !self.balancer.backends().get_backend().is_empty()
    }

    /// Resolves the names, tells the metric, and answers the task that keeps both up to date for ever.
    pub async fn start(
        self: Arc<Self>,
        upstream: &str,
        metrics: &Metrics,
    ) -> impl Future<Output = ()> + use<> {
        self.resolve().await;
        let gauge = metrics.upstream_healthy.with_label_values(&[upstream]);
        self.watch(move |healthy| gauge.set(i64::try_from(healthy).unwrap_or(i64::MAX)))
    }

    async fn resolve(&self) {
        if let Err(error) = self.balancer.update().await {
            tracing::warn!(error = error.etype().as_str(), "cannot resolve the servers of an upstream");
        }
    }

    /// Keeps names and health up to date, for ever. `report` is told the number of healthy servers after each round.
    async fn watch(self: Arc<Self>, report: impl Fn(usize) + Send + Sync) {
        let health = async {
            let Some(interval) = self.health_interval else { return };
            loop {
                self.balancer.backends().run_health_check(true).await;
                report(self.healthy());
                tokio::time::sleep(interval).await;
            }
        };
        let names = async {
            while self.names || !self.known() {
                let pause = if self.known() { RESOLVE_EVERY } else { RESOLVE_RETRY };
                tokio::time::sleep(pause).await;
                self.resolve().await;
                report(self.healthy());
            }
        };
        report(self.healthy());
        tokio::join!(health, names);
        // Addresses that nobody watches stay as they are.
        std::future::pending::<()>().await;
    }
}

struct Names {
    servers: Vec<String>,
}

#[async_trait]
impl ServiceDiscovery for Names {
    async fn discover(&self) -> pingora::Result<(BTreeSet<Backend>, HashMap<u64, bool>)> {
        let mut found = BTreeSet::new();
        let mut failed = None;
        for server in &self.servers {
            if let Some(path) = unix_path(server) {
                found.insert(unix_backend(path)?);
                continue;
            }
            match tokio::net::lookup_host(server).await {
                Ok(addresses) => {
                    for address in addresses {
                        found.insert(Backend::new(&address.to_string())?);
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        match failed {
            // A name that does not resolve at the moment does not take the others away.
            Some(error) if found.is_empty() => {
                Err(Error::because(ErrorType::ConnectNoRoute, "resolving an upstream's servers", error))
            }
            _ => Ok((found, HashMap::new())),
        }
    }
}

fn health_check(upstream: &Upstream) -> Option<Box<dyn HealthCheck + Send + Sync>> {
    let health = upstream.health.as_ref()?;
    let Some(path) = &health.path else {
        let mut check = TcpHealthCheck::new();
        check.peer_template.options.connection_timeout = Some(health.timeout);
        return Some(check);
    };
    let first = upstream.servers.first().map_or("", String::as_str);
    // A socket has no host; any other name would say as little.
    let first = if unix_path(first).is_some() { "localhost" } else { first };
    let host = upstream.host.as_deref().unwrap_or(first);
    let mut check = HttpHealthCheck::new(host, upstream.tls.is_some());
    check.req.set_raw_path(path.as_bytes()).ok()?;
    super::tls::name_server(&mut check.peer_template, upstream, first);
    check.peer_template.options.connection_timeout = Some(health.timeout);
    check.peer_template.options.read_timeout = Some(health.timeout);
    check.validator = Some(Box::new(|answer| {
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(Error::new(ErrorType::HTTPStatus(answer.status.as_u16())))
        }
    }));
    Some(Box::new(check))
}

/// The path of a server that is a Unix socket.
fn unix_path(server: &str) -> Option<&str> {
    server.strip_prefix("unix:")
}

fn unix_backend(path: &str) -> pingora::Result<Backend> {
    let address = UnixAddr::from_pathname(path)
        .map_err(|error| Error::because(ErrorType::ConnectNoRoute, "a path of a Unix socket", error))?;
    let mut backend = Backend::new("0.0.0.0:0")?;
    backend.addr = SocketAddr::Unix(address);
    Ok(backend)
}
