//! What the process keeps to itself: its memory holds keys, tokens and what people did (THREATS O8).

use rustix::io;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// No core dumps, and no reading of this process' memory by other processes of its user.
///
/// # Errors
/// What the system refuses; both are tried.
pub fn keep_memory_private() -> io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    let no_core = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum });
    set_dumpable_behavior(DumpableBehavior::NotDumpable).and(no_core)
}
