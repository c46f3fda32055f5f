//! Soak test of the release server (`cargo bench --bench soak -- SECONDS`, or `.ci/soak`):
//! connects, echoes and broadcasts with every answer checked. At the end, memory and descriptors
//! must be back at their values of the start.

#![allow(clippy::unwrap_used, reason = "a soak that fails should say where")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

mod mynah_process;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use mynah_process::MynahProcess;
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use socket2::{Domain, SockRef, Socket, Type};

const TIMEOUT: Duration = Duration::from_secs(20);
const WORKERS: u8 = 3;
/// Connections that receive every broadcast.
const SUBSCRIBERS: u8 = 8;
/// Pause of a worker between connections, which leaves processor time to other programs.
const PAUSE: Duration = Duration::from_millis(2);
/// Length of the load before the first measurement, in which kept buffers reach their size.
const WARM_UP: Duration = Duration::from_secs(5);
const REPORT_EVERY: Duration = Duration::from_secs(30);

fn main() {
    // Cargo passes `--bench`; anything else is the number of seconds.
    let seconds = env::args().skip(1).find(|arg| !arg.starts_with('-'));
    let time = Duration::from_secs(seconds.map_or(60, |text| text.parse().unwrap()));
    let mut server = Server::start();
    let counts = Counts::default();
    let started_at = Instant::now();

    churn(&server, &counts, WARM_UP);
    server.wait_until_steady();
    let before = server.usage();
    println!("before: {before}");

    churn(&server, &counts, time);
    server.wait_until_steady();
    let after = server.usage();
    let Counts { connections, echoes, broadcasts, deliveries } = &counts;
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    println!(
        "after {} s: {after}; {} connections, {} echoes, {} broadcasts, {} deliveries",
        started_at.elapsed().as_secs(),
        count(connections),
        count(echoes),
        count(broadcasts),
        count(deliveries),
    );
    assert_eq!(after.files, before.files, "descriptors");
    let allowed = before.anonymous_bytes + before.anonymous_bytes / 10;
    assert!(after.anonymous_bytes <= allowed, "memory was not returned");
    server.stop();
    println!("memory and descriptors were returned");
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    echoes: AtomicU64,
    broadcasts: AtomicU64,
    deliveries: AtomicU64,
}

fn churn(server: &Server, counts: &Counts, time: Duration) {
    let done = &AtomicBool::new(false);
    let subscribers: Vec<TcpStream> =
        (0..SUBSCRIBERS).map(|_| connect(server.0.addr, 100)).collect();
    thread::scope(|scope| {
        for subscriber in &subscribers {
            scope.spawn(move || subscribe(subscriber, counts));
        }
        let workers: Vec<_> = (0..WORKERS)
            .map(|number| scope.spawn(move || run_worker(server.0.addr, number, counts, done)))
            .collect();
        let (began_at, mut reported_at) = (Instant::now(), Instant::now());
        while began_at.elapsed() < time && workers.iter().all(|worker| !worker.is_finished()) {
            thread::sleep(Duration::from_millis(100));
            if reported_at.elapsed() >= REPORT_EVERY {
                reported_at = Instant::now();
                let connections = counts.connections.load(Ordering::Relaxed);
                println!("{connections} connections: {}", server.usage());
            }
        }
        done.store(true, Ordering::Relaxed);
        let failed = workers.into_iter().filter_map(|worker| worker.join().err()).count();
        // The subscribers end last, even if a worker has failed.
        for subscriber in &subscribers {
            let _ = subscriber.shutdown(Shutdown::Write);
        }
        assert_eq!(failed, 0, "workers that failed on a wrong answer");
    });
}

