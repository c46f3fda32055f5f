//! A server under measurement: started, watched through /proc, and ended.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

pub(crate) struct Subject {
    child: Child,
    pub(crate) port: u16,
}

impl Subject {
    /// mynah on processor 0, on a port the system picks.
    pub(crate) fn mynah() -> Self {
        let mut child = pinned(env!("CARGO_BIN_EXE_mynah"))
            .args(["--listen", "command://127.0.0.1:0"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("listening on")).unwrap();
        // Somebody has to read on, or the pipe fills.
        thread::spawn(move || lines.for_each(drop));
        let port = line.rsplit_once(':').unwrap().1.parse().unwrap();
        Subject { child, port }
    }

    /// The program named by `YARDSTICK`, on processor 0.
    pub(crate) fn yardstick() -> Option<Self> {
        let program = env::var("YARDSTICK").ok()?;
        let port = 17_002;
        let child = pinned(&program).arg(port.to_string()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "{program} does not listen on {port}");
            thread::yield_now();
        }
        Some(Subject { child, port })
    }

    /// Nanoseconds its main thread has spent on a processor (proc_pid_schedstat(5)).
    pub(crate) fn cpu_ns(&self) -> u64 {
        let path = format!("/proc/{0}/task/{0}/schedstat", self.child.id());
        let text = fs::read_to_string(path).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    }

    /// Resident memory and the anonymous part of it, in KiB.
    pub(crate) fn memory_kib(&self) -> (u64, u64) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let field = |name| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        (field("VmRSS"), field("RssAnon"))
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Moves this process to `processor`.
pub(crate) fn pin_self(processor: usize) {
    let own = std::process::id().to_string();
    let _ = Command::new("taskset")
        .args(["-pc", &processor.to_string(), &own])
        .stdout(Stdio::null())
        .status();
}

fn pinned(program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", program]).stdin(Stdio::null());
    command
}
