//! What scrapes of an admin listener cost (`cargo bench --bench admin`): as many as the server answers,
//! ten thousand a second offered, user instructions of one, and one beside a million connections. The
//! server runs on one processor, the load on another. It is not a test: it prints, and has no
//! thresholds.
//!
//! Arguments name the parts to run: `scrapes`, `instructions`, `crowd`; none is all. `--server FILE`
//! measures another mynah than the one just built.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

mod mynah_process;
#[path = "../support/stub.rs"]
mod stub;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::{CLOCK_CHECK_BYTES, Limits};
use mynah::internal::protocol::{AdminProtocol, CommandProtocol};
use mynah::internal::server::{ListenerConfig, Readiness, Server};
use mynah_process::MynahProcess;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use stub::{BACKLOG, Backlog, INPUT, Stub, WRITTEN};

const SERVER_PROCESSOR: usize = 0;
const LOAD_PROCESSOR: usize = 1;
const RUN: Duration = Duration::from_secs(10);
const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
/// Listeners beside the admin one.
const LISTENERS: [usize; 2] = [1, 20];
/// Clients that scrape, each with one request at a time.
const CLIENTS: usize = 10;
/// Time between two batches of a scrape by each client: ten thousand a second.
const BATCH_EVERY: Duration = Duration::from_millis(1);
/// Scrapes of the short and of the long run under valgrind.
const COUNTED: (u64, u64) = (100, 1_100);
const CROWD: usize = 1_000_000;

fn main() {
    let mut args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let mut server = env!("CARGO_BIN_EXE_mynah").to_owned();
    if let Some(at) = args.iter().position(|arg| arg == "--server") {
        server = args.remove(at + 1);
        args.remove(at);
    }
    let wants = |part: &str| args.is_empty() || args.iter().any(|arg| arg == part);
    pin_to(LOAD_PROCESSOR);
    if wants("scrapes") {
        println!(
            "| listeners | load | scrapes a second | loop, µs each | busy | p50 ms | p99 ms | max ms | \
             bytes each |\n|---|---|---|---|---|---|---|---|---|"
        );
        for listeners in LISTENERS {
            scrapes(&server, listeners, None);
            scrapes(&server, listeners, Some(BATCH_EVERY));
        }
    }
    if wants("instructions") {
        println!("| listeners | user instructions a scrape |\n|---|---|");
        for listeners in LISTENERS {
            let (few, many) = COUNTED;
            let [few_cost, many_cost] =
                [few, many].map(|count| instructions(&server, listeners, count));
            println!("| {listeners} | {} |", (many_cost - few_cost) / (many - few));
        }
    }
    if wants("crowd") {
        crowd();
    }
}

/// Scrapes by all clients at once: again as soon as all are answered, or so often.
fn scrapes(server: &str, listeners: usize, batch_every: Option<Duration>) {
    pin_to(SERVER_PROCESSOR);
    let process = MynahProcess::start(Command::new(server).args(listen_args(listeners)));
    pin_to(LOAD_PROCESSOR);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(process.addr)).collect();
    let (began_at, cpu_before) = (Instant::now(), loop_time(process.child.id()));
    let (mut times, mut bytes) = (Vec::new(), 0);
    for batch in 0.. {
        // An open loop: a scrape that leaves late has waited since it was due.
        let due = match batch_every {
            Some(every) => began_at + every * batch,
            None => Instant::now(),
        };
        if began_at.elapsed() >= RUN {
            break;
        }
        // Shorter than the kernel sleeps.
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        clients.iter_mut().for_each(Client::send);
        for client in &mut clients {
            bytes += client.receive();
            times.push(due.elapsed());
        }
    }
    let took = began_at.elapsed();
    let cpu = loop_time(process.child.id()) - cpu_before;
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "| {listeners} | {} | {:.0} | {:.1} | {:.0} % | {:.2} | {:.2} | {:.2} | {} |",
        batch_every.map_or("as fast as they are answered", |_| "10,000 a second"),
        times.len() as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1e6 / times.len() as f64,
        cpu.as_secs_f64() / took.as_secs_f64() * 100.0,
        at(0.5),
        at(0.99),
        at(1.0),
        bytes / times.len(),
    );
}

