//! A proxy or server as a process of its own: started, asked for its CPU time and memory, ended with the program.

use std::fs::{read_dir, read_to_string};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::Failure;

/// Kernel clock ticks a second, in which `/proc` counts CPU time (`CLK_TCK`, 100 on every Linux of today).
const TICKS: f64 = 100.0;

/// A child that is killed when it is dropped, and all below it: nginx's workers outlive a master that was killed.
pub(super) struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        for process in tree(self.id()).unwrap_or_default() {
            if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                let _ = kill_process(process, Signal::KILL);
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    /// Starts `command` and waits until something listens on `address`.
    pub(super) fn start(command: &mut Command, address: SocketAddr) -> Result<Self, Failure> {
        let mut process = Self(command.spawn().map_err(|error| format!("{command:?}: {error}"))?);
        for _ in 0..3000 {
            if TcpStream::connect(address).is_ok() {
                return Ok(process);
            }
            if let Some(status) = process.0.try_wait()? {
                return Err(format!("{command:?} ended with {status}").into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("nothing listens on {address}").into())
    }

    pub(super) fn id(&self) -> u32 {
        self.0.id()
    }

    /// utime + stime of the process and its children, all their threads (proc(5), fields 14 and 15).
    pub(super) fn cpu_seconds(&self) -> Result<f64, Failure> {
        let mut sum = 0.0;
        for process in tree(self.id())? {
            let stat = read_to_string(format!("/proc/{process}/stat"))?;
            let fields: Vec<&str> = stat.rsplit_once(") ").ok_or("unreadable stat")?.1.split(' ').collect();
            sum += fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
        }
        Ok(sum / TICKS)
    }
}

/// A process and all below it.
fn tree(root: u32) -> Result<Vec<u32>, Failure> {
    let mut all = vec![root];
    let mut next = 0;
    while let Some(process) = all.get(next) {
        for thread in read_dir(format!("/proc/{process}/task"))? {
            let children = read_to_string(thread?.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        next += 1;
    }
    Ok(all)
}

/// An address that nobody listens on.
pub(super) fn free_address() -> Result<SocketAddr, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
