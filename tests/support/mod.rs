//! Shared by the test programs: the server as a child process, clients that never wait for ever, a
//! logger for each thread, random numbers, socket stubs. Knows nothing of what answers should be.

pub(crate) mod logger;
pub(crate) mod rng;
pub(crate) mod stub;

use std::fs;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// How long anything may take that should happen at once. Only a failure waits for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// After how long without progress a write counts as blocked by the peer.
const BLOCKED: Duration = Duration::from_millis(400);

const POLL: Duration = Duration::from_millis(2);

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let started_at = Instant::now();
    while !condition() {
        assert!(started_at.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(POLL);
    }
}

/// For tests with thousands of connections: one at a time, and with room for `files` in this
/// process.
pub(crate) fn crowd(files: usize) -> MutexGuard<'static, ()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let limit = mynah::internal::net::raise_file_limit().unwrap();
    assert!(limit > files + 500, "this test needs {files} files, the limit is {limit}");
    guard
}

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

/// What a program that ended by itself left behind.
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
}

/// What the server has written to its standard error so far.
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
        server.addrs = server
            .log()
            .iter()
            .filter_map(|line| line.split_once(" listening on "))
            .map(|(_, url)| socket_addr(url))
            .collect();
        server
    }

    /// A running server whose standard error is a pipe that nobody reads.
    #[track_caller]
    pub(crate) fn unheard(args: &[&str]) -> Server {
        let mut command = mynah();
        command.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        let mut server = Server { child, log: Arc::default(), reader: None, addrs: Vec::new() };
        wait_until("it listens", || {
            server.addrs.extend(KernelSocket::listening(&server));
            !server.addrs.is_empty()
        });
        server
    }

    /// Starts `command` and waits for nothing.
    pub(crate) fn spawn(command: &mut Command, stdout: Stdio) -> Server {
        let mut child =
            command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Log::default());
        let writer = Arc::clone(&log);
        let reader = thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                writer.lines.lock().unwrap().push(line);
                writer.grown.notify_all();
            }
        });
        Server { child, log, reader: Some(reader), addrs: Vec::new() }
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
        Client::connect(self.addr(index))
    }

    /// A client whose kernel takes little that it does not read.
    #[track_caller]
    pub(crate) fn connect_with_small_buffer(&self) -> Client {
        let socket = new_socket();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect_timeout(&self.addr(0).into(), PATIENCE).unwrap();
        Client::new(socket.into())
    }

    /// A client that comes from a loopback address of its own choice, so that tens of thousands
    /// in a row do not run out of ports.
    #[track_caller]
    pub(crate) fn connect_from(&self, source: [u8; 4]) -> Client {
        let socket = new_socket();
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
        socket.connect_timeout(&self.addr(0).into(), PATIENCE).unwrap();
        Client::new(socket.into())
    }

    /// What an ended server left on its standard output, where that was piped.
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

