//! A server as a child process on its processor: memory and times from /proc.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Ticks of /proc times a second (proc_pid_stat(5)): the kernel's USER_HZ.
const TICKS_PER_SEC: f64 = 100.0;

pub(crate) struct Process {
    child: Child,
    pub(crate) addr: SocketAddr,
}

/// User and system time, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    user: f64,
    system: f64,
}

impl Times {
    pub(crate) fn since(self, before: Times) -> (f64, f64) {
        (self.user - before.user, self.system - before.system)
    }
}

impl Process {
    /// Starts `command`, which logs `listening on …//ADDR`, and waits for that line.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = spawn(command.stderr(Stdio::piped()));
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("listening on")).unwrap();
        // Reads on, or the pipe fills and the server blocks.
        thread::spawn(move || lines.for_each(drop));
        Process { child, addr: line.rsplit_once('/').unwrap().1.parse().unwrap() }
    }

    /// Starts `command`, and waits until it listens on `addr`.
    pub(crate) fn start_at(addr: SocketAddr, command: &mut Command) -> Self {
        let child = spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
        while std::net::TcpStream::connect(addr).is_err() {
            thread::sleep(Duration::from_millis(10));
        }
        Process { child, addr }
    }

    /// Waits until a server has done what it does when it has nothing to do.
    pub(crate) fn settle(&self) {
        thread::sleep(Duration::from_millis(1500));
    }

    pub(crate) fn times(&self) -> Times {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let secs = |at: usize| fields[at].parse::<f64>().unwrap() / TICKS_PER_SEC;
        Times { user: secs(11), system: secs(12) }
    }

    /// Resident memory without a file behind it, in bytes, of the process and its children.
    pub(crate) fn anonymous_bytes(&self) -> u64 {
        let id = self.child.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let children = children.split_whitespace().map(|id| id.parse().unwrap());
        std::iter::once(id).chain(children).map(anonymous_bytes_of).sum()
    }
}

fn anonymous_bytes_of(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A child inherits its parent's processors (sched_setaffinity(2)).
fn spawn(command: &mut Command) -> Child {
    pin_to(0);
    let child = command.stdin(Stdio::null()).spawn().unwrap();
    pin_to_load_processor();
    child
}

pub(crate) fn pin_to_load_processor() {
    pin_to(1);
}

fn pin_to(processor: usize) {
    let mut set = CpuSet::new();
    // On a machine with one processor all share it.
    let _ = set.set(processor).is_ok() && sched_setaffinity(Pid::from_raw(0), &set).is_ok();
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = nix::sys::signal::kill(
            Pid::from_raw(self.child.id() as i32),
            nix::sys::signal::Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}
