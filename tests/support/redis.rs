//! A private redis-server: started, asked, stopped, frozen, killed and started again by one test.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use redis_protocol::resp2::decode::decode;
pub(crate) use redis_protocol::resp2::types::OwnedFrame as Value;

use super::proxy::Proxy;
use super::{Folder, PATIENCE, wait_until};

/// Set where a skipped test is a failure.
const REQUIRE: &str = "MYNAH_REQUIRE_REDIS";

/// A variable: what the engine says on a Unix socket is late by up to so many milliseconds, on every
/// second connection. So a test finds what it does not wait for.
const DELAY: &str = "MYNAH_REDIS_DELAY_MS";

/// A redis-server on a Unix socket, killed when it goes out of scope.
pub(crate) struct Redis {
    child: Child,
    folder: Folder,
    args: Vec<String>,
    port: u16,
    proxy: Option<Proxy>,
}

impl Redis {
    /// Starts one with further arguments, such as `--requirepass secret`. It listens on no port and
    /// saves nothing. `None` where redis-server is not installed: the test skips.
    #[must_use]
    pub(crate) fn start(args: &[&str]) -> Option<Redis> {
        Redis::start_on(0, args)
    }

    /// Starts one that listens on a free port of 127.0.0.1 as well.
    #[must_use]
    pub(crate) fn start_tcp(args: &[&str]) -> Option<Redis> {
        // The port may be taken before redis-server has it.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let redis = Redis::start_on(port, args)?;
            if !redis.has_ended_in_vain() {
                return Some(redis);
            }
        }
        panic!("redis-server found no free port");
    }

    fn start_on(port: u16, args: &[&str]) -> Option<Redis> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            // Past the test's captured output.
            let _ = writeln!(io::stderr(), "skipped: clusters over Redis, which is not installed");
            assert!(std::env::var_os(REQUIRE).is_none(), "{REQUIRE} is set");
            return None;
        }
        let folder = Folder::new();
        let socket = folder.path("redis.sock");
        let mut all: Vec<String> = ["--port", &port.to_string(), "--unixsocket", &socket]
            .into_iter()
            .chain(["--bind", "127.0.0.1", "--dir", &folder.path("")])
            .chain(["--save", "", "--appendonly", "no", "--logfile", &folder.path("redis.log")])
            .map(str::to_owned)
            .collect();
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let proxy = std::env::var(DELAY).ok().map(|delay_ms| {
            Proxy::start(folder.path("late.sock"), socket, delay_ms.parse().unwrap())
        });
        let mut redis = Redis { child: spawn(&folder, &all), folder, args: all, port, proxy };
        redis.wait_until_up();
        Some(redis)
    }

    /// The path of the Unix socket for nodes, which may be a proxy's.
    pub(crate) fn socket(&self) -> String {
        self.proxy.as_ref().map_or_else(|| self.own_socket(), |proxy| proxy.path.clone())
    }

    /// The path of its Unix socket.
    fn own_socket(&self) -> String {
        self.folder.path("redis.sock")
    }

    /// Its port, if it was started with one.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path("redis.log")).unwrap_or_default()
    }

    /// The folder with its socket, its log and its data.
    pub(crate) fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A connection to it.
    #[track_caller]
    pub(crate) fn connect(&self) -> RedisClient {
        RedisClient::new(UnixStream::connect(self.own_socket()).unwrap())
    }

    /// Asks one question on a connection of its own.
    #[track_caller]
    pub(crate) fn ask(&self, parts: &[&str]) -> Value {
        self.connect().ask(parts)
    }

    /// Asks one question whose answer must be OK.
    #[track_caller]
    pub(crate) fn set(&self, parts: &[&str]) {
        let answer = self.ask(parts);
        assert_eq!(answer, Value::SimpleString(b"OK".to_vec()), "{parts:?}");
    }

    /// Ends it as if the machine had lost power.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let _ = fs::remove_file(self.own_socket());
    }

    /// Starts it again after [`kill`](Self::kill): empty, unless its arguments make it save.
    #[track_caller]
    pub(crate) fn restart(&mut self) {
        self.restart_with(&[]);
    }

    /// Starts it again with further arguments, which stay.
    #[track_caller]
    pub(crate) fn restart_with(&mut self, args: &[&str]) {
        self.args.extend(args.iter().map(|arg| (*arg).to_owned()));
        self.child = spawn(&self.folder, &self.args);
        self.wait_until_up();
    }

    /// Stops the process: connections stay, and nothing is answered until [`thaw`](Self::thaw).
    pub(crate) fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let stat = format!("/proc/{}/stat", self.child.id());
        wait_until("redis-server is stopped", || {
            fs::read_to_string(&stat).unwrap().rsplit_once(") ").unwrap().1.starts_with('T')
        });
    }

    pub(crate) fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        signal::kill(pid, signal).unwrap();
    }

    /// Waits until it answers, if only that it is loading or that a password is missing.
    #[track_caller]
    fn wait_until_up(&mut self) {
        wait_until("redis-server answers", || {
            self.child.try_wait().unwrap().is_some()
                || UnixStream::connect(self.own_socket())
                    .is_ok_and(|stream| RedisClient::new(stream).try_ask(&["PING"]).is_some())
        });
        assert!(
            self.has_ended_in_vain() || self.child.try_wait().unwrap().is_none(),
            "{}",
            self.log()
        );
    }

    /// Whether it has ended because another process has its port.
    fn has_ended_in_vain(&self) -> bool {
        self.log().contains("Address already in use")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
    }
}

/// Starts it with these arguments in a file: as arguments, Redis 6 takes no values of several words.
fn spawn(folder: &Folder, args: &[String]) -> Child {
    let word = |arg: &String| match arg.strip_prefix("--") {
        Some(name) => format!("\n{name}"),
        None if arg.is_empty() => " \"\"".to_owned(),
        None => format!(" {arg}"),
    };
    let file = folder.file("redis.conf", &args.iter().map(word).collect::<String>());
    let mut command = Command::new("redis-server");
    command.arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// A blocking connection in RESP2.
pub(crate) struct RedisClient {
    stream: UnixStream,
    input: Vec<u8>,
}

impl RedisClient {
    fn new(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        RedisClient { stream, input: Vec::new() }
    }

    /// Asks a question, and returns the answer.
    #[track_caller]
    pub(crate) fn ask(&mut self, parts: &[&str]) -> Value {
        self.try_ask(parts).expect("redis-server answers")
    }

    fn try_ask(&mut self, parts: &[&str]) -> Option<Value> {
        let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
        self.send(&parts).ok()?;
        self.try_receive()
    }

    /// Asks a question of any bytes, and returns the answer.
    #[track_caller]
    pub(crate) fn ask_bytes(&mut self, parts: &[&[u8]]) -> Value {
        self.send(parts).unwrap();
        self.receive()
    }

    /// The next answer or message.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> Value {
        self.try_receive().expect("redis-server answers")
    }

    pub(crate) fn send(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut command = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            command.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            command.extend_from_slice(part);
            command.extend_from_slice(b"\r\n");
        }
        self.stream.write_all(&command)
    }

    fn try_receive(&mut self) -> Option<Value> {
        loop {
            if let Some((value, len)) = decode(&self.input).unwrap() {
                self.input.drain(..len);
                return Some(value);
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) | Err(_) => return None,
                Ok(n) => self.input.extend_from_slice(&chunk[..n]),
            }
        }
    }
}
