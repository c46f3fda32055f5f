//! The server program as a child process, for benchmarks of mynah alone.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::thread;

/// A running server, killed when it goes out of scope.
pub(crate) struct MynahProcess {
    pub(crate) child: Child,
    pub(crate) addr: SocketAddr,
}

impl MynahProcess {
    /// Starts `command`, a server with one listener, and waits until it listens.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("listening on")).unwrap();
        // Reads on, or the pipe fills and the server blocks.
        thread::spawn(move || lines.for_each(drop));
        MynahProcess { child, addr: line.rsplit_once('/').unwrap().1.parse().unwrap() }
    }
}

impl Drop for MynahProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
