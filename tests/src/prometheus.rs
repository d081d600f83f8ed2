//! Prometheus' own tool for rules, from Debian's package.

use std::path::Path;

use crate::daemon::program;

/// `promtool` with these arguments, in this directory.
///
/// # Panics
/// When it is not installed, or does not succeed.
pub async fn promtool(directory: &Path, arguments: &[&str]) -> String {
    let mut command = tokio::process::Command::new(program("promtool", &[], "prometheus"));
    let output = crate::environment::run(command.args(arguments).current_dir(directory), b"").await;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}:\n{said}");
    said
}
