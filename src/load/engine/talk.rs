//! What is done with one connection: it is begun, asked, read from, and lost. When, is for the loop
//! to say.

use std::io::{ErrorKind, Read, Write};

use mio::{Interest, Token};

use super::super::connection::{Busy, Connection, State};
use super::super::options::Loop;
use super::super::socket;
use super::super::tally::Phase;
use super::super::wire::{Fault, Topic};
use super::{Engine, PUBLISHER};

/// Reads from one connection in one turn before the others have theirs.
const READS_PER_TURN: u32 = 8;

/// Connections begun in one turn, so that those begun before are noticed in time.
const CONNECTS_PER_TURN: u64 = 64;

/// Requests taken from the schedule in one turn.
const DUE_PER_TURN: usize = 1024;

/// Requests that wait on all connections together until their turn has come.
const WAITING_MAX: u64 = 1 << 20;

/// A connection that was lost without an error number: the peer closed it.
const CLOSED_BY_PEER: &str = "EOF";

impl Engine<'_> {
    pub(super) fn begin_connections(&mut self) {
        let missing = (self.wanted() - self.connections.len()) as u64;
        if missing == 0 {
            return;
        }
        for _ in 0..self.bucket.take(self.now(), missing.min(CONNECTS_PER_TURN)) {
            let index = self.connections.len();
            let now = self.now();
            let mut tried = 0;
            let ports = self.sources.ports(index, self.ports_skipped).inspect(|_| tried += 1);
            let source = self.sources.address(index);
            let begun = socket::connect(self.target, source, ports).and_then(|mut stream| {
                let both = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(index), both)?;
                Ok(stream)
            });
            self.ports_skipped += usize::saturating_sub(tried, 1);
            match begun {
                Ok(stream) => {
                    self.connections.push(Connection::new(Some(stream), now));
                    self.begun.push_back(index);
                    self.settling += 1;
                }
                Err(error) => {
                    self.connections.push(Connection::new(None, now));
                    self.run.tally.counts.failed += 1;
                    self.run.tally.fail(&socket::errno_name(&error), now);
                }
            }
        }
    }

    /// Open loop: what should have left by now leaves, each connection's share in one write.
    pub(super) fn send_what_is_due(&mut self) {
        let mut touched = Vec::new();
        let now = self.now();
        for _ in 0..DUE_PER_TURN {
            if self.has_backlog() {
                break;
            }
            let Some(at) = self.schedule.as_mut().and_then(|schedule| schedule.take(now)) else {
                break;
            };
            let Some(index) = self.next_open() else {
                self.run.unanswered += 1;
                break;
            };
            let connection = &mut self.connections[index];
            let busy = connection.busy();
            busy.lane.push(at, 1);
            self.unanswered += 1;
            if busy.unsent == 0 {
                touched.push(index);
            }
            if self.depart(index) > 0 {
                self.run.tally.record_lag(now.saturating_sub(at));
            }
        }
        for index in touched {
            self.flush(index);
        }
    }

    /// Whether so many requests wait for a place on their connections that more need not be taken
    /// from the schedule: there they keep their times, and take no memory.
    pub(super) fn has_backlog(&self) -> bool {
        let on_their_way = self.wanted() as u64 * u64::from(self.mode.depth());
        self.unanswered >= on_their_way.saturating_add(WAITING_MAX)
    }

    /// Whose turn it is, among those that are open.
    fn next_open(&mut self) -> Option<usize> {
        for _ in 0..self.connections.len() {
            let index = self.cursor;
            self.cursor = (self.cursor + self.stride) % self.connections.len();
            if self.connections[index].state == State::Open {
                return Some(index);
            }
        }
        None
    }

    /// Requests of connection `index` that wait and may leave join its unsent bytes.
    fn depart(&mut self, index: usize) -> u32 {
        let Some(busy) = &mut self.connections[index].busy else { return 0 };
        let count = busy.lane.depart(self.mode.depth());
        busy.unsent += u64::from(count) * self.wire.request_len() as u64;
        self.run.tally.counts.sent += u64::from(count);
        count
    }

    /// `count` more requests of connection `index` are meant to leave at `now`.
    pub(super) fn ask(&mut self, index: usize, now: u64, count: u32) {
        self.connections[index].busy().lane.push(now, count);
        self.unanswered += u64::from(count);
        self.depart(index);
    }

    /// Everyone has the last batch, and there is time for another.
    pub(super) fn must_publish(&self) -> bool {
        let idle = |publisher: &Connection| {
            let busy = publisher.busy.as_ref();
            busy.is_none_or(|busy| busy.unsent == 0 && busy.lane.unanswered() == 0)
        };
        self.mode.topic() == Topic::Fanout
            && self.run.tally.phase == Phase::Traffic
            && self.fanout.owed == 0
            && self.connections.get(PUBLISHER).is_some_and(idle)
    }

    pub(super) fn publish(&mut self) {
        let now = self.now();
        if now >= self.phase_ends_at || self.connections[PUBLISHER].state != State::Open {
            return;
        }
        let batch = self.mode.depth();
        // The publisher is no subscriber of its own.
        let subscribers = self.run.tally.connected().saturating_sub(1);
        self.fanout.published += u64::from(batch);
        self.fanout.owed = u64::from(batch) * subscribers;
        self.fanout.published_at = now;
        if self.wire.confirms() {
            self.ask(PUBLISHER, now, batch);
        } else {
            let len = self.wire.request_len() as u64;
            self.connections[PUBLISHER].busy().unsent += u64::from(batch) * len;
            self.run.tally.counts.sent += u64::from(batch);
        }
        self.flush(PUBLISHER);
    }

    pub(super) fn on_ready(
        &mut self,
        index: usize,
        readable: bool,
        writable: bool,
        read_closed: bool,
    ) {
        let Some(connection) = self.connections.get(index) else { return };
        if connection.state == State::Connecting && (writable || readable) {
            self.on_connecting(index);
        }
        if readable && self.is_up(index) {
            self.read(index, read_closed);
        }
        let unsent = |busy: &Busy| busy.unsent > 0;
        if self.connections[index].busy.as_deref().is_some_and(unsent) {
            self.flush(index);
        }
    }

    fn is_up(&self, index: usize) -> bool {
        matches!(self.connections[index].state, State::Open | State::Joining)
    }

    fn on_connecting(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(outcome) = connection.stream.as_ref().and_then(socket::outcome) else { return };
        if let Err(error) = outcome {
            return self.lose(index, &socket::errno_name(&error));
        }
        let begun_at = connection.begun_at;
        let now = self.now();
        self.run.tally.counts.opened += 1;
        self.run.tally.record_connect(now.saturating_sub(begun_at));
        if self.mode.topic() == Topic::Echo {
            self.connections[index].state = State::Open;
            self.settling -= 1;
            return;
        }
        let hello = self.wire.hello(&format!("{}{index}", self.nickname));
        let connection = &mut self.connections[index];
        connection.state = State::Joining;
        connection.busy().lane.push(now, 1);
        connection.busy().lane.depart(1);
        self.unanswered += 1;
        let sent = connection.stream.as_mut().map_or(Ok(0), |stream| stream.write(&hello));
        match sent {
            Ok(sent) => self.run.tally.counts.bytes_sent += sent as u64,
            Err(error) => self.lose(index, &socket::errno_name(&error)),
        }
    }

    /// Reads until the socket is empty, or has had its turn.
    fn read(&mut self, index: usize, read_closed: bool) {
        for _ in 0..READS_PER_TURN {
            let Some(stream) = &mut self.connections[index].stream else { return };
            match stream.read(&mut self.buffer) {
                Ok(0) => return self.lose(index, CLOSED_BY_PEER),
                Ok(len) => {
                    self.run.tally.counts.bytes_received += len as u64;
                    if !self.deaf {
                        self.digest(index, len);
                    }
                    // A short read has emptied the socket, unless its end is still to be read.
                    if len < self.buffer.len() && !read_closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.lose(index, &socket::errno_name(&error)),
            }
        }
        if !std::mem::replace(&mut self.connections[index].resumes, true) {
            self.resume.push(index);
        }
    }

    /// Takes in what was read from connection `index`.
    fn digest(&mut self, index: usize, len: usize) {
        let now = self.now();
        let connection = &mut self.connections[index];
        let joining = connection.state == State::Joining;
        let busy = connection.busy.get_or_insert_default();
        let input = &self.buffer[..len];
        let seen = if busy.tail.is_empty() {
            let seen = self.wire.take(input, joining, &mut busy.carry);
            if seen.consumed < len && busy.tail.extend(&input[seen.consumed..], 0).is_err() {
                return self.lose(index, "ENOMEM");
            }
            seen
        } else {
            if busy.tail.extend(input, 0).is_err() {
                return self.lose(index, "ENOMEM");
            }
            let seen = self.wire.take(&busy.tail, joining, &mut busy.carry);
            busy.tail.consume(seen.consumed);
            seen
        };
        if seen.answers > 0 && !self.on_answers(index, seen.answers, now) {
            let fault = self.wire.unasked(&self.buffer[..len]);
            return self.on_fault(index, fault);
        }
        if seen.deliveries > 0 && !self.on_deliveries(index, seen.deliveries, now) {
            return self.on_fault(index, Fault::Junk);
        }
        if let Some(fault) = seen.fault {
            self.on_fault(index, fault);
        }
    }

    /// False if nobody had asked.
    fn on_answers(&mut self, index: usize, count: u32, now: u64) -> bool {
        let connection = &mut self.connections[index];
        let joining = connection.state == State::Joining;
        let echo = self.mode.topic() == Topic::Echo;
        let tally = &mut self.run.tally;
        let known = connection.busy().lane.answer(count, |at, count| {
            if echo {
                tally.record(now.saturating_sub(at), count);
            }
        });
        if !known {
            return false;
        }
        self.unanswered -= u64::from(count);
        if joining {
            connection.state = State::Open;
            self.settling -= 1;
            return true;
        }
        tally.counts.answered += u64::from(count);
        let closed = self.mode.load() == Loop::Closed;
        if echo && closed && tally.phase == Phase::Traffic && now < self.phase_ends_at {
            self.ask(index, now, count);
        } else {
            self.depart(index);
        }
        true
    }

    /// False if there were not so many on their way.
    fn on_deliveries(&mut self, index: usize, count: u32, now: u64) -> bool {
        let busy = self.connections[index].busy();
        busy.received += u64::from(count);
        if busy.received > self.fanout.published {
            busy.received = self.fanout.published;
            return false;
        }
        self.fanout.owed = self.fanout.owed.saturating_sub(u64::from(count));
        self.run.tally.counts.deliveries += u64::from(count);
        self.run.tally.record(now.saturating_sub(self.fanout.published_at), count);
        true
    }

    fn on_fault(&mut self, index: usize, fault: Fault) {
        match fault {
            Fault::Refused(words) => {
                self.run.tally.words.get_or_insert(words);
                self.lose(index, "EPROTO");
            }
            Fault::Junk => self.lose(index, "EBADMSG"),
        }
    }

    /// Sends what connection `index` has to send, as far as its socket takes it.
    #[inline]
    pub(super) fn flush(&mut self, index: usize) {
        let Connection { stream: Some(stream), busy: Some(busy), .. } =
            &mut self.connections[index]
        else {
            return;
        };
        while busy.unsent > 0 {
            let bytes = self.wire.unsent(busy.done, busy.unsent);
            match stream.write(bytes) {
                Ok(sent) => {
                    busy.done += sent as u64;
                    busy.unsent -= sent as u64;
                    self.run.tally.counts.bytes_sent += sent as u64;
                    if sent < bytes.len() {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.lose(index, &socket::errno_name(&error)),
            }
        }
    }

    /// Connection `index` failed, or is no more.
    #[cold]
    pub(super) fn lose(&mut self, index: usize, name: &str) {
        let now = self.now();
        let connection = &mut self.connections[index];
        if connection.state == State::Connecting {
            self.run.tally.counts.failed += 1;
        } else {
            self.run.tally.counts.dropped += 1;
        }
        self.settling -= usize::from(connection.state.is_settling());
        let was_open = connection.state == State::Open;
        connection.state = State::Gone;
        connection.stream = None;
        let busy = connection.busy.take().unwrap_or_default();
        self.unanswered -= busy.lane.unanswered();
        self.run.unanswered += busy.lane.unanswered();
        if self.mode.topic() == Topic::Fanout && index != PUBLISHER && was_open {
            let missed = self.fanout.published - busy.received;
            self.fanout.owed = self.fanout.owed.saturating_sub(missed);
        }
        self.run.tally.fail(name, now);
    }
}
