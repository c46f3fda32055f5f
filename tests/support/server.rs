//! The server as a child process.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use super::client::new_socket;
use super::{Client, Folder, KernelSocket, PATIENCE, wait_until};

/// The binary, without arguments.
pub(crate) fn mynah() -> Command {
    Command::new(env!("CARGO_BIN_EXE_mynah"))
}

/// The binary, started by a shell that first runs `ulimits`.
pub(crate) fn mynah_under(ulimits: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{ulimits} && exec \"$0\" \"$@\""))
        .arg(env!("CARGO_BIN_EXE_mynah"));
    shell
}

/// Status and output of a program that ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the binary to its end; one that goes on running is a failure.
#[track_caller]
pub(crate) fn run(args: &[&str]) -> Ended {
    let mut server = Server::spawn(mynah().args(args), Stdio::piped());
    let code = server.wait_exit().code();
    Ended { code, stdout: server.stdout(), stderr: server.log().join("\n") }
}

/// A running server, killed when it goes out of scope.
pub(crate) struct Server {
    child: Child,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    addrs: Vec<SocketAddr>,
    /// Numbers of the listeners with TLS.
    #[cfg(feature = "tls")]
    tls_listeners: Vec<usize>,
    /// Its certificate, for its clients; without, they are plain.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<super::tls::Identity>,
}

