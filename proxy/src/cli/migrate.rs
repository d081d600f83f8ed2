//! `countersign migrate`: brings the directory's tables to this version, takes steps back, or says what there is.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget};

use super::Direction;
use crate::config::Snapshot;
use crate::directory::migrations::{self, Step};

/// Migrates the directory of `snapshot`; `all` takes every step back instead of the last one.
pub(super) fn migrate(
    direction: Direction,
    all: bool,
    snapshot: &Snapshot,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let settings = &snapshot.directory;
    match direction {
        Direction::Up => {
            let bar = progress();
            let applied = runtime.block_on(migrations::up(settings, |step| show(&bar, "applying", step)))?;
            bar.finish_and_clear();
            match applied {
                0 => writeln!(out, "Nothing to do: the schema is at this version.")?,
                steps => writeln!(out, "Applied {steps} of the steps below.")?,
            }
        }
        Direction::Down => {
            let count = if all { usize::MAX } else { 1 };
            let bar = progress();
            let taking = runtime.block_on(migrations::down(settings, count, |step| {
                show(&bar, "taking back", step);
            }));
            bar.finish_and_clear();
            writeln!(out, "Took back {} of the steps below.", taking?)?;
        }
        Direction::Status => {}
    }
    for step in runtime.block_on(migrations::status(settings))? {
        writeln!(out, "  {}  {}", if step.applied { "applied" } else { "missing" }, step.name)?;
    }
    Ok(())
}

/// A spinner on a terminal, nothing elsewhere: an index on a large table takes minutes.
fn progress() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if !std::io::stderr().is_terminal() {
        bar.set_draw_target(ProgressDrawTarget::hidden());
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn show(bar: &ProgressBar, doing: &str, step: &Step) {
    bar.set_message(format!("{doing} {}", step.name));
}
