//! `countersign demo`: proxy, store, directory and a small application in one process, nothing installed.

use std::net::SocketAddr;

/// Serves the demo until told to stop.
pub(super) fn demo(_listen: SocketAddr, _admin_listen: SocketAddr) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
