//! `countersign demo`: proxy, store, directory and a small application in one process, nothing installed.

use std::io::{IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context as _;

use crate::clock::SystemClock;
use crate::config::{self, Snapshot};
use crate::demo::config::{Addresses, UPSTREAM};
use crate::demo::verify::{Trust, TrustSettings};
use crate::demo::{self, App, banner, seed};
use crate::server::{self, Options, Seed};
use crate::signing::keyring::Keyring;
use crate::telemetry::{self, Metrics};

/// Serves the demo until told to stop.
pub(super) fn demo(
    listen: SocketAddr,
    admin_listen: SocketAddr,
    log_requests: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let listener =
        std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("binding the application")?;
    let addresses = Addresses { listen, admin: admin_listen, application: listener.local_addr()? };
    let made = demo::config::make(&addresses)?;
    let snapshot = config::parse(&made.text, "demo.toml", &|name| made.environment(name))?;
    server::ensure_addresses_are_free(&snapshot)?;
    start_application(listener, &snapshot, listen)?;

    let metrics = Arc::new(Metrics::new());
    let level = if log_requests { "info" } else { "warn" };
    let (log, _) = telemetry::start_logging(level, Arc::clone(&metrics))?;
    out.write_all(banner::text(&addresses, std::io::stdout().is_terminal()).as_bytes())?;
    out.flush()?;
    let seed: Seed = |directory| {
        Box::pin(async move {
            seed::write(directory.as_ref(), &seed::accounts()?).await.context("filling the demo's directory")
        })
    };
    server::run(
        snapshot,
        Options { log: log_requests.then_some(log), metrics, seed: Some(seed), ..Options::default() },
    )
}

/// Runs the demo application in a thread with a runtime of its own: it is somebody else's application that happens to
/// live in this process, and reaches the proxy only over HTTP.
fn start_application(
    listener: std::net::TcpListener,
    snapshot: &Snapshot,
    listen: SocketAddr,
) -> anyhow::Result<()> {
    let keys = &snapshot.keys;
    let keyring = Keyring::new(&keys.hmac, &keys.jwt)?;
    let hmac = keys.hmac.first().context("the demo has no HMAC key")?;
    let (issuer, prefix) = (&snapshot.jwt_issuer, &snapshot.headers.prefix);
    let trust = Trust::new(&TrustSettings::for_upstream(UPSTREAM, hmac, &keyring, issuer, prefix))?;
    let app = App::new(trust, seed::accounts()?, format!("http://{listen}"), Arc::new(SystemClock))?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("demo application".into()).spawn(move || {
        runtime.block_on(async {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => demo::serve(listener, app, std::future::pending()).await,
                Err(error) => tracing::error!(%error, "the demo application cannot listen"),
            }
        });
    })?;
    Ok(())
}