/// User instructions of a server's life with so many scrapes.
fn instructions(server: &str, listeners: usize, count: u64) -> u64 {
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", server])
        .args(listen_args(listeners))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("valgrind is installed");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("listening on")).unwrap();
    let mut client = Client::connect(line.rsplit_once('/').unwrap().1.parse().unwrap());
    for _ in 0..count {
        client.send();
        client.receive();
    }
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGTERM).unwrap();
    let collected = lines.find_map(|line| Some(line.split_once("Collected : ")?.1.to_owned()));
    child.wait().unwrap();
    collected.unwrap().trim().parse().unwrap()
}

/// Scrapes of a server with a million connections whose sockets are stubs: without system calls, and
/// without what `/proc` says of the process.
fn crowd() {
    let limits = Limits { clients_max: CROWD + 1, ..Limits::default() };
    let mut server = Server::<Stub>::new(limits, Millis(0));
    server.enable_admin(None);
    let began_at = Instant::now();
    let clock = move || began_at.elapsed().as_micros() as u64;
    server.set_clock(Box::new(clock), CLOCK_CHECK_BYTES);
    let command = CommandProtocol { payload_len_max: 1 << 20 }.into();
    for (name, protocol) in [("command", command), ("admin", AdminProtocol::default().into())] {
        server
            .add_listener(Backlog, ListenerConfig { name: name.to_owned(), protocol, idle_ms: 0 });
    }
    for (listener, count) in [(1, 1), (0, CROWD)] {
        BACKLOG.set(count);
        server.on_acceptable(listener);
        while server.poll_timeout(Millis(0)) == Some(0) {
            server.turn(&(), Millis(0));
        }
    }
    assert_eq!(server.sockets(), CROWD + 1);
    let operator = ConnId { index: 0, generation: 1 };
    let mut times = Vec::new();
    for _ in 0..10_000 {
        WRITTEN.set(0);
        INPUT.set(SCRAPE);
        let asked_at = Instant::now();
        let ready = Readiness { readable: true, ..Readiness::default() };
        server.begin_batch(Millis(1));
        server.on_ready(&(), operator, ready, Millis(1));
        while WRITTEN.get() == 0 {
            server.turn(&(), Millis(1));
        }
        times.push(asked_at.elapsed());
    }
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "a scrape beside {CROWD} connections: p50 {:.1} µs, p99 {:.1} µs, max {:.1} µs",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

/// Options for an admin listener, and so many others.
fn listen_args(others: usize) -> Vec<String> {
    let urls = std::iter::once("admin://127.0.0.1:0".to_owned())
        .chain((0..others).map(|number| format!("command://127.0.0.1:0?name=command-{number}")));
    urls.flat_map(|url| ["-l".to_owned(), url]).collect()
}

/// A connection that is kept.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, buffer: vec![0; 1 << 20] }
    }

    fn send(&mut self) {
        self.stream.write_all(SCRAPE).unwrap();
    }

    /// Reads a response; how long it was.
    fn receive(&mut self) -> usize {
        let mut len = 0;
        loop {
            let n = self.stream.read(&mut self.buffer[len..]).unwrap();
            assert!(n > 0, "the server has closed");
            len += n;
            if response_len(&self.buffer[..len]) == Some(len) {
                return len;
            }
        }
    }
}

/// Length of a response whose head is there.
fn response_len(bytes: &[u8]) -> Option<usize> {
    const FIELD: &str = "Content-Length: ";
    let head = &bytes[..bytes.len().min(1024)];
    let head_len = head.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&head[..head_len]).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let (_, value) = head.split_once(FIELD)?;
    let body_len: usize = value.split("\r\n").next()?.parse().ok()?;
    Some(head_len + body_len)
}

/// Time that the loop, the first thread of the process, has been on a processor.
fn loop_time(pid: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

fn pin_to(processor: usize) {
    let mut set = CpuSet::new();
    set.set(processor).unwrap();
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}
