//! Requests in a closed loop: each connection keeps a number of them in flight.

use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll};

use super::{Measured, connect, read, register, request, write};
use crate::protocol::Exchange;
use crate::server_process::ServerProcess;

const EVENTS_MAX: usize = 1024;
const READ_BYTES: usize = 256 * 1024;

/// Connections under load.
pub(crate) struct Echo {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    clients: Vec<Client>,
    /// As many requests as a connection has in flight.
    batch: Vec<u8>,
    request_len: usize,
    reply_len: usize,
    depth: usize,
}

struct Client {
    stream: TcpStream,
    /// Bytes of requests to be sent, and the position of the first within its request.
    unsent: usize,
    sent_of_request: usize,
    /// Bytes of an incomplete reply.
    received: usize,
}

impl Echo {
    /// Opens `connections`, and compares one reply on each.
    pub(crate) fn open(
        process: &ServerProcess,
        exchange: &Exchange,
        connections: usize,
        depth: usize,
    ) -> Self {
        let poll = Poll::new().unwrap();
        let open = |number| {
            let mut stream = connect(process, number);
            request(process, &mut stream, exchange);
            let stream = register(poll.registry(), stream, number);
            Client { stream, unsent: 0, sent_of_request: 0, received: 0 }
        };
        let clients = (0..connections).map(open).collect();
        Echo {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            buffer: vec![0; READ_BYTES],
            clients,
            batch: exchange.request.repeat(depth),
            request_len: exchange.request.len(),
            reply_len: exchange.reply.len(),
            depth,
        }
    }

    /// Runs for `warm_up`, then for `time`, which is measured. No request is in flight at the end.
    pub(crate) fn run(
        &mut self,
        process: &ServerProcess,
        warm_up: Duration,
        time: Duration,
    ) -> Measured {
        for number in 0..self.clients.len() {
            self.send_requests(number, self.depth);
        }
        self.run_until(Instant::now() + warm_up);
        let measured = Measured::of(process, time, |until| self.run_until(until));
        self.drain();
        measured
    }

    fn run_until(&mut self, until: Instant) -> u64 {
        let mut answered = 0;
        while Instant::now() < until {
            answered += self.turn(true);
        }
        answered
    }

    /// Reads the outstanding replies without sending requests.
    fn drain(&mut self) {
        let mut due = (self.clients.len() * self.depth) as u64;
        while due > 0 {
            due -= self.turn(false);
        }
    }

    /// Reads the available replies and, if `is_asking`, sends as many requests. Returns their
    /// number.
    fn turn(&mut self, is_asking: bool) -> u64 {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        self.poll.poll(&mut events, Some(super::REPLY_TIMEOUT)).unwrap();
        assert!(!events.is_empty(), "no request is answered any more");
        let mut answered = 0;
        for event in &events {
            let number = event.token().0;
            if event.is_readable() {
                answered += self.read_replies(number, is_asking);
            }
            self.clients[number].flush(&self.batch, self.request_len);
        }
        self.events = events;
        answered as u64
    }

    fn read_replies(&mut self, number: usize, is_asking: bool) -> usize {
        let mut answered = 0;
        loop {
            let client = &mut self.clients[number];
            let len = read(&mut client.stream, &mut self.buffer);
            client.received += len;
            let whole = client.received / self.reply_len;
            client.received %= self.reply_len;
            answered += whole;
            if is_asking && whole > 0 {
                self.send_requests(number, whole);
            }
            // A short read has emptied the socket.
            if len < self.buffer.len() {
                return answered;
            }
        }
    }

    fn send_requests(&mut self, number: usize, count: usize) {
        let client = &mut self.clients[number];
        client.unsent += count * self.request_len;
        client.flush(&self.batch, self.request_len);
    }
}

impl Client {
    fn flush(&mut self, batch: &[u8], request_len: usize) {
        while self.unsent > 0 {
            let rest = &batch[self.sent_of_request..];
            let bytes = &rest[..rest.len().min(self.unsent)];
            let sent = write(&mut self.stream, bytes);
            self.unsent -= sent;
            self.sent_of_request = (self.sent_of_request + sent) % request_len;
            if sent < bytes.len() {
                return;
            }
        }
    }
}
