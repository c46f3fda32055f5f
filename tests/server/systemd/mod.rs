//! The server under a service manager, which these tests play: sockets that it passes, what it is
//! told, and the log as it reads it.

mod journal;
mod notify;
mod sockets;
mod units;
mod upgrade;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Folder, PATIENCE, Server};

/// A service manager: it passes sockets, and is told things.
struct Manager {
    folder: Folder,
    socket: UnixDatagram,
}

/// Moves standard input and output to the places of passed sockets, and becomes the server. Rust's
/// own ways to pass descriptors are unsafe, or pass them to every child of this process.
const ACTIVATE: &str = r#"export LISTEN_PID=$$; exec "$0" "$@" 3<&0 4>&1 </dev/null >/dev/null"#;

/// The server's command line, with the first two descriptors in the places of passed sockets.
fn activated(args: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", ACTIVATE, env!("CARGO_BIN_EXE_mynah")]).args(args);
    command
}

impl Manager {
    fn new() -> Manager {
        let folder = Folder::new();
        let socket = UnixDatagram::bind(folder.path("notify")).unwrap();
        Manager { folder, socket }
    }

    /// Starts a server with up to two passed sockets, by name.
    fn start(&self, args: &[&str], sockets: Vec<(&str, OwnedFd)>) -> Server {
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        let mut command = activated(args);
        command.env("NOTIFY_SOCKET", self.folder.path("notify"));
        command.env("LISTEN_FDS", sockets.len().to_string());
        command.env("LISTEN_FDNAMES", names.join(":"));
        spawn(&mut command, sockets.into_iter().map(|(_, socket)| socket).collect())
    }

    /// The next message.
    #[track_caller]
    fn told(&self) -> String {
        self.told_within(PATIENCE).expect("the service manager was told nothing")
    }

    /// The message that comes within `time`, if any.
    fn told_within(&self, time: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(time)).unwrap();
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..len].to_vec()).unwrap())
    }

    /// Waits until it is told something that has `state`, and returns all that came before.
    #[track_caller]
    fn wait_for(&self, state: &str) -> Vec<String> {
        let (started_at, mut before) = (Instant::now(), Vec::new());
        loop {
            assert!(started_at.elapsed() < PATIENCE, "never told {state}, but {before:?}");
            let told = self.told();
            if told.lines().any(|line| line.starts_with(state)) {
                return before;
            }
            before.push(told);
        }
    }
}

/// Starts `command` with up to two descriptors in the places of passed sockets.
fn spawn(command: &mut Command, sockets: Vec<OwnedFd>) -> Server {
    let mut sockets = sockets.into_iter();
    let mut next = || Stdio::from(sockets.next().unwrap_or_else(|| null().into()));
    Server::spawn_with(command, next(), next())
}

fn null() -> File {
    File::options().read(true).write(true).open("/dev/null").unwrap()
}
