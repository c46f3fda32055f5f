//! `mynah-cli` as a child process, and servers that do what a test says. Knows nothing of what the
//! answers should be.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::support::{PATIENCE, wait_until};

/// An address at which nobody listens, now or in a moment: its port is none the system picks.
pub(crate) fn closed_addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 9], 1))
}

/// The client with `args`, which is to talk to `addr`.
pub(crate) fn client_command(addr: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mynah-cli"));
    command.args(["-H", &addr.ip().to_string(), "-p", &addr.port().to_string()]).args(args);
    command.env_remove("HOME");
    command
}

/// What a client that ended left behind.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExitResult {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl ExitResult {
    /// It was answered, with `stdout` and not a word on standard error.
    #[track_caller]
    pub(crate) fn assert_reply(&self, stdout: impl AsRef<[u8]>) {
        let stdout = stdout.as_ref();
        assert!(
            (self.code, &*self.stdout, &*self.stderr) == (Some(0), stdout, ""),
            "{:?} {}\ninstead of {}",
            self.code,
            self.excerpt(),
            stdout[..stdout.len().min(200)].escape_ascii()
        );
    }

    /// It failed, with nothing but `why` on standard error.
    #[track_caller]
    pub(crate) fn assert_error(&self, reason: &str) {
        let stderr = format!("mynah-cli: {reason}\n");
        assert!(
            (self.code, self.stdout.len(), &self.stderr) == (Some(1), 0, &stderr),
            "{:?} {}\ninstead of {stderr}",
            self.code,
            self.excerpt()
        );
    }

    fn excerpt(&self) -> String {
        let stdout = &self.stdout[..self.stdout.len().min(200)];
        format!("{} bytes {}\n{}", self.stdout.len(), stdout.escape_ascii(), self.stderr)
    }
}

/// Runs a client to its end; `stdin` is all it is given.
#[track_caller]
pub(crate) fn run_with_input(addr: SocketAddr, args: &[&str], stdin: &[u8]) -> ExitResult {
    let mut running = RunningClient::spawn(&mut client_command(addr, args));
    running.write_input(stdin);
    running.close_input();
    running.wait()
}

/// Runs a client to its end.
#[track_caller]
pub(crate) fn run(addr: SocketAddr, args: &[&str]) -> ExitResult {
    run_with_input(addr, args, b"")
}

/// A client that runs, killed when it goes out of scope.
pub(crate) struct RunningClient {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<Stream>,
    stderr: Arc<Stream>,
    readers: Vec<JoinHandle<()>>,
}

/// What has come out of it so far.
#[derive(Default)]
struct Stream {
    bytes: Mutex<Vec<u8>>,
    grown: Condvar,
}

impl Stream {
    fn collect(self: &Arc<Self>, mut pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let stream = Arc::clone(self);
        thread::spawn(move || {
            let mut chunk = [0; 1 << 16];
            while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                stream.bytes.lock().unwrap().extend(&chunk[..n]);
                stream.grown.notify_all();
            }
        })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().unwrap()).into_owned()
    }
}

impl RunningClient {
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command) -> RunningClient {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (stdout, stderr) = (Arc::<Stream>::default(), Arc::<Stream>::default());
        let readers = vec![
            stdout.collect(child.stdout.take().unwrap()),
            stderr.collect(child.stderr.take().unwrap()),
        ];
        let stdin = child.stdin.take();
        RunningClient { child, stdin, stdout, stderr, readers }
    }

    /// Gives it more input; it may be past taking it.
    pub(crate) fn write_input(&mut self, bytes: &[u8]) {
        let _ = self.stdin.as_mut().unwrap().write_all(bytes);
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until its output contains `text`.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str) {
        let started_at = Instant::now();
        let mut bytes = self.stdout.bytes.lock().unwrap();
        while !String::from_utf8_lossy(&bytes).contains(text) {
            let left = PATIENCE.saturating_sub(started_at.elapsed());
            if left.is_zero() {
                let said = String::from_utf8_lossy(&bytes).into_owned();
                drop(bytes);
                panic!("waited for {text:?}, and it said {said:?} and {:?}", self.stderr.text());
            }
            bytes = self.stdout.grown.wait_timeout(bytes, left).unwrap().0;
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> ExitResult {
        let mut status = None;
        wait_until("the client ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        for reader in self.readers.drain(..) {
            reader.join().unwrap();
        }
        let stdout = std::mem::take(&mut *self.stdout.bytes.lock().unwrap());
        ExitResult { code: status.unwrap().code(), stdout, stderr: self.stderr.text() }
    }
}

impl Drop for RunningClient {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a command whose output is not wanted as a stream, and waits for it.
#[track_caller]
pub(crate) fn output(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap()
}

/// A server that serves its clients one by one, each with the next of `handlers`.
pub(crate) struct MockServer {
    pub(crate) addr: SocketAddr,
    thread: Option<JoinHandle<()>>,
}

pub(crate) type Handler = Box<dyn FnOnce(TcpStream) + Send>;

impl MockServer {
    pub(crate) fn new(handler: impl FnOnce(TcpStream) + Send + 'static) -> MockServer {
        MockServer::with_handlers(vec![Box::new(handler)])
    }

    pub(crate) fn with_handlers(handlers: Vec<Handler>) -> MockServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            for handler in handlers {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                handler(stream);
            }
        });
        MockServer { addr, thread: Some(thread) }
    }

    /// One that reads `request` and answers `reply`, and then waits for the client to close.
    pub(crate) fn replying(request: &[u8], reply: &[u8]) -> MockServer {
        let (request, reply) = (request.to_vec(), reply.to_vec());
        MockServer::new(move |mut stream| {
            expect(&mut stream, &request);
            stream.write_all(&reply).unwrap();
            read_to_eof(&mut stream);
        })
    }

    /// One that reads nothing and says nothing until the sender is dropped.
    pub(crate) fn silent() -> (MockServer, Sender<()>) {
        let (sender, release) = mpsc::channel();
        let mock = MockServer::new(move |stream| {
            let _ = release.recv_timeout(PATIENCE);
            drop(stream);
        });
        (mock, sender)
    }

    /// All its handlers are over, and none has failed.
    #[track_caller]
    pub(crate) fn join(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Reads as many bytes as `expected` has, which they must equal.
pub(crate) fn expect(stream: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).unwrap();
    assert_eq!(got.escape_ascii().to_string(), expected.escape_ascii().to_string());
}

/// Reads until the client has closed, in whatever way.
pub(crate) fn read_to_eof(stream: &mut TcpStream) {
    let _ = io::copy(stream, &mut io::sink());
}
