//! Which server is read, which one reports changes, and whether the one that is read may hold records from before a
//! restart. Copies are believed only while both are the same server (PROTOCOL.md, rules 7 and 10).

use std::sync::Arc;

use parking_lot::Mutex;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisError, Value};
use tokio::sync::Notify;

use super::replies::bytes_of;
use crate::store::{Doubts, Lease};

/// Who a server says it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    /// Drawn anew at each start; `None` when an ACL hides it.
    pub(super) run: Option<String>,
    /// Not a replica of another server.
    pub(super) primary: bool,
    /// Its database holds nothing at all.
    pub(super) empty: bool,
}

/// What is known of the servers at the two ends.
#[derive(Default)]
pub(super) struct Instance {
    state: Mutex<State>,
    doubts: Arc<Doubts>,
    /// Tells the reading connection to connect again.
    elsewhere: Notify,
}

#[derive(Default)]
struct State {
    /// The server that is read now.
    reads: Option<Identity>,
    /// The server that was read last, whether or not it is read now.
    last: Option<Identity>,
    /// Counts the connections on which it is read.
    connections: u64,
}

impl Instance {
    /// Closes `lease` from now on when another server is read than before, and holds it while that is in doubt.
    pub(super) fn follow(&self, lease: Arc<Lease>) {
        self.doubts.follow(lease);
    }

    /// The doubts about what is read.
    pub(super) const fn doubts(&self) -> &Arc<Doubts> {
        &self.doubts
    }

    /// Notes the server that is about to be read, before the first read. Answers the number of this connection.
    ///
    /// Whatever its run, it may lack what could not be written to it meanwhile; another run than before may hold what
    /// was true before its last save, live sessions that were revoked since. Where nobody goes through what changed,
    /// only the latter is doubted, unless it is empty.
    pub(super) fn reads_from(&self, identity: Identity, address: &str) -> u64 {
        let mut state = self.state.lock();
        let same = identity.run.is_some() && state.last.as_ref().is_some_and(|last| last.run == identity.run);
        if state.last.is_some() && !same && !identity.empty {
            tracing::warn!(
                address,
                "redis was restarted or replaced and is not empty: its records are not believed for now"
            );
            self.doubts.raise_in_any_case();
        } else if identity.empty {
            self.doubts.forget_unsettled();
        }
        self.doubts.raise("connection");
        if !same {
            self.doubts.close_leases();
        }
        state.last = Some(identity.clone());
        state.reads = Some(identity);
        state.connections += 1;
        state.connections
    }

    /// The run of the server that is read; `None` while none is, or when an ACL hides it.
    pub(super) fn run(&self) -> Option<String> {
        self.state.lock().reads.as_ref()?.run.clone()
    }

    /// Nothing is read any more. Others may read another server by now, of whose changes nobody tells here: no copy is
    /// served by the lease until it is known again who is read.
    pub(super) fn reads_lost(&self) {
        self.state.lock().reads = None;
        self.doubts.raise("reads lost");
    }

    /// Whether records of the server that is read may be old.
    pub(super) fn is_doubtful(&self) -> bool {
        self.doubts.is_doubtful()
    }

    /// Opens the lease for a line to the server `tracked`, if that is the one that is read. Answers `None` else; a
    /// reading connection to another server is told to connect again.
    pub(super) fn open<T>(&self, tracked: &Identity, open: impl FnOnce() -> Option<T>) -> Option<T> {
        let state = self.state.lock();
        let reads = state.reads.as_ref()?;
        if reads.run != tracked.run || tracked.run.is_none() {
            self.elsewhere.notify_one();
            return None;
        }
        open()
    }

    /// Returns when the reading connection leads to another server than the one that reports changes.
    pub(super) async fn elsewhere(&self) {
        self.elsewhere.notified().await;
    }
}

/// Asks a server who it is. One that is still loading its data fails: it is neither empty nor full.
pub(super) async fn identify(connection: &MultiplexedConnection) -> Result<Identity, RedisError> {
    let mut commands = Pipeline::new();
    commands.cmd("INFO").arg("server");
    commands.cmd("INFO").arg("replication");
    commands.cmd("DBSIZE");
    let values = connection.clone().send_packed_commands(&commands, 0, 3).await?;
    read_identity(&values)
}

/// The identity out of the answers to `INFO server`, `INFO replication` and `DBSIZE`.
pub(super) fn read_identity(values: &[Value]) -> Result<Identity, RedisError> {
    for value in values {
        if let Value::ServerError(error) = value
            && matches!(error.code(), "LOADING" | "MASTERDOWN" | "BUSY")
        {
            return Err(error.clone().into());
        }
    }
    let field = |value: Option<&Value>, name: &str| {
        let text = String::from_utf8_lossy(bytes_of(value?)?).into_owned();
        text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned))
    };
    Ok(Identity {
        run: field(values.first(), "run_id:").filter(|run| !run.is_empty()),
        primary: field(values.get(1), "role:").is_some_and(|role| role == "master"),
        empty: values.get(2) == Some(&Value::Int(0)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(run: &str, empty: bool) -> Identity {
        Identity { run: Some(run.to_owned()), primary: true, empty }
    }

    #[test]
    fn a_server_that_was_replaced_is_doubted_until_an_empty_one_comes() {
        let instance = Instance::default();
        instance.reads_from(server("a", false), "");
        instance.reads_lost();
        instance.reads_from(server("a", false), "");
        assert!(!instance.is_doubtful(), "the same run");
        instance.reads_from(server("b", false), "");
        assert!(instance.is_doubtful(), "another run with data in it");
        instance.reads_from(server("b", false), "");
        instance.reads_from(server("a", false), "");
        assert!(instance.is_doubtful(), "it may have missed what was written meanwhile");
        instance.reads_from(server("c", true), "");
        assert!(!instance.is_doubtful(), "nothing in it is old");
        let hidden = Identity { run: None, ..server("", false) };
        instance.reads_from(hidden, "");
        assert!(instance.is_doubtful(), "it does not say who it is");
    }

    #[test]
    fn whoever_reads_nothing_holds_the_lease() {
        let instance = Instance::default();
        let lease = Arc::new(Lease::closed(std::time::Duration::from_millis(100)));
        instance.follow(Arc::clone(&lease));
        instance.doubts().keep();
        instance.reads_from(server("a", false), "");
        let settle = || instance.doubts().settle(instance.doubts().current().unwrap());
        assert!(settle());
        instance.reads_lost();
        assert!(instance.is_doubtful());
        // A pass that began before settles nothing of it once the same server is read again.
        let before = instance.doubts().current().unwrap();
        instance.reads_from(server("a", false), "");
        assert!(!instance.doubts().settle(before));
        assert!(settle());
    }

    #[test]
    fn a_lease_opens_only_on_the_server_that_is_read() {
        let instance = Instance::default();
        let open = |tracked| instance.open(&tracked, || Some(())).is_some();
        assert!(!open(server("a", true)), "nothing is read");
        instance.reads_from(server("a", true), "");
        assert!(open(server("a", true)));
        assert!(!open(server("b", true)));
        assert!(!open(Identity { run: None, ..server("", true) }));
    }
}
