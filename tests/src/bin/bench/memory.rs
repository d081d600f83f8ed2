//! Memory per session: what the cells and the prepared contexts of a process take, each number of sessions in a process
//! of its own (`proxy/examples/memory.rs`).

use std::process::Command;

use super::Failure;
use super::setup::release_folder;
use super::table::line;

pub(super) fn run() -> Result<(), Failure> {
    let binary = release_folder()?.join("examples/memory");
    line("\n| sessions | cells, bytes each | last use, bytes each | prepared, MiB in all | process, MiB |");
    line("| --- | --- | --- | --- | --- |");
    for sessions in ["1000", "100000", "1000000"] {
        let output = Command::new(&binary).arg(sessions).output()?;
        if !output.status.success() {
            return Err(format!("memory {sessions}: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let figures = String::from_utf8(output.stdout)?;
        let figures: Vec<&str> = figures.split_whitespace().collect();
        line(&format!("| {sessions} | {} |", figures.join(" | ")));
    }
    Ok(())
}
