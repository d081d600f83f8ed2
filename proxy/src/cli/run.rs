//! `countersign run`: serves until told to stop.

use std::path::Path;

use crate::config::Snapshot;

/// Serves as `snapshot` says; `_path` is where it came from, for reloading.
pub(super) fn run(_path: &Path, _snapshot: Snapshot) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