/// Lines the server has written to its standard error so far.
#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Server {
    /// A server with one `command` listener and the options `args`.
    #[track_caller]
    pub(crate) fn command(args: &[&str]) -> Server {
        Server::start(&[&["-l", "command://127.0.0.1:0"], args].concat())
    }

    /// A server with `args`, waited for until each listener among them listens.
    #[track_caller]
    pub(crate) fn start(args: &[&str]) -> Server {
        let listens = |arg: &&&str| matches!(**arg, "-l" | "--listen");
        let listeners = args.iter().filter(listens).count();
        Server::start_as(mynah().args(args), listeners)
    }

    /// The server `command` starts, waited for until `listeners` listeners are announced.
    #[track_caller]
    pub(crate) fn start_as(command: &mut Command, listeners: usize) -> Server {
        let mut server = Server::spawn(command, Stdio::null());
        let mut seen = 0;
        server.wait_for("the listeners", |line| {
            seen += usize::from(line.contains(" listening on "));
            seen == listeners
        });
        for line in server.log() {
            let Some((_, url)) = line.split_once(" listening on ") else { continue };
            // Who asked for a Unix socket knows its path.
            if url.contains("+unix://") {
                continue;
            }
            #[cfg(feature = "tls")]
            if url.contains("+tls://") {
                server.tls_listeners.push(server.addrs.len());
            }
            server.addrs.push(socket_addr(url));
        }
        server
    }

    /// A server with one listener of `protocol` on the Unix socket `s` in `folder`, and the options
    /// `args`.
    #[track_caller]
    pub(crate) fn unix(protocol: &str, folder: &Folder, args: &[&str]) -> Server {
        let url = format!("{protocol}+unix://{}", folder.path("s"));
        Server::start(&[&["-l", &url], args].concat())
    }

    /// A running server whose standard error is a pipe that nobody reads.
    #[track_caller]
    pub(crate) fn unheard(args: &[&str]) -> Server {
        let mut command = mynah();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let mut server = Server::of(child);
        wait_until("it listens", || {
            server.addrs.extend(KernelSocket::listening(&server));
            !server.addrs.is_empty()
        });
        server
    }

    /// Starts `command` and waits for nothing.
    pub(crate) fn spawn(command: &mut Command, stdout: Stdio) -> Server {
        Server::spawn_with(command, Stdio::null(), stdout)
    }

    /// Starts `command` with something else than nothing on its standard input.
    pub(crate) fn spawn_with(command: &mut Command, stdin: Stdio, stdout: Stdio) -> Server {
        let mut child = command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                writer.lines.lock().unwrap().push(line);
                writer.grown.notify_all();
            }
        });
        let mut server = Server::of(child);
        (server.log, server.reader) = (log, Some(reader));
        server
    }

    fn of(child: Child) -> Server {
        Server {
            child,
            log: Arc::default(),
            reader: None,
            addrs: Vec::new(),
            #[cfg(feature = "tls")]
            tls_listeners: Vec::new(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// The address of the listener announced as number `index`.
    pub(crate) fn addr(&self, index: usize) -> SocketAddr {
        self.addrs[index]
    }

    /// A client of the first listener.
    #[track_caller]
    pub(crate) fn connect(&self) -> Client {
        self.connect_to(0)
    }

    /// A client of the listener announced as number `index`.
    #[track_caller]
    pub(crate) fn connect_to(&self, index: usize) -> Client {
        self.over_transport(index, Client::connect(self.addr(index)))
    }

    /// A new client of listener `index` after its handshake, where there is one.
    #[track_caller]
    #[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "all are plain"))]
    fn over_transport(&self, index: usize, client: Client) -> Client {
        #[cfg(feature = "tls")]
        if let Some(identity) = &self.tls
            && self.tls_listeners.contains(&index)
        {
            return client.with_tls(identity.client());
        }
        client
    }

    /// A client whose kernel takes little that it does not read.
    #[track_caller]
    pub(crate) fn connect_with_small_buffer(&self) -> Client {
        let socket = new_socket();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect_timeout(&self.addr(0).into(), PATIENCE).unwrap();
        self.over_transport(0, Client::new(socket.into()))
    }

    /// A client that comes from a loopback address of its own choice, so that tens of thousands
    /// in a row do not run out of ports.
    #[track_caller]
    pub(crate) fn connect_from(&self, source: [u8; 4]) -> Client {
        let socket = new_socket();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&self.addr(0).into(), PATIENCE).unwrap();
        self.over_transport(0, Client::new(socket.into()))
    }

    /// Standard output of an ended server, where that was piped.
    pub(crate) fn stdout(&mut self) -> String {
        let mut text = String::new();
        let mut pipe = self.child.stdout.take().unwrap();
        pipe.read_to_string(&mut text).unwrap();
        text
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines on standard error so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lines.lock().unwrap().clone()
    }

    /// Waits for a log line that contains `text`, and returns it.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        self.wait_for(text, |line| line.contains(text))
    }

    /// Waits until `wanted` is true of a line; it is shown each line once, in order.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, mut wanted: impl FnMut(&str) -> bool) -> String {
        let started_at = Instant::now();
        let mut seen = 0;
        let mut lines = self.log.lines.lock().unwrap();
        loop {
            for line in &lines[seen..] {
                if wanted(line) {
                    return line.clone();
                }
            }
            seen = lines.len();
            let left = PATIENCE.saturating_sub(started_at.elapsed());
            if left.is_zero() {
                drop(lines);
                panic!("the log never said: {what}");
            }
            lines = self.log.grown.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// How many log lines so far contain `text`.
    pub(crate) fn count_lines(&self, text: &str) -> usize {
        let lines = self.log();
        lines.iter().filter(|line| line.contains(text)).count()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap());
        signal::kill(pid, signal).unwrap();
    }

    /// Stops the process, not the service: what clients send waits in the kernel until
    /// [`thaw`](Self::thaw).
    #[track_caller]
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        wait_until("the process is stopped", || {
            let stat = fs::read_to_string(self.proc("stat")).unwrap();
            let (_, after_name) = stat.rsplit_once(") ").unwrap();
            after_name.starts_with('T')
        });
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    /// Waits until `bytes` bytes of `client` wait in the server's kernel, unread.
    #[track_caller]
    pub(crate) fn wait_until_unread(&self, client: &Client, bytes: usize) {
        wait_until("the bytes are in the server's queue", || {
            KernelSocket::serving(self.addr(0), client).is_some_and(|s| s.unread == bytes)
        });
    }

    /// Waits for the process to end, and for the last line of its log.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the server exits", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        status.unwrap()
    }

    /// Asks for an orderly stop and returns the exit code.
    #[track_caller]
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal(Signal::SIGTERM);
        self.wait_exit().code()
    }

    /// How long its loop has been on a processor (`schedstat` of its main thread).
    pub(crate) fn processor_time(&self) -> Duration {
        let text = fs::read_to_string(self.proc("schedstat")).unwrap();
        Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
    }

    /// A figure of proc_pid_status(5) that is a size, in bytes.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find(|line| line.split(':').next() == Some(field));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    /// How many descriptors it has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// A file of the process in proc(5).
    pub(crate) fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.pid().to_string()).join(file)
    }
}

/// The address behind `PROTOCOL://HOST:PORT`: of a name the first, of all addresses 127.0.0.1.
fn socket_addr(url: &str) -> SocketAddr {
    let (_, authority) = url.split_once("://").unwrap();
    let authority = match authority.strip_prefix(':') {
        Some(port) => format!("127.0.0.1:{port}"),
        None => authority.to_owned(),
    };
    authority.to_socket_addrs().unwrap().next().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
        if thread::panicking() {
            eprintln!("the server's log:\n{}", self.log().join("\n"));
        }
    }
}
