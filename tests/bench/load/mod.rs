//! The load, the same for every server: bytes sent and bytes expected back.
//!
//! It is not `mynah-load`, because it has to serve Redis, MQTT, NATS, a fan-out without frames, and
//! connections that are reset after one echo, for which the tester's protocols and phases are not
//! made. `benchmarks/tester.rs` compares the two loads, and so shows which one is a bottleneck.
//!
//! One reply on each connection is compared byte by byte before the measurement. During it, bytes
//! are counted: one too many or too few ends the run.

pub(crate) mod churn;
pub(crate) mod echo;
pub(crate) mod fanout;

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream as BlockingStream};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, SockRef, Socket, Type};

use crate::protocol::Exchange;
use crate::server_process::ServerProcess;

/// Longest wait for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections from one local address. From about 14,000 on, connect(2) searches for a free port
/// for milliseconds, which would be measured too (docs/load.md).
const CONNECTIONS_PER_SOURCE: usize = 10_000;

/// Result of a measured time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Answers, deliveries or connections.
    pub(crate) count: u64,
    /// Time of the server on its processor.
    pub(crate) cpu_ns: u64,
    /// Time in which the server was ready to run and another process ran.
    pub(crate) waited_ns: u64,
    pub(crate) seconds: f64,
}

impl Measured {
    /// Runs `work`, which returns a count, for `time`, and measures the server.
    pub(crate) fn of(
        process: &ServerProcess,
        time: Duration,
        work: impl FnOnce(Instant) -> u64,
    ) -> Self {
        let (began_at, before) = (Instant::now(), process.cpu_times());
        let count = work(began_at + time);
        let seconds = began_at.elapsed().as_secs_f64();
        let (cpu_ns, waited_ns) = process.cpu_times().since(before);
        Measured { count, cpu_ns, waited_ns, seconds }
    }

    pub(crate) fn cpu_ns_each(&self) -> f64 {
        self.cpu_ns as f64 / self.count as f64
    }

    pub(crate) fn per_sec(&self) -> f64 {
        self.count as f64 / self.seconds
    }

    /// Share of the time in which the server ran, 1 for all.
    pub(crate) fn cpu_share(&self) -> f64 {
        self.cpu_ns as f64 / 1e9 / self.seconds
    }

    /// Share of the time in which the server waited for its processor.
    pub(crate) fn waited_share(&self) -> f64 {
        self.waited_ns as f64 / 1e9 / self.seconds
    }
}

/// Opens connection `number` with its handshake. The stream blocks.
pub(crate) fn connect(process: &ServerProcess, number: usize) -> BlockingStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source = Ipv4Addr::new(127, 0, 0, 1 + (number / CONNECTIONS_PER_SOURCE) as u8);
    if number >= CONNECTIONS_PER_SOURCE {
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    }
    socket.connect(&process.addr.into()).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
    // A reset frees the port at once, and nothing is outstanding at the end.
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    let mut stream = BlockingStream::from(socket);
    if let Some(Exchange { request, reply }) = process.protocol.handshake() {
        stream.write_all(&request).unwrap();
        let mut received = Vec::new();
        while !received.ends_with(&reply) {
            let mut buffer = [0; 4096];
            let len = stream.read(&mut buffer).unwrap();
            assert!(len > 0, "{} closed in the handshake", process.name);
            received.extend(&buffer[..len]);
        }
    }
    stream
}

/// Sends a request and compares the reply.
pub(crate) fn request(process: &ServerProcess, stream: &mut BlockingStream, exchange: &Exchange) {
    stream.write_all(&exchange.request).unwrap();
    expect(process, stream, &exchange.reply);
}

pub(crate) fn expect(process: &ServerProcess, stream: &mut BlockingStream, reply: &[u8]) {
    let mut received = vec![0; reply.len()];
    stream.read_exact(&mut received).unwrap_or_else(|error| panic!("{}: {error}", process.name));
    assert!(received == reply, "{}: a wrong reply", process.name);
}

/// Opens connections until there are `count`, and waits until the server has all of them.
pub(crate) fn open_idle(process: &ServerProcess, held: &mut Vec<BlockingStream>, count: usize) {
    while held.len() < count {
        held.push(connect(process, held.len()));
    }
    let proof = process.protocol.echo(b"proof");
    if let (Some(last), Some(exchange)) = (held.last_mut(), proof) {
        if let Some(store) = process.protocol.store(b"proof") {
            request(process, last, &store);
        }
        request(process, last, &exchange);
    }
}

/// Registers a connection, after its handshake, with the poll.
fn register(registry: &Registry, stream: BlockingStream, number: usize) -> TcpStream {
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream);
    let both = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut stream, Token(number), both).unwrap();
    stream
}

/// Reads at most a full buffer; 0 is nothing yet.
#[inline]
fn read(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    match stream.read(buffer) {
        Ok(0) => panic!("the server closed a connection"),
        Ok(len) => len,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// Writes as much as the socket takes.
#[inline]
fn write(stream: &mut TcpStream, bytes: &[u8]) -> usize {
    match stream.write(bytes) {
        Ok(len) => len,
        Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
        Err(error) => panic!("{error}"),
    }
}

/// Closes with a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}
