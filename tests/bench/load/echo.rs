//! Requests and answers in a closed loop: each connection keeps so many on their way.

use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll};

use super::{Measured, ask, connect, read, register, write};
use crate::script::Talk;
use crate::subject::Subject;

const EVENTS_MAX: usize = 1024;
const READ_BYTES: usize = 256 * 1024;

/// Connections under load.
pub(crate) struct Echo {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    clients: Vec<Client>,
    /// As many requests as a connection has on their way.
    batch: Vec<u8>,
    request_len: usize,
    answer_len: usize,
    depth: usize,
}

struct Client {
    stream: TcpStream,
    /// Bytes of requests still to be sent, and where in a request the next one is.
    unsent: usize,
    sent_of_request: usize,
    /// Bytes of an answer that has come in part.
    heard: usize,
}

impl Echo {
    /// Opens `connections` and has one answer compared on each.
    pub(crate) fn open(subject: &Subject, talk: &Talk, connections: usize, depth: usize) -> Self {
        let poll = Poll::new().unwrap();
        let open = |number| {
            let mut stream = connect(subject, number);
            ask(subject, &mut stream, talk);
            let stream = register(poll.registry(), stream, number);
            Client { stream, unsent: 0, sent_of_request: 0, heard: 0 }
        };
        let clients = (0..connections).map(open).collect();
        Echo {
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            buffer: vec![0; READ_BYTES],
            clients,
            batch: talk.say.repeat(depth),
            request_len: talk.say.len(),
            answer_len: talk.answer.len(),
            depth,
        }
    }

    /// Asks for `time`, after a while of warming up; all is answered at the end.
    pub(crate) fn run(&mut self, subject: &Subject, warm_up: Duration, time: Duration) -> Measured {
        for number in 0..self.clients.len() {
            self.ask(number, self.depth);
        }
        self.turns(Instant::now() + warm_up);
        let measured = Measured::of(subject, time, |until| self.turns(until));
        self.drain();
        measured
    }

    fn turns(&mut self, until: Instant) -> u64 {
        let mut answered = 0;
        while Instant::now() < until {
            answered += self.turn(true);
        }
        answered
    }

    /// Takes the answers that are due without asking again.
    fn drain(&mut self) {
        let mut due = (self.clients.len() * self.depth) as u64;
        while due > 0 {
            due -= self.turn(false);
        }
    }

    /// Takes what there is of answers, and asks as many questions again.
    fn turn(&mut self, asks: bool) -> u64 {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        self.poll.poll(&mut events, Some(super::PATIENCE)).unwrap();
        assert!(!events.is_empty(), "nothing is answered any more");
        let mut answered = 0;
        for event in &events {
            let number = event.token().0;
            if event.is_readable() {
                answered += self.hear(number, asks);
            }
            self.clients[number].flush(&self.batch, self.request_len);
        }
        self.events = events;
        answered as u64
    }

    fn hear(&mut self, number: usize, asks: bool) -> usize {
        let mut answered = 0;
        loop {
            let client = &mut self.clients[number];
            let len = read(&mut client.stream, &mut self.buffer);
            client.heard += len;
            let whole = client.heard / self.answer_len;
            client.heard %= self.answer_len;
            answered += whole;
            if asks && whole > 0 {
                self.ask(number, whole);
            }
            // A short read has emptied the socket.
            if len < self.buffer.len() {
                return answered;
            }
        }
    }

    fn ask(&mut self, number: usize, count: usize) {
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
