//! Runs of the load tester, and targets that are not mynah.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use serde_json::Value;

use crate::support::{Ended, Folder, Server};

/// The load tester, without arguments.
pub(crate) fn tester() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mynah-load"))
}

/// A run under way.
pub(crate) struct Tester {
    process: Server,
}

impl Tester {
    pub(crate) fn start(command: &mut Command) -> Tester {
        Tester { process: Server::spawn(command, Stdio::piped()) }
    }

    /// Waits until the run is in `phase`.
    #[track_caller]
    pub(crate) fn wait_for_phase(&self, phase: &str) {
        self.process.wait_for(phase, |line| line.starts_with(&format!("{phase} 0")));
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        self.process.signal(signal);
    }

    #[track_caller]
    pub(crate) fn end(mut self) -> Ended {
        let code = self.process.wait_exit().code();
        let stderr = self.process.log().join("\n");
        Ended { code, stdout: self.process.stdout(), stderr }
    }
}

/// Runs the load tester with `args`, separated by blanks, to its end.
#[track_caller]
pub(crate) fn load(args: &str) -> Ended {
    Tester::start(tester().args(args.split(' '))).end()
}

/// A run under way that writes its figures.
pub(crate) struct Measured {
    pub(crate) run: Tester,
    folder: Folder,
}

impl Measured {
    pub(crate) fn start(args: &str) -> Measured {
        let folder = Folder::new();
        let args = format!("{args} --json {}", folder.path("figures.json"));
        Measured { run: Tester::start(tester().args(args.split(' '))), folder }
    }

    /// How it ended, and what it wrote.
    #[track_caller]
    pub(crate) fn end(self) -> (Ended, Value) {
        let ended = self.run.end();
        let text = std::fs::read_to_string(self.folder.path("figures.json"));
        let text = text.unwrap_or_else(|error| panic!("{error}: {ended:?}"));
        (ended, serde_json::from_str(&text).unwrap())
    }
}

/// Runs the load tester, and returns the figures it wrote beside how it ended.
#[track_caller]
pub(crate) fn figures(args: &str) -> (Ended, Value) {
    Measured::start(args).end()
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

/// A listener that hands out its connections, and knows nothing more.
pub(crate) struct Plain {
    pub(crate) addr: SocketAddr,
    connections: Receiver<TcpStream>,
}

impl Plain {
    pub(crate) fn listen() -> Plain {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, connections) = mpsc::channel();
        thread::spawn(move || {
            // Until the test, which has the other end, is over.
            while let Ok((stream, _)) = listener.accept() {
                if sender.send(stream).is_err() {
                    break;
                }
            }
        });
        Plain { addr, connections }
    }

    /// The next `count` connections.
    pub(crate) fn accept(&self, count: usize) -> Vec<TcpStream> {
        let patience = crate::support::PATIENCE;
        (0..count).map(|_| self.connections.recv_timeout(patience).unwrap()).collect()
    }

    /// Handles each connection in a thread of its own.
    pub(crate) fn serve(serve: fn(TcpStream)) -> SocketAddr {
        let Plain { addr, connections } = Plain::listen();
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

/// Closes with a reset.
pub(crate) fn reset(stream: &TcpStream) {
    socket2::SockRef::from(stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
}

/// An address where nobody listens.
pub(crate) fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Sends bytes that the peer may be past taking.
pub(crate) fn try_send(mut stream: &TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}