/// Opens one connection after the other, which behave and end in different ways.
fn run_worker(server: SocketAddr, number: u8, counts: &Counts, done: &AtomicBool) {
    let mut random = Random(u64::from(number) + 1);
    while !done.load(Ordering::Relaxed) {
        let mut client = connect(server, number + 2);
        counts.connections.fetch_add(1, Ordering::Relaxed);
        for _ in 0..random.below(8) {
            let magnitude = random.below(17);
            let len = random.below(1 << magnitude) as usize;
            let request = frame(1, &vec![random.below(256) as u8; len]);
            let cut = random.below(request.len() as u64) as usize;
            client.write_all(&request[..cut]).unwrap();
            client.write_all(&request[cut..]).unwrap();
            expect(&mut client, &request);
            counts.echoes.fetch_add(1, Ordering::Relaxed);
        }
        match random.below(8) {
            0 => {
                let len = random.below(20_000) as usize;
                client.write_all(&frame(4, &vec![len as u8; len])).unwrap();
                let count = read_answer(&mut client);
                assert!(count[5..].iter().all(u8::is_ascii_digit));
                counts.broadcasts.fetch_add(1, Ordering::Relaxed);
            }
            1 => client.write_all(b"\x01\0\0\x10\0half").unwrap(),
            2 => {
                client.write_all(b"\x01\xff\xff\xff\xff").unwrap();
                client.read_to_end(&mut Vec::new()).unwrap();
            }
            3 => {
                client.write_all(b"\x03\0\0\0\0").unwrap();
                client.read_to_end(&mut Vec::new()).unwrap();
            }
            4 => {
                client.write_all(b"\x02\0\0\0\x02ab").unwrap();
                client.shutdown(Shutdown::Write).unwrap();
                expect(&mut client, b"\x01\0\0\0\x02ba");
            }
            _ => {}
        }
        // A reset leaves no TIME_WAIT in the kernel, where millions of connections would fill it.
        if random.below(16) > 0 {
            SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        thread::sleep(PAUSE);
    }
}

/// Reads broadcasts to the end. Each is filled with the low byte of its length.
fn subscribe(mut client: &TcpStream, counts: &Counts) {
    let mut header = [0; 5];
    while client.read_exact(&mut header).is_ok() {
        assert_eq!(header[0], 4);
        let len = u32::from_be_bytes([header[1], header[2], header[3], header[4]]);
        let mut payload = vec![0; len as usize];
        client.read_exact(&mut payload).unwrap();
        assert!(payload.iter().all(|&byte| byte == len as u8));
        counts.deliveries.fetch_add(1, Ordering::Relaxed);
    }
}

fn expect(client: &mut TcpStream, expected: &[u8]) {
    let got = read_answer(client);
    assert!(got == expected, "{} bytes for {} differ", got.len(), expected.len());
}

/// The next frame other than a broadcast.
fn read_answer(client: &mut TcpStream) -> Vec<u8> {
    loop {
        let mut frame = vec![0; 5];
        client.read_exact(&mut frame).unwrap();
        let len = u32::from_be_bytes([frame[1], frame[2], frame[3], frame[4]]);
        frame.resize(5 + len as usize, 0);
        client.read_exact(&mut frame[5..]).unwrap();
        if frame[0] != 4 {
            return frame;
        }
    }
}

/// Connects from address 127.0.0.`source`: one for each worker, so that ports do not run out.
fn connect(server: SocketAddr, source: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, source], 0)).into()).unwrap();
    socket.connect_timeout(&server.into(), TIMEOUT).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    // A subscriber may receive nothing for a long time.
    if source < 100 {
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    }
    stream
}

fn frame(code: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    [&[code], len.to_be_bytes().as_slice(), payload].concat()
}

/// A linear congruential generator with PCG's multiplier; its high bits are used.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
        (self.0 >> 32) % limit
    }
}

struct Server(MynahProcess);

impl Server {
    fn start() -> Server {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mynah"));
        Server(MynahProcess::start(command.args(["--listen", "command://127.0.0.1:0"])))
    }

    fn usage(&self) -> Usage {
        let proc = format!("/proc/{}", self.0.child.id());
        let status = fs::read_to_string(format!("{proc}/status")).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
        };
        Usage {
            anonymous_bytes: bytes("RssAnon:"),
            peak_bytes: bytes("VmHWM:"),
            files: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
        }
    }

    /// Waits until memory and descriptors have not changed for a while.
    fn wait_until_steady(&self) {
        let mut last = self.usage();
        let mut since = Instant::now();
        // Longer than the server lingers on a closed connection.
        while since.elapsed() < Duration::from_secs(8) {
            thread::sleep(Duration::from_millis(100));
            let now = self.usage();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }

    fn stop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.child.id()).unwrap());
        signal::kill(pid, Signal::SIGTERM).unwrap();
        assert!(self.0.child.wait().unwrap().success());
    }
}

#[derive(PartialEq, Eq)]
struct Usage {
    anonymous_bytes: u64,
    peak_bytes: u64,
    files: usize,
}

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Usage { anonymous_bytes, peak_bytes, files } = self;
        let (anonymous, peak) = (anonymous_bytes / 1024, peak_bytes / 1024);
        write!(f, "{anonymous} KiB anonymous, {peak} KiB at most, {files} descriptors")
    }
}
