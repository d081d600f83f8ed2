//! `countersign migrate`: brings the directory's tables to this version, takes them away, or says what there is.

use std::io::Write;

use super::Direction;
use crate::config::Snapshot;

/// Migrates the directory of `snapshot`.
pub(super) fn migrate(
    _direction: Direction,
    _snapshot: &Snapshot,
    _out: &mut dyn Write,
) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
