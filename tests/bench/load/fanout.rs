//! One publisher and many subscribers: each batch is published when all have the one before.

use std::io::Write;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll};

use super::{Measured, connect, expect, read, register, request, write};
use crate::protocol::{Broadcast, Exchange};
use crate::server_process::ServerProcess;

const EVENTS_MAX: usize = 1024;
const READ_BYTES: usize = 256 * 1024;

/// Subscribers, and the publisher after them.
pub(crate) struct Fanout {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    streams: Vec<TcpStream>,
    /// The bytes of a batch as it is published.
    batch: Vec<u8>,
    messages: usize,
    /// Bytes that all connections together receive for a batch.
    expected: usize,
}

impl Fanout {
    /// Opens the connections, and compares one message on each.
    pub(crate) fn open(
        process: &ServerProcess,
        payload: &[u8],
        subscribers: usize,
        messages: usize,
    ) -> Self {
        let poll = Poll::new().unwrap();
        let subscribe = |number| {
            let mut stream = connect(process, number);
            if let Some(exchange) = process.protocol.subscribe() {
                request(process, &mut stream, &exchange);
            }
            stream
        };
        let mut streams: Vec<_> = (0..subscribers).map(subscribe).collect();
        // Last, so that the server has all subscribers.
        let mut publisher = connect(process, subscribers);
        if let Some(Exchange { request, reply }) = process.protocol.server_ping() {
            for stream in streams.iter_mut().chain([&mut publisher]) {
                expect(process, stream, &reply);
                stream.write_all(&request).unwrap();
            }
        }
        let Broadcast { publish, delivery, confirmation } =
            process.protocol.broadcast(payload, subscribers).unwrap();
        publisher.write_all(&publish).unwrap();
        for stream in &mut streams {
            expect(process, stream, &delivery);
        }
        expect(process, &mut publisher, &confirmation);
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
            expected: (subscribers * delivery.len() + confirmation.len()) * messages,
        }
    }

    /// Runs for `warm_up`, then for `time`, which is measured; the count is of deliveries.
    pub(crate) fn run(
        &mut self,
        process: &ServerProcess,
        warm_up: Duration,
        time: Duration,
    ) -> Measured {
        self.publish_until(Instant::now() + warm_up);
        Measured::of(process, time, |until| self.publish_until(until))
    }

    fn publish_until(&mut self, until: Instant) -> u64 {
        let subscribers = self.streams.len() - 1;
        let mut deliveries = 0;
        while Instant::now() < until {
            self.publish_batch();
            deliveries += subscribers * self.messages;
        }
        deliveries as u64
    }

    fn publish_batch(&mut self) {
        let publisher = self.streams.len() - 1;
        let mut sent = write(&mut self.streams[publisher], &self.batch);
        let mut expected = self.expected;
        while expected > 0 {
            self.poll.poll(&mut self.events, Some(super::REPLY_TIMEOUT)).unwrap();
            assert!(!self.events.is_empty(), "{expected} bytes were never delivered");
            for event in &self.events {
                if event.is_readable() {
                    let len = drain(&mut self.streams[event.token().0], &mut self.buffer);
                    expected = expected.checked_sub(len).expect("no more comes than was published");
                }
            }
            if sent < self.batch.len() {
                sent += write(&mut self.streams[publisher], &self.batch[sent..]);
            }
        }
    }
}

/// Empties a socket. Returns the number of bytes.
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
