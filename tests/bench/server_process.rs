//! The process of a measured server: start on its processor, memory and times from /proc, end.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::protocol::WireProtocol;

/// Processors of the servers and of the load.
const SERVER_PROCESSOR: usize = 0;
const LOAD_PROCESSOR: usize = 1;

const START_MAX: Duration = Duration::from_secs(10);

pub(crate) struct ServerProcess {
    pub(crate) name: &'static str,
    pub(crate) protocol: WireProtocol,
    pub(crate) addr: SocketAddr,
    child: Child,
}

/// Time on a processor, and time ready to run while the processor was taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CpuTimes {
    ran_ns: u64,
    waited_ns: u64,
}

impl CpuTimes {
    pub(crate) fn since(self, before: CpuTimes) -> (u64, u64) {
        (self.ran_ns.saturating_sub(before.ran_ns), self.waited_ns.saturating_sub(before.waited_ns))
    }
}

impl ServerProcess {
    /// Starts `command`, and waits until it listens on `addr`.
    pub(crate) fn start(
        name: &'static str,
        protocol: WireProtocol,
        addr: SocketAddr,
        command: &mut Command,
    ) -> Self {
        // A child inherits its parent's processors (sched_setaffinity(2)).
        pin_to(SERVER_PROCESSOR);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        pin_to(LOAD_PROCESSOR);
        let mut process = ServerProcess { name, protocol, addr, child };
        let deadline = Instant::now() + START_MAX;
        while TcpStream::connect(addr).is_err() {
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended at once: {command:?}");
            assert!(Instant::now() < deadline, "{name} does not listen on {addr}");
            thread::sleep(Duration::from_millis(5));
        }
        process
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Processor times of all its threads so far (proc_pid_schedstat(5)).
    pub(crate) fn cpu_times(&self) -> CpuTimes {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let mut times = CpuTimes { ran_ns: 0, waited_ns: 0 };
        for task in tasks.flatten() {
            // A thread may have ended.
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let mut fields = text.split(' ').map(|field| field.parse::<u64>().unwrap_or(0));
            times.ran_ns += fields.next().unwrap_or(0);
            times.waited_ns += fields.next().unwrap_or(0);
        }
        times
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    /// Resident memory without a file behind it, in bytes: heap and stacks.
    pub(crate) fn anonymous_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:")
    }

    fn status_bytes(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Moves this process to the processor of the load. False on a machine with one processor.
pub(crate) fn pin_to_load_processor() -> bool {
    pin_to(LOAD_PROCESSOR)
}

fn pin_to(processor: usize) -> bool {
    let mut set = CpuSet::new();
    set.set(processor).is_ok() && sched_setaffinity(Pid::from_raw(0), &set).is_ok()
}

/// A loopback address without a listener.
pub(crate) fn free_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
