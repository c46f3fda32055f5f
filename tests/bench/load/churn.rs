//! Clients that come, say one thing, and go with a reset, over and over.

use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{Measured, read, reset, write};
use crate::script::Talk;
use crate::subject::Subject;

/// Clients at a time.
const CLIENTS: usize = 64;

/// Clients under way.
pub(crate) struct Churn<'a> {
    subject: &'a Subject,
    talk: &'a Talk,
    poll: Poll,
    clients: Vec<Client>,
}

struct Client {
    stream: TcpStream,
    sent: usize,
    heard: usize,
}

impl<'a> Churn<'a> {
    pub(crate) fn open(subject: &'a Subject, talk: &'a Talk) -> Self {
        let poll = Poll::new().unwrap();
        let clients = (0..CLIENTS).map(|number| Client::begin(&poll, subject, number)).collect();
        Churn { subject, talk, poll, clients }
    }

    /// Does so for `time`, after a while of warming up; the count is of connections.
    pub(crate) fn run(mut self, warm_up: Duration, time: Duration) -> Measured {
        self.turns(Instant::now() + warm_up);
        let measured = Measured::of(self.subject, time, |until| self.turns(until));
        for client in self.clients {
            reset(client.stream);
        }
        measured
    }

    fn turns(&mut self, until: Instant) -> u64 {
        let mut events = Events::with_capacity(CLIENTS);
        let mut done = 0;
        while Instant::now() < until {
            self.poll.poll(&mut events, Some(super::PATIENCE)).unwrap();
            assert!(!events.is_empty(), "nobody is served any more");
            for event in &events {
                let number = event.token().0;
                if self.clients[number].go_on(self.talk) {
                    let next = Client::begin(&self.poll, self.subject, number);
                    reset(std::mem::replace(&mut self.clients[number], next).stream);
                    done += 1;
                }
            }
        }
        done
    }
}

impl Client {
    fn begin(poll: &Poll, subject: &Subject, number: usize) -> Self {
        let mut stream = TcpStream::connect(subject.addr).unwrap();
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut stream, Token(number), both).unwrap();
        Client { stream, sent: 0, heard: 0 }
    }

    /// Whether it has its answer.
    fn go_on(&mut self, talk: &Talk) -> bool {
        if self.sent < talk.say.len() {
            self.sent += write(&mut self.stream, &talk.say[self.sent..]);
            return false;
        }
        let mut buffer = [0; 4096];
        let len = read(&mut self.stream, &mut buffer);
        assert!(talk.answer[self.heard..].starts_with(&buffer[..len]), "another answer");
        self.heard += len;
        self.heard == talk.answer.len()
    }
}
