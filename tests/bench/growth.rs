//! The server core with up to ten million connections (`cargo bench --bench growth`), for which few
//! machines have the files. Sockets are stubs, so all time and memory are the core's own; the
//! allocator counts the memory. It is not a test: it prints, and has no thresholds.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]

#[path = "../support/stub.rs"]
mod stub;

use std::env;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use mynah::internal::clock::Millis;
use mynah::internal::conn_id::ConnId;
use mynah::internal::limits::Limits;
use mynah::internal::protocol::CommandProtocol;
use mynah::internal::server::{ListenerConfig, Readiness, Server};
use stub::{ACCEPTED, BACKLOG, Backlog, INPUT, Stub, WRITTEN};

const IDLE_MS: u64 = 60_000;
const ECHOES: usize = 100_000;
const ECHO: &[u8] = b"\x01\0\0\0\x05hello";
const BROADCAST: &[u8] = b"\x04\0\0\0\x10sixteen bytes it";

fn main() {
    let sizes: Vec<usize> = env::args().skip(1).filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 100_000, 1_000_000, 10_000_000] } else { sizes };
    println!(
        "| connections | bytes each | an accept | longest turn | an echo, at random | a broadcast, \
         each | in all | longest turn | idle out, each | longest turn |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for n in sizes {
        grow(n);
    }
}

/// Accepts, serves and times out `n` connections. Prints a row of the table.
fn grow(n: usize) {
    let limits = Limits { clients_max: n, ..Limits::default() };
    let mut server = Server::new(limits, Millis(0));
    let protocol = CommandProtocol { payload_len_max: 1 << 20 }.into();
    let config = ListenerConfig { name: String::new(), protocol, idle_ms: IDLE_MS };
    server.add_listener(Backlog, config);

    ACCEPTED.set(Some(Vec::with_capacity(n)));
    let mut accepts = Turns::default();
    let memory = measure(|| {
        BACKLOG.set(n);
        server.on_acceptable(0);
        // Accepts are spread over eight seconds, so that deadlines differ.
        while BACKLOG.get() > 0 {
            let now = Millis((n - BACKLOG.get()) as u64 * 8192 / n as u64);
            accepts.time(|| server.turn(&(), now));
        }
    });
    let each_bytes = memory.bytes_current as f64 / n as f64;
    let ids = ACCEPTED.take().unwrap();

    let start = Instant::now();
    let mut at = 1;
    for _ in 0..ECHOES {
        // A walk that visits all connections in an order that caches cannot predict.
        at = (at + 7_368_787) % n;
        receive(&mut server, ids[at], ECHO);
    }
    let echo_ns = start.elapsed().as_nanos() as f64 / ECHOES as f64;

    WRITTEN.set(0);
    let mut fanout = Turns::default();
    fanout.time(|| receive(&mut server, ids[0], BROADCAST));
    while server.poll_timeout(Millis(8192)) == Some(0) {
        fanout.time(|| server.turn(&(), Millis(8192)));
    }
    assert!(WRITTEN.get() >= (n - 1) * BROADCAST.len(), "all clients have it");

    let mut expiry = Turns::default();
    let mut now = IDLE_MS;
    while server.sockets() > 0 {
        now += 1;
        expiry.time(|| server.turn(&(), Millis(now)));
    }
    println!(
        "| {n} | {each_bytes:.1} | {:.0} ns | {:.2} ms | {echo_ns:.0} ns | {:.1} ns | {:.2} ms | \
         {:.2} ms | {:.0} ns | {:.2} ms |",
        accepts.each_ns(n),
        accepts.longest_ms(),
        fanout.each_ns(n),
        fanout.total.as_secs_f64() * 1e3,
        fanout.longest_ms(),
        expiry.each_ns(n),
        expiry.longest_ms(),
    );
}

fn receive(server: &mut Server<Stub>, id: ConnId, input: &'static [u8]) {
    INPUT.set(input);
    let ready = Readiness { readable: true, ..Readiness::default() };
    server.on_ready(&(), id, ready, Millis(8192));
    assert!(INPUT.take().is_empty(), "the connection exists and reads");
}

/// Durations of turns.
#[derive(Default)]
struct Turns {
    total: Duration,
    longest: Duration,
}

impl Turns {
    fn time(&mut self, turn: impl FnOnce()) {
        let start = Instant::now();
        turn();
        let took = start.elapsed();
        self.total += took;
        self.longest = self.longest.max(took);
    }

    fn each_ns(&self, n: usize) -> f64 {
        self.total.as_nanos() as f64 / n as f64
    }

    fn longest_ms(&self) -> f64 {
        self.longest.as_secs_f64() * 1e3
    }
}
