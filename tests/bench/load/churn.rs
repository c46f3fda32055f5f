//! Connections of one request each: connect, request, reply, reset.

use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{Measured, read, reset, write};
use crate::protocol::Exchange;
use crate::server_process::ServerProcess;

/// Connections at a time.
const CLIENTS: usize = 64;

/// Connections in progress.
pub(crate) struct Churn<'a> {
    process: &'a ServerProcess,
    exchange: &'a Exchange,
    poll: Poll,
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    sent: usize,
    received: usize,
}

impl<'a> Churn<'a> {
    pub(crate) fn open(process: &'a ServerProcess, exchange: &'a Exchange) -> Self {
        let poll = Poll::new().unwrap();
        let clients = (0..CLIENTS).map(|number| Client::connect(&poll, process, number)).collect();
        Churn { process, exchange, poll, clients }
    }

    /// Runs for `warm_up`, then for `time`, which is measured; the count is of connections.
    pub(crate) fn run(mut self, warm_up: Duration, time: Duration) -> Measured {
        self.run_until(Instant::now() + warm_up);
        let measured = Measured::of(self.process, time, |until| self.run_until(until));
        for client in self.clients {
            reset(client.stream);
        }
        measured
    }

    fn run_until(&mut self, until: Instant) -> u64 {
        let mut events = Events::with_capacity(CLIENTS);
        let mut done = 0;
        while Instant::now() < until {
            self.poll.poll(&mut events, Some(super::REPLY_TIMEOUT)).unwrap();
            assert!(!events.is_empty(), "no connection is served any more");
            for event in &events {
                let number = event.token().0;
                if self.clients[number].step(self.exchange) {
                    let next = Client::connect(&self.poll, self.process, number);
                    reset(std::mem::replace(&mut self.clients[number], next).stream);
                    done += 1;
                }
            }
        }
        done
    }
}

impl Client {
    fn connect(poll: &Poll, process: &ServerProcess, number: usize) -> Self {
        let mut stream = TcpStream::connect(process.addr).unwrap();
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(number), both).unwrap();
        Client { stream, sent: 0, received: 0 }
    }

    /// Sends or receives what the socket allows. Returns whether the reply is complete.
    fn step(&mut self, exchange: &Exchange) -> bool {
        if self.sent < exchange.request.len() {
            self.sent += write(&mut self.stream, &exchange.request[self.sent..]);
            return false;
        }
        let mut buffer = [0; 4096];
        let len = read(&mut self.stream, &mut buffer);
        assert!(exchange.reply[self.received..].starts_with(&buffer[..len]), "a wrong reply");
        self.received += len;
        self.received == exchange.reply.len()
    }
}