/// One side of a conversation. Every wait ends after [`PATIENCE`], with a panic.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        Client::new(TcpStream::connect_timeout(&addr, PATIENCE).unwrap())
    }

    fn new(stream: TcpStream) -> Client {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream }
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.stream.local_addr().unwrap().port()
    }

    pub(crate) fn peer_addr(&self) -> SocketAddr {
        self.stream.peer_addr().unwrap()
    }

    /// A second handle of the same connection, to write while the first reads.
    pub(crate) fn twin(&self) -> Client {
        Client { stream: self.stream.try_clone().unwrap() }
    }

    #[track_caller]
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Sends what the peer may be past taking.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends until the peer has taken nothing for a while; how many bytes it took.
    #[track_caller]
    pub(crate) fn send_until_blocked(&mut self, bytes: &[u8]) -> usize {
        self.stream.set_write_timeout(Some(BLOCKED)).unwrap();
        let mut sent = 0;
        while sent < bytes.len() {
            match self.stream.write(&bytes[sent..]) {
                Ok(n) => sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("after {sent} bytes: {error}"),
            }
        }
        self.stream.set_write_timeout(Some(PATIENCE)).unwrap();
        sent
    }

    /// The socket, for who reads many at once.
    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }

    /// Closes with a reset, whatever is under way.
    pub(crate) fn abort(mut self) {
        self.set_abortive();
    }

    /// Its end will be a reset.
    pub(crate) fn set_abortive(&mut self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// Shuts the writing side.
    #[track_caller]
    pub(crate) fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    #[track_caller]
    pub(crate) fn read_exactly(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        if let Err(error) = self.stream.read_exact(&mut bytes) {
            panic!("while reading {len} bytes: {error}");
        }
        bytes
    }

    /// Reads as many bytes as `expected` has, which they must equal.
    #[track_caller]
    pub(crate) fn expect(&mut self, expected: &[u8]) {
        for (number, chunk) in expected.chunks(1 << 16).enumerate() {
            let got = self.read_exactly(chunk.len());
            assert!(
                got == chunk,
                "expected {}, got {} at {}",
                excerpt(chunk),
                excerpt(&got),
                number << 16
            );
        }
    }

    /// The next line, without its `\n`.
    #[track_caller]
    pub(crate) fn read_line(&mut self) -> String {
        let mut line = Vec::new();
        loop {
            let mut byte = [0];
            match self.stream.read(&mut byte) {
                Ok(1) if byte != *b"\n" => line.push(byte[0]),
                Ok(1) => return String::from_utf8(line).unwrap(),
                Ok(_) => panic!("the end came after {}", excerpt(&line)),
                Err(error) => panic!("after {}: {error}", excerpt(&line)),
            }
        }
    }

    /// The next frame of the `command` protocol.
    #[track_caller]
    pub(crate) fn read_frame(&mut self) -> (u8, Vec<u8>) {
        let header = self.read_exactly(5);
        let len = u32::from_be_bytes(header[1..].try_into().unwrap());
        (header[0], self.read_exactly(len as usize))
    }

    /// The next frame, which must carry `code` and `text`.
    #[track_caller]
    pub(crate) fn expect_frame(&mut self, code: u8, text: &str) {
        let (got, payload) = self.read_frame();
        let payload = String::from_utf8_lossy(&payload);
        assert_eq!((got, &*payload), (code, text));
    }

    /// Sends one frame and reads one.
    #[track_caller]
    pub(crate) fn ask(&mut self, code: u8, payload: &[u8]) -> (u8, Vec<u8>) {
        self.send(&frame(code, payload));
        self.read_frame()
    }

    /// The connection answers an ECHO, with nothing else before it.
    #[track_caller]
    pub(crate) fn expect_alive(&mut self) {
        self.send(b"\x01\0\0\0\x05alive");
        self.expect(b"\x01\0\0\0\x05alive");
    }

    #[track_caller]
    pub(crate) fn status(&mut self) -> Status {
        let (code, json) = self.ask(7, b"");
        assert_eq!(code, 1);
        Status(String::from_utf8(json).unwrap())
    }

    /// Everything up to the end of file, which must come in order: a reset is a failure.
    #[track_caller]
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if let Err(error) = self.stream.read_to_end(&mut bytes) {
            panic!("instead of the end, after {} bytes: {error}", bytes.len());
        }
        bytes
    }

    /// The end of file is next.
    #[track_caller]
    pub(crate) fn expect_eof(&mut self) {
        let rest = self.read_to_end();
        assert!(rest.is_empty(), "before the end came {}", excerpt(&rest));
    }

    /// Reads what still comes until the connection ends, in whatever way.
    #[track_caller]
    pub(crate) fn read_until_cut(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.stream.read_to_end(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("it goes on"),
            _ => bytes,
        }
    }

    /// Reads to the end and keeps nothing.
    pub(crate) fn discard_to_end(&mut self) {
        let _ = io::copy(&mut self.stream, &mut io::sink());
    }

    /// The server has nothing to say for so long, and does not close.
    #[track_caller]
    pub(crate) fn expect_silence(&mut self, time: Duration) {
        assert!(self.is_quiet_for(time), "the server has something to say");
    }

    /// Whether nothing is to be read for so long, the end of file included. Reads nothing.
    pub(crate) fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let peeked = self.stream.peek(&mut [0]);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        peeked.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

