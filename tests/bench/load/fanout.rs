//! One publisher and many subscribers: a batch is published, and the next one when everybody has it.

use std::io::Write;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll};

use super::{Measured, ask, connect, expect, read, register, write};
use crate::script::{Broadcast, Talk};
use crate::subject::Subject;

const EVENTS_MAX: usize = 1024;
const READ_BYTES: usize = 256 * 1024;

/// Subscribers, and behind them the publisher.
pub(crate) struct Fanout {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    streams: Vec<TcpStream>,
    /// The messages of a batch, as they are published.
    batch: Vec<u8>,
    messages: usize,
    /// Bytes that a batch brings to all together.
    due: usize,
}

impl Fanout {
    /// Opens the connections and has one message compared at each.
    pub(crate) fn open(
        subject: &Subject,
        payload: &[u8],
        subscribers: usize,
        messages: usize,
    ) -> Self {
        let poll = Poll::new().unwrap();
        let join = |number| {
            let mut stream = connect(subject, number);
            if let Some(talk) = subject.speech.join() {
                ask(subject, &mut stream, &talk);
            }
            stream
        };
        let mut streams: Vec<_> = (0..subscribers).map(join).collect();
        // Last, so that the server has everybody else.
        let mut publisher = connect(subject, subscribers);
        if let Some(Talk { say, answer }) = subject.speech.asked() {
            for stream in streams.iter_mut().chain([&mut publisher]) {
                expect(subject, stream, &answer);
                stream.write_all(&say).unwrap();
            }
        }
        let Broadcast { publish, delivery, confirmation } =
            subject.speech.broadcast(payload, subscribers).unwrap();
        publisher.write_all(&publish).unwrap();
        for stream in &mut streams {
            expect(subject, stream, &delivery);
        }
        expect(subject, &mut publisher, &confirmation);
        streams.push(publisher);
        let streams = streams.into_iter().enumerate();
        let streams = streams.map(|(number, stream)| register(poll.registry(), stream, number));
        Fanout {
            streams: streams.collect(),
            poll,
            events: Events::with_capacity(EVENTS_MAX),
            buffer: vec![0; READ_BYTES],
            batch: publish.repeat(messages),
            messages,
            due: (subscribers * delivery.len() + confirmation.len()) * messages,
        }
    }

    /// Publishes for `time`, after a while of warming up; the count is of deliveries.
    pub(crate) fn run(&mut self, subject: &Subject, warm_up: Duration, time: Duration) -> Measured {
        self.batches(Instant::now() + warm_up);
        Measured::of(subject, time, |until| self.batches(until))
    }

    fn batches(&mut self, until: Instant) -> u64 {
        let subscribers = self.streams.len() - 1;
        let mut deliveries = 0;
        while Instant::now() < until {
            self.one_batch();
            deliveries += subscribers * self.messages;
        }
        deliveries as u64
    }

    fn one_batch(&mut self) {
        let publisher = self.streams.len() - 1;
        let mut sent = write(&mut self.streams[publisher], &self.batch);
        let mut due = self.due;
        while due > 0 {
            self.poll.poll(&mut self.events, Some(super::PATIENCE)).unwrap();
            assert!(!self.events.is_empty(), "{due} bytes were never delivered");
            for event in &self.events {
                if event.is_readable() {
                    let len = drain(&mut self.streams[event.token().0], &mut self.buffer);
                    due = due.checked_sub(len).expect("no more comes than was published");
                }
            }
            if sent < self.batch.len() {
                sent += write(&mut self.streams[publisher], &self.batch[sent..]);
            }
        }
    }
}

/// Empties a socket; how many bytes that were.
fn drain(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let mut total = 0;
    loop {
        let len = read(stream, buffer);
        total += len;
        if len < buffer.len() {
            return total;
        }
    }
}
