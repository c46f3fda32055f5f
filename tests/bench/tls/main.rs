//! TLS (`cargo bench --bench tls`): memory of idle connections, calm and after storms of
//! reconnects, processor time of handshakes and echoes, bulk beside a bare rustls loop, and what an
//! established client feels of a storm. Servers run on one processor, the load on the other. It is
//! not a test: it prints, and has no thresholds.
//!
//! Arguments name the parts to run: `memory`, `handshakes`, `echo`, `storm`, `bulk`, `peers`; none
//! is all but `peers`, which needs nginx and stunnel from the system's packages. `--server FILE`
//! measures another mynah than the one just built.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]
#![allow(clippy::print_stdout, reason = "its result is what it prints")]
#![allow(clippy::print_stderr, reason = "a server of its own says where it listens, as mynah does")]

mod bulk;
mod certificate;
mod crowd;
mod echo;
mod peers;
mod process;

use std::env;
use std::process::Command;
use std::time::{Duration, Instant};

use certificate::Files;
use crowd::{Crowd, Exchange};
use process::Process;

/// One ECHO of five bytes, and its answer.
const ECHO: Exchange =
    Exchange { request: b"\x01\0\0\0\x05hello", answer_len: b"\x01\0\0\0\x05hello".len() };

const CALM: usize = 15_000;
const STORM: usize = 4_000;
const STORM_AT_ONCE: usize = 10_000;

fn main() {
    if env::args().nth(1).as_deref() == Some("--serve-bulk") {
        return bulk::serve();
    }
    let mut args: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let mut server = env!("CARGO_BIN_EXE_mynah").to_owned();
    if let Some(at) = args.iter().position(|arg| arg == "--server") {
        server = args.remove(at + 1);
        args.remove(at);
    }
    let wants = |part: &str| match args.is_empty() {
        true => part != "peers",
        false => args.iter().any(|arg| arg == part),
    };
    process::pin_to_load_processor();
    let files = Files::new();
    let mynah = || files.mynah(&server);
    if wants("memory") {
        println!("| idle TLS 1.3 connections, after one echo | bytes each |\n|---|---|");
        memory(mynah());
        silent(mynah());
    }
    if wants("handshakes") {
        println!(
            "| handshakes, with accept, one echo and close | user µs | system µs | a second |"
        );
        println!("|---|---|---|---|");
        for _ in 0..3 {
            handshakes("full", mynah(), false);
            handshakes("resumed", mynah(), true);
        }
    }
    if wants("echo") {
        echo::run(&files, &server);
    }
    if wants("storm") {
        println!("| {STORM_AT_ONCE} reconnect at once | |\n|---|---|");
        storm(mynah());
    }
    if wants("bulk") {
        bulk::run(&files, &server);
    }
    if wants("peers") {
        peers::run(&files, &server);
    }
}

fn memory(mut command: Command) {
    let server = Process::start(&mut command);
    let mut crowd = Crowd::new(server.addr, ECHO);
    crowd.open(10, 10);
    crowd.close();
    server.settle();
    let before = server.anonymous_bytes();
    let each =
        |server: &Process, n: usize| (server.anonymous_bytes() as f64 - before as f64) / n as f64;
    crowd.open(CALM, 64);
    server.settle();
    println!("| {CALM}, calm | {:.0} |", each(&server, CALM));
    crowd.close();
    for round in 1..=3 {
        crowd.open(CALM, CALM);
        server.settle();
        println!(
            "| {CALM}, reconnected at once for the {round}. time | {:.0} |",
            each(&server, CALM)
        );
        crowd.close();
    }
}

fn silent(mut command: Command) {
    let server = Process::start(command.args(["--handshake-timeout", "600"]));
    server.settle();
    let before = server.anonymous_bytes();
    let streams: Vec<_> =
        (0..CALM).map(|_| std::net::TcpStream::connect(server.addr).unwrap()).collect();
    server.settle();
    let each = (server.anonymous_bytes() - before) as f64 / CALM as f64;
    println!("| {CALM} that have said nothing | {each:.1} |");
    drop(streams);
}

fn handshakes(name: &str, mut command: Command, resume: bool) {
    const N: usize = 6_000;
    // As many tickets a client keeps.
    const AT_ONCE: usize = 8;
    let server = Process::start(&mut command);
    let mut crowd = Crowd::new(server.addr, ECHO);
    if !resume {
        crowd.forget_tickets();
    }
    crowd.open(AT_ONCE, AT_ONCE);
    crowd.close();
    let before = server.times();
    for _ in 0..N / AT_ONCE {
        crowd.open(AT_ONCE, AT_ONCE);
        crowd.close();
    }
    server.settle();
    let (user, system) = server.times().since(before);
    let (user, system) = (user / N as f64 * 1e6, system / N as f64 * 1e6);
    let resumed = crowd.resumed();
    assert_eq!(resumed > N / 2, resume, "{resumed} resumed");
    println!("| {name} | {user:.0} | {system:.0} | {:.0} |", 1e6 / (user + system));
}

/// Latency of an established client while others reconnect, all at once.
fn storm(mut command: Command) {
    let server = Process::start(&mut command);
    let mut crowd = Crowd::new(server.addr, ECHO);
    crowd.forget_tickets();
    crowd.open(STORM_AT_ONCE, 64);
    crowd.close();
    server.settle();
    let calm = echo::latencies(server.addr, Duration::from_secs(2), || {});
    let mut took = Duration::ZERO;
    let before = server.times();
    let latencies = echo::latencies(server.addr, Duration::ZERO, || {
        let started_at = Instant::now();
        crowd.open(STORM_AT_ONCE, STORM_AT_ONCE);
        took = started_at.elapsed();
    });
    let (user, system) = server.times().since(before);
    println!("| all served after | {:.2} s |", took.as_secs_f64());
    println!("| processor time of the server | {:.2} s |", user + system);
    println!("| echo of an established client, calm: p50, p99, max | {calm} |");
    println!("| during the storm | {latencies} |");
}
