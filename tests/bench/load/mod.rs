//! The load, the same for every server: bytes that are sent and bytes that have to come back.
//!
//! It is a small one of its own, and not `mynah-load`, because it has to speak to Redis, MQTT and NATS
//! with nothing lost on the way, to a fan-out that has no frames, and in connections that are reset
//! after one echo: the tester's protocols, histograms and phases would have to be bent for all of
//! it. What `mynah-load` makes of the same servers is a row of its own (`rows/tester.rs`), and so shows
//! which of the two is the bottleneck.
//!
//! Every answer is compared to the byte once on each connection before anything is measured. In
//! the measured time bytes are counted: one too many or too few ends the run.

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

/// Longest wait for any one answer.
const REPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections that leave from one address. From about 14,000 on connect(2) has to search for a free
/// port, and would be what is measured (docs/load.md).
const CONNECTIONS_PER_SOURCE: usize = 10_000;

/// What came of a measured time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Answers, deliveries or connections.
    pub(crate) count: u64,
    /// What the server used of its processor.
    pub(crate) cpu_ns: u64,
    /// How long the server was ready to run and did not, because somebody else ran.
    pub(crate) waited_ns: u64,
    pub(crate) seconds: f64,
}

impl Measured {
    /// Does `work`, which returns a count, for so long, and watches the server meanwhile.
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

    /// How busy the server's processor was with it, 1 for all the time.
    pub(crate) fn cpu_share(&self) -> f64 {
        self.cpu_ns as f64 / 1e9 / self.seconds
    }

    /// How much of the time others kept it from running.
    pub(crate) fn waited_share(&self) -> f64 {
        self.waited_ns as f64 / 1e9 / self.seconds
    }
}

/// Opens connection number `number`, greets, and leaves it blocking.
pub(crate) fn connect(process: &ServerProcess, number: usize) -> BlockingStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let source = Ipv4Addr::new(127, 0, 0, 1 + (number / CONNECTIONS_PER_SOURCE) as u8);
    if number >= CONNECTIONS_PER_SOURCE {
        socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    }
    socket.connect(&process.addr.into()).unwrap();
    socket.set_tcp_nodelay(true).unwrap();
    socket.set_read_timeout(Some(REPLY_TIMEOUT)).unwrap();
    // Everything has been answered when it ends, and an orderly close would keep the port.
    socket.set_linger(Some(Duration::ZERO)).unwrap();
    let mut stream = BlockingStream::from(socket);
    if let Some(Exchange { request, reply }) = process.protocol.handshake() {
        stream.write_all(&request).unwrap();
        let mut received = Vec::new();
        while !received.ends_with(&reply) {
            let mut buffer = [0; 4096];
            let len = stream.read(&mut buffer).unwrap();
            assert!(len > 0, "{} hung up on a hello", process.name);
            received.extend(&buffer[..len]);
        }
    }
    stream
}

/// Says something and compares the answer.
pub(crate) fn request(process: &ServerProcess, stream: &mut BlockingStream, exchange: &Exchange) {
    stream.write_all(&exchange.request).unwrap();
    expect(process, stream, &exchange.reply);
}

pub(crate) fn expect(process: &ServerProcess, stream: &mut BlockingStream, reply: &[u8]) {
    let mut received = vec![0; reply.len()];
    stream.read_exact(&mut received).unwrap_or_else(|error| panic!("{}: {error}", process.name));
    assert!(received == reply, "{} answered something else", process.name);
}

/// Opens connections until there are `count`, and returns when the server has all of them.
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

/// Hands a connection that has greeted to the loop.
fn register(registry: &Registry, stream: BlockingStream, number: usize) -> TcpStream {
    stream.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(stream);
    let both = Interest::READABLE | Interest::WRITABLE;
    registry.register(&mut stream, Token(number), both).unwrap();
    stream
}

/// Reads what there is, at most a buffer full; 0 for nothing yet.
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

/// Ends in a reset.
fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}
