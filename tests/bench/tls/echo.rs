//! Echoes at depth 1: processor time over plain, and latencies of one client.

use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::{ClientConnection, StreamOwned};

use crate::certificate::{Files, client_config};
use crate::process::Process;

const CONNECTIONS: usize = 50;
const ECHOES: usize = 200_000;
const FRAME: &[u8] =
    b"\x01\0\0\0\x40----------------------------------------------------------------";

/// Alternates plain and TLS.
pub(crate) fn run(files: &Files, program: &str) {
    println!("| echo of 64 bytes, {CONNECTIONS} connections, depth 1 | user µs | system µs |");
    println!("|---|---|---|");
    for _ in 0..5 {
        let mut plain = Command::new(program);
        plain.args(["-l", "command://127.0.0.1:0"]);
        measure("plain", &mut plain, connect);
        measure("TLS", &mut files.mynah(program), connect_tls);
    }
}

fn measure<S: Read + Write>(name: &str, command: &mut Command, connect: impl Fn(SocketAddr) -> S) {
    let server = Process::start(command);
    let mut clients: Vec<S> = (0..CONNECTIONS).map(|_| connect(server.addr)).collect();
    rounds(&mut clients, ECHOES / 20);
    let before = server.times();
    rounds(&mut clients, ECHOES);
    let (user, system) = server.times().since(before);
    let each = |secs: f64| secs / ECHOES as f64 * 1e6;
    println!("| {name} | {:.2} | {:.2} |", each(user), each(system));
}

/// All ask, then all are answered.
fn rounds<S: Read + Write>(clients: &mut [S], echoes: usize) {
    let mut answer = [0; FRAME.len()];
    for _ in 0..echoes / clients.len() {
        for client in clients.iter_mut() {
            client.write_all(FRAME).unwrap();
        }
        for client in clients.iter_mut() {
            client.read_exact(&mut answer).unwrap();
        }
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn connect_tls(addr: SocketAddr) -> StreamOwned<ClientConnection, TcpStream> {
    let config = client_config(Resumption::disabled());
    let connection = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
    StreamOwned::new(connection, connect(addr))
}

pub(crate) struct Latencies(Vec<Duration>);

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at =
            |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
        write!(f, "{:.2} ms, {:.2} ms, {:.2} ms of {}", at(0.5), at(0.99), at(1.0), self.0.len())
    }
}

/// Latencies of a client that asks every millisecond, for so long, or while `work` runs.
pub(crate) fn latencies(addr: SocketAddr, lasts: Duration, work: impl FnOnce()) -> Latencies {
    let mut client = connect_tls(addr);
    client.write_all(FRAME).unwrap();
    client.read_exact(&mut [0; FRAME.len()]).unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&is_over);
    let started_at = Instant::now();
    let asking = thread::spawn(move || {
        let mut taken = Vec::new();
        while !ended.load(Ordering::Relaxed) || started_at.elapsed() < lasts {
            let asked_at = Instant::now();
            client.write_all(FRAME).unwrap();
            client.read_exact(&mut [0; FRAME.len()]).unwrap();
            taken.push(asked_at.elapsed());
            thread::sleep(Duration::from_millis(1));
        }
        taken
    });
    work();
    is_over.store(true, Ordering::Relaxed);
    let mut taken = asking.join().unwrap();
    taken.sort();
    Latencies(taken)
}
