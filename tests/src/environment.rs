//! Where the built binary, Python, Node and the browser are. `tests/run` says it; without it, the usual places.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// The root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the repository").to_owned()
}

/// The built binary, of the same profile as the program that asks.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    let usual =
        if cfg!(debug_assertions) { "target/debug/countersign" } else { "target/release/countersign" };
    let path = named("COUNTERSIGN_BINARY", usual);
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace` first", path.display());
    path
}

/// A built example of the proxy's package, beside the binary.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn example(name: &str) -> PathBuf {
    let path = binary().with_file_name("examples").join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `cargo build -p countersign --examples` first",
        path.display()
    );
    path
}

/// The Python that has the packages of `requirements.txt`.
#[must_use]
pub fn python() -> PathBuf {
    named("COUNTERSIGN_TEST_PYTHON", "target/test-env/venv/bin/python")
}

/// A script of ours beside the npm packages it imports: `tests/` itself holds no packages, so our scripts are
/// copied to where they are, once per run.
///
/// # Panics
/// When the packages were not installed.
#[must_use]
pub fn node_script(path: &str) -> PathBuf {
    static COPIED: OnceLock<PathBuf> = OnceLock::new();
    let packages = COPIED.get_or_init(|| {
        let target = named("COUNTERSIGN_TEST_NODE", "target/test-env/node");
        assert!(target.join("node_modules").is_dir(), "run `tests/run` once: it installs the npm packages");
        for folder in ["verifiers", "apps/express", "apps/sessions", "browser"] {
            copy_scripts(&root().join("tests").join(folder), &target.join(folder));
        }
        target
    });
    packages.join(path)
}

/// A file of a kind that tests leave behind for a person to look at.
///
/// # Panics
/// When the directory cannot be made.
#[must_use]
pub fn keepsakes(kind: &str) -> PathBuf {
    let directory = root().join("target/test-env").join(kind);
    fs::create_dir_all(&directory).expect("a writable target directory");
    directory
}

/// Runs a program to its end with `input` on its standard input.
///
/// # Panics
/// When it cannot be started.
pub async fn run(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut pipe = child.stdin.take().expect("the input is piped");
    // A program that ends without reading its input tells so by its exit code.
    let _ = pipe.write_all(input).await;
    drop(pipe);
    child.wait_with_output().await.expect("the program was started")
}

fn named(variable: &str, usual: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| root().join(usual), PathBuf::from)
}

fn copy_scripts(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a writable target directory");
    for entry in fs::read_dir(from).expect("the folder is in the repository").flatten() {
        let name = entry.file_name();
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join(name)).expect("a script can be copied");
        }
    }
}
