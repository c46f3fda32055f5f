//! Runs of the load tester, and targets other than mynah.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::{Ended, Folder, PATIENCE, Server};

/// A running load tester.
pub(crate) struct LoadTester {
    process: Server,
}

impl LoadTester {
    /// Starts the load tester with `args`, separated by blanks.
    pub(crate) fn start(args: &str) -> LoadTester {
        LoadTester::spawn(Command::new(env!("CARGO_BIN_EXE_mynah-load")).args(args.split(' ')))
    }

    /// Starts `command`, which runs the load tester.
    pub(crate) fn spawn(command: &mut Command) -> LoadTester {
        LoadTester { process: Server::spawn(command, Stdio::piped()) }
    }

    /// Waits until the run is in `phase`.
    #[track_caller]
    pub(crate) fn wait_for_phase(&self, phase: &str) {
        self.process.wait_for(phase, |line| line.starts_with(&format!("{phase} 0")));
    }

    /// Waits for a line of standard error that has `text`.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        self.process.wait_for_line(text)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// How many descriptors it has open.
    #[cfg(feature = "unix")]
    pub(crate) fn open_files(&self) -> usize {
        self.process.open_files()
    }

    /// Waits until the run ends.
    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let code = self.process.wait_exit().code();
        let stderr = self.process.log().join("\n");
        Ended { code, stdout: self.process.stdout(), stderr }
    }
}

/// Runs the load tester with `args`, separated by blanks, to its end.
#[track_caller]
pub(crate) fn run_tester(args: &str) -> Ended {
    LoadTester::start(args).end()
}

/// Runs the load tester under the limits of a shell.
#[track_caller]
pub(crate) fn run_tester_under(ulimit: &str, args: &str) -> Ended {
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("{ulimit} && exec \"$0\" \"$@\""));
    shell.arg(env!("CARGO_BIN_EXE_mynah-load")).args(args.split(' '));
    LoadTester::spawn(&mut shell).end()
}

/// Checks that a run with `args` ends before the first connect, for `reason`.
#[track_caller]
pub(crate) fn assert_cannot_start(args: &str, reason: &str) {
    let target = TcpTarget::listen();
    let idle = format!("idle --target {} --connections 1 --hold 0 {args}", target.url("tcp"));
    let ended = run_tester(&idle);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let reason = format!("mynah-load: {reason}");
    assert_eq!(ended.stderr.lines().last(), Some(reason.as_str()));
}

/// A running load tester that writes its report as JSON.
pub(crate) struct RunWithReport {
    pub(crate) tester: LoadTester,
    folder: Folder,
}

impl RunWithReport {
    pub(crate) fn start(args: &str) -> RunWithReport {
        let folder = Folder::new();
        let args = format!("{args} --json {}", folder.path("report.json"));
        RunWithReport { tester: LoadTester::start(&args), folder }
    }

    /// Waits until the run ends. Returns the report too.
    #[track_caller]
    pub(crate) fn end(self) -> (Ended, Value) {
        let ended = self.tester.end();
        let text = std::fs::read_to_string(self.folder.path("report.json"));
        let text = text.unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        (ended, serde_json::from_str(&text).unwrap())
    }
}

/// Runs the load tester with `args` to its end. Returns the report too.
#[track_caller]
pub(crate) fn run_with_report(args: &str) -> (Ended, Value) {
    RunWithReport::start(args).end()
}

/// `protocol://ADDRESS` of the server's first listener.
pub(crate) fn url(protocol: &str, server: &Server) -> String {
    format!("{protocol}://{}", server.addr(0))
}

/// A server with one listener of `protocol`.
#[track_caller]
pub(crate) fn server(protocol: &str) -> Server {
    Server::start(&["-l", &format!("{protocol}://127.0.0.1:0")])
}

/// A listener whose connections the test handles itself.
pub(crate) struct TcpTarget {
    pub(crate) addr: SocketAddr,
    connections: Receiver<TcpStream>,
}

impl TcpTarget {
    pub(crate) fn listen() -> TcpTarget {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::channel();
        thread::spawn(move || {
            // The test has the receiver, so this ends with the test.
            while let Ok((stream, _)) = listener.accept() {
                if sender.send(stream).is_err() {
                    break;
                }
            }
        });
        TcpTarget { addr, connections }
    }

    /// The next `count` connections.
    pub(crate) fn accept(&self, count: usize) -> Vec<TcpStream> {
        (0..count).map(|_| self.connections.recv_timeout(PATIENCE).unwrap()).collect()
    }

    /// Handles each connection in a thread of its own.
    pub(crate) fn serve(serve: fn(TcpStream)) -> SocketAddr {
        let TcpTarget { addr, connections } = TcpTarget::listen();
        thread::spawn(move || {
            for stream in connections {
                thread::spawn(move || serve(stream));
            }
        });
        addr
    }

    pub(crate) fn url(&self, protocol: &str) -> String {
        format!("{protocol}://{}", self.addr)
    }
}

/// Has the connection close with a reset.
pub(crate) fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

/// An address without a listener.
pub(crate) fn closed_addr() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends bytes to a peer that may have closed. Returns whether it took them.
pub(crate) fn try_send(mut stream: &TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}