fn new_socket() -> socket2::Socket {
    socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap()
}

/// A frame of the `command` protocol.
pub(crate) fn frame(code: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    let mut frame = vec![code];
    frame.extend(len.to_be_bytes());
    frame.extend(payload);
    frame
}

/// An ERROR frame.
pub(crate) fn error(text: &str) -> Vec<u8> {
    frame(255, text.as_bytes())
}

/// Bytes without a pattern that a mistake could hide in.
pub(crate) fn random_bytes(len: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn excerpt(bytes: &[u8]) -> String {
    let shown = bytes.len().min(100);
    let text = bytes[..shown].escape_ascii();
    format!("{} bytes \"{text}\"", bytes.len())
}

/// What STATUS answered.
#[derive(Debug)]
pub(crate) struct Status(pub(crate) String);

impl Status {
    #[track_caller]
    pub(crate) fn get(&self, key: &str) -> u64 {
        let (_, after) = self.0.split_once(&format!("\"{key}\":")).unwrap();
        let digits = after.split([',', '}']).next().unwrap();
        digits.parse().unwrap()
    }
}

/// The kernel's view of one end of a connection (`/proc/net/tcp` of proc(5)).
#[derive(Debug)]
pub(crate) struct KernelSocket {
    pub(crate) local: u16,
    pub(crate) remote: u16,
    /// 0x08 once the peer has shut its side and ours is open, 0x0a for a listening socket.
    pub(crate) state: u8,
    /// Bytes that have arrived and have not been read.
    pub(crate) unread: usize,
    /// 2 while the keepalive timer runs.
    pub(crate) timer: u8,
    /// When the timer fires, in hundredths of a second.
    pub(crate) timer_in: u64,
    inode: u64,
}

impl KernelSocket {
    fn parse(row: &str) -> KernelSocket {
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let fields: Vec<&str> = row.split_whitespace().collect();
        let pair = |field: usize| fields[field].split_once(':').unwrap();
        KernelSocket {
            local: hex(pair(1).1) as u16,
            remote: hex(pair(2).1) as u16,
            state: hex(fields[3]) as u8,
            unread: hex(pair(4).1) as usize,
            timer: hex(pair(5).0) as u8,
            timer_in: hex(pair(5).1),
            inode: fields[9].parse().unwrap(),
        }
    }

    /// The IPv4 sockets of this machine whose row contains `text`: there may be thousands, and most
    /// belong to others.
    fn with(text: &str) -> Vec<KernelSocket> {
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let rows = table.lines().skip(1).filter(|row| row.contains(text));
        rows.map(KernelSocket::parse).collect()
    }

    /// The server's end of `client`'s connection.
    pub(crate) fn serving(server: SocketAddr, client: &Client) -> Option<KernelSocket> {
        let (local, remote) = (server.port(), client.local_port());
        let mut sockets = KernelSocket::with(&format!(":{remote:04X} ")).into_iter();
        sockets.find(|socket| (socket.local, socket.remote) == (local, remote))
    }

    /// The port on which the process of `server` listens, if it does yet.
    pub(crate) fn listening(server: &Server) -> Option<SocketAddr> {
        let fds = fs::read_dir(server.proc("fd")).ok()?;
        let links: Vec<PathBuf> =
            fds.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect();
        let owned = |socket: &KernelSocket| {
            let link = PathBuf::from(format!("socket:[{}]", socket.inode));
            socket.state == 0x0a && links.contains(&link)
        };
        let socket = KernelSocket::with(" 0A ").into_iter().find(owned)?;
        Some(SocketAddr::from((Ipv4Addr::LOCALHOST, socket.local)))
    }
}

/// A folder of a test's own, removed with all in it.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("it-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Writes a file and returns its path.
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let removed: io::Result<()> = fs::remove_dir_all(&self.0);
        if let Err(error) = removed {
            eprintln!("{}: {error}", self.0.display());
        }
    }
}
