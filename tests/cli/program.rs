//! `mynah-cli` as a child process. Knows nothing of what its output should be.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::support::{PATIENCE, wait_until};

/// The path of the binary.
pub(crate) const CLIENT: &str = env!("CARGO_BIN_EXE_mynah-cli");

/// An address that refuses connections for as long as a test runs: the system never picks port 1.
pub(crate) fn closed_addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

/// The client with the server `addr` and the arguments `args`.
pub(crate) fn client_command(addr: SocketAddr, args: &[&str]) -> Command {
    let mut command = Command::new(CLIENT);
    command.args(["-H", &addr.ip().to_string(), "-p", &addr.port().to_string()]).args(args);
    command.env_remove("HOME");
    command
}

/// The exit status and the output of a client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ExitResult {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl ExitResult {
    /// Status 0, `stdout`, and nothing on standard error.
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

    /// Status 1, no output, and nothing but `reason` on standard error.
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

/// Runs a client to its end, with `stdin` as its whole input.
#[track_caller]
pub(crate) fn run_with_input(addr: SocketAddr, args: &[&str], stdin: &[u8]) -> ExitResult {
    let mut running = RunningClient::spawn(&mut client_command(addr, args));
    running.write_input(stdin);
    running.close_input();
    running.wait()
}

/// Runs a client to its end, without input.
#[track_caller]
pub(crate) fn run(addr: SocketAddr, args: &[&str]) -> ExitResult {
    run_with_input(addr, args, b"")
}

/// Runs a client without a server's address to its end.
#[track_caller]
pub(crate) fn run_args(args: &[&str]) -> ExitResult {
    RunningClient::spawn(Command::new(CLIENT).args(args).env_remove("HOME")).wait()
}

/// A running client, killed when dropped.
pub(crate) struct RunningClient {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<PipeOutput>,
    stderr: Arc<PipeOutput>,
    readers: Vec<JoinHandle<()>>,
}

/// The bytes that have come out of a pipe so far.
#[derive(Default)]
struct PipeOutput {
    bytes: Mutex<Vec<u8>>,
    grown: Condvar,
}

impl PipeOutput {
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
    /// Starts `command` with pipes for input and output.
    #[track_caller]
    pub(crate) fn spawn(command: &mut Command) -> RunningClient {
        RunningClient::spawn_with(command, Stdio::piped(), Stdio::piped())
    }

    /// Starts `command` with the given input and output; output is collected where it is a pipe.
    #[track_caller]
    pub(crate) fn spawn_with(
        command: &mut Command,
        stdin: impl Into<Stdio>,
        stdout: impl Into<Stdio>,
    ) -> RunningClient {
        let mut child = command.stdin(stdin).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let (stdout, stderr) = (Arc::<PipeOutput>::default(), Arc::<PipeOutput>::default());
        let mut readers = vec![stderr.collect(child.stderr.take().unwrap())];
        readers.extend(child.stdout.take().map(|pipe| stdout.collect(pipe)));
        let stdin = child.stdin.take();
        RunningClient { child, stdin, stdout, stderr, readers }
    }

    /// Writes input. The client may have closed it: an error is ignored.
    pub(crate) fn write_input(&mut self, bytes: &[u8]) {
        let _ = self.stdin.as_mut().unwrap().write_all(bytes);
    }

    pub(crate) fn close_input(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until standard output contains `text`.
    #[track_caller]
    pub(crate) fn expect(&self, text: &str) {
        let started_at = Instant::now();
        let mut bytes = self.stdout.bytes.lock().unwrap();
        while !String::from_utf8_lossy(&bytes).contains(text) {
            let left = PATIENCE.saturating_sub(started_at.elapsed());
            if left.is_zero() {
                let output = String::from_utf8_lossy(&bytes).into_owned();
                drop(bytes);
                panic!("waited for {text:?}, got {output:?} and {:?}", self.stderr.text());
            }
            bytes = self.stdout.grown.wait_timeout(bytes, left).unwrap().0;
        }
    }

    /// Waits for the client to end.
    #[track_caller]
    pub(crate) fn wait(self) -> ExitResult {
        self.wait_with(|_pid| {})
    }

    /// Waits for the client to end, and calls `observe` with its process ID now and then until it does.
    #[track_caller]
    pub(crate) fn wait_with(mut self, mut observe: impl FnMut(u32)) -> ExitResult {
        let mut status = None;
        wait_until("the client ends", || {
            observe(self.child.id());
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
